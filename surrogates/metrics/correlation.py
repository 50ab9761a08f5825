"""Correlation over space of the ensemble mean m with the truth y: <m'y'> / sqrt(<m'^2> <y'^2>), ' less the spatial mean.

Both sides are biased moments (divided by the volume). A vector's components are summed before the ratio. For turbulence the vorticity
is correlated, as in Kochkov et al., Machine learning-accelerated computational fluid dynamics, 2021: small scales count for more there,
so its correlation falls first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.fields import Fields
from surrogates.metrics.moments import central, cosine, moments
from surrogates.metrics.quantity import CHANNEL, FIELD, Quantity, Statistics, by_field, failed_as, mean_of
from surrogates.metrics.vorticity import curl, vector_slice


@dataclass(frozen=True)
class Correlation:
    """Of the ensemble mean. Failed: 0. A constant field: NaN."""

    fields: Fields
    name = "correlation.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        formula = "<m'y'> / sqrt(<m'^2> <y'^2>), m the ensemble mean, ' less the spatial mean"
        return {
            "correlation": Quantity(formula + ", per channel", (CHANNEL,)),
            "correlation_field": Quantity(formula + ", components together", (FIELD,)),
        }

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Tensor]:
        return moments(mean_of(prediction), truth, domain)

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        c = central(statistics)
        pp, yy, py = (by_field(s, self.fields) for s in (c.pp, c.yy, c.py))
        return {
            "correlation": failed_as(0.0, cosine(c.py, c.pp, c.yy), statistics["pp"]),
            "correlation_field": failed_as(0.0, cosine(py, pp, yy), by_field(statistics["pp"], self.fields)),
        }


@dataclass(frozen=True)
class VorticityCorrelation:
    """Of the vorticity of the ensemble mean, components together. Failed: 0. Needs the whole of a Box at once.

    Raises ValueError where `field` is not a vector with one component an axis.
    """

    fields: Fields
    field: str = "velocity"
    name = "vorticity_correlation.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        formula = f"<w'v'> / sqrt(<w'^2> <v'^2>), w and v the curls of {self.field}, w of the ensemble mean, ' less the spatial mean"
        return {"correlation_vorticity": Quantity(formula, ())}

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Tensor]:
        v = vector_slice(self.fields, self.field, domain)
        return moments(curl(mean_of(prediction[:, :, :, v]), domain), curl(truth[:, :, v].double(), domain), domain)

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        c = central(statistics)
        value = cosine(c.py.sum(-1), c.pp.sum(-1), c.yy.sum(-1))
        return {"correlation_vorticity": failed_as(0.0, value, statistics["pp"].sum(-1))}
