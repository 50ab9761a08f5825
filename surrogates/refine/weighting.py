"""How much the error at each refinement time counts, as a factor of the squared error of what is predicted.

    Unweighted    1
    DataError     (dx/dF)^2, so that the loss is the error of the data at every s, whatever is predicted
    MinSNR        min((a/b)^2, gamma) of the data's error: neither the easy nor the hopeless times dominate

Source of the last: Hang et al., "Efficient diffusion training via min-SNR weighting strategy", 2023, https://arxiv.org/abs/2303.09556.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from surrogates.record import recorded
from surrogates.refine.path import Path
from surrogates.refine.prediction import Prediction


@runtime_checkable
class Weighting(Protocol):
    """The factor at s, a tensor that broadcasts against "B C *X"; s > 0."""

    def __call__(self, path: Path, prediction: Prediction, s: Tensor) -> Tensor | float: ...


@recorded
@dataclass(frozen=True)
class Unweighted:
    """Every time as the schedule draws it."""

    def __call__(self, path: Path, prediction: Prediction, s: Tensor) -> Tensor | float:
        return 1.0


@recorded
@dataclass(frozen=True)
class DataError:
    """The squared error of the data."""

    def __call__(self, path: Path, prediction: Prediction, s: Tensor) -> Tensor | float:
        return prediction.leverage(path, s) ** 2


@recorded
@dataclass(frozen=True)
class MinSNR:
    """The squared error of the data times the signal-to-noise ratio, but for at most `gamma`."""

    gamma: float = 5.0

    def __call__(self, path: Path, prediction: Prediction, s: Tensor) -> Tensor | float:
        a, b, _, _ = path.coefficients(s)
        ratio = torch.as_tensor((a / b) ** 2).clamp(max=self.gamma)
        return ratio * prediction.leverage(path, s) ** 2


UNWEIGHTED = Unweighted()
"""The usual weighting, shared since it holds nothing."""
