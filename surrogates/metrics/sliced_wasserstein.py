"""Sliced Wasserstein distance: whole fields are projected on random directions, and laws on a line remain to be compared,

    SW_2^2 = E_theta W_2^2(<theta, X>, <theta, Y>),        E <theta, c>^2 = ||c||^2 = <|c|^2>.

theta is white under the domain's measure, so that a shift of the law by c has SW_2 = ||c|| at any resolution (on unit directions it would
fall with the number of points). For Gaussian laws W_2^2 = <theta, m - m'>^2 + (sqrt<theta, S theta> - sqrt<theta, S' theta>)^2. It sees
how points depend on each other, which distances of single values do not. Source: Bonneel, Rabin, Peyre and Pfister, Sliced and Radon
Wasserstein barycenters of measures, J. Math. Imaging Vis. 51 (2015) 22.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.fields import Fields
from surrogates.metrics.quantity import FIELD, Quantity, Statistics
from surrogates.metrics.wasserstein import halved, quantities, wasserstein
from surrogates.noise import SeededNoise


@dataclass(frozen=True)
class SlicedWasserstein:
    """SW_2 per field, components together, over `directions` directions drawn from `seed`. Failed (one sample is enough): inf.

    Statistics are projections, which add over space only with the directions of the whole. Raises ValueError for one true sample.
    """

    fields: Fields
    directions: int = 128
    seed: int = 0
    name = "sliced_wasserstein.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return quantities("sliced_wasserstein", "projections of whole fields on white directions", (FIELD,), (2,))

    def coordinates(self, domain: Domain) -> Mapping[str, Any]:
        return {}

    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Mapping[str, Tensor]:
        theta = directions(self.fields.count, domain, self.directions, self.seed).to(x.device)
        return {"samples": self._project(x, theta), "truth": self._project(y, theta)}

    def _project(self, u: Float[Tensor, "B M T C *X"], theta: Float[Tensor, "K C *X"]) -> Float[Tensor, "B M T F K"]:
        per = torch.einsum("bmtcp,kcp->bmtck", u.double().flatten(4), theta.flatten(2))
        return torch.stack([per[:, :, :, self.fields.slice(name)].sum(3) for name in self.fields.names], 3)

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        x, y = statistics["samples"], statistics["truth"]
        distance, floor = (wasserstein(a.movedim(1, -1), b.movedim(1, -1), 2) for a, b in ((x.nan_to_num(), y), halved(y)))
        root = distance.square().mean(-1).sqrt()
        return {
            "sliced_wasserstein_2": torch.where(x.isfinite().all(1).all(-1), root, torch.inf),
            "sliced_wasserstein_2_floor": floor.square().mean(-1).sqrt(),
        }


def directions(channels: int, domain: Domain, count: int, seed: int) -> Float[Tensor, "K C *X"]:
    """White under the measure's share of each point."""
    like = torch.empty(count, channels, *domain.shape, dtype=torch.float64)
    share = domain.measure / domain.measure.sum()
    return SeededNoise(seed, range(count), [0] * count)(like, step=0, draw=0) * share.sqrt()
