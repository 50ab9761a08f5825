"""Velocity increments, d_r u = u(x + r) - u(x) along an axis of a periodic Box: what separates turbulence from a Gaussian field.

    S_p(r) = E|d_r u|^p      skewness E d^3 / (E d^2)^(3/2)      flatness E d^4 / (E d^2)^2      PDF of d / sigma_r

A Gaussian field has skewness 0 and flatness 3 at every r; in turbulence the flatness grows as r falls (intermittency), and the skewness
is the sign of the cascade: Burgers has E d^3 = -12 eps r between the fronts' width and the forcing, three-dimensional turbulence
-4/5 eps r for the component along the axis. Odd means are those of d itself. Separations are whole grid spacings.
Sources: Frisch, Turbulence, 1995, sections 5.2, 6.2 and 8.9; E and Vanden Eijnden, Phys. Rev. Lett. 83 (1999) 2572 (Burgers).
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
from surrogates.metrics.quantity import CHANNEL, Quantity, Statistics, failed_as

SEPARATION, ORDER, BIN = "separation", "order", "deviation"
ORDERS = 6


def spacings(domain: Domain, axis: int, separations: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """The separations in grid spacings: powers of two up to half the axis, unless given.

    Raises ValueError on a domain without shifts along an axis, and for one that no two points have.
    """
    if not isinstance(domain, Box) or not 0 <= axis < domain.dim or domain.boundary[axis] != "periodic":
        raise ValueError(f"increments along axis {axis} need a Box that is periodic there, not {domain}")
    n = domain.shape[axis]
    chosen = tuple(2**j for j in range(n.bit_length()) if 2 ** (j + 1) <= n) if separations is None else tuple(separations)
    if not chosen or any(not 0 < r < n for r in chosen):
        raise ValueError(f"separations {chosen} must be whole spacings from 1 to {n - 1}")
    return chosen


def increment(u: Float[Tensor, "B M T C *X"], axis: int, spacing: int) -> Float[Tensor, "B M T C *X"]:
    """u(x + r) - u(x), at every x."""
    return u.roll(-spacing, 4 + axis) - u


def separation(domain: Domain, axis: int, separations: tuple[int, ...] | None) -> Mapping[str, Any]:
    """The coordinate of r, in units of length."""
    chosen = spacings(domain, axis, separations)
    assert isinstance(domain, Box)
    values = [r * domain.spacing[axis] for r in chosen]
    return {SEPARATION: (SEPARATION, values, {"long_name": f"separation along {domain.axes[axis]}", "units": domain.units})}


@dataclass(frozen=True)
class Increments:
    """Structure functions, skewness and flatness of samples and of true samples, per channel, along one axis.

    A component along the axis has longitudinal increments, the others transverse ones. Statistics are means over samples and space:
    those of several batches average. Failed (one sample is enough): NaN. The skewness of a constant field is NaN.
    """

    axis: int = 0
    separations: tuple[int, ...] | None = None
    name = "increments.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        over, out = (CHANNEL, SEPARATION), {}
        for suffix, of in (("", "samples"), ("_truth", "true samples")):
            out[f"structure{suffix}"] = Quantity(f"E|d|^p, p = 1..{ORDERS}, of the {of}", (*over, ORDER))
            out[f"increment_skewness{suffix}"] = Quantity(f"E d^3 / (E d^2)^(3/2) of the {of}", over)
            out[f"increment_flatness{suffix}"] = Quantity(f"E d^4 / (E d^2)^2 of the {of}", over)
            out[f"increment_third{suffix}"] = Quantity(f"E d^3 of the {of}", over, 3)
        return out

    def coordinates(self, domain: Domain) -> Mapping[str, Any]:
        orders = (ORDER, list(range(1, ORDERS + 1)), {"long_name": "order p, in units of the channel to the p"})
        return {**separation(domain, self.axis, self.separations), ORDER: orders}

    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Mapping[str, Tensor]:
        chosen = spacings(domain, self.axis, self.separations)
        both = {"": x.double(), "_truth": y.double()}
        return {f"powers{s}": torch.stack([powers(increment(u, self.axis, r)) for r in chosen], 3) for s, u in both.items()}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        out, nan = {}, float("nan")
        for suffix in ("", "_truth"):
            means = statistics[f"powers{suffix}"]
            second, third, fourth = means[..., 1], means[..., ORDERS], means[..., 3]
            found = {"increment_skewness": third / second**1.5, "increment_flatness": fourth / second**2, "increment_third": third}
            out.update({f"{name}{suffix}": failed_as(nan, v, second) for name, v in found.items()})
            out[f"structure{suffix}"] = failed_as(nan, means[..., :ORDERS], means[..., :ORDERS])
        return out


def powers(d: Float[Tensor, "B M T C *X"]) -> Float[Tensor, "B T C 7"]:
    """Means over samples and space of |d|, ..., |d|^6, and last of d^3."""
    flat = d.transpose(1, 2).flatten(4).transpose(2, 3).flatten(3)  # (B, T, C, M P)
    size = flat.abs()
    means, power = [], torch.ones_like(size)
    for _ in range(ORDERS):
        power = power * size
        means.append(power.mean(-1))
    return torch.stack([*means, (flat**3).mean(-1)], -1)


@dataclass(frozen=True)
class IncrementPDF:
    """Densities of d / sigma_r of samples and of true samples, sigma_r the root mean square of the true ones, on equal bins.

    Mass beyond `reach` sigma is in no bin: the densities sum to less than 1 by that much. Failed: NaN.
    """

    axis: int = 0
    separations: tuple[int, ...] | None = None
    bins: int = 80
    reach: float = 8.0
    name = "increment_pdf.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        over = (CHANNEL, SEPARATION, BIN)
        return {
            "increment_pdf": Quantity("density of d / sigma_r of the samples", over),
            "increment_pdf_truth": Quantity("density of d / sigma_r of the true samples", over),
        }

    def coordinates(self, domain: Domain) -> Mapping[str, Any]:
        width = 2 * self.reach / self.bins
        centres = [-self.reach + (i + 0.5) * width for i in range(self.bins)]
        return {**separation(domain, self.axis, self.separations), BIN: (BIN, centres, {"long_name": "d / sigma_r", "units": "1"})}

    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Mapping[str, Tensor]:
        parts: dict[str, list[Tensor]] = {"": [], "_truth": []}
        for r in spacings(domain, self.axis, self.separations):
            dx, dy = (increment(u.double(), self.axis, r) for u in (x, y))
            sigma = dy.square().mean((1, *range(4, dy.ndim)), keepdim=True).sqrt()
            for suffix, d in (("", dx), ("_truth", dy)):
                parts[suffix].append(self.histogram(d / sigma))
        return {f"density{suffix}": torch.stack(part, 3) for suffix, part in parts.items()}

    def histogram(self, d: Float[Tensor, "B M T C *X"]) -> Float[Tensor, "B T C bins"]:
        """The density on the bins; NaN where a value is not finite."""
        flat = d.transpose(1, 2).flatten(4).transpose(2, 3).flatten(3)
        width = 2 * self.reach / self.bins
        at = ((flat + self.reach) / width).floor()
        inside = (at >= 0) & (at < self.bins)
        counts = torch.zeros(*flat.shape[:-1], self.bins, dtype=torch.float64, device=d.device)
        counts.scatter_add_(-1, at.where(inside, 0).long(), inside.double())
        return torch.where(flat.isfinite().all(-1, keepdim=True), counts / (flat.shape[-1] * width), torch.nan)

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        return {f"increment_pdf{suffix}": statistics[f"density{suffix}"] for suffix in ("", "_truth")}
