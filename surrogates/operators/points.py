"""Fields on any geometry with coordinates as rows of points, each point a position, a weight and its values.

    a Box                  B rows of its points
    a Mesh of one member   B rows of its nodes
    a Mesh of several      B * members rows, a member each, filled up to the longest with points of weight 0 (so batch meshes of like size)

The weight is the point's measure over the mean measure of its member, so that sums over points are quadratures: sum w_i f(x_i) / n is the
mean of f whatever the cells, 1 everywhere where they are equal.

A position is seen as harmonics sin n theta, cos n theta, n = 1..N an axis, with theta = 2 pi (x - lower)/period on a periodic axis, which
has no seam, and half a turn over the extent of any other: over the box between its walls, over the member's own bounding box in a mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import pi
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.domains.mesh import Mesh
from surrogates.operators.checks import check_fields


@dataclass(frozen=True, eq=False)
class Points:
    """Where the points of a domain are: `members` rows of `count` places. Cached, so not to be written to.

    seen: harmonics of each position. weight: None where all are 1. lower, turn: theta = (x - lower) turn, float64, one row a member.
    node: the node in each place, row after row; place: the place of each node. None where places are nodes in order.
    """

    shape: tuple[int, ...]
    members: int
    count: int
    harmonics: tuple[int, ...]
    seen: Float[Tensor, "M n P"]
    weight: Float[Tensor, "M n"] | None
    lower: Float[Tensor, "M D"]
    turn: Float[Tensor, "M D"]
    node: Int[Tensor, " place"] | None = None
    place: Int[Tensor, " node"] | None = None

    def rows(self, x: Float[Tensor, "B C *X"]) -> Float[Tensor, "G n C"]:
        """Values in the places of every row, channels last; what fills a row up repeats one of its nodes."""
        u = x.flatten(2)
        if self.node is not None:
            u = u.index_select(2, self.node)
        if self.members == 1:
            return u.mT
        return u.reshape(*u.shape[:2], self.members, self.count).permute(0, 2, 3, 1).flatten(0, 1)

    def fields(self, y: Float[Tensor, "G C n"]) -> Float[Tensor, "B C *X"]:
        """Back from rows, channels first, to fields of the domain."""
        if self.members > 1:
            y = y.reshape(-1, self.members, *y.shape[1:]).transpose(1, 2).flatten(2)
        if self.place is not None:
            y = y.index_select(2, self.place)
        return y.reshape(*y.shape[:2], *self.shape)

    def see(self, x: Float[Tensor, "q D"]) -> Float[Tensor, "1 q P"]:
        """The harmonics of other positions, in units of the domain, of a domain with one member."""
        seen = harmonics_at((x.double() - self.lower) * self.turn, self.harmonics)
        return seen[None].to(self.seen.dtype)


def repeat(values: Float[Tensor, "M n *F"], rows: int) -> Float[Tensor, "G n *F"]:
    """What belongs to the members, for every one of `rows` rows; a view where there is one."""
    if len(values) == 1:
        return values.expand(rows, *values.shape[1:])
    return values.repeat(rows // len(values), *(1,) * (values.ndim - 1))


def harmonics_at(theta: Float[Tensor, "*n D"], harmonics: tuple[int, ...]) -> Float[Tensor, "*n P"]:
    """sin n theta, cos n theta, n = 1..harmonics, one axis after the other: P = 2 sum(harmonics)."""
    out = [f(n * theta[..., axis]) for axis, most in enumerate(harmonics) for n in range(1, most + 1) for f in (torch.sin, torch.cos)]
    return torch.stack(out, -1) if out else theta[..., :0]


def check_points(
    name: str, x: Tensor, domain: Domain, embedding: Tensor | None, *, channels: int, size: int, harmonics: tuple[int, ...]
) -> Points:
    """The points of a Box or a Mesh, with `harmonics` of their positions, one an axis.

    Raises TypeError for another geometry, ValueError for other dimensions than harmonics or for wrong channels or embedding.
    """
    if not isinstance(domain, Box | Mesh):
        raise TypeError(f"{name} works on the points of a Box or a Mesh, got a {type(domain).__name__}; choose another operator")
    if domain.dim != len(harmonics):
        raise ValueError(f"this {name} was built with dim={len(harmonics)} but the {type(domain).__name__} has {domain.dim} dimensions")
    check_fields(name, x, domain, embedding, channels=channels, size=size)
    return points_of(domain, harmonics, x.dtype, x.device)


def points_of(domain: Box | Mesh, harmonics: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Points:
    """Made once for each box, and for each mesh, with which it is forgotten.

    A compiler takes those of a box as constants and makes those of one mesh in its graph; members must be counted, which breaks the graph.
    """
    if isinstance(domain, Box):
        where = _of_box(domain, harmonics, dtype, device)
    elif domain.members == 1 and torch.compiler.is_compiling():
        where = _place(domain, harmonics, dtype, device)
    else:
        where = _of_mesh(domain, harmonics, dtype, device)
    return Points(tuple(domain.shape), domain.members, where[0].shape[1], harmonics, *where)


Where = tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor | None, Tensor | None]
"""seen, weight, lower, turn, node, place."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _of_box(box: Box, harmonics: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Where:
    return _make_box(box, harmonics, dtype, device)


