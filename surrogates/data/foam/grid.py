"""Cells whose centres form a tensor grid, as blockMesh makes them of one block, as a `Box`; with holes, as a `Masked` one.

Along each axis the centres take n values and the points n + 1, the edges of the cells. The centre lies midway, or the grid is no box. A
periodic axis needs equal cells, and its first point is the first centre.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates.data.foam.cells import Cells
from surrogates.domains import Box, Masked
from surrogates.domains.box import PERIODIC, WALL

NEAR = 1e-6  # of the length of an axis: closer values are the same


def grid_of(cells: Cells, where: str) -> tuple[Box | Masked, NDArray[np.int64]]:
    """The grid, and the place of each cell in it, flattened. Raises ValueError, with the axis, for cells that form none."""
    places, edges = [], []
    for axis in cells.axes:
        name = "xyz"[axis]
        centres, place = _values(cells.centres[:, axis])
        bounds, _ = _values(cells.points[:, axis])
        if len(bounds) != len(centres) + 1 or np.abs((bounds[1:] + bounds[:-1]) / 2 - centres).max() > NEAR * (bounds[-1] - bounds[0]):
            raise ValueError(
                f"{where}: along {name} the cells have {len(centres)} centres and {len(bounds)} edges, so they form no grid of boxes; "
                "read them as a mesh: options: {as: cells}"
            )
        places.append(place)
        edges.append(bounds)
    shape = tuple(len(e) - 1 for e in edges)
    if np.prod(shape, dtype=float) > 64 * len(cells.centres):
        raise ValueError(f"{where}: {len(cells.centres)} cells fill little of a grid {shape}; read them as a mesh: options: {{as: cells}}")
    index = np.ravel_multi_index(tuple(places), shape)
    if len(np.unique(index)) < len(index):
        raise ValueError(f"{where}: two cells lie in one place of the grid {shape}; read them as a mesh: options: {{as: cells}}")
    box = _box(cells, edges, where)
    wet = np.zeros(shape, bool)
    wet.ravel()[index] = True
    return (box if wet.all() else Masked(box, torch.from_numpy(wet))), index.astype(np.int64)


def _values(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The different values, and which of them each is."""
    order = np.argsort(x, kind="stable")
    rank = np.concatenate([[0], np.cumsum(np.diff(x[order]) > NEAR * (x[order[-1]] - x[order[0]]))])
    place = np.empty(len(x), np.int64)
    place[order] = rank
    return np.bincount(rank, x[order]) / np.bincount(rank), place


def _box(cells: Cells, edges: list[NDArray[np.float64]], where: str) -> Box:
    lower, upper, kinds, stretched = [], [], [], []
    for axis, e in zip(cells.axes, edges, strict=True):
        widths, period = np.diff(e), cells.periods[axis]
        equal = bool(np.ptp(widths) <= NEAR * (e[-1] - e[0]))
        repeats = period is not None and abs(period - (e[-1] - e[0])) < NEAR * period
        if repeats and not equal:
            raise ValueError(
                f"{where}: {'xyz'[axis]} is periodic with unequal cells, which no Box has; read a mesh: options: {{as: cells}}"
            )
        shift = widths[0] / 2 if repeats else 0.0
        lower.append(float(e[0] + shift))
        upper.append(float(e[-1] + shift))
        kinds.append(PERIODIC if repeats else WALL)
        stretched.append(None if equal else tuple(float(v) for v in e))
    return Box(tuple(len(e) - 1 for e in edges), tuple(lower), tuple(upper), tuple(kinds), tuple(stretched), units="m")
