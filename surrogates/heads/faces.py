"""The faces between the cells of a domain, each between a left and a right cell: F = A f passes a face of area A from left to right. What
one cell loses the other gains, so whatever F is, the sum of V du over a closed domain is zero.

    Box, Masked    a face at the upper side of each cell and axis; none through walls and coasts. Where asked for, a face at an open end:
                   of an upper one that of the last cells, of a lower one a face more at the lower side of the first
    Sphere         the same of the cells of its measure, with borders where sin(latitude) shares out the area; none over the poles
    Mesh           the dual face of each pair of neighbours, with the area vector S_ij = -S_ji; where asked for, what of the dual cell of
                   a node lies in open boundaries, with the outward area vector S_i of its share (1/D) of their facets

On simplices S_ij is the integral of a_i grad a_j - a_j grad a_i, with a the linear hat functions: the median dual face. Around an inner
node they sum to zero, so that a uniform flux has no divergence. What a gradient drives through it is w_ij (P_i - P_j), with w_ij minus the
integral of grad a_i . grad a_j. A cloud has no cells: there S_ij = V_i c_ij - V_j c_ji from the weights of its least-squares gradients,
g_i = sum_j c_ij (u_j - u_i), and w_ij = S_ij . d_ij / |d_ij|^2; a uniform flux is free of divergence as far as the points lie evenly.

Source: Barth and Jespersen, The design and application of upwind schemes on unstructured meshes, 1989, https://doi.org/10.2514/6.1989-366.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surrogates.constraints.facets import boundary_facets
from surrogates.contracts import Domain
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.domains.box import PERIODIC
from surrogates.domains.kept import kept
from surrogates.domains.mesh_edges import nearest_image
from surrogates.domains.mesh_measure import gradient_weights, volumes


@runtime_checkable
class Faces(Protocol):
    """Values of cells (B, C, *X) on both sides of every face (B, C, *F), and back as sums over the faces of a cell; volumes float64.

    Beyond an open end a value is 1, and what is summed there is lost: `entering` is what came from there, less what went.
    """

    @property
    def volume(self) -> Float[Tensor, "*X"]: ...
    def left(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C *F"]: ...
    def right(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C *F"]: ...
    def sums(self, left: Float[Tensor, "B C *F"], right: Float[Tensor, "B C *F"]) -> Float[Tensor, "B C *X"]: ...
    def entering(self, F: Float[Tensor, "B C *F"]) -> Float[Tensor, "B C *X"]: ...


class GridFaces(NamedTuple):
    """Upper faces of the cells along each axis, then lower ones along the axes `lower`; closed where the area is zero. Beyond the last ones
    of the axes `upper`, and beyond the lower ones, lies an open end."""

    volume: Float[Tensor, "*X"]
    area: Float[Tensor, "face ..."]
    upper: tuple[int, ...] = ()
    lower: tuple[int, ...] = ()

    def left(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C face *X"]:
        own = u[:, :, None].expand(-1, -1, u.ndim - 2, *u.shape[2:])
        return torch.cat([own, torch.ones_like(own[:, :, : len(self.lower)])], 2) if self.lower else own

    def right(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C face *X"]:
        ahead = [_moved(u, 2 + a, -1, 1.0 if a in self.upper else None) for a in range(u.ndim - 2)]
        return torch.stack([*ahead, *(u for _ in self.lower)], 2)

    def sums(self, left: Float[Tensor, "B C face *X"], right: Float[Tensor, "B C face *X"]) -> Float[Tensor, "B C *X"]:
        axes, taken = left.ndim - 3, [*right.unbind(2)]
        for a in range(axes):
            taken[a] = _moved(taken[a], 2 + a, 1, 0.0 if a in self.upper else None)
        return left[:, :, :axes].sum(2) + torch.stack(taken).sum(0)

    def entering(self, F: Float[Tensor, "B C face *X"]) -> Float[Tensor, "B C *X"]:
        axes = F.ndim - 3
        into = F[:, :, axes:].sum(2)
        for a in self.upper:
            last = torch.zeros(F.shape[3 + a], dtype=F.dtype, device=F.device)
            last[-1] = 1
            into = into - F[:, :, a] * last.reshape(-1, *(1,) * (axes - 1 - a))
        return into


def _moved(u: Tensor, dim: int, by: int, beyond: float | None) -> Tensor:
    """What the neighbour before (`by` = 1) or after (-1) has: round the end where `beyond` is None, else that number there."""
    moved = u.roll(by, dim)
    if beyond is None:
        return moved
    n, end = u.shape[dim], torch.full_like(moved.narrow(dim, 0, 1), beyond)
    parts = [end, moved.narrow(dim, 1, n - 1)] if by > 0 else [moved.narrow(dim, 0, n - 1), end]
    return torch.cat(parts, dim)


class MeshFaces(NamedTuple):
    """Pairs of neighbours (left, right), the area vectors of the faces between them, and their conductances w; then the nodes `rim` of
    open boundaries with their outward area vectors, left of what lies beyond."""

    volume: Float[Tensor, " node"]
    pairs: Int[Tensor, "2 pair"]
    area: Float[Tensor, "pair D"]
    conductance: Float[Tensor, " pair"]
    rim: Int[Tensor, " rim"]
    outward: Float[Tensor, "rim D"]

    def left(self, u: Float[Tensor, "B C node"]) -> Float[Tensor, "B C face"]:
        return u.index_select(2, torch.cat([self.pairs[0], self.rim]))

    def right(self, u: Float[Tensor, "B C node"]) -> Float[Tensor, "B C face"]:
        return torch.cat([u.index_select(2, self.pairs[1]), u.new_ones(*u.shape[:2], len(self.rim))], 2)

    def sums(self, left: Float[Tensor, "B C face"], right: Float[Tensor, "B C face"]) -> Float[Tensor, "B C node"]:
        none = left.new_zeros(*left.shape[:2], len(self.volume))
        given = none.index_add(2, torch.cat([self.pairs[0], self.rim]), left)
        return given.index_add(2, self.pairs[1], right[:, :, : self.pairs.shape[1]])

    def entering(self, F: Float[Tensor, "B C face"]) -> Float[Tensor, "B C node"]:
        return F.new_zeros(*F.shape[:2], len(self.volume)).index_add(2, self.rim, -F[:, :, self.pairs.shape[1] :])


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def faces(domain: Domain, device: torch.device, ends: tuple[str, ...] = ()) -> GridFaces | MeshFaces:
    """Of a domain, made once, with faces at these ends of a grid, or on these boundaries of a mesh; all others are closed.

    Raises ValueError for a domain whose cells have no known faces, and for an end or boundary that it does not have.
    """
    if isinstance(domain, Mesh):
        return _of_mesh(domain, device, ends)
    if isinstance(domain, Box | Sphere) or (isinstance(domain, Masked) and isinstance(domain.box, Box)):
        return _of_grid(domain, device, ends)
    raise ValueError(f"fluxes pass between the cells of a Box, a Masked box, a Sphere or a Mesh, not of a {type(domain).__name__}")


@lru_cache(maxsize=16)
def _of_grid(domain: Box | Masked | Sphere, device: torch.device, ends: tuple[str, ...]) -> GridFaces:
    with kept():
        volume = domain.measure
        if isinstance(domain, Sphere):
            return GridFaces(volume.to(device), _of_sphere(domain).to(device))
        box = domain.box if isinstance(domain, Masked) else domain
        assert isinstance(box, Box)
        wet = domain.wet if isinstance(domain, Masked) else torch.ones(box.shape, dtype=torch.bool)
        upper, lower = (tuple(a for a, name in enumerate(box.axes) if f"{name}_{end}" in ends) for end in ("upper", "lower"))
        whole = [box.measure / box.widths(a).reshape(-1, *(1,) * (box.dim - 1 - a)) for a in range(box.dim)]
        area = [whole[a] * (wet & wet.roll(-1, a)) for a in range(box.dim)]
        for a, kind in enumerate(box.boundary):
            if kind != PERIODIC:
                area[a].select(a, -1).copy_((whole[a] * wet).select(a, -1) * (a in upper))
        for a in lower:
            area.append(torch.zeros_like(whole[a]))
            area[-1].select(a, 0).copy_((whole[a] * wet).select(a, 0))
        return GridFaces(torch.where(volume > 0, volume, 1.0).to(device), torch.stack(area).to(device), upper, lower)


def _of_sphere(sphere: Sphere) -> Float[Tensor, "2 lat lon"]:
    rows, circle = sphere.shape
    turn = 2 * torch.pi / circle
    below = 1 - sphere.measure[:, 0].cumsum(0) / (turn * sphere.radius**2)  # sin(latitude), counted from the first row's pole
    below[-1] = -1
    meridian = sphere.radius * turn * (1 - below.square()).clamp_min(0).sqrt()
    angle = torch.cat([below.new_ones(1), below]).clamp(-1, 1).asin()
    return torch.stack([meridian[:, None].expand(rows, circle), sphere.radius * (angle[:-1] - angle[1:])[:, None].expand(rows, circle)])


@lru_cache(maxsize=16)
def _of_mesh(mesh: Mesh, device: torch.device, ends: tuple[str, ...]) -> MeshFaces:
    with kept():
        once = mesh.edges[0] < mesh.edges[1]
        pairs = mesh.edges[:, once]
        area, conductance = _of_cloud(mesh, once) if mesh.cells is None else _of_cells(mesh, mesh.cells, pairs)
        return MeshFaces(*(x.to(device) for x in (mesh.measure, pairs, area, conductance, *_rim(mesh, ends))))


def _rim(mesh: Mesh, names: tuple[str, ...]) -> tuple[Int[Tensor, " rim"], Float[Tensor, "rim D"]]:
    """The nodes of the facets all of whose corners lie on these boundaries, and what of those facets is theirs."""
    outward = torch.zeros_like(mesh.points)
    if names:
        corners, areas = boundary_facets(mesh)
        there = torch.stack([mesh.boundary(name) for name in names]).any(0)[corners].all(1)
        share = areas[there] / corners.shape[1]
        for corner in corners[there].unbind(1):
            outward.index_add_(0, corner, share)
    rim = outward.any(1).nonzero().flatten()
    return rim, outward[rim]


def _of_cells(mesh: Mesh, cells: Tensor, pairs: Tensor) -> tuple[Float[Tensor, "pair D"], Float[Tensor, " pair"]]:
    """V / (k + 1) (grad a_j - grad a_i) and -V grad a_i . grad a_j, over the cells of each pair."""
    nodes, corners = len(mesh.points), cells.shape[1]
    spans = nearest_image(mesh.points[cells[:, 1:]] - mesh.points[cells[:, :1]], mesh.periods)
    gradient = torch.linalg.pinv(spans).mT  # (cell, corner - 1, D)
    gradient = torch.cat([-gradient.sum(1, keepdim=True), gradient], 1)
    volume = volumes(mesh.points, cells, mesh.periods)[:, None]
    i, j = torch.combinations(torch.arange(corners, device=cells.device)).T
    one, two = cells[:, i].flatten(), cells[:, j].flatten()
    vector = (volume[:, :, None] / corners * (gradient[:, j] - gradient[:, i])).flatten(0, 1)
    product = -(volume * (gradient[:, i] * gradient[:, j]).sum(2)).flatten()
    keys, order = (pairs[0] * nodes + pairs[1]).sort()
    which = order[torch.searchsorted(keys, torch.minimum(one, two) * nodes + torch.maximum(one, two))]
    vector = torch.where((one < two)[:, None], vector, -vector)
    area = vector.new_zeros(pairs.shape[1], mesh.dim).index_add_(0, which, vector)
    return area, product.new_zeros(pairs.shape[1]).index_add_(0, which, product)


def _of_cloud(mesh: Mesh, once: Tensor) -> tuple[Float[Tensor, "pair D"], Float[Tensor, " pair"]]:
    """V_i c_ij - V_j c_ji, and its part along the pair over the distance. Edges are sorted by receiver, then by sender."""
    sender, receiver = mesh.edges
    weighted = -gradient_weights(mesh.relative, receiver, len(mesh.points)) * mesh.measure[receiver, None]  # V_r c_rs of edges s -> r
    back = torch.searchsorted(receiver * len(mesh.points) + sender, sender * len(mesh.points) + receiver)
    area, d = (weighted[back] - weighted)[once], mesh.relative[once]
    return area, (area * d).sum(1) / d.square().sum(1)
