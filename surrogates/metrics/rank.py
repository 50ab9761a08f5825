"""Rank histogram: the fraction of space in which r of M members lie below the truth, r = 0..M.

Flat, 1 / (M + 1) each, where truth and members are drawn from one law; a U means too little spread, a slope a bias. Where members equal the
truth, its mass is shared among the ranks it could have. Source: Hamill, Interpretation of rank histograms, 2001.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.metrics.quantity import CHANNEL, RANK, Quantity, Statistics, integral, volume


@dataclass(frozen=True)
class RankHistogram:
    """Of the members. Failed (one member is enough): NaN, for it has no rank."""

    name = "rank_histogram.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return {"rank_histogram": Quantity("fraction of space where r members lie below the truth", (CHANNEL, RANK))}

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Tensor]:
        y = truth[:, None]
        below, equal = (prediction < y).sum(1), (prediction == y).sum(1)
        share = torch.where(prediction.isfinite().all(1), 1 / (1 + equal.double()), torch.nan)
        ranks = range(prediction.shape[1] + 1)
        counts = [integral(torch.where((below <= r) & (r <= below + equal), share, 0 * share), domain) for r in ranks]
        return {"counts": torch.stack(counts, -1), "volume": volume(truth, domain)}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        return {"rank_histogram": statistics["counts"] / statistics["volume"][..., None]}
