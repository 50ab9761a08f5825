"""Bounds lower <= u <= upper, such as the positivity of a density: three ways back to them.

`Clipped`            the nearest field within bounds; mass is made or lost, and gradients vanish where it acts (`straight_through`)
`Reflected`          folded back at each bound, u -> 2 lower - u: what a flow's end point wants, as no mass of probability piles up at the
                     bound; source: Lou and Ermon, Reflected Diffusion Models, 2023, https://arxiv.org/abs/2304.04740
`BoundedIntegral`    the nearest field within bounds that has the integral I: min(max(u + shift, lower), upper), with the one number
                     `shift` for which it is so (`level`). What clipping adds is taken from the cells with room, all by the same amount.
                     Source: Michelot, A finite algorithm for finding the projection of a point onto the canonical simplex, 1986,
                     https://doi.org/10.1007/BF00938486.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.channels import Channels
from surrogates.constraints.fixed import Fixed, distance
from surrogates.constraints.integral import ConservedIntegral
from surrogates.constraints.level import level
from surrogates.contracts import Conditions
from surrogates.fields import Fields
from surrogates.record import recorded


@recorded
class Clipped(Fixed):
    """lower <= u <= upper for every channel of `field`, in its units; None is no bound. Raises ValueError without a bound, or where
    lower < upper does not hold."""

    def __init__(self, fields: Fields, field: str, lower: float | None = 0.0, upper: float | None = None) -> None:
        check_bounds(lower, upper)
        self.channels, self.lower, self.upper = Channels.of(fields, field), lower, upper

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G 0"], conditions: Conditions) -> Float[Tensor, "G 1"]:
        """||u - u clipped|| / max of both norms: non-negative, dimensionless, float64."""
        v = self.channels.cut(u)
        return distance(v, v.clamp(self.lower, self.upper), conditions.domain)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G 0"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        return self.channels.put(u, self.channels.cut(u).clamp(self.lower, self.upper))


@recorded
class Reflected(Clipped):
    """The bounds of `Clipped`, reached by folding; between two bounds as often as needed."""

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G 0"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        v, (lower, upper) = self.channels.cut(u), (self.lower, self.upper)
        if lower is not None and upper is not None:
            width = upper - lower
            folded = lower + (torch.remainder(v - lower + width, 2 * width) - width).abs()
            inside = (v >= lower) & (v <= upper)
            folded = torch.where(inside, v, folded)  # to the last bit
        elif lower is not None:
            folded = torch.where(v < lower, 2 * lower - v, v)
        else:
            assert upper is not None
            folded = torch.where(v > upper, 2 * upper - v, v)
        return self.channels.put(u, folded.clamp(lower, upper))  # for the last bit


@recorded
class BoundedIntegral(ConservedIntegral):
    """`ConservedIntegral` (budgets by `decay`, `forced` and `inflow`) within lower <= u <= upper; None is no bound.

    An integral that no field within the bounds has is missed by as little as possible, and the defect says so.
    """

    def __init__(
        self,
        fields: Fields,
        field: str,
        lower: float | None = 0.0,
        upper: float | None = None,
        *,
        decay: str | None = None,
        forced: bool = False,
        inflow: bool = False,
    ) -> None:
        super().__init__(fields, field, decay=decay, forced=forced, inflow=inflow)
        check_bounds(lower, upper)
        self.lower, self.upper = lower, upper

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]:
        """That of the integrals (signed), then that of `Clipped`."""
        v = self.channels.cut(u)
        outside = distance(v, v.clamp(self.lower, self.upper), conditions.domain)
        return torch.cat([super().defect(u, reference, conditions), outside], 1)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """The nearest field within bounds with the integrals `reference`; the shift in float64, rounded once to the type of u."""
        v = self.channels.cut(u)
        shift = level(v.double(), reference, self.lower, self.upper, conditions.domain)
        held = (v + conditions.domain.expand(shift)).clamp(self.lower, self.upper)
        return self.channels.put(u, held.to(u.dtype).clamp(self.lower, self.upper))  # rounding may not cross a bound


def check_bounds(lower: float | None, upper: float | None) -> None:
    """Raise ValueError unless there is a bound and they are in order."""
    if lower is None and upper is None:
        raise ValueError("bounds need a lower or an upper one, such as lower=0.0")
    if lower is not None and upper is not None and not lower < upper:
        raise ValueError(f"bounds need lower < upper, got {lower} and {upper}")
