"""Whether what is inside a domain is all there is: the ends through which something passes, and what to say where a law needs none.

Box      its `open_ends`; those of pieces cut from a larger box are open
Masked   those of its grid that some wet cell touches
Patch    the borders of a part of a sphere: south, north, west, east, less those at a pole
Sphere   none
Mesh     not known: a boundary has a name, and what passes it is said to the law or head that asks (`open_boundaries`)
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from surrogates.domains.box import PERIODIC, Box
from surrogates.domains.crop import Crop
from surrogates.domains.masked import Masked
from surrogates.domains.patch import Patch


def open_ends(domain: object) -> tuple[str, ...]:
    """The names of the ends that something may pass."""
    if isinstance(domain, Crop):
        return open_ends(domain.grid)
    if isinstance(domain, Masked):
        touched: tuple[str, ...] = _wet_ends(domain)
        return touched
    if isinstance(domain, Box):
        return domain.open_ends
    return _borders(domain) if isinstance(domain, Patch) else ()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _wet_ends(domain: Masked) -> tuple[str, ...]:
    return _touched(domain)


@lru_cache(maxsize=64)
def _touched(domain: Masked) -> tuple[str, ...]:
    return tuple(end for end in open_ends(domain.box) if bool(at_end(domain.wet, domain, end).any()))


def at_end(u: Tensor, domain: object, end: str) -> Tensor:
    """The last layer of points (*X) before an end."""
    grid = domain.box if isinstance(domain, Masked) else domain
    if isinstance(grid, Patch):
        axis, upper = ("south", "north", "west", "east").index(end) // 2, end in ("north", "east")
        return u.select(axis, -1 if upper != (axis == 0 and grid.north_first) else 0)
    assert isinstance(grid, Box)
    name, _, side = end.rpartition("_")
    return u.select(grid.axes.index(name), -1 if side == "upper" else 0)


def ends_of_grid(domain: object) -> tuple[str, ...]:
    """The same of a Masked domain whether wet cells touch them or not: those that depend on no coast."""
    return open_ends(domain.box if isinstance(domain, Masked) else domain)


def check_closed(domain: object, what: str, remedy: str) -> None:
    """Raise ValueError, "`what` ...; `remedy`", for a domain with open ends."""
    ends = open_ends(domain)
    if ends:
        raise ValueError(f"{what}, but something passes the open end{'s' * (len(ends) > 1)} {', '.join(ends)} of this domain; {remedy}")


def _borders(patch: Patch) -> tuple[str, ...]:
    ends = [("south", patch.south > -90 + 1e-9), ("north", patch.north < 90 - 1e-9)]
    ends += [(end, patch.boundary[1] != PERIODIC) for end in ("west", "east")]
    return tuple(end for end, passes in ends if passes)
