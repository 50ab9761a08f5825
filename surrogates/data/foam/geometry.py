"""Areas and centres of faces, volumes and centres of cells, by the formulas of OpenFOAM's primitiveMesh.

A face of corners p_1 ... p_n is cut at their mean m into triangles (p_i, p_i+1, m) with normals n_i = (p_i+1 - p_i) x (m - p_i) / 2:

    S = sum n_i,      c = sum |n_i| (p_i + p_i+1 + m) / 3 / sum |n_i|

A cell is cut at the mean e of its faces' centres into pyramids of volume V_f = S_f . (c_f - e) / 3 (S_f outwards):

    V = sum V_f,      C = sum V_f (3 c_f + e) / 4 / V

Source: OpenFOAM v1912, src/OpenFOAM/meshes/primitiveMesh/primitiveMeshFaceCentresAndAreas.C and primitiveMeshCellCentresAndVols.C,
https://develop.openfoam.com/Development/openfoam.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
TINY = 1e-150  # below this OpenFOAM calls a face without area (ROOTVSMALL)


class Faces(NamedTuple):
    """(F, 3) each: centres in m, areas in m2 along the normal."""

    centres: Floats
    areas: Floats


def faces(points: Floats, begins: Whole, corners: Whole) -> Faces:
    """Faces with the same number of corners are worked out together."""
    sizes = np.diff(begins)
    centres, areas = np.empty((len(sizes), 3)), np.empty((len(sizes), 3))
    for n in np.unique(sizes):
        (rows,) = np.nonzero(sizes == n)
        p = points[corners[begins[rows, None] + np.arange(n)]]
        mean = p.mean(1, keepdims=True)
        if n == 3:
            centres[rows], areas[rows] = mean[:, 0], np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]) / 2
            continue
        after = np.roll(p, -1, axis=1)
        normals = np.cross(after - p, mean - p) / 2
        weights = np.linalg.norm(normals, axis=2, keepdims=True)
        total = weights.sum(1)
        centre = (weights * (p + after + mean)).sum(1) / (3 * np.maximum(total, TINY))
        centres[rows] = np.where(total < TINY, mean[:, 0], centre)
        areas[rows] = normals.sum(1)
    return Faces(centres, areas)


def cells(found: Faces, owner: Whole, neighbour: Whole, count: int) -> tuple[Floats, Floats]:
    """Centres (N, 3) and volumes (N,). A cell without volume gets the mean of its faces' centres."""
    inside = len(neighbour)
    cell = np.concatenate([owner, neighbour])
    centre = np.concatenate([found.centres, found.centres[:inside]])
    area = np.concatenate([found.areas, -found.areas[:inside]])
    mean = sums(cell, centre, count) / np.bincount(cell, minlength=count)[:, None]
    volume = ((centre - mean[cell]) * area).sum(1) / 3
    total: Floats = np.bincount(cell, volume, count).astype(np.float64)
    moment = sums(cell, volume[:, None] * (0.75 * centre + 0.25 * mean[cell]), count)
    solid = np.abs(total) > np.finfo(float).tiny
    return np.where(solid[:, None], moment / np.where(solid, total, 1.0)[:, None], mean), total


def sums(index: Whole, values: Floats, count: int) -> Floats:
    """The sum of the rows of `values` (E, k) that have each index: (count, k)."""
    return np.stack([np.bincount(index, column, count) for column in values.T], 1)
