"""Forecasts: an initial state becomes a streamed, resumable ensemble."""

from surrogates.forecast.averages import time_average
from surrogates.forecast.blowup import Limits
from surrogates.forecast.bred import Bred, Lagged
from surrogates.forecast.climate_spectrum import ClimateSpectrum
from surrogates.forecast.engine import simulate
from surrogates.forecast.keep import Keep
from surrogates.forecast.monitor import Guarded, ResidualMonitor, SpreadMonitor
from surrogates.forecast.nesting import Nested, OneWay
from surrogates.forecast.perturbations import Gaussian, Members, RandomPhases
from surrogates.forecast.ranges import Ranges
from surrogates.forecast.reading import continue_from, open_forecast
from surrogates.forecast.surroundings import Given, PerturbedParameters, surroundings_of
from surrogates.forecast.trust import Trust

__all__ = [
    "Bred",
    "ClimateSpectrum",
    "Gaussian",
    "Given",
    "Guarded",
    "Keep",
    "Lagged",
    "Limits",
    "Members",
    "Nested",
    "OneWay",
    "PerturbedParameters",
    "RandomPhases",
    "Ranges",
    "ResidualMonitor",
    "SpreadMonitor",
    "Trust",
    "continue_from",
    "open_forecast",
    "simulate",
    "surroundings_of",
    "time_average",
]
