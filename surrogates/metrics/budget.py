"""Budgets over time: the mean <u> of every channel and the energy 1/2 <|u|^2> of every field, beside those of the truth.

A forecast may score well point by point and still drift: these are what its equation fixes (dU/dt = <f> - mu U, dE/dt = input -
dissipation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.fields import Fields
from surrogates.metrics.quantity import CHANNEL, FIELD, Quantity, Statistics, by_field, failed_as, integral, volume


@dataclass(frozen=True)
class Budget:
    """Of the members, averaged over them. Failed: NaN."""

    fields: Fields
    name = "budget.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return {
            "mean": Quantity("<u>, mean over members", (CHANNEL,), 1),
            "mean_truth": Quantity("<u> of the truth", (CHANNEL,), 1),
            "energy": Quantity("1/2 <|u|^2>, mean over members", (FIELD,), 2),
            "energy_truth": Quantity("1/2 <|u|^2> of the truth", (FIELD,), 2),
        }

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Tensor]:
        x, y = prediction.double(), truth.double()
        return {
            "mean": integral(x.mean(1), domain),
            "mean_truth": integral(y, domain),
            "energy": integral(x.square().mean(1) / 2, domain),
            "energy_truth": integral(y.square() / 2, domain),
            "volume": volume(truth, domain),
        }

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        per = {name: sums / statistics["volume"] for name, sums in statistics.items()}
        energies = {name: by_field(per[name], self.fields) for name in ("energy", "energy_truth")}
        found = {"mean": per["mean"], "mean_truth": per["mean_truth"], **energies}
        return {name: failed_as(float("nan"), value, value) for name, value in found.items()}
