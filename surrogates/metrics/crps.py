"""Fair continuous ranked probability score: E|X - y| - 1/2 E|X - X'| with X != X' drawn from the M members, averaged over space.

The second mean runs over M (M - 1) pairs, so that the score of M members drawn from F has the expectation of F's own score whatever M
is (Ferro, Fair scores for ensemble forecasts, 2014). By sorting, sum_{i<j} |x_i - x_j| = sum_i (2 i - M - 1) x_(i), i = 1..M: O(M log M)
and no pairs in memory. One member has no pairs, and its score is the mean absolute error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.metrics.quantity import CHANNEL, Quantity, Statistics, failed_as, integral, volume


@dataclass(frozen=True)
class FairCRPS:
    """Of the members, in units of the channel. Failed (one member is enough): inf."""

    name = "fair_crps.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return {"crps": Quantity("<E|X - y| - 1/2 E|X - X'|> over M members, M (M - 1) pairs", (CHANNEL,), power=1)}

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Tensor]:
        x, y = prediction.double(), truth.double()
        error = (x - y[:, None]).abs().mean(1)
        return {
            "error": integral(error, domain),
            "pairs": integral(half_mean_distance(x), domain),
            "volume": volume(truth, domain),
        }

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        crps = (statistics["error"] - statistics["pairs"]) / statistics["volume"]
        return {"crps": failed_as(float("inf"), crps, statistics["error"])}


def half_mean_distance(x: Float[Tensor, "B M T C *X"]) -> Float[Tensor, "B T C *X"]:
    """1/2 E|X - X'| over the M (M - 1) ordered pairs; 0 for one member."""
    m = x.shape[1]
    if m == 1:
        return torch.zeros_like(x[:, 0])
    weights = (2 * torch.arange(1, m + 1, dtype=x.dtype, device=x.device) - m - 1) / (m * (m - 1))
    return torch.einsum("m,bm...->b...", weights, x.sort(1).values)
