"""Fair energy score: E||X - y|| - 1/2 E||X - X'|| over M (M - 1) pairs, with ||u||^2 = <|u|^2> over space and components.

The norm is of the whole field, so that, unlike the CRPS of single points, it sees whether a member is a possible state and not only
whether each of its values is. It needs M^2 numbers, not fields: ||x_i - x_j||^2 comes from the inner products of the errors x_i - y, taken
one member against all at a time. Source: Gneiting and Raftery, Strictly proper scoring rules, prediction, and estimation, 2007,
section 4.3; fair as in Ferro, 2014.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.fields import Fields
from surrogates.metrics.quantity import FIELD, Quantity, Statistics, by_field, failed_as, integral, volume


@dataclass(frozen=True)
class EnergyScore:
    """Of the members, in units of the field. Failed (one member is enough): inf. One member: its root mean square error."""

    fields: Fields
    name = "fair_energy_score.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return {"energy_score": Quantity("E||X - y|| - 1/2 E||X - X'|| over M members, M (M - 1) pairs, ||u||^2 = <|u|^2>", (FIELD,), 1)}

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Tensor]:
        error = prediction.double() - truth[:, None]
        products = torch.stack([integral(error * error[:, i : i + 1], domain) for i in range(error.shape[1])], -1)
        return {"products": products.permute(0, 2, 3, 1, 4), "volume": volume(truth, domain)}  # (B, T, C, M, M)

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        gram = by_field(statistics["products"], self.fields) / statistics["volume"][..., None, None]
        own = gram.diagonal(dim1=-2, dim2=-1)
        m = own.shape[-1]
        distance2 = own[..., :, None] + own[..., None, :] - gram - gram.mT
        pairs = distance2.clamp_min(0).sqrt().sum((-2, -1)) / max(1, m * (m - 1))
        score = own.sqrt().mean(-1) - pairs / 2
        return {"energy_score": failed_as(float("inf"), score, own.sum(-1))}
