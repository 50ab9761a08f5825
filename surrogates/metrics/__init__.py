"""Metrics: statistics that add, values derived last, one idea a file; `score` applies them to a forecast and its truth."""

from surrogates.metrics.correlation import Correlation, VorticityCorrelation
from surrogates.metrics.crps import FairCRPS
from surrogates.metrics.lifetimes import lifetimes
from surrogates.metrics.nrmse import NRMSE
from surrogates.metrics.quantity import Quantity, ScoreMetric
from surrogates.metrics.score import score, standard
from surrogates.metrics.spread_skill import SpreadSkill
from surrogates.metrics.summary import in_units_of, paired_bootstrap, spread_skill_curve, time_above, time_below

__all__ = [
    "NRMSE",
    "Correlation",
    "FairCRPS",
    "Quantity",
    "ScoreMetric",
    "SpreadSkill",
    "VorticityCorrelation",
    "in_units_of",
    "lifetimes",
    "paired_bootstrap",
    "score",
    "spread_skill_curve",
    "standard",
    "time_above",
    "time_below",
]
