"""Refiners: a sample of the next state from noise, a guess or the previous state, as source x path x prediction x schedule x sampler.

Refinement time s is 1 at the source and 0 at the data. Everything here is in normalised units.
"""

from surrogates.refine.coupling import Coupling, Independent, Transport
from surrogates.refine.discrete import ExponentialBetas, LinearBetas
from surrogates.refine.dpm_solver import dpm_2m, dpm_2s
from surrogates.refine.features import FEATURES, features
from surrogates.refine.flow import Flow
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.noise_levels import Karras, KarrasLogNormal
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.path import Linear, Path, VarianceExploding, VariancePreserving
from surrogates.refine.pde_refiner import PDERefiner
from surrogates.refine.prediction import Data, Preconditioned, Prediction, SourcePrediction, Velocity
from surrogates.refine.samplers import Sampler, ab2, ab3, corrected, euler, evaluations, heun, sample
from surrogates.refine.schedule import Exponential, Given, LogitNormal, Schedule, Steps, Uniform
from surrogates.refine.source import Colour, GaussianSource, GuessSource, PreviousSource, Source, White
from surrogates.refine.stochastic import Churn, Langevin, ddim, ddpm
from surrogates.refine.weighting import DataError, MinSNR, Unweighted, Weighting

__all__ = [
    "FEATURES",
    "Churn",
    "Colour",
    "Coupling",
    "Data",
    "DataError",
    "Exponential",
    "ExponentialBetas",
    "Flow",
    "FlowMatching",
    "GaussianSource",
    "GaussianVelocity",
    "Given",
    "GuessSource",
    "Independent",
    "Karras",
    "KarrasLogNormal",
    "Langevin",
    "Linear",
    "LinearBetas",
    "LogitNormal",
    "MinSNR",
    "PDERefiner",
    "Path",
    "Preconditioned",
    "Prediction",
    "PreviousSource",
    "Sampler",
    "Schedule",
    "Source",
    "SourcePrediction",
    "Steps",
    "Transport",
    "Uniform",
    "Unweighted",
    "VarianceExploding",
    "VariancePreserving",
    "Velocity",
    "Weighting",
    "White",
    "ab2",
    "ab3",
    "corrected",
    "ddim",
    "ddpm",
    "dpm_2m",
    "dpm_2s",
    "euler",
    "evaluations",
    "features",
    "heun",
    "sample",
]
