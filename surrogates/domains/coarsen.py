"""A coarser mesh of an unstructured one: centres that no edge joins and that every other node neighbours, joined where their cells touch.

Centres are a maximal independent set of the graph, found greedily outwards from the first node of each connected part, so that spacing
doubles or so: about 1/2 of the nodes in one dimension, 1/4 of a triangulation, 1/8 of tetrahedra. It follows the edges, not distances:
where the mesh is refined so is the coarse one, two sides of a thin wall stay apart, and parts that no edge joins stay so.

    cells     every node belongs to the nearest of the centres next to it
    edges     join two centres if some edge joins their cells, so a connected part stays connected
    measure   of a centre is that of its cell, so integrals of constants stay
    links     (fine, coarse): every centre with itself and with all its neighbours, so cells overlap, as a strided convolution's do

Where a choice is left, coordinates decide (x, then y, then z), never the numbering: renumbered nodes give the same coarse mesh.

Source: the coarse points of algebraic multigrid, Ruge and Stueben, Algebraic Multigrid, 1987, https://doi.org/10.1137/1.9781611971057.ch4.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from surrogates.domains.mesh import Mesh


def coarsen(mesh: Mesh) -> tuple[Mesh, Int[Tensor, "2 link"], Int[Tensor, " coarse"]]:
    """The coarse mesh, its links (fine, coarse) sorted by the coarse node, and which fine nodes the coarse ones are.

    Members, markers, periods and units stay; coarse meshes have no cells. The same device.
    """
    points, (sender, receiver) = mesh.points.cpu().numpy(), mesh.edges.cpu().numpy()
    order = np.lexsort(points.T[::-1])  # last key first: by x, then y, then z
    rank = np.argsort(order)
    chosen = independent_set(np.stack([rank[sender], rank[receiver]]), len(points))[rank]
    centres = np.flatnonzero(chosen)
    number = np.cumsum(chosen) - 1
    near = chosen[receiver]
    fine, coarse = np.concatenate([sender[near], centres]), np.concatenate([receiver[near], centres])
    distance = np.concatenate([mesh.relative.norm(dim=1).cpu().numpy()[near], np.zeros(len(centres))])
    by_owner = np.lexsort([rank[coarse], distance, fine])
    _, first = np.unique(fine[by_owner], return_index=True)
    owner = number[coarse[by_owner][first]]  # of every node: it is a centre or next to one
    pairs = np.stack([owner[sender], owner[receiver]])
    edges = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
    measure = np.bincount(owner, mesh.measure.cpu().numpy(), minlength=len(centres))
    links = np.stack([fine, number[coarse]])[:, np.lexsort([fine, coarse])]
    device, at = mesh.points.device, torch.from_numpy(centres).to(mesh.points.device)
    made = Mesh(
        mesh.points[at],
        torch.from_numpy(edges).to(device),
        torch.from_numpy(measure).to(device),
        None,
        mesh.markers[at],
        mesh.names,
        mesh.member[at],
        mesh.members,
        mesh.periods,
        mesh.units,
    )
    return made, torch.from_numpy(links).to(device), at


def independent_set(edges: np.ndarray, count: int) -> np.ndarray:
    """Whether each node is a centre: going outwards from the lowest node of each part, every node with no centre beside it."""
    order = np.lexsort([edges[0], edges[1]])
    start = np.concatenate([[0], np.bincount(edges[1], minlength=count).cumsum()]).tolist()
    neighbours = edges[0][order].tolist()
    chosen, covered, seen = np.zeros(count, dtype=bool), [False] * count, [False] * count
    for root in range(count):
        queue = deque() if seen[root] else deque([root])
        seen[root] = True
        while queue:
            v = queue.popleft()
            around = neighbours[start[v] : start[v + 1]]
            chosen[v] = not covered[v]
            for w in around:
                covered[w] = covered[w] or not covered[v]
                if not seen[w]:
                    seen[w] = True
                    queue.append(w)
    return chosen
