"""Spread-skill ratio: sqrt((M + 1) / M <s^2> / <(m - y)^2>) with s^2 the variance over M members divided by M - 1, m their mean.

Where truth and members are drawn from one law the ratio is 1: E(m - y)^2 = (1 + 1 / M) var. Below 1 an ensemble is over-confident.
Means are taken before the root. At saturation any states of the attractor score 1, so it is judged only while the ensemble mean
still correlates (`surrogates.metrics.spread_skill_curve`). Source: Fortin et al., Why should ensemble spread match the RMSE of the
ensemble mean?, 2014, equations 12-15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.metrics.quantity import CHANNEL, Quantity, Statistics, failed_as, integral, mean_of, volume


@dataclass(frozen=True)
class SpreadSkill:
    """Of the members, against their mean. Failed: spread and skill inf, their ratio NaN. Raises ValueError for one member."""

    name = "spread_skill.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return {
            "spread": Quantity("sqrt(<s^2>), s^2 = sum (x - m)^2 / (M - 1)", (CHANNEL,), power=1),
            "skill": Quantity("sqrt(<(m - y)^2>), m the ensemble mean", (CHANNEL,), power=1),
            "spread_skill": Quantity("sqrt((M + 1) / M <s^2> / <(m - y)^2>)", (CHANNEL,)),
        }

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Tensor]:
        m = prediction.shape[1]
        if m < 2:
            raise ValueError("spread needs at least two members; score a single forecast without SpreadSkill")
        variance = integral(prediction.double().var(1, correction=1), domain)
        return {
            "variance": variance,
            "expected2": (m + 1) / m * variance,  # what the squared error would be on average
            "error2": integral((mean_of(prediction) - truth).square(), domain),
            "volume": volume(truth, domain),
        }

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        s2, e2, v = statistics["variance"], statistics["error2"], statistics["volume"]
        inf = float("inf")
        return {
            "spread": failed_as(inf, (s2 / v).sqrt(), s2),
            "skill": failed_as(inf, (e2 / v).sqrt(), e2),
            "spread_skill": failed_as(float("nan"), (statistics["expected2"] / e2).sqrt(), e2),
        }
