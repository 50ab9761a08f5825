"""VRMSE = sqrt(<|m - y|^2> / <|y - <y>|^2>) of the ensemble mean m: RMSE over the spatial standard deviation of the truth.

A forecast of the spatial mean has VRMSE 1. Source of the definition: Ohana et al., The Well, 2024, section 4 (there a constant of 1e-7
is added to the variance; here none is).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.fields import Fields
from surrogates.metrics.moments import variance
from surrogates.metrics.quantity import CHANNEL, FIELD, Quantity, Statistics, by_field, failed_as, integral, mean_of, volume


@dataclass(frozen=True)
class VRMSE:
    """Of the ensemble mean. Failed: inf. A truth that is constant in space: inf, or NaN where the error is zero too."""

    fields: Fields
    name = "vrmse.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        formula = "sqrt(<|m - y|^2> / <|y - <y>|^2>), m the ensemble mean"
        return {
            "vrmse": Quantity(formula + ", per channel", (CHANNEL,)),
            "vrmse_field": Quantity(formula + ", components together", (FIELD,)),
        }

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Tensor]:
        y = truth.double()
        sums = {"error2": (mean_of(prediction) - y).square(), "y": y, "yy": y.square()}
        return {**{name: integral(u, domain) for name, u in sums.items()}, "volume": volume(truth, domain)}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        e, y, yy = (statistics[n] / statistics["volume"] for n in ("error2", "y", "yy"))
        var = variance(y, yy)
        ef, vf = by_field(e, self.fields), by_field(var, self.fields)
        inf = float("inf")
        return {"vrmse": failed_as(inf, (e / var).sqrt(), e), "vrmse_field": failed_as(inf, (ef / vf).sqrt(), ef)}
