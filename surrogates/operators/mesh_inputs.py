"""What a network on a mesh knows of the mesh: who is whose neighbour, how far away and in which direction, and which boundary is where.

An edge is seen as (x_r - x_s, |x_r - x_s|)/l, by the nearest image. The unit l is a given length, or else the root mean square length of
the edges of each member, so that the numbers are of order one; then the same mesh at another scale looks the same. World edges join
nodes closer than a radius that no edge of the mesh joins (Pfaff et al.: sheets of cloth that touch).

For float32 on a CPU the counts of nodes and edges are rounded up to what `Pointwise` takes in whole images, twice as fast at 128
channels: by nodes that stand alone and by loops at the last of them, which no node of the mesh can see.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot, pad

from surrogates.domains.kept import kept
from surrogates.domains.mesh import Mesh
from surrogates.domains.mesh_edges import nearest_image, of_radius
from surrogates.errors import nearest
from surrogates.operators.graph import Graph
from surrogates.operators.pointwise import FEWEST, IMAGE, ONEDNN


@dataclass(frozen=True, eq=False)
class Links:
    """One set of edges and what is known of each."""

    graph: Graph
    features: Float[Tensor, "edge 1 K"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """For networks in the layout (node, B, C); `nodes` of them, of which those of the mesh come first."""

    nodes: int
    links: tuple[Links, ...]
    kinds: Float[Tensor, "node 1 kind"]  # one column a boundary: 1 on it
    member: Int[Tensor, " node"] | None  # None where there is one member

    def spread(self, values: Float[Tensor, "G C"], members: int) -> Float[Tensor, "node B C"]:
        """Each member's values at its nodes; one node that stands for all where there is one member."""
        rows = values.view(-1, members, values.shape[1]).transpose(0, 1)
        return rows if self.member is None else rows.index_select(0, self.member)


@dataclass(frozen=True)
class View:
    """What of a mesh is to be seen: which boundaries, in which unit of length, and world edges up to which radius."""

    boundaries: tuple[str, ...] = ()
    length: float | None = None
    world_radius: float | None = None


_seen: WeakKeyDictionary[Mesh, dict[object, Inputs]] = WeakKeyDictionary()


def inputs(mesh: Mesh, view: View, rows: int, dtype: torch.dtype, device: torch.device) -> Inputs:
    """For B = `rows`; made once and forgotten with the mesh. Raises ValueError for boundaries of the mesh that are not in view."""
    if torch.compiler.is_compiling():
        return _make(mesh, view, None, dtype, device)
    images = rows if ONEDNN and device.type == "cpu" and dtype != torch.float64 else None
    known, key = _seen.setdefault(mesh, {}), (view, images, dtype, device)
    if key not in known:
        with kept():
            known[key] = _make(mesh, view, images, dtype, device)
    return known[key]


def _make(mesh: Mesh, view: View, rows: int | None, dtype: torch.dtype, device: torch.device) -> Inputs:
    lengths = edge_lengths(mesh) if view.length is None else mesh.measure.new_full((mesh.members,), view.length)
    sets = [mesh.edges] if view.world_radius is None else [mesh.edges, world_edges(mesh, view.world_radius)]
    count = mesh.shape[0]
    nodes = count if rows is None else _whole(count + 1, rows)
    links = []
    for edges in sets:
        sender, receiver = edges
        difference = nearest_image(mesh.points[receiver] - mesh.points[sender], mesh.periods)
        features = torch.cat([difference, difference.norm(dim=1, keepdim=True)], 1) / lengths[mesh.member[receiver], None]
        more = 0 if rows is None else _whole(edges.shape[1], rows) - edges.shape[1]
        edges, features = pad(edges, (0, more), value=nodes - 1), pad(features, (0, 0, 0, more))
        links.append(Links(Graph.of(edges.to(device), nodes, dtype), features[:, None].to(device, dtype)))
    kinds = pad(one_hot(_kinds(mesh, view.boundaries), len(view.boundaries) + 1)[:, 1:], (0, 0, 0, nodes - count))
    member = None if mesh.members == 1 else pad(mesh.member, (0, nodes - count), value=mesh.members - 1).to(device)
    return Inputs(nodes, tuple(links), kinds[:, None].to(device, dtype), member)


def _whole(count: int, rows: int) -> int:
    """From `count` up, the first count whose rows fill images, at least so many as these need; as it is where that costs more."""
    points = IMAGE[0] * IMAGE[1]
    if count * rows < FEWEST * points * 2 // 3:
        return count
    step = points // gcd(points, rows)
    return max(-(-count // step), -(-FEWEST * points // (step * rows))) * step


def _kinds(mesh: Mesh, boundaries: tuple[str, ...]) -> Int[Tensor, " node"]:
    """Markers counted in `boundaries`; all zero where a network looks at none."""
    if not boundaries:
        return torch.zeros_like(mesh.markers)
    for name in mesh.names:
        if name not in boundaries:
            raise ValueError(f"the mesh has a boundary {name!r} but this network knows {', '.join(boundaries)}{nearest(name, boundaries)}")
    table = torch.tensor([0, *(boundaries.index(name) + 1 for name in mesh.names)], device=mesh.markers.device)
    return table[mesh.markers]


def edge_lengths(mesh: Mesh) -> Float[Tensor, " members"]:
    """The root mean square length of each member's edges, in the mesh's units; 1 where it has none."""
    member = mesh.member[mesh.edges[1]]
    zero = mesh.measure.new_zeros(mesh.members)
    squares = zero.index_add(0, member, mesh.relative.square().sum(1))
    counts = zero.index_add(0, member, torch.ones_like(mesh.relative[:, 0]))
    return torch.where(counts > 0, squares / counts.clamp(min=1), 1).sqrt()


@torch.compiler.disable  # type: ignore[untyped-decorator]  # a search tree is no part of a compiled graph
def world_edges(mesh: Mesh, radius: float) -> Int[Tensor, "2 edge"]:
    """Nodes of one member at most `radius` apart that no edge of the mesh joins, sorted by receiver."""
    counts = torch.bincount(mesh.member, minlength=mesh.members).tolist()
    found, start = [], 0
    for n in counts:
        found.append(of_radius(mesh.points[start : start + n], radius, mesh.periods) + start)
        start += n
    edges = torch.cat(found, 1).to(mesh.edges.device)
    key, joined = edges[1] * start + edges[0], mesh.edges[1] * start + mesh.edges[0]
    return edges[:, ~torch.isin(key, joined)]
