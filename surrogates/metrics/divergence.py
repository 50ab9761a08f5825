"""Divergence defect of a velocity: sqrt(<(div u)^2> / <|grad u|^2>), dimensionless; 0 for a divergence-free field, 1 for a gradient.

On a periodic Box derivatives are spectral, with the derivative wavenumber zero at Nyquist, as in the projection that removes it:
a finite-difference divergence of a spectrally projected field would measure the difference of the two operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.metrics.quantity import Quantity, Statistics, failed_as, integral
from surrogates.metrics.vorticity import vector_slice


@dataclass(frozen=True)
class DivergenceDefect:
    """Of the members, their squares together. Failed: inf. Needs the whole of a Box at once; a uniform flow has defect 0."""

    fields: Fields
    field: str = "velocity"
    name = "divergence.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        formula = f"sqrt(<(div u)^2> / <|grad u|^2>), u = {self.field}"
        return {"divergence": Quantity(formula + " of all members", ()), "divergence_truth": Quantity(formula + " of the truth", ())}

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Float[Tensor, "B T"]]:
        v = vector_slice(self.fields, self.field, domain)
        assert isinstance(domain, Box)
        members = _squares(prediction[:, :, :, v], domain)
        alone = _squares(truth[:, None, :, v], domain)
        return {"divergence2": members[0], "gradient2": members[1], "truth_divergence2": alone[0], "truth_gradient2": alone[1]}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        ratio = _ratio(statistics["divergence2"], statistics["gradient2"])
        truth = _ratio(statistics["truth_divergence2"], statistics["truth_gradient2"])
        return {"divergence": failed_as(float("inf"), ratio, statistics["gradient2"]), "divergence_truth": truth}


def _squares(u: Float[Tensor, "B M T D *X"], box: Box) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Integrals of (div u)^2 and |grad u|^2, summed over members; one axis of the gradient in memory at a time."""
    b, m, t = u.shape[:3]
    v = u.double().flatten(0, 2)
    divergence, gradient2 = torch.zeros_like(v[:, :1]), torch.zeros(len(v), dtype=torch.float64, device=v.device)
    for axis in range(box.dim):
        slope = box.derivative(v, axis)
        divergence += slope[:, axis : axis + 1]
        gradient2 += integral(slope.square(), box).sum(1)
    divergence2 = integral(divergence.square(), box)[:, 0]
    return divergence2.reshape(b, m, t).sum(1), gradient2.reshape(b, m, t).sum(1)


def _ratio(divergence2: Tensor, gradient2: Tensor) -> Tensor:
    return torch.where(gradient2 > 0, (divergence2 / gradient2).sqrt(), 0.0)
