"""Forecasts: an initial state becomes a streamed, resumable ensemble."""

from surrogates.forecast.engine import simulate
from surrogates.forecast.keep import Keep
from surrogates.forecast.reading import continue_from, open_forecast

__all__ = ["Keep", "continue_from", "open_forecast", "simulate"]
