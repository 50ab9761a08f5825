"""The shift s with integral(min(max(u + s, lower), upper)) = I: water poured into cells of different heights.

The integral is piecewise linear in s, never falls, and has the slope (volume of the cells strictly between the bounds). Newton's method
finds the root on its piece exactly, mostly in four to eight rounds. Where two of them have not halved what is missing, a bracket is
halved instead, which bounds their number; the best shift seen is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Mesh

ROUNDS = 250
"""More than it takes to halve a bracket or what is missing until float64 has no more bits; three looks a halving."""
CLOSE = 1e-13
"""Of the sum of |terms|: near enough to be on the right piece, where one more step is exact."""


def level(
    u: Float[Tensor, "B R *X"], integrals: Float[Tensor, "G R"], lower: float | None, upper: float | None, domain: Domain
) -> Float[Tensor, "G R"]:
    """s of every member and channel, float64, differentiable in u and I. An I out of reach is replaced by the nearest within.

    One look at all members a round tells whether to go on; a member that is done stays as it is, whatever its neighbours need.
    """
    space = domain.integral(torch.ones_like(u[:, :1]))
    goal = integrals if lower is None else torch.maximum(integrals, lower * space)
    goal = goal if upper is None else torch.minimum(goal, upper * space)

    def poured(s: Tensor) -> tuple[Tensor, Tensor]:
        x = u + domain.expand(s)
        free = torch.ones_like(x, dtype=torch.bool)
        free = free if lower is None else free & (x > lower)
        free = free if upper is None else free & (x < upper)
        return domain.integral(x.clamp(lower, upper)), domain.integral(free.double())

    with torch.no_grad():
        bound = min(abs(b) for b in (lower, upper) if b is not None)
        terms = goal.abs() + 2 * bound * space  # integral(|clipped|) is no more at the root
        start = _search(poured, *_bracket(u, goal, lower, upper, domain), goal, CLOSE * terms)
    found, free = poured(start)
    last = torch.where(free > 0, (goal - found) / torch.where(free > 0, free, 1.0), 0.0)
    shift: Tensor = start + (last - last.detach())  # the gradient of the root
    return shift


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _search(
    poured: Callable[[Tensor], tuple[Tensor, Tensor]], low: Tensor, high: Tensor, goal: Tensor, rounding: Tensor
) -> Float[Tensor, "G R"]:
    s = torch.minimum(torch.maximum(torch.zeros_like(goal), low), high)
    best, least, done = s, torch.full_like(s, torch.inf), torch.zeros_like(s, dtype=torch.bool)
    last, before = least, least
    for _ in range(ROUNDS):
        found, free = poured(s)
        missing = goal - found
        better = missing.abs() < least
        best, least = torch.where(better, s, best), torch.where(better, missing.abs(), least)
        if bool(done.all()):
            break
        low, high = torch.where(missing > 0, s, low), torch.where(missing < 0, s, high)
        newton, middle = s + missing / free.clamp_min(torch.finfo(torch.float64).tiny), (low + high) / 2
        close = missing.abs() <= rounding
        inside = (newton >= low) & (newton <= high) & (close | (missing.abs() < before / 2))
        last, before = torch.where(inside, missing.abs(), torch.inf), torch.where(inside, last, torch.inf)
        s = torch.where(done, s, torch.where(inside, newton, middle))
        done = done | close | (middle <= low) | (middle >= high)  # after one more look at s
    return best


def _bracket(u: Tensor, goal: Tensor, lower: float | None, upper: float | None, domain: Domain) -> tuple[Tensor, Tensor]:
    """Shifts that give too little and too much, or just enough."""
    space, rounding = domain.integral(torch.ones_like(u[:, :1])), 1e-15 * domain.integral(u.abs())
    gap = goal - domain.integral(u)  # over the volume, the shift without bounds: a lower one only adds, an upper one only takes
    low = (gap - rounding) / space if lower is None else lower - extreme(u, domain)
    return low, (gap + rounding) / space if upper is None else upper + extreme(-u, domain)


def extreme(u: Float[Tensor, "B R *X"], domain: Domain) -> Float[Tensor, "G R"]:
    """The greatest value of every member, where the domain is valid."""
    u = u if domain.mask is None else torch.where(domain.mask.to(u.device), u, -torch.inf)
    if not isinstance(domain, Mesh) or domain.members == 1:
        return u.flatten(2).amax(2)
    member = domain.member.to(u.device).expand_as(u)
    found = u.new_full((*u.shape[:2], domain.members), -torch.inf).scatter_reduce(2, member, u, "amax")
    return found.permute(0, 2, 1).reshape(-1, u.shape[1])
