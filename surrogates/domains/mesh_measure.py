"""What integrals and gradients on a mesh are made of.

Measure: a simplex of k + 1 corners with edge vectors s_1..s_k has the volume |R_11 .. R_kk|/k!, where QR = [s_1 .. s_k], and gives each
corner an equal share. The shares of a node are its dual cell; with them the integral of a field that is linear in each cell is exact.

Gradient: least squares over the neighbours, with d_ij = x_i - x_j and weights 1/|d|^2,

    g_i = M_i^+ sum_j w_ij d_ij (u_i - u_j),    M_i = sum_j w_ij d_ij d_ij^T,

exact for linear fields wherever the neighbours span the space. The pseudo-inverse gives the gradient within what they do span: along a
surface, along a curve, and zero at a node without neighbours.
"""

from __future__ import annotations

from math import factorial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surrogates.domains.mesh_edges import Periods, nearest_image

FLAT = 1e-12  # a cell of less volume than this times its longest edge^k is a line or a plane in all but rounding


def volumes(points: Float[Tensor, "node D"], cells: Int[Tensor, "cell corner"], periods: Periods) -> Float[Tensor, " cell"]:
    """Lengths, areas or volumes of simplices.

    Raises ValueError for a cell that is flat, or so wide that the nearest images of its corners do not fit together.
    """
    k = cells.shape[1] - 1
    corner = points[cells]
    spans = nearest_image(corner[:, 1:] - corner[:, :1], periods)
    between = nearest_image(corner[:, 2:] - corner[:, 1:-1], periods)
    torn = (spans.diff(dim=1) - between).abs().flatten(1).sum(1) > 1e-6 * spans.abs().amax((1, 2))
    if torn.any():
        cell = int(torn.nonzero()[0])
        raise ValueError(f"cell {cell} = {cells[cell].tolist()} is half a period {periods} wide or more; refine the mesh there")
    upper: Tensor = torch.linalg.qr(spans.mT, mode="r").R
    volume: Tensor = upper.diagonal(dim1=1, dim2=2).prod(1).abs() / factorial(k)
    flat = volume <= FLAT * spans.square().sum(2).amax(1) ** (k / 2)
    if flat.any():
        cell = int(flat.nonzero()[0])
        raise ValueError(
            f"cell {cell} = {cells[cell].tolist()} has no volume ({float(volume[cell]):.1e}), as have {int(flat.sum())} in all; "
            "drop them (a Delaunay triangulation leaves such slivers along straight sides)"
        )
    return volume


def dual_measure(volume: Float[Tensor, " cell"], cells: Int[Tensor, "cell corner"], nodes: int) -> Float[Tensor, " node"]:
    """Each cell's volume, in equal shares to its corners."""
    share = (volume / cells.shape[1])[:, None].expand(cells.shape)
    return volume.new_zeros(nodes).index_add_(0, cells.reshape(-1), share.reshape(-1))


def gradient_weights(relative: Float[Tensor, "edge D"], receiver: Int[Tensor, " edge"], nodes: int) -> Float[Tensor, "edge D"]:
    """c with g_i = sum of c_e (u_receiver - u_sender) over the edges e that end at i."""
    dim = relative.shape[1]
    weighted = relative / relative.square().sum(1, keepdim=True)
    moments = relative.new_zeros(nodes, dim, dim).index_add_(0, receiver, weighted[:, :, None] * relative[:, None])
    inverse = torch.linalg.pinv(moments, rtol=1e-10, hermitian=True)
    found: Tensor = inverse[receiver] @ weighted[:, :, None]
    return found[..., 0]
