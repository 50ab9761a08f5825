"""The faces between the cells of a domain, each between a left and a right cell: F = A f passes a face of area A from left to right. What
one cell loses the other gains, so whatever F is, the sum of V du over a closed domain is zero.

    Box, Masked    a face at the upper side of each cell and axis; none through walls and coasts
    Sphere         the same of the cells of its measure, with borders where sin(latitude) shares out the area; none over the poles
    Mesh           the dual face of each pair of neighbours, with the area vector S_ij = -S_ji

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

from surrogates.contracts import Domain
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.domains.box import PERIODIC
from surrogates.domains.kept import kept
from surrogates.domains.mesh_edges import nearest_image
from surrogates.domains.mesh_measure import gradient_weights, volumes


@runtime_checkable
class Faces(Protocol):
    """Values of cells (B, C, *X) on both sides of every face (B, C, *F), and back as sums over the faces of a cell; volumes float64."""

    @property
    def volume(self) -> Float[Tensor, "*X"]: ...
    def left(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C *F"]: ...
    def right(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C *F"]: ...
    def sums(self, left: Float[Tensor, "B C *F"], right: Float[Tensor, "B C *F"]) -> Float[Tensor, "B C *X"]: ...


class GridFaces(NamedTuple):
    """Upper faces (axis, *X) of the cells of a grid, which is closed where the area is zero."""

    volume: Float[Tensor, "*X"]
    area: Float[Tensor, "axis ..."]

    def left(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C axis *X"]:
        return u[:, :, None].expand(-1, -1, len(self.area), *u.shape[2:])

    def right(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C axis *X"]:
        return torch.stack([u.roll(-1, 2 + a) for a in range(len(self.area))], 2)

    def sums(self, left: Float[Tensor, "B C axis *X"], right: Float[Tensor, "B C axis *X"]) -> Float[Tensor, "B C *X"]:
        back = [r.roll(1, 2 + a) for a, r in enumerate(right.unbind(2))]
        return left.sum(2) + torch.stack(back).sum(0)


class MeshFaces(NamedTuple):
    """Pairs of neighbours (left, right), the area vectors of the faces between them, and their conductances w."""

    volume: Float[Tensor, " node"]
    pairs: Int[Tensor, "2 pair"]
    area: Float[Tensor, "pair D"]
    conductance: Float[Tensor, " pair"]

    def left(self, u: Float[Tensor, "B C node"]) -> Float[Tensor, "B C pair"]:
        return u.index_select(2, self.pairs[0])

    def right(self, u: Float[Tensor, "B C node"]) -> Float[Tensor, "B C pair"]:
        return u.index_select(2, self.pairs[1])

    def sums(self, left: Float[Tensor, "B C pair"], right: Float[Tensor, "B C pair"]) -> Float[Tensor, "B C node"]:
        none = left.new_zeros(*left.shape[:2], len(self.volume))
        return none.index_add(2, self.pairs[0], left).index_add(2, self.pairs[1], right)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def faces(domain: Domain, device: torch.device) -> GridFaces | MeshFaces:
    """Of a domain, made once. Raises ValueError for a domain whose cells have no known faces."""
    if isinstance(domain, Mesh):
        return _of_mesh(domain, device)
    if isinstance(domain, Box | Sphere) or (isinstance(domain, Masked) and isinstance(domain.box, Box)):
        return _of_grid(domain, device)
    raise ValueError(f"fluxes pass between the cells of a Box, a Masked box, a Sphere or a Mesh, not of a {type(domain).__name__}")


@lru_cache(maxsize=16)
def _of_grid(domain: Box | Masked | Sphere, device: torch.device) -> GridFaces:
    with kept():
        volume = domain.measure
        if isinstance(domain, Sphere):
            return GridFaces(volume.to(device), _of_sphere(domain).to(device))
        box = domain.box if isinstance(domain, Masked) else domain
        assert isinstance(box, Box)
        area = torch.stack([box.measure / box.widths(a).reshape(-1, *(1,) * (box.dim - 1 - a)) for a in range(box.dim)])
        for a, kind in enumerate(box.boundary):
            if kind != PERIODIC:
                area[a].select(a, -1).zero_()
            if isinstance(domain, Masked):
                area[a] *= domain.wet & domain.wet.roll(-1, a)
        return GridFaces(torch.where(volume > 0, volume, 1.0).to(device), area.to(device))


def _of_sphere(sphere: Sphere) -> Float[Tensor, "2 lat lon"]:
    rows, circle = sphere.shape
    turn = 2 * torch.pi / circle
    below = 1 - sphere.measure[:, 0].cumsum(0) / (turn * sphere.radius**2)  # sin(latitude), counted from the first row's pole
    below[-1] = -1
    meridian = sphere.radius * turn * (1 - below.square()).clamp_min(0).sqrt()
    angle = torch.cat([below.new_ones(1), below]).clamp(-1, 1).asin()
    return torch.stack([meridian[:, None].expand(rows, circle), sphere.radius * (angle[:-1] - angle[1:])[:, None].expand(rows, circle)])


@lru_cache(maxsize=16)
def _of_mesh(mesh: Mesh, device: torch.device) -> MeshFaces:
    with kept():
        once = mesh.edges[0] < mesh.edges[1]
        pairs = mesh.edges[:, once]
        area, conductance = _of_cloud(mesh, once) if mesh.cells is None else _of_cells(mesh, mesh.cells, pairs)
        return MeshFaces(*(x.to(device) for x in (mesh.measure, pairs, area, conductance)))


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
