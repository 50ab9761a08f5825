"""Forecasts: an initial state becomes a streamed, resumable ensemble."""

from surrogates.forecast.engine import simulate
from surrogates.forecast.sinks import open_forecast

__all__ = ["open_forecast", "simulate"]
