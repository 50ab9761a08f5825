"""Energy and enstrophy, held by scaling the fluctuations and never the mean: u = U + u' becomes U + a u' (`quadratic` has a).

An equation u_t = .. + nu laplacian(u) - mu u + f whose other terms keep Q = 1/2 <u . (-laplacian)^p u> gives

    dQ/dt = <f . (-laplacian)^p u> - 2 nu Q_(p+1) - 2 mu Q_p,

for a velocity dE/dt = input - 2 nu Z - 2 mu E. Over a step the input is linear in time and Q decays at the rate
2 mu + 2 nu Q_(p+1)/Q_p, the mean of both ends: exact for a decay at one wavenumber and for a steady flow, of second order else, and never
negative. Source: Pope, Turbulent Flows, 2000, section 5.3, https://doi.org/10.1017/CBO9780511840531.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints import budget
from surrogates.constraints.channels import Channels
from surrogates.constraints.integral import volume
from surrogates.constraints.quadratic import Quadratic
from surrogates.contracts import Conditions
from surrogates.domains.ends import check_closed
from surrogates.fields import Fields
from surrogates.record import recorded


class _QuadraticLaw:
    """What bounds and budgets share: the channels and the quantity."""

    def __init__(self, fields: Fields, field: str, order: int) -> None:
        if order not in (-1, 0, 1):
            raise ValueError(f"order must be -1, 0 or 1, got {order}: energy is 0 of a velocity and -1 of a vorticity")
        self.channels, self.quantity = Channels.of(fields, field), Quadratic(order)

    def value(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G 1"]:
        """Q(u), in units of the field squared times length^(-2 order), float64."""
        return self.quantity(self.channels.cut(u), conditions.domain)

    def off(self, u: Float[Tensor, "B C *X"], target: Float[Tensor, "G 1"], conditions: Conditions) -> Float[Tensor, "G 1"]:
        """(Q - target)/(Q + target)."""
        now = self.value(u, conditions)
        return (now - target) / (now + target).clamp_min(1e-300)

    def held(self, u: Float[Tensor, "B C *X"], target: Float[Tensor, "G 1"], conditions: Conditions) -> Float[Tensor, "B C *X"]:
        """u with Q = target where it is not so already."""
        v = self.channels.cut(u)
        right = conditions.domain.expand((self.value(u, conditions) == target).double()) > 0
        return self.channels.put(u, torch.where(right, v.double(), self.quantity.scaled(v, target, conditions.domain)))


@recorded
class EnergyBand(_QuadraticLaw):
    """lower <= Q <= upper for the quantity of `order` of `field`; what lies between is left alone, None is no bound.

    `relative=True` takes the bounds in units of the initial Q: upper=1 for a flow that only decays. Raises ValueError for no bound, for
    bounds that are negative or cross, and, when called with an order other than 0, for a domain that is not a periodic Box.
    """

    def __init__(
        self,
        fields: Fields,
        field: str = "velocity",
        *,
        order: int = 0,
        lower: float | None = None,
        upper: float | None = None,
        relative: bool = False,
    ) -> None:
        super().__init__(fields, field, order)
        if lower is None and upper is None:
            raise ValueError("EnergyBand needs a bound, such as upper=1.2, relative=True")
        self.lower, self.upper = lower or 0.0, float("inf") if upper is None else upper
        if not 0 <= self.lower <= self.upper:
            raise ValueError(f"bounds of a quantity that is never negative must have 0 <= lower <= upper, got {lower} and {upper}")
        self.references = int(relative)

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The initial Q where bounds are relative to it; nothing else."""
        return self.value(u, conditions)[:, : self.references]

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        return reference

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G 1"]:
        """(Q - nearest value allowed)/(Q + that value): signed, dimensionless, float64; 0 within the band."""
        return self.off(u, self._allowed(self.value(u, conditions), reference), conditions)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """The field with fluctuations scaled into the band; a uniform field cannot be, and its defect says so."""
        return self.held(u, self._allowed(self.value(u, conditions), reference), conditions)

    def _allowed(self, now: Tensor, reference: Tensor) -> Float[Tensor, "G 1"]:
        unit = reference if self.references else torch.ones_like(now)
        top = unit * self.upper if self.upper < float("inf") else torch.full_like(now, self.upper)
        return torch.minimum(torch.maximum(now, unit * self.lower), top)


@recorded
class EnergyBudget(_QuadraticLaw):
    """Q follows dQ/dt = <f . (-laplacian)^p u> - 2 nu Q_(p+1) - 2 mu Q, for the names of the parameters nu and mu.

    `forced` takes f from `conditions.source_term`, in the units of du/dt. Without viscosity, drag and f, Q stays. `advance` reads input
    and dissipation off the last frame and the one at the end of its step, in a rollout as they are returned. Raises as EnergyBand and
    ConservedIntegral do; a domain with open ends, through which energy flows too, has no such budget.
    """

    references = 3

    def __init__(
        self,
        fields: Fields,
        field: str = "velocity",
        *,
        order: int = 0,
        viscosity: str | None = None,
        drag: str | None = None,
        forced: bool = False,
    ) -> None:
        super().__init__(fields, field, order)
        self.viscosity, self.drag, self.forced = viscosity, drag, forced
        self.follows = forced or viscosity is not None

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G 3"]:
        """Q, its input and its rate of decay, float64."""
        self._check_ends(conditions)
        return torch.cat([self.value(u, conditions), self._input(u, conditions), self._decay(u, conditions)], 1)

    def advance(self, reference: Float[Tensor, "G 3"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G 3"]:
        """The same one dt after `conditions.time`; u is the frame there."""
        self._check_ends(conditions)
        now, before, decay = reference[:, :1], reference[:, 1:2], reference[:, 2:]
        later, after = self._decay(u, conditions.after(1)), self._input(u, conditions.after(1))
        moved = budget.trapezoid(now, before, after, conditions, (decay + later)[:, 0] / 2)
        return torch.cat([moved.clamp_min(0), after, later], 1)

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G 3"], conditions: Conditions) -> Float[Tensor, "G 1"]:
        """(Q(u) - Q)/(Q(u) + Q): signed, dimensionless, float64."""
        return self.off(u, reference[:, :1], conditions)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G 3"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """The field with fluctuations scaled to the budget. Where its mean alone has more, or it is uniform, the defect says so."""
        return self.held(u, reference[:, :1], conditions)

    def _check_ends(self, conditions: Conditions) -> None:
        what = "EnergyBudget knows what drives and dissipates inside"
        check_closed(conditions.domain, what, "EnergyBand bounds the energy without a budget")

    def _input(self, u: Tensor, conditions: Conditions) -> Float[Tensor, "G 1"]:
        v, domain = self.channels.cut(u), conditions.domain
        if not self.forced:
            return torch.zeros_like(volume(v, domain))
        force = self.channels.cut(budget.source_term(conditions)(conditions.time)).to(u.device)
        return self.quantity.product(force, v, domain)

    def _decay(self, u: Tensor, conditions: Conditions) -> Float[Tensor, "G 1"]:
        """2 mu + 2 nu Q_(p+1)/Q_p."""
        v, domain = self.channels.cut(u), conditions.domain
        now = self.quantity(v, domain)
        drag = 2 * budget.column(budget.rate(conditions, self.drag), now)
        if self.viscosity is None:
            return drag.expand_as(now)
        nu = budget.column(budget.rate(conditions, self.viscosity), now)
        return drag + 2 * nu * Quadratic(self.quantity.order + 1)(v, domain) / now.clamp_min(1e-300)
