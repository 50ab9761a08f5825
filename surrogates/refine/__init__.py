"""Refiners: a sample of the next state from noise, a guess or the previous state, as source x path x prediction x schedule x sampler.

Refinement time s is 1 at the source and 0 at the data. Everything here is in normalised units. `docs/refiners.md` is the way in.
"""

from surrogates.refine.acdm import ACDM
from surrogates.refine.average_oracle import GaussianAverage
from surrogates.refine.bridge import Bridge, BrownianBridge, Foellmer, foellmer_diffusion, own_diffusion
from surrogates.refine.classifier_free import ClassifierFree
from surrogates.refine.colour import Spectral, UnderMeasure, WhiteOnSphere
from surrogates.refine.consistency import Consistency
from surrogates.refine.coupling import Coupling, Independent, Transport
from surrogates.refine.diffusion_forcing import DiffusionForcing
from surrogates.refine.discrete import ExponentialBetas, LinearBetas
from surrogates.refine.distilled import DistilledConsistency
from surrogates.refine.dpm_solver import dpm_2m, dpm_2s
from surrogates.refine.dropout import MCDropout
from surrogates.refine.dyffusion import DYffusion
from surrogates.refine.evidence import Both, Defect, Equation, Evidence, Observed, Series
from surrogates.refine.features import FEATURES, features
from surrogates.refine.flow import Flow
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.guidance import EndPoint, Guidance, Guided, PosteriorSampling
from surrogates.refine.interpolant import StochasticInterpolant
from surrogates.refine.learned_steps import learned_steps
from surrogates.refine.mean_flow import MeanFlow
from surrogates.refine.measurement import BlockMeans, Budgets, Derived, Measurement, Observation, Sensors
from surrogates.refine.moment_matching import MomentMatching
from surrogates.refine.noise_levels import Karras, KarrasLogNormal
from surrogates.refine.one_pass import OnePass, OnePassGlobal
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.path import Linear, Path, VarianceExploding, VariancePreserving
from surrogates.refine.pde_refiner import PDERefiner
from surrogates.refine.prediction import Data, Preconditioned, Prediction, SourcePrediction, Velocity
from surrogates.refine.reflow import Reflow
from surrogates.refine.reinterpolate import ECI, PCFM
from surrogates.refine.resampling import BestOf, Particles
from surrogates.refine.rolling import EachFrame, Ramp
from surrogates.refine.samplers import Sampler, ab2, ab3, corrected, euler, evaluations, heun, sample
from surrogates.refine.schedule import Exponential, Given, LogitNormal, Schedule, Steps, Uniform
from surrogates.refine.sde import euler_maruyama, stochastic_heun
from surrogates.refine.shortcut import Shortcut
from surrogates.refine.source import Colour, GaussianSource, GuessSource, PreviousSource, Source, White
from surrogates.refine.split_mean_flow import SplitMeanFlow
from surrogates.refine.step_sizes import optimal_steps, with_steps
from surrogates.refine.stochastic import Churn, Langevin, ddim, ddpm
from surrogates.refine.velocity_tail import Below, VelocityTail
from surrogates.refine.weighting import DataError, MinSNR, Unweighted, Weighting

__all__ = [
    "ACDM",
    "ECI",
    "FEATURES",
    "PCFM",
    "Below",
    "BestOf",
    "BlockMeans",
    "Both",
    "Bridge",
    "BrownianBridge",
    "Budgets",
    "Churn",
    "ClassifierFree",
    "Colour",
    "Consistency",
    "Coupling",
    "DYffusion",
    "Data",
    "DataError",
    "Defect",
    "Derived",
    "DiffusionForcing",
    "DistilledConsistency",
    "EachFrame",
    "EndPoint",
    "Equation",
    "Evidence",
    "Exponential",
    "ExponentialBetas",
    "Flow",
    "FlowMatching",
    "Foellmer",
    "GaussianAverage",
    "GaussianSource",
    "GaussianVelocity",
    "Given",
    "GuessSource",
    "Guidance",
    "Guided",
    "Independent",
    "Karras",
    "KarrasLogNormal",
    "Langevin",
    "Linear",
    "LinearBetas",
    "LogitNormal",
    "MCDropout",
    "MeanFlow",
    "Measurement",
    "MinSNR",
    "MomentMatching",
    "Observation",
    "Observed",
    "OnePass",
    "OnePassGlobal",
    "PDERefiner",
    "Particles",
    "Path",
    "PosteriorSampling",
    "Preconditioned",
    "Prediction",
    "PreviousSource",
    "Ramp",
    "Reflow",
    "Sampler",
    "Schedule",
    "Sensors",
    "Series",
    "Shortcut",
    "Source",
    "SourcePrediction",
    "Spectral",
    "SplitMeanFlow",
    "Steps",
    "StochasticInterpolant",
    "Transport",
    "UnderMeasure",
    "Uniform",
    "Unweighted",
    "VarianceExploding",
    "VariancePreserving",
    "Velocity",
    "VelocityTail",
    "Weighting",
    "White",
    "WhiteOnSphere",
    "ab2",
    "ab3",
    "corrected",
    "ddim",
    "ddpm",
    "dpm_2m",
    "dpm_2s",
    "euler",
    "euler_maruyama",
    "evaluations",
    "features",
    "foellmer_diffusion",
    "heun",
    "learned_steps",
    "optimal_steps",
    "own_diffusion",
    "sample",
    "stochastic_heun",
    "with_steps",
]
