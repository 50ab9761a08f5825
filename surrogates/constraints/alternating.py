"""Alternating projection, for laws that disturb each other: u -> law_n(... law_1(u)), again and again until little is left.

For subspaces the sweeps converge to the nearest field that holds all laws, by the cosine of the angle between them, squared, a sweep;
for convex sets to some field that does (`Dykstra` finds the nearest); for others where they meet at an angle and u is near.
Sources: von Neumann, Functional Operators II, 1950, theorem 13.7; Deutsch, "Rate of convergence of the method of alternating
projections", 1985; Lewis, Luke and Malick, "Local linear convergence for alternating and averaged nonconvex projections", 2009,
https://arxiv.org/abs/0709.0109 (manifolds).

Sweeps run in float64 and are rounded once, to the type of u. A member whose total defect, the largest of all laws', is at most
`tolerance` is left alone from then on, so that it does not see its neighbours.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.compose import Law, Laws, none, where
from surrogates.contracts import Conditions
from surrogates.record import recorded


class Reached(NamedTuple):
    """A field in float64, what is left of the laws in it, and the number of sweeps that were made (by any member)."""

    u: Float[Tensor, "B C *X"]
    defect: Float[Tensor, "G K"]
    sweeps: int


class Swept(Laws):
    """Laws that are gone through until they hold to `tolerance`, or for so many `sweeps`: `reach` says how, in float64.

    Raises ValueError as `Laws`, and for sweeps < 1 or a negative tolerance.
    """

    def __init__(self, laws: tuple[Law, ...], names: tuple[str, ...], tolerance: float, sweeps: int) -> None:
        super().__init__(laws, names)
        if sweeps < 1 or not tolerance >= 0:
            raise ValueError(f"expected sweeps >= 1 and tolerance >= 0, got {sweeps} and {tolerance}")
        self.tolerance, self.sweeps = tolerance, sweeps

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        return self.reach(u, reference, conditions, past).u.to(u.dtype)

    @abstractmethod
    def reach(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Reached:
        """The field with its defects, before rounding."""


@recorded
class Alternating(Swept):
    """The laws in turn, at least once, until the total defect is `tolerance` or after `sweeps`; differentiable, unrolled.

    What was not reached shows in `reach(...).defect` and in `remaining`. Raises ValueError as `Laws`, and for sweeps < 1.
    """

    def __init__(self, laws: tuple[Law, ...], names: tuple[str, ...] = (), *, tolerance: float = 1e-12, sweeps: int = 100) -> None:
        super().__init__(laws, names, tolerance, sweeps)

    def reach(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Reached:
        """The field with its defects, before rounding."""
        parts = self.split(reference)
        v = self.once(u.double(), parts, conditions, past)
        for made in range(1, self.sweeps + 1):
            defect = self.defect(v, reference, conditions)
            moving = defect.detach().abs().amax(1) > self.tolerance
            if made == self.sweeps or none(moving, made):
                return Reached(v, defect, made)
            v = where(moving, self.once(v, parts, conditions, past), v, conditions.domain)
        raise AssertionError("unreachable")
