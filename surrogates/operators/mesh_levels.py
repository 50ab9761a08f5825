"""A mesh and coarser ones made of it by `domains.coarsen`, with the edges within each and the links between neighbouring ones.

An edge is seen as the relative position of its ends and its length, in rms edge lengths of the member on its level (of the finer level
for a link), or in a given length that doubles with each level, so that the numbers are of order one on every level.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surrogates.domains.coarsen import coarsen
from surrogates.domains.kept import kept
from surrogates.domains.mesh import Mesh
from surrogates.domains.mesh_edges import nearest_image
from surrogates.operators.graph import Graph
from surrogates.operators.mesh_inputs import Inputs, Links, View, edge_lengths


@dataclass(frozen=True, eq=False)
class Place:
    """One level: its edges, and how it is reached from the finer one and left for it again."""

    links: Links
    member: Int[Tensor, " node"] | None  # None where there is one member
    centres: Int[Tensor, " centre"]  # which nodes of the finer level these are; none on the finest
    up: Links | None
    down: Links | None

    def spread(self, values: Float[Tensor, "G C"], members: int) -> Float[Tensor, "node B C"]:
        """Each member's values at its nodes; one node that stands for all where there is one member."""
        rows = values.view(-1, members, values.shape[1]).transpose(0, 1)
        return rows if self.member is None else rows.index_select(0, self.member)


Known = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Of one coarser level: edges and what is known of them, links (fine, coarse) and what is known of them upwards, centres, members."""

_levels: WeakKeyDictionary[Mesh, dict[tuple[int, float | None], tuple[Known, ...]]] = WeakKeyDictionary()
_places: WeakKeyDictionary[Mesh, dict[object, tuple[Place, ...]]] = WeakKeyDictionary()


def hierarchy(mesh: Mesh, levels: int, view: View, seen: Inputs, dtype: torch.dtype, device: torch.device) -> tuple[Place, ...]:
    """The mesh itself, as it is `seen`, and `levels` coarser ones; made once for each mesh, and forgotten with it."""
    if torch.compiler.is_compiling():
        return _places_of(coarser_levels(mesh, levels, view.length), seen, dtype, device)
    known, key = _places.setdefault(mesh, {}), (levels, view, seen.nodes, dtype, device)
    if key not in known:
        with kept():
            known[key] = _places_of(coarser_levels(mesh, levels, view.length), seen, dtype, device)
    return known[key]


def _places_of(levels: tuple[Known, ...], seen: Inputs, dtype: torch.dtype, device: torch.device) -> tuple[Place, ...]:
    nodes, none = seen.nodes, torch.zeros(0, dtype=torch.long, device=device)
    places = [Place(seen.links[0], seen.member, none, None, None)]
    for edges, known, links, upwards, centres, member in (tuple(v.to(device) for v in level) for level in levels):
        at = upwards.to(dtype)[:, None]
        back = links[0].argsort(stable=True)
        places.append(
            Place(
                Links(Graph.of(edges, len(centres), dtype), known.to(dtype)[:, None]),
                None if seen.member is None else member,
                centres,
                Links(Graph.of(links, len(centres), dtype, sources=nodes), at),
                Links(Graph.of(links.flip(0)[:, back], nodes, dtype, sources=len(centres)), at[back] * at.new_tensor(_BACK[at.shape[2]])),
            )
        )
        nodes = len(centres)
    return tuple(places)


_BACK = {n: [-1.0] * (n - 1) + [1.0] for n in (2, 3, 4)}  # the way back: the difference turns round, its length stays


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def coarser_levels(mesh: Mesh, levels: int, length: float | None) -> tuple[Known, ...]:
    """What is known of each coarser level, in float64; lengths in `length` times 2^level, by default in rms edges of each member."""
    made, key = _levels.setdefault(mesh, {}), (levels, length)
    if key not in made:
        with kept():
            out, fine = [], mesh
            for level in range(levels):
                coarse, links, centres = coarsen(fine)
                between = nearest_image(coarse.points[links[1]] - fine.points[links[0]], mesh.periods)
                out.append(
                    (
                        coarse.edges,
                        _known(coarse.relative, coarse, coarse.member[coarse.edges[1]], length, level + 1),
                        links,
                        _known(between, fine, fine.member[links[0]], length, level),
                        centres,
                        coarse.member,
                    )
                )
                fine = coarse
            made[key] = tuple(out)
    return made[key]


def _known(difference: Tensor, mesh: Mesh, owner: Tensor, length: float | None, level: int) -> Float[Tensor, "edge K"]:
    unit = edge_lengths(mesh) if length is None else mesh.measure.new_full((mesh.members,), length * 2**level)
    return torch.cat([difference, difference.norm(dim=1, keepdim=True)], 1) / unit[owner, None]
