"""Refiners: a sample of the next state from noise, a guess or the previous state, as source x path x schedule x sampler.

Refinement time s is 1 at the source and 0 at the data. Everything here is in normalised units.
"""

from surrogates.refine.features import FEATURES, features
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.path import Linear, Path, VariancePreserving
from surrogates.refine.pde_refiner import PDERefiner
from surrogates.refine.samplers import ab2, corrected, euler, evaluations, heun
from surrogates.refine.schedule import Exponential, Schedule, Uniform
from surrogates.refine.source import GaussianSource, GuessSource, PreviousSource, Source

__all__ = [
    "FEATURES",
    "Exponential",
    "FlowMatching",
    "GaussianSource",
    "GaussianVelocity",
    "GuessSource",
    "Linear",
    "PDERefiner",
    "Path",
    "PreviousSource",
    "Schedule",
    "Source",
    "Uniform",
    "VariancePreserving",
    "ab2",
    "corrected",
    "euler",
    "evaluations",
    "features",
    "heun",
]
