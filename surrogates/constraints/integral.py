"""Integrals that the equations fix: mass of a scalar, momentum of a vector, by an additive shift.

Each channel of the field obeys d/dt I = F(t) - rate I for I(t) = the integral of u over the domain, with F the integral of the
forcing (`budget` has the solution). Without either, I stays. Linear drag on the mean flow of Kolmogorov turbulence (zero-mean forcing)
and first-order decay of a passive scalar are both `decay`.

The nearest field with the integral I, in the norm of the domain's measure, is u + (I - integral(u)) / volume: the same shift at every
point whatever the cell sizes (a shift by cell size comes from weighting all cells alike). Source: Hansen et al., Learning Physical
Models that Can Respect Conservation Laws, 2023, equation 7, with covariance 1 / measure, https://arxiv.org/abs/2302.11002.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints import budget
from surrogates.constraints.channels import Channels
from surrogates.contracts import Conditions, Domain
from surrogates.fields import Fields
from surrogates.record import recorded


@recorded
class ConservedIntegral:
    """The integral of every channel of `field` follows its budget; other channels come back as they went in.

    `decay` names the parameter that is the rate (per time unit, non-negative). `forced` takes the source from `conditions.source_term`,
    a function of time (G,) that gives du/dt as (B, C, *X). Raises KeyError for an unknown field or parameter and ValueError where
    `forced` finds no source term, for a negative rate and for other channels than those of `fields`.
    """

    def __init__(self, fields: Fields, field: str, *, decay: str | None = None, forced: bool = False) -> None:
        self.channels = Channels.of(fields, field)
        self.decay, self.forced = decay, forced
        self.references = self.channels.size

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The integrals, in units of the field times volume, float64."""
        return conditions.domain.integral(self.channels.cut(u))

    def source(self, conditions: Conditions) -> budget.Source | None:
        """What the integrals gain in a unit of time, as a function of time."""
        if not self.forced:
            return None
        source_term = budget.source_term(conditions)
        return lambda t: conditions.domain.integral(self.channels.cut(source_term(t)))

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The integrals one dt after `conditions.time`. They do not depend on u."""
        return budget.advance(reference, conditions, budget.rate(conditions, self.decay), self.source(conditions))

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]:
        """(integral(u) - I) / max(sqrt(volume integral(|u|^2)), |I|): signed, dimensionless, float64."""
        v, domain = self.channels.cut(u), conditions.domain
        scale2 = volume(v, domain) * domain.integral(v.double().square()).sum(1, keepdim=True)
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
        return self.channels.put(u, shifted(self.channels.cut(u), reference, conditions.domain))


def shifted(v: Float[Tensor, "B R *X"], integrals: Float[Tensor, "G R"], domain: Domain) -> Float[Tensor, "B R *X"]:
    """The nearest field with these integrals, float64."""
    return v + domain.expand((integrals - domain.integral(v)) / volume(v, domain))


def volume(v: Tensor, domain: Domain) -> Float[Tensor, "G 1"]:
    """The integral of one."""
    return domain.integral(torch.ones_like(v[:, :1]))
