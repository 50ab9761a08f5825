"""Training: a surrogate from data and parts, resumable bit for bit; calibration of its ensemble; the command `surrogates train`."""

from surrogates.train.calibrate import Calibration, calibrate
from surrogates.train.ema import EMA
from surrogates.train.module import Training
from surrogates.train.noisy import NoisyPast
from surrogates.train.optimiser import Optimiser
from surrogates.train.run import Run, Settings, train
from surrogates.train.strategies import OneStep, Pushforward, Strategy
from surrogates.train.unrolled import Unrolled
from surrogates.train.validation import Rollouts

__all__ = [
    "EMA",
    "Calibration",
    "NoisyPast",
    "OneStep",
    "Optimiser",
    "Pushforward",
    "Rollouts",
    "Run",
    "Settings",
    "Strategy",
    "Training",
    "Unrolled",
    "calibrate",
    "train",
]