@lru_cache(maxsize=64)
def _make_box(box: Box, harmonics: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Where:
    with torch.inference_mode(False), torch.no_grad():
        x = torch.stack(box.grid(), -1).reshape(1, -1, box.dim).to(device)
        turns = [[(2 if kind == PERIODIC else 1) * pi / length for kind, length in zip(box.boundary, box.lengths, strict=True)]]
        lower, turn = (torch.tensor(v, dtype=torch.float64, device=device) for v in ([box.lower], turns))
        even = all(edges is None for edges in box.edges)
        weight = None if even else (box.measure / box.measure.mean()).reshape(1, -1).to(device, dtype)
        return harmonics_at((x - lower) * turn, harmonics).to(dtype), weight, lower, turn, None, None


_made: WeakKeyDictionary[Mesh, dict[tuple[tuple[int, ...], torch.dtype, torch.device], Where]] = WeakKeyDictionary()


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _of_mesh(mesh: Mesh, harmonics: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Where:
    known, key = _made.setdefault(mesh, {}), (harmonics, dtype, device)
    if key not in known:
        with torch.inference_mode(False), torch.no_grad():
            known[key] = _place(mesh, harmonics, dtype, device)
    return known[key]


def _place(mesh: Mesh, harmonics: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Where:
    """Every node in a place: in the row of its member, in their order; the places that remain repeat the member's first node."""
    node, place, filled = _rows(mesh.member.to(device), mesh.members)
    x, measure = mesh.points.to(device)[node], torch.where(filled, mesh.measure.to(device)[node], 0.0)
    lower, upper = x.amin(1), x.amax(1)
    extent = torch.where(upper > lower, upper - lower, 1.0)
    repeats = torch.tensor([period is not None for period in mesh.periods], device=device)
    periods = x.new_tensor([period or 0.0 for period in mesh.periods])
    lower, turn = torch.where(repeats, 0.0, lower), pi / torch.where(repeats, periods / 2, extent)
    weight = measure * (filled.sum(1, keepdim=True) / measure.sum(1, keepdim=True))
    seen = harmonics_at((x - lower[:, None]) * turn[:, None], harmonics)
    return seen.to(dtype), weight.to(dtype), lower, turn, *((None, None) if place is None else (node.flatten(), place))


def _rows(member: Int[Tensor, " node"], members: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """(the node in each place, the place of each node, whether a place is a node's own); no places where all rows are as long."""
    if members == 1:
        node = torch.arange(len(member), device=member.device)[None]
        return node, None, torch.ones_like(node, dtype=torch.bool)
    sizes = torch.bincount(member, minlength=members)
    longest, start = int(sizes.max()), sizes.cumsum(0) - sizes
    offset = torch.arange(longest, device=member.device).expand(members, -1)
    filled = offset < sizes[:, None]
    place = member * longest + torch.arange(len(member), device=member.device) - start[member]
    return start[:, None] + torch.where(filled, offset, 0), None if bool(filled.all()) else place, filled
