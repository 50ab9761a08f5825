"""First and second moments of a prediction p and a truth y over space, the sums behind correlation and VRMSE.

Raw moments add over chunks of space where central ones do not. In float64 the cancellation in <y^2> - <y>^2 costs (<y>^2 / var y) 1e-16:
below a relative variance of 1e-14 a field is taken as constant, and what would divide by its variance is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.metrics.quantity import Statistics, integral, volume

CONSTANT = 1e-14


@dataclass(frozen=True)
class Central:
    """Biased central moments (B, T, C), zero where the field is constant."""

    pp: Tensor
    yy: Tensor
    py: Tensor


def moments(p: Float[Tensor, "B T C *X"], y: Float[Tensor, "B T C *X"], domain: Domain) -> Mapping[str, Tensor]:
    """The integrals of p, y, p^2, y^2, p y and 1."""
    p, y = p.double(), y.double()
    products = {"p": p, "y": y, "pp": p.square(), "yy": y.square(), "py": p * y}
    return {**{name: integral(u, domain) for name, u in products.items()}, "volume": volume(y, domain)}


def central(statistics: Statistics) -> Central:
    """Variances and covariance from the raw moments."""
    p, y, pp, yy, py = (statistics[n] / statistics["volume"] for n in ("p", "y", "pp", "yy", "py"))
    return Central(variance(p, pp), variance(y, yy), py - p * y)


def variance(mean: Tensor, square: Tensor) -> Tensor:
    """<y^2> - <y>^2, zero below the rounding of its terms."""
    difference = square - mean.square()
    return torch.where(difference <= CONSTANT * square, 0.0, difference)


def cosine(py: Tensor, pp: Tensor, yy: Tensor) -> Tensor:
    """py / sqrt(pp yy); NaN where either is constant, which has no direction."""
    return torch.where((pp > 0) & (yy > 0), py / (pp * yy).sqrt(), torch.nan)
