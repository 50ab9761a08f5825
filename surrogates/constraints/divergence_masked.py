"""Projection in a Masked domain: what flows out of each wet cell sums to zero, and nothing flows into dry ones.

The flow through a face between two wet cells is the linear interpolation of their normal velocities; the others, at coasts, walls and
around obstacles, have none. div u is the sum of flows over the width of the cell, for an axis a

    (D_a u)_i = (q_(i+1/2) - q_(i-1/2)) / h_i,    q_(i+1/2) = (h_(i+1) u_i + h_i u_(i+1)) / (h_i + h_(i+1)),

and the gradient is -D_a^* under the measure, so basins that do not touch need no care. Dry cells come back at rest, whatever they held.
Velocities that alternate from cell to cell have no flow and stay.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.divergence_sparse import Factors, factorise, gradient_part, ratio, squares
from surrogates.domains import Box, Masked
from surrogates.domains.box import PERIODIC


def project(u: Float[Tensor, "B D *X"], sea: Masked) -> Float[Tensor, "B D *X"]:
    """Without the part that is a gradient; zero where it is dry."""
    at = sea.cells.to(u.device)
    v = u.flatten(2).index_select(2, at)
    return torch.zeros_like(u).flatten(2).index_copy(2, at, v - gradient_part(v, _factors(sea))).view(u.shape)


def defect(u: Float[Tensor, "B D *X"], sea: Masked) -> Float[Tensor, "B 1"]:
    """||div u|| / ||grad u|| over wet cells, float64."""
    divergence2, gradient2 = squares(u.flatten(2).index_select(2, sea.cells.to(u.device)), _factors(sea))
    return ratio(divergence2.sum(1, keepdim=True), gradient2.sum(1, keepdim=True))


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _factors(sea: Masked) -> Factors:
    return _made(sea)


@lru_cache(maxsize=16)
def _made(sea: Masked) -> Factors:
    from scipy import sparse

    measure = sea.measure[sea.wet]
    m = sparse.diags(measure.numpy())
    inverse = sparse.diags(1 / measure.numpy())
    return factorise([-(inverse @ _derivative(sea, axis).T @ m) for axis in range(sea.dim)], measure)


def _derivative(sea: Masked, axis: int) -> Any:
    """D_a (cell x cell), cells being the wet ones in order."""
    from scipy import sparse

    assert isinstance(sea.box, Box)
    n, cells = sea.shape[axis], len(sea.cells)
    number = torch.full(sea.shape, -1)
    number[sea.wet] = torch.arange(cells)
    h = sea.box.widths(axis).reshape(-1, *(1,) * (sea.dim - 1 - axis)).expand(sea.shape)
    left, right, last = number, number.roll(-1, axis), torch.arange(n).reshape(-1, *(1,) * (sea.dim - 1 - axis)) == n - 1
    faces = (left >= 0) & (right >= 0)
    if sea.box.boundary[axis] != PERIODIC:
        faces &= ~last
    i, j = left[faces].numpy(), right[faces].numpy()
    h_i, h_j = h[faces].numpy(), h.roll(-1, axis)[faces].numpy()
    face = np.arange(len(i))
    flow = sparse.csr_matrix(
        (np.concatenate([h_j, h_i]) / np.tile(h_i + h_j, 2), (np.tile(face, 2), np.concatenate([i, j]))), (len(i), cells)
    )
    out = sparse.csr_matrix((np.concatenate([1 / h_i, -1 / h_j]), (np.concatenate([i, j]), np.tile(face, 2))), (cells, len(i)))
    return out @ flow
