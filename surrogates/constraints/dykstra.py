"""Dykstra's algorithm: the nearest field that holds several convex laws, from the projection onto each.

    x <- u,  p_i <- 0;     in turn    y = P_i(x + p_i),    p_i <- x + p_i - y,    x <- y

Each law gets back what it took in the sweep before, so that what it takes in the end is what the nearest field needs: alternating
projection finds a field that holds all laws, this the nearest one. Positivity with a fixed integral (a density, a concentration) and
bounds with fixed boundary values are of this kind. Every law must be a projection, in the norm of the domain's measure.

Sweeps end where the total defect is at most `tolerance` and the p_i moved by no more than `tolerance` of u in that norm; the defect
alone would stop in fields that hold the laws and are not the nearest. For intervals and planes the error falls like c^n in the end.
Sources: Dykstra, JASA 78, 1983, https://doi.org/10.1080/01621459.1983.10477029; Boyle and Dykstra, 1986 (convergence in Hilbert spaces);
Birgin and Raydan, "Robust stopping criteria for Dykstra's algorithm", SIAM J. Sci. Comput. 26, 2005,
https://doi.org/10.1137/03060062X (why the p_i tell when to stop).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.alternating import Reached, Swept
from surrogates.constraints.compose import Law, none, where
from surrogates.contracts import Conditions, Domain
from surrogates.record import recorded


@recorded
class Dykstra(Swept):
    """The nearest field that holds all laws, to `tolerance` or after `sweeps`; float64 inside, differentiable, unrolled.

    What was not reached shows in `reach(...).defect` and in `remaining`. Raises ValueError as `Laws`, and for sweeps < 1.
    """

    def __init__(self, laws: tuple[Law, ...], names: tuple[str, ...] = (), *, tolerance: float = 1e-12, sweeps: int = 1000) -> None:
        super().__init__(laws, names, tolerance, sweeps)

    def reach(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Reached:
        """The field with its defects, before rounding."""
        parts, domain, start = self.split(reference), conditions.domain, u.double()
        x, taken = start, [torch.zeros_like(start) for _ in self.laws]
        moving = torch.ones_like(size2(start, domain), dtype=torch.bool)
        for made in range(1, self.sweeps + 1):
            moved = torch.zeros_like(size2(start, domain))
            y = x
            for i, (law, part) in enumerate(zip(self.laws, parts, strict=True)):
                before, given = taken[i], y + taken[i]
                y = law(given, part, conditions, past)
                moved = moved + size2(given - y - before, domain)
                taken[i] = where(moving, given - y, before, domain)
            x = where(moving, y, x, domain)
            defect = self.defect(x, reference, conditions)
            still = moved.detach() > self.tolerance**2 * size2(start, domain)
            moving = moving & (still | (defect.detach().abs().amax(1) > self.tolerance))
            if made == self.sweeps or none(moving, made):
                return Reached(x, defect, made)
        raise AssertionError("unreachable")


def size2(u: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, " G"]:
    """The square of the norm, over all channels."""
    return domain.integral(u.square()).sum(1)
