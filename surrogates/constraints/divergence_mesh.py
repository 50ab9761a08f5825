"""Projection on a mesh: u less the nearest of all gradients, by least squares with the mesh's own gradient G.

    min over p of ||u - G p||^2,   weights: the measure m of the nodes;     div u = -m^(-1) G^T m u = -G^* u.

What stays is orthogonal to every gradient, div u = 0 at every node. With the divergence as an adjoint the boundary enters by itself: at a
boundary node div u holds the flow out of the mesh, so boundaries are closed, as walls are. On boundaries declared open the potentials
are zero: div u is not asked for at their nodes, and fluid may pass. An inlet and an outlet must be declared, or the flow between them
is taken for a gradient.

A batch of different meshes is one block-diagonal problem, factorised once for each `Mesh` object and forgotten with it. On lattices G does
not see potentials that alternate between neighbours, so velocities that do stay.
Source: Meyer, Desbrun, Schroeder and Barr, Discrete Differential-Geometry Operators for Triangulated 2-Manifolds, 2003, for such adjoints.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.divergence_sparse import Factors, factorise, gradient_part, ratio, squares
from surrogates.domains import Mesh
from surrogates.domains.kept import kept


def compressive(u: Float[Tensor, "B D node"], mesh: Mesh, open_boundaries: tuple[str, ...] = ()) -> Float[Tensor, "B D node"]:
    """The part of a vector field that is a gradient of a potential which is zero on open boundaries.

    Raises ValueError for a boundary that the mesh does not name.
    """
    return gradient_part(u, _factors(mesh, open_boundaries))


def defect(u: Float[Tensor, "B D node"], mesh: Mesh, open_boundaries: tuple[str, ...] = ()) -> Float[Tensor, "G 1"]:
    """||div u|| / ||grad u|| of each member, float64, both by -G^*."""
    measure = mesh.measure.to(u.device)
    divergence2, gradient2 = squares(u, _factors(mesh, open_boundaries))
    return ratio(mesh.integral((divergence2 / measure)[:, None]), mesh.integral((gradient2 / measure)[:, None]))


_made: WeakKeyDictionary[Mesh, dict[tuple[str, ...], Factors]] = WeakKeyDictionary()


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _factors(mesh: Mesh, open_boundaries: tuple[str, ...]) -> Factors:
    known = _made.setdefault(mesh, {})
    if open_boundaries not in known:
        known[open_boundaries] = _make(mesh, open_boundaries)
    return known[open_boundaries]


def _make(mesh: Mesh, open_boundaries: tuple[str, ...]) -> Factors:
    """Columns of G belong to potentials: those of open boundaries are zero."""
    from scipy import sparse

    n = mesh.shape[0]
    free = torch.ones(n, dtype=torch.bool)
    for name in open_boundaries:
        free &= ~mesh.boundary(name).cpu()
    with kept():
        weights = mesh._gradient.cpu().numpy()
    sender, receiver = mesh.edges.cpu().numpy()
    gradient = []
    for c in weights.T:
        jumps = sparse.csr_matrix((c, (receiver, receiver)), (n, n)) - sparse.csr_matrix((c, (receiver, sender)), (n, n))
        gradient.append(jumps @ sparse.diags(free.numpy().astype(float)))
    return factorise(gradient, mesh.measure)
