"""nRMSE = sqrt(<|m - y|^2> / <|y|^2>) of the ensemble mean m: RMSE over the root mean square of the truth, per trajectory and time.

A forecast of zero has nRMSE 1. Source of the definition: Koehler et al., APEBench, 2024, section 3 (there averaged over trajectories).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.fields import Fields
from surrogates.metrics.quantity import CHANNEL, FIELD, Quantity, Statistics, by_field, failed_as, integral, mean_of


@dataclass(frozen=True)
class NRMSE:
    """Of the ensemble mean. Failed: inf. A truth that is zero: inf, or NaN where the error is zero too."""

    fields: Fields
    name = "nrmse.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        formula = "sqrt(<|m - y|^2> / <|y|^2>), m the ensemble mean"
        return {
            "nrmse": Quantity(formula + ", per channel", (CHANNEL,)),
            "nrmse_field": Quantity(formula + ", components together", (FIELD,)),
        }

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Float[Tensor, "B T C"]]:
        error = mean_of(prediction) - truth
        return {"error2": integral(error.square(), domain), "truth2": integral(truth.double().square(), domain)}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        e, y = statistics["error2"], statistics["truth2"]
        ef, yf = by_field(e, self.fields), by_field(y, self.fields)
        inf = float("inf")
        return {"nrmse": failed_as(inf, (e / y).sqrt(), e), "nrmse_field": failed_as(inf, (ef / yf).sqrt(), ef)}
