"""Which nodes of a mesh are neighbours: corners of one cell, the k nearest points, or all within a radius.

All give edges (2, edge) as rows (sender, receiver), both ways, each once, no node to itself, sorted by receiver, then by sender.
Where an axis has a period L, differences take the nearest image, d - L round(d/L).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Periods = tuple[float | None, ...]


def nearest_image(difference: Float[Tensor, "*any D"], periods: Periods) -> Float[Tensor, "*any D"]:
    """The difference to the nearest image of a point, each axis by itself."""
    columns = [d if length is None else d - length * (d / length).round() for d, length in zip(difference.unbind(-1), periods, strict=True)]
    return torch.stack(columns, -1)


def both_ways(pairs: Int[Tensor, "2 pair"], nodes: int) -> Int[Tensor, "2 edge"]:
    """Each pair in both directions, once, without loops, sorted by receiver and then by sender."""
    sender, receiver = torch.cat([pairs, pairs.flip(0)], 1)
    key = torch.unique((receiver * nodes + sender)[sender != receiver])
    return torch.stack([key % nodes, key // nodes])


def of_cells(cells: Int[Tensor, "cell corner"], nodes: int) -> Int[Tensor, "2 edge"]:
    """Corners of one simplex are neighbours."""
    pairs = [cells[:, [a, b]] for a, b in combinations(range(cells.shape[1]), 2)]
    return both_ways(torch.cat(pairs).T, nodes)


def of_nearest(points: Float[Tensor, "node D"], k: int, periods: Periods) -> Int[Tensor, "2 edge"]:
    """Each node and its k nearest others (all of them where there are fewer) are neighbours. Raises ValueError for k < 1."""
    if k < 1:
        raise ValueError(f"a node needs k >= 1 nearest neighbours, got k={k}")
    nodes = len(points)
    k = min(k, nodes - 1)
    if k == 0:
        return torch.zeros(2, 0, dtype=torch.long)
    tree, wrapped = _tree(points, periods)
    _, found = tree.query(wrapped, k=list(range(2, k + 2)))  # the first is the node itself
    sender = torch.as_tensor(np.asarray(found, dtype=np.int64).reshape(-1))
    return both_ways(torch.stack([sender, torch.arange(nodes).repeat_interleave(k)]), nodes)


def of_radius(points: Float[Tensor, "node D"], radius: float, periods: Periods) -> Int[Tensor, "2 edge"]:
    """Nodes at most `radius` apart are neighbours. Raises ValueError for a radius that is not positive."""
    if not radius > 0:
        raise ValueError(f"the radius must be positive, got {radius}")
    tree, _ = _tree(points, periods)
    pairs = torch.as_tensor(tree.query_pairs(radius, output_type="ndarray").astype(np.int64).reshape(-1, 2))
    return both_ways(pairs.T, len(points))


def _tree(points: Tensor, periods: Sequence[float | None]):  # type: ignore[no-untyped-def]  # scipy ships no types
    """A search tree and the points folded into one period; a box size of 0 tells it that an axis does not repeat."""
    from scipy.spatial import cKDTree

    size = np.array([0.0 if length is None else length for length in periods])
    wrapped = points.cpu().numpy().copy()
    for axis, length in enumerate(size):
        if length:
            folded = np.mod(wrapped[:, axis], length)
            wrapped[:, axis] = np.where(folded < length, folded, 0.0)  # -1e-17 folds to the period itself
    return cKDTree(wrapped, boxsize=size if size.any() else None), wrapped
