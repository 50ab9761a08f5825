"""Two-point correlation R(r) = E u'(x) u'(x + r) / E u'^2 along an axis of a periodic Box, u' = u - E u, and the length it holds for.

The mean E is over samples and space: the law is taken as alike at every point. By Wiener and Khinchin the covariance at every separation
is the transform of |u_k|^2, one FFT where direct sums take a product for each r. The integral length is the area under R up to its
first zero (to half the axis where there is none). Source: Pope, Turbulent Flows, 2000, sections 3.6 and 6.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.metrics.increments import spacings
from surrogates.metrics.moments import CONSTANT
from surrogates.metrics.quantity import CHANNEL, Quantity, Statistics, failed_as

LAG = "lag"


@dataclass(frozen=True)
class TwoPoint:
    """Of samples and of true samples, per channel, along one axis, r from 0 to half of it. Failed (one sample is enough): NaN.

    Statistics are means over samples and space: those of several batches average. A constant field has no correlation: NaN.
    Raises ValueError on a domain that is not a Box periodic along the axis.
    """

    axis: int = 0
    name = "two_point.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        out = {}
        for suffix, of in (("", "samples"), ("_truth", "true samples")):
            out[f"two_point{suffix}"] = Quantity(f"E u'(x) u'(x + r) / E u'^2 of the {of}", (CHANNEL, LAG))
            out[f"integral_length{suffix}"] = Quantity(f"int R dr to its first zero, of the {of}", (CHANNEL,), 0, 1)
        return out

    def coordinates(self, domain: Domain) -> Mapping[str, Any]:
        spacings(domain, self.axis)
        assert isinstance(domain, Box)
        box = domain
        values = [r * box.spacing[self.axis] for r in range(box.shape[self.axis] // 2 + 1)]
        return {LAG: (LAG, values, {"long_name": f"separation along {box.axes[self.axis]}", "units": box.units})}

    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Mapping[str, Tensor]:
        spacings(domain, self.axis)
        assert isinstance(domain, Box)
        spacing = torch.full((), domain.spacing[self.axis], dtype=torch.float64, device=x.device)
        out = {"spacing": spacing}
        for suffix, u in (("", x.double()), ("_truth", y.double())):
            out[f"products{suffix}"] = products(u, self.axis)
            out[f"mean{suffix}"] = u.mean((1, *range(4, u.ndim)))
        return out

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        out, nan = {}, float("nan")
        for suffix in ("", "_truth"):
            square = statistics[f"products{suffix}"]
            covariance = square - statistics[f"mean{suffix}"].square()[..., None]
            variance, raw = covariance[..., :1], square[..., :1]
            R = torch.where(variance > CONSTANT * raw, covariance / variance, nan)
            out[f"two_point{suffix}"] = failed_as(nan, R, square)
            out[f"integral_length{suffix}"] = integral_length(R) * statistics["spacing"]
        return out


def products(u: Float[Tensor, "B M T C *X"], axis: int) -> Float[Tensor, "B T C R"]:
    """E u(x) u(x + r), r = 0, ..., n/2 spacings, over samples and space."""
    n = u.shape[4 + axis]
    power = torch.fft.rfft(u, dim=4 + axis, norm="forward").abs().square()
    means = power.movedim(4 + axis, -1).transpose(1, 2).transpose(2, 3).flatten(3, -2).mean(3)  # (B, T, C, K)
    covariance: Tensor = torch.fft.irfft(means.to(torch.complex128), n=n, norm="forward")
    return covariance[..., : n // 2 + 1]


def integral_length(R: Float[Tensor, "... R"]) -> Tensor:
    """The area under a curve at unit spacing up to its first zero, which is found on a straight line; NaN where the curve is."""
    a, b = R[..., :-1], R[..., 1:]
    before = (R > 0).double().cumprod(-1)
    whole = before[..., :-1] * before[..., 1:] * (a + b) / 2
    crossing = before[..., :-1] * (1 - before[..., 1:]) * torch.where(b < a, a.square() / (a - b).clamp_min(1e-300), 0) / 2
    area = (whole + crossing).sum(-1)
    return torch.where(R.isfinite().all(-1), area, torch.nan)
