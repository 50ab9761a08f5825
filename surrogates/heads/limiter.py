"""Fluxes scaled so that no cell leaves its bounds, and nothing is lost.

Let u be the content of a cell of volume V, F_f >= 0 what it gives through face f in a unit of time and G_f >= 0 what it gets. A cell lets
out at most what it has above `lower`, and takes in at most what it lacks below `upper`:

    R- = min(1, V (u - lower) / (dt sum_f F_f)),    R+ = min(1, V (upper - u) / (dt sum_f G_f)),

and each face passes its flux times the smaller of the giver's R- and the taker's R+. Then both bounds hold, whatever the fluxes:

    u' = u + dt/V (sum_f c_f G_f - sum_f c_f F_f) >= u - dt/V R- sum_f F_f >= lower,       as 0 <= c_f <= R- where the cell gives,
    u' <= u + dt/V R+ sum_f G_f <= upper,                                                  as 0 <= c_f <= R+ where it takes,

for lower <= u <= upper; a cell that begins outside goes no further out. A factor belongs to a face, not to a cell: what one cell no
longer gives, the other no longer gets, and the sum of V u stays. Fluxes that break no bound pass unchanged. R- and R+ are reduced by 1e-12
(in float64) so that rounding cannot undo the inequality.

Source: Zalesak, Fully multidimensional flux-corrected transport algorithms for fluids, J. Comput. Phys. 31, 1979,
https://doi.org/10.1016/0021-9991(79)90051-2, with zero for the low-order fluxes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from surrogates.heads.faces import Faces

MARGIN = 1 - 1e-12


def limited(
    F: Float64[Tensor, "B C *F"],
    u: Float64[Tensor, "B C *X"],
    faces: Faces,
    dt: Float64[Tensor, "B 1 *X"],
    lower: float | None,
    upper: float | None,
) -> Float64[Tensor, "B C *F"]:
    """The fluxes that pass, from left to right; differentiable."""
    forth, back = F.clamp_min(0), (-F).clamp_min(0)
    factor = torch.ones_like(F)
    if lower is not None:
        share = _share(u - lower, dt * faces.sums(forth, back) / faces.volume)
        factor = torch.where(F > 0, faces.left(share), faces.right(share))
    if upper is not None:
        share = _share(upper - u, dt * faces.sums(back, forth) / faces.volume)
        factor = torch.minimum(factor, torch.where(F > 0, faces.right(share), faces.left(share)))
    return F * factor


def _share(room: Tensor, asked: Tensor) -> Tensor:
    """min(1, room / asked), for a room that is at least 0."""
    room = MARGIN * room.clamp_min(0)
    short = asked > room
    return torch.where(short, room / torch.where(short, asked, 1.0), 1.0)
