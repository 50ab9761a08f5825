"""Integrals that the equations fix: mass of a scalar, momentum of a vector, by an additive shift.

Each channel of the field obeys d/dt I = F(t) + J(t) - rate I for I(t) = the integral of u over the domain, with F the integral of the
forcing and J what flows in through the boundary (`budget` has the solution). Without any, I stays, and where the domain has open ends a law
that knows no J is refused: a total that stays would be wrong. Linear drag on the mean flow of Kolmogorov turbulence (zero-mean forcing)
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
from surrogates.domains.ends import check_closed
from surrogates.fields import Fields
from surrogates.record import recorded


@recorded
class ConservedIntegral:
    """The integral of every channel of `field` follows its budget; other channels come back as they went in.

    `decay` names the parameter that is the rate (per time unit, non-negative). `forced` takes the source from `conditions.source_term`,
    a function of time (G,) that gives du/dt as (B, C, *X); `inflow` takes what enters each cell through the boundary of the domain from
    `conditions.inflow`, of the same form, in units of the field times volume a unit of time, as `heads.FluxForm` does: cells that do not
    count (land) take nothing. Raises KeyError for an unknown field or parameter and ValueError where `forced` finds no source term or
    `inflow` no inflow, for a domain with open ends without `inflow`, for a negative rate and for other channels than those of `fields`.
    """

    def __init__(self, fields: Fields, field: str, *, decay: str | None = None, forced: bool = False, inflow: bool = False) -> None:
        self.channels = Channels.of(fields, field)
        self.decay, self.forced, self.fluxed = decay, forced, inflow
        self.references = self.channels.size

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The integrals, in units of the field times volume, float64."""
        self.check_ends(conditions.domain)
        return conditions.domain.integral(self.channels.cut(u))

    def check_ends(self, domain: Domain) -> None:
        """Raise ValueError where something passes ends of the domain that this law knows nothing of."""
        if not self.fluxed:
            name = type(self).__name__
            check_closed(
                domain,
                f"{name} holds a total that only decay and sources move",
                f"give what flows in, {name}(..., inflow=True) with Conditions(inflow=...) or, in a forecast, Given(inflow=...), or take "
                "OpenIntegral, which computes it from the velocity",
            )

    def source(self, conditions: Conditions) -> budget.Source | None:
        """What the integrals gain in a unit of time, as a function of time."""
        domain, forced, fluxed = conditions.domain, None, None
        if self.forced:
            source_term = budget.source_term(conditions)
            forced = lambda t: domain.integral(self.channels.cut(source_term(t)))  # noqa: E731
        if self.fluxed:
            inflow = budget.inflow(conditions, self.channels.count)
            fluxed = lambda t: total(self.channels.cut(inflow(t)), domain)  # noqa: E731
        return budget.together(forced, fluxed)

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The integrals one dt after `conditions.time`. They do not depend on u."""
        self.check_ends(conditions.domain)
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


def total(per_cell: Float[Tensor, "B c *X"], domain: Domain) -> Float[Tensor, "G c"]:
    """The sum over the cells that count, float64."""
    measure = domain.measure.to(per_cell.device)
    density = per_cell.double() / torch.where(measure > 0, measure, 1.0)
    return domain.integral(torch.where(measure > 0, density, 0.0))
