"""Energy distance of two laws, D = 2 E||X - Y|| - E||X - X'|| - E||Y - Y'|| >= 0, with ||u||^2 = <|u|^2> over space and components.

It is zero for equal laws alone. From M members of one and N of the other the means of a law with itself run over M (M - 1) and
N (N - 1) pairs, so that the estimate is unbiased, and may be negative. With all M^2 and N^2 pairs it is biased: for equal laws its
expectation is the floor

    (1/M + 1/N) E||Y - Y'||,

what two independent batches of true members of these sizes show; the biased distance over the floor is 1 for a perfect forecast. The fair
distance over E||Y - Y'|| needs no sizes: 0 for a perfect forecast, and about sqrt(2) - 1 for a single point at the mean of a law of many
independent directions. Norms of whole fields see large waves most: hold distances of increments beside it.
Source: Szekely and Rizzo, Energy statistics, J. Stat. Plan. Inference 143 (2013) 1249, sections 1 and 5.
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
from surrogates.metrics.quantity import FIELD, Quantity, Statistics, by_field, failed_as, volume

NORM = ", ||u||^2 = <|u|^2>"


@dataclass(frozen=True)
class EnergyDistance:
    """Of members to true members, in units of the field. Statistics add over space. Failed (one member is enough): inf.

    One member is taken for a law at a point, which has a distance and no ratio (NaN): a single true draw is far from its own law.
    Raises ValueError for one true member, and for a batch of several meshes.
    """

    fields: Fields
    name = "energy_distance.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return {
            "energy_distance": Quantity("2 E||X - Y|| - E||X - X'|| - E||Y - Y'||, pairs of different members" + NORM, (FIELD,), 1),
            "energy_distance_floor": Quantity("(1/M + 1/N) E||Y - Y'||: expected of two true batches, all pairs" + NORM, (FIELD,), 1),
            "energy_distance_ratio": Quantity("the distance with all pairs over the floor; NaN for one member", (FIELD,)),
            "energy_distance_relative": Quantity("the distance over E||Y - Y'||", (FIELD,)),
        }

    def coordinates(self, domain: Domain) -> Mapping[str, Any]:
        return {}

    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Mapping[str, Tensor]:
        if y.shape[1] < 2 or domain.members > 1:
            raise ValueError(f"an energy distance needs two true members or more on one domain, got {y.shape[1]} on {domain.members}")
        weight = domain.measure.to(y.device).sqrt()
        centre = y.double().mean(1, keepdim=True)  # distances do not see it, and their rounding does
        a, b = (((u.double() - centre) * weight).flatten(4).permute(0, 2, 3, 1, 4) for u in (x, y))  # (B, T, C, M, P)
        return {"xx": a @ a.mT, "yy": b @ b.mT, "xy": a @ b.mT, "volume": volume(y[:, 0], domain)}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        volumes = statistics["volume"][..., None, None]
        xx, yy, xy = (by_field(statistics[n], self.fields) / volumes for n in ("xx", "yy", "xy"))
        m, n = xy.shape[-2:]
        p, q = xx.diagonal(dim1=-2, dim2=-1), yy.diagonal(dim1=-2, dim2=-1)
        within, true = pairs(p, p, xx) / max(1, m * (m - 1)), pairs(q, q, yy) / (n * (n - 1))
        between = pairs(p, q, xy) / (m * n)
        fair, floor = 2 * between - within - true, (1 / m + 1 / n) * true
        ratio = (fair + within / m + true / n) / floor if m > 1 else torch.full_like(fair, torch.nan)
        found = {
            "energy_distance": fair,
            "energy_distance_ratio": ratio,
            "energy_distance_relative": fair / true,
        }
        inf = float("inf")
        return {**{name: failed_as(inf, v, p.sum(-1)) for name, v in found.items()}, "energy_distance_floor": floor}


def pairs(p: Float[Tensor, "B T F M"], q: Float[Tensor, "B T F N"], products: Float[Tensor, "B T F M N"]) -> Float[Tensor, "B T F"]:
    """The sum of ||x_i - y_j|| from squares and products."""
    squares = p[..., :, None] + q[..., None, :] - 2 * products
    scale = p.amax(-1)[..., None, None] + q.amax(-1)[..., None, None]
    return torch.where(squares > 1e-14 * scale, squares, 0.0).sqrt().sum((-2, -1))
