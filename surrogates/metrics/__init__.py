"""Metrics: statistics that add, values derived last, one idea a file; `score` applies them to a forecast and its truth.

Where the law itself can be sampled, `score_members` and `score_samples` hold samples against true samples.
"""

from surrogates.metrics.budget import Budget
from surrogates.metrics.correlation import Correlation, VorticityCorrelation
from surrogates.metrics.crps import FairCRPS
from surrogates.metrics.divergence import DivergenceDefect
from surrogates.metrics.energy_distance import EnergyDistance
from surrogates.metrics.energy_score import EnergyScore
from surrogates.metrics.increments import IncrementPDF, Increments
from surrogates.metrics.laws import LawDefects
from surrogates.metrics.lifetimes import lifetimes
from surrogates.metrics.nrmse import NRMSE
from surrogates.metrics.quantity import Quantity, ScoreMetric
from surrogates.metrics.rank import RankHistogram
from surrogates.metrics.samples import SampleMetric, score_members, score_samples
from surrogates.metrics.score import score
from surrogates.metrics.shells import shell_spectrum, shell_wavenumbers
from surrogates.metrics.sliced_wasserstein import SlicedWasserstein
from surrogates.metrics.spectrum import EnergySpectrum, EnstrophySpectrum, log_spectral_distance
from surrogates.metrics.spread_skill import SpreadSkill
from surrogates.metrics.standard import standard
from surrogates.metrics.summary import in_units_of, paired_bootstrap, spread_skill_curve, time_above, time_below
from surrogates.metrics.two_point import TwoPoint
from surrogates.metrics.variance_spectrum import VarianceSpectrum
from surrogates.metrics.vorticity import curl
from surrogates.metrics.vrmse import VRMSE
from surrogates.metrics.wasserstein import IncrementWasserstein, PointWasserstein, Wasserstein, wasserstein

__all__ = [
    "NRMSE",
    "VRMSE",
    "Budget",
    "Correlation",
    "DivergenceDefect",
    "EnergyDistance",
    "EnergyScore",
    "EnergySpectrum",
    "EnstrophySpectrum",
    "FairCRPS",
    "IncrementPDF",
    "IncrementWasserstein",
    "Increments",
    "LawDefects",
    "PointWasserstein",
    "Quantity",
    "RankHistogram",
    "SampleMetric",
    "ScoreMetric",
    "SlicedWasserstein",
    "SpreadSkill",
    "TwoPoint",
    "VarianceSpectrum",
    "VorticityCorrelation",
    "Wasserstein",
    "curl",
    "in_units_of",
    "lifetimes",
    "log_spectral_distance",
    "paired_bootstrap",
    "score",
    "score_members",
    "score_samples",
    "shell_spectrum",
    "shell_wavenumbers",
    "spread_skill_curve",
    "standard",
    "time_above",
    "time_below",
    "wasserstein",
]
