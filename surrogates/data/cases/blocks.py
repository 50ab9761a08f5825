"""Tensor-product meshes by blockMesh: rectangles of cells, some of them left out, each axis uniform or graded towards both ends.

    edges(n, length, grading)      n cells; grading is the widest over the narrowest, the widest in the middle
    mesh_dictionary(...)           one block a run of cells with the same neighbours; blocks share their corners

A cell of the mesh belongs to the place (i, j) of the grid in which its centre lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates.data.foam import Case
from surrogates.data.foam.cells import cells_of
from surrogates.domains import Box, Masked
from surrogates.domains.box import WALL

DEPTH = 0.1  # of the one cell across the plane, m
Edges = NDArray[np.float64]


def edges(count: int, length: float, grading: float = 1.0) -> Edges:
    """Geometric from each end to the middle; equal where grading is 1. Raises ValueError for an odd count of graded cells."""
    if grading == 1:
        return np.linspace(0.0, length, count + 1)
    if count % 2 or count < 4:
        raise ValueError(f"a graded axis has an even number of cells, 4 at least, got {count}")
    half = grading ** (np.arange(count // 2) / (count // 2 - 1))
    widths = np.concatenate([half, half[::-1]])
    out: Edges = np.concatenate([[0.0], np.cumsum(widths)]) * (length / widths.sum())
    out[-1] = length
    return out


def mesh_dictionary(
    counts: Sequence[int], lengths: Sequence[float], patches: Mapping[str, tuple[str, Sequence[Sequence[int]]]], grading: float = 1.0
) -> dict[str, Any]:
    """blockMeshDict of one block [0, lengths]. `patches`: name -> (type, faces by corner). Corners 0-3 run counter-clockwise in front."""
    (x, y), z = lengths, DEPTH
    flat = [(0.0, 0.0), (x, 0.0), (x, y), (0.0, y)]
    vertices = tuple((*p, depth) for depth in (0.0, z) for p in flat)
    half = (0.5, 0.5, grading)
    both = ((half, (0.5, 0.5, 1 / grading)),) * 2 if grading != 1 else (1.0, 1.0)
    block = ["hex", tuple(range(8)), (*counts, 1), "simpleGrading", (*both, 1.0)]
    entries: list[Any] = []
    for name, (kind, faces) in patches.items():
        entries += [name, {"type": kind, "faces": tuple(tuple(f) for f in faces)}]
    return {"scale": 1.0, "vertices": vertices, "blocks": (block,), "edges": (), "boundary": tuple(entries), "mergePatchPairs": ()}


def grid_of(case: Case, x: Edges, y: Edges) -> tuple[Box | Masked, NDArray[np.int64]]:
    """The grid of these edges, Masked where the mesh leaves places out, and the cell of each place (wet ones in row-major order).

    Raises ValueError where a cell lies in no place, or two in one.
    """
    found = cells_of(case)
    i, j = np.searchsorted(x, found.centres[:, 0]) - 1, np.searchsorted(y, found.centres[:, 1]) - 1
    shape = (len(x) - 1, len(y) - 1)
    if min(i.min(), j.min()) < 0 or i.max() >= shape[0] or j.max() >= shape[1]:
        raise ValueError(f"{case.path}: cells lie outside of the grid {shape}")
    at = i * shape[1] + j
    if len(np.unique(at)) < len(at):
        raise ValueError(f"{case.path}: two cells lie in one place of the grid {shape}")
    stretched = tuple(None if np.allclose(np.diff(e), e[1] - e[0]) else tuple(e.tolist()) for e in (x, y))
    box = Box(shape, (0.0, 0.0), (float(x[-1]), float(y[-1])), (WALL, WALL), stretched, "m")
    order: NDArray[np.int64] = at.argsort()
    if len(at) == shape[0] * shape[1]:
        return box, order
    wet = np.zeros(shape, bool)
    wet.reshape(-1)[at] = True
    return Masked(box, torch.from_numpy(wet)), order
