"""Integrals that the equations fix: mass of a scalar, momentum of a vector, by an additive shift.

Each channel of the field obeys d/dt I = F(t) - rate I for I(t) = the integral of u over the domain, with F the integral of the
forcing. Over a step dt the budget moves exactly,

    I(t + dt) = exp(-rate dt) I(t) + integral_0^dt exp(-rate (dt - s)) F(t + s) ds,

the last term by Gauss-Legendre quadrature (three points, exact to degree five). Without either, I stays. Linear drag on the mean flow
of Kolmogorov turbulence (zero-mean forcing) and first-order decay of a passive scalar are both `decay`.

The nearest field with the integral I, in the norm of the domain's measure, is u + (I - integral(u)) / volume: the same shift at every
point whatever the cell sizes (a shift by cell size comes from weighting all cells alike). Source: Hansen et al., Learning Physical
Models that Can Respect Conservation Laws, 2023, equation 7, with covariance 1 / measure.
"""

from __future__ import annotations

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.fields import Fields
from surrogates.record import recorded

NODES = (0.5 - sqrt(0.15), 0.5, 0.5 + sqrt(0.15))
WEIGHTS = (5 / 18, 8 / 18, 5 / 18)


@recorded
class ConservedIntegral:
    """The integral of every channel of `field` follows its budget; other channels come back as they went in.

    `decay` names the parameter that is the rate (per time unit, non-negative). `forced` takes the source from `conditions.forcing`,
    a function of time (G,) that gives du/dt as (B, C, *X). Raises KeyError for an unknown field or parameter and ValueError where
    `forced` finds no forcing, for a negative rate and for other channels than those of `fields`.
    """

    def __init__(self, fields: Fields, field: str, *, decay: str | None = None, forced: bool = False) -> None:
        self.channels, self.count = fields.slice(field), fields.count
        self.decay, self.forced = decay, forced
        self.references = len(fields[field].channels)

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The integrals, in units of the field times volume, float64."""
        self._check(u)
        return conditions.domain.integral(u[:, self.channels])

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The integrals one dt after `conditions.time`. They do not depend on u."""
        rate, dt = self._rate(conditions), conditions.dt
        moved = reference * torch.exp(-rate * dt).to(reference.device)[:, None]
        if not self.forced:
            return moved
        if conditions.forcing is None:
            raise ValueError("this law is forced=True but the conditions have no forcing; pass Conditions(forcing=...) or drop forced")
        for node, weight in zip(NODES, WEIGHTS, strict=True):
            source = conditions.domain.integral(conditions.forcing(conditions.time + node * dt)[:, self.channels])
            factor = weight * dt * torch.exp(-rate * dt * (1 - node))
            moved = moved + factor.to(reference.device)[:, None] * source.to(reference.device)
        return moved

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """(integral(u) - I) / max(sqrt(volume integral(|u|^2)), |I|): signed, dimensionless, float64."""
        self._check(u)
        v, domain = u[:, self.channels], conditions.domain
        scale2 = self._volume(u, conditions) * domain.integral(v.double().square()).sum(1, keepdim=True)
        scale = scale2.clamp_min(1e-300).sqrt()  # clamped first: the root's gradient at 0 would be infinite
        return (domain.integral(v) - reference) / torch.maximum(scale, reference.abs().amax(1, keepdim=True))

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """The nearest field with the integrals `reference`; sums and shift in float64, rounded once to the type of u."""
        self._check(u)
        a, b = self.channels.start, self.channels.stop
        v, domain = u[:, a:b], conditions.domain
        shift = (reference - domain.integral(v)) / self._volume(u, conditions)
        return torch.cat([u[:, :a], (v + domain.expand(shift)).to(u.dtype), u[:, b:]], dim=1)

    def _rate(self, conditions: Conditions) -> Tensor:
        if self.decay is None:
            return torch.zeros_like(conditions.dt)
        rate = conditions.parameter(self.decay).to(conditions.dt)
        if bool((rate < 0).any()):
            raise ValueError(f"parameter {self.decay!r} is a decay rate and must be non-negative, got {float(rate.min()):g}")
        return rate

    def _volume(self, u: Tensor, conditions: Conditions) -> Float[Tensor, "G 1"]:
        return conditions.domain.integral(torch.ones_like(u[:, :1]))

    def _check(self, u: Tensor) -> None:
        if u.shape[1] != self.count:
            raise ValueError(f"u has {u.shape[1]} channels but this law was made for {self.count}; make it from the fields of u")
