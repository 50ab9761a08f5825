"""Wasserstein distances of laws on a line, W_p^p = int_0^1 |F^-1(q) - G^-1(q)|^p dq: exact for weighted samples, by sorting.

Three laws are held against those of true samples: of the values at any point, pooled over space (Wasserstein: states of an attractor);
of increments, pooled too (IncrementWasserstein); and of the members at each point, (<W_p^p>)^(1/p) over space (PointWasserstein: a
conditional law). For Gaussian laws W_2^2 = (m - m')^2 + (s - s')^2. Two samples of one law have W > 0: the floor is the distance between
the true samples of even and of odd number, which are half as many. Source: Villani, Topics in Optimal Transportation, 2003, theorem 2.18.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.metrics.increments import SEPARATION, increment, separation, spacings
from surrogates.metrics.quantity import CHANNEL, Quantity, Statistics, integral, volume

POWERS = (1, 2)


def wasserstein(
    x: Float[Tensor, "*L n"],
    y: Float[Tensor, "*L m"],
    p: int = 1,
    wx: Float[Tensor, " n"] | None = None,
    wy: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, "*L"]:
    """W_p of samples x and y, float64; weights (equal unless given) say what share of its law each sample stands for."""
    width, gap = coupled(x, y, wx, wy)
    return (width * gap**p).sum(-1) ** (1 / p)


def coupled(
    x: Float[Tensor, "*L n"], y: Float[Tensor, "*L m"], wx: Float[Tensor, " n"] | None = None, wy: Float[Tensor, " m"] | None = None
) -> tuple[Tensor, Tensor]:
    """Stretches of q on which both quantile functions are constant, and how far apart these are there."""
    if wx is None and wy is None and x.shape[-1] == y.shape[-1]:
        gap = (x.double().sort(-1).values - y.double().sort(-1).values).abs()
        return torch.full_like(gap[..., :1], 1 / x.shape[-1]), gap
    (x, cx), (y, cy) = _rising(x, wx), _rising(y, wy)
    levels = torch.cat([cx, cy], -1).sort(-1).values
    below = torch.cat([torch.zeros_like(levels[..., :1]), levels[..., :-1]], -1)
    middle = (levels + below) / 2
    i, j = (torch.searchsorted(c, middle).clamp_max(c.shape[-1] - 1) for c in (cx, cy))
    return levels - below, (x.gather(-1, i) - y.gather(-1, j)).abs()


def _rising(u: Float[Tensor, "*L n"], weight: Float[Tensor, " n"] | None) -> tuple[Tensor, Tensor]:
    """Values in order, and the share of the law up to each."""
    u, order = u.double().sort(-1)
    w = torch.ones(u.shape[-1], dtype=torch.float64, device=u.device) if weight is None else weight.double()
    cumulative = w.expand_as(u).gather(-1, order).cumsum(-1)
    return u, cumulative / cumulative[..., -1:]


def distances(
    x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], measure: Float[Tensor, "*X"]
) -> dict[str, Float[Tensor, "B T C"]]:
    """W_p and its floor, values pooled over space under its measure: "1", "1_floor", "2", "2_floor"; inf where x is not finite."""
    halves = halved(y)
    equal = bool((measure == measure.flatten()[0]).all())
    weights = [None if equal else measure.flatten().repeat(u.shape[1]) for u in (x, y, *halves)]
    a, b, even, odd = (u.permute(0, 2, 3, 1, *range(4, u.ndim)).flatten(3) for u in (x, y, *halves))
    pair, floor = coupled(a.nan_to_num(), b, weights[0], weights[1]), coupled(even, odd, weights[2], weights[3])
    out = {}
    for p in POWERS:
        for suffix, (width, gap) in (("", pair), ("_floor", floor)):
            out[f"{p}{suffix}"] = (width * gap**p).sum(-1) ** (1 / p)
    bad = ~a.isfinite().all(-1)
    return {name: v if name.endswith("floor") else torch.where(bad, torch.inf, v) for name, v in out.items()}


def halved(y: Float[Tensor, "B N ..."]) -> tuple[Tensor, Tensor]:
    """True samples of even and of odd number, as many of each. Raises ValueError for one alone."""
    if y.shape[1] < 2:
        raise ValueError("the floor of a Wasserstein distance needs two true samples or more")
    half = y.shape[1] // 2
    return y[:, 0 : 2 * half : 2], y[:, 1 : 2 * half : 2]


def quantities(prefix: str, of: str, dims: tuple[str, ...], powers: tuple[int, ...] = POWERS) -> dict[str, Quantity]:
    """The labels of distances and floors."""
    out = {}
    for p in powers:
        out[f"{prefix}_{p}"] = Quantity(f"W_{p} of {of}, samples to true samples", dims, 1)
        out[f"{prefix}_{p}_floor"] = Quantity(f"W_{p} of {of}, true samples of even number to those of odd number", dims, 1)
    return out


@dataclass(frozen=True)
class Wasserstein:
    """W_1 and W_2 of the values at any point, per channel, pooled over space. Failed (one sample is enough): inf.

    Statistics are the distances themselves: they do not add. Raises ValueError for one true sample.
    """

    name = "wasserstein.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return quantities("wasserstein", "values at any point", (CHANNEL,))

    def coordinates(self, domain: Domain) -> Mapping[str, Any]:
        return {}

    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Mapping[str, Tensor]:
        return distances(x, y, domain.measure.to(x.device))

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        return {f"wasserstein_{name}": v for name, v in statistics.items()}


@dataclass(frozen=True)
class IncrementWasserstein:
    """The same of increments along an axis of a periodic Box, per channel and separation."""

    axis: int = 0
    separations: tuple[int, ...] | None = None
    name = "increment_wasserstein.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return quantities("increment_wasserstein", "increments u(x + r) - u(x)", (CHANNEL, SEPARATION))

    def coordinates(self, domain: Domain) -> Mapping[str, Any]:
        return separation(domain, self.axis, self.separations)

    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Mapping[str, Tensor]:
        measure, a = domain.measure.to(x.device), self.axis
        found = [distances(increment(x, a, r), increment(y, a, r), measure) for r in spacings(domain, a, self.separations)]
        return {name: torch.stack([f[name] for f in found], 3) for name in found[0]}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        return {f"increment_wasserstein_{name}": v for name, v in statistics.items()}


@dataclass(frozen=True)
class PointWasserstein:
    """W_1 and W_2 of the members at each point, (<W_p^p>)^(1/p) over space, per channel. Failed: inf. Statistics add over space.

    Raises ValueError for one true member.
    """

    name = "point_wasserstein.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return quantities("point_wasserstein", "members at a point, (<W^p>)^(1/p)", (CHANNEL,))

    def coordinates(self, domain: Domain) -> Mapping[str, Any]:
        return {}

    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Mapping[str, Tensor]:
        out = {"volume": volume(y[:, 0], domain)}
        for suffix, (a, b) in (("", (x, y)), ("_floor", halved(y))):
            width, gap = coupled(a.movedim(1, -1), b.movedim(1, -1))
            for p in POWERS:
                out[f"{p}{suffix}"] = integral((width * gap**p).sum(-1), domain)
        return out

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        means = {n: v / statistics["volume"] for n, v in statistics.items() if n != "volume"}
        return {f"point_wasserstein_{n}": torch.where(v.isfinite(), v ** (1 / int(n[0])), torch.inf) for n, v in means.items()}
