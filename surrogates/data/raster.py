"""A field on any domain as a picture: which point each pixel shows, found once, so that a frame is one gather.

A box is stretched to its lengths (three dimensions: the middle of the last axis), a sphere and a patch have north at the top, a mesh shows
the node nearest to each pixel, and nothing outside of its cells (of a cloud: farther than twice the usual distance between neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates.domains import Box, Masked, Mesh, Patch, Sphere
from surrogates.domains.layout import AnyDomain

WIDTH, TALLEST = 320, 400
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Raster:
    """`index` (height, width) into the points of the domain, top row first; `outside` shows nothing; `extent`: left, right, low, high."""

    index: NDArray[np.int64]
    outside: NDArray[np.bool_]
    extent: tuple[float, float, float, float]
    labels: tuple[str, str]

    def __call__(self, u: NDArray[np.float32]) -> NDArray[np.float32]:
        """(*X) -> (height, width), NaN where there is nothing."""
        return np.where(self.outside, np.float32(np.nan), u.ravel()[self.index])


def raster(domain: AnyDomain, width: int = WIDTH) -> Raster:
    """Of a domain of at least two dimensions. Raises ValueError for a line, which is drawn as one."""
    if domain.dim < 2:
        raise ValueError("a domain of one dimension is drawn as a line")
    if isinstance(domain, Mesh):
        return _mesh(domain, width)
    if isinstance(domain, Masked):
        made = raster(domain.box, width)
        dry = ~domain.wet.numpy().ravel()[made.index]
        return Raster(made.index, made.outside | dry, made.extent, made.labels)
    if isinstance(domain, Box):
        return _box(domain, width)
    return _globe(domain, width)


def _box(box: Box, width: int) -> Raster:
    (x0, x1), (y0, y1) = ((box.lower[a], box.upper[a]) for a in (0, 1))
    columns, rows = _pixels(x0, x1, width), _pixels(y1, y0, _height(x1 - x0, y1 - y0, width))
    i, j = (_nearest(box.coordinate(a).numpy(), p) for a, p in ((0, columns), (1, rows)))
    depth = box.shape[2] if box.dim == 3 else 1
    index = (i[None, :] * box.shape[1] + j[:, None]) * depth + depth // 2
    return Raster(index, np.zeros(index.shape, bool), (x0, x1, y0, y1), ("x", "y"))


def _globe(domain: Sphere | Patch, width: int) -> Raster:
    lat, lon = (domain.coordinate(a).numpy() for a in (0, 1))
    half = abs(float(lat[1] - lat[0])) / 2 if len(lat) > 1 else 90.0
    south, north = max(-90.0, float(lat.min()) - half), min(90.0, float(lat.max()) + half)
    size = 360.0 if isinstance(domain, Sphere) else domain.lengths[1]
    columns, rows = _pixels(lon[0], lon[0] + size, width), _pixels(north, south, _height(size, north - south, width))
    index = _nearest(lat, rows)[:, None] * len(lon) + _nearest(lon, columns)[None, :]
    return Raster(index, np.zeros(index.shape, bool), (float(lon[0]), float(lon[0] + size), south, north), ("longitude", "latitude"))


def _mesh(mesh: Mesh, width: int) -> Raster:
    from scipy.spatial import cKDTree

    points = mesh.points.cpu().numpy()
    (x0, y0), (x1, y1) = points[:, :2].min(0), points[:, :2].max(0)
    columns, rows = _pixels(x0, x1, width), _pixels(y1, y0, _height(x1 - x0, y1 - y0, width))
    at = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    if mesh.dim == 3:
        at = np.concatenate([at, np.full((len(at), 1), points[:, 2].mean())], 1)
    distance, index = cKDTree(points).query(at)
    shape = (len(rows), len(columns))
    if mesh.cells is not None and mesh.cells.shape[1] == 3:
        from matplotlib.tri import Triangulation

        find = Triangulation(points[:, 0], points[:, 1], mesh.cells.cpu().numpy()).get_trifinder()
        outside = np.asarray(find(at[:, 0], at[:, 1])) < 0
    else:
        usual = float(torch.linalg.vector_norm(mesh.relative.double(), dim=-1).median())
        outside = np.asarray(distance > 2 * usual)
    return Raster(index.reshape(shape), outside.reshape(shape), (float(x0), float(x1), float(y0), float(y1)), ("x", "y"))


def _height(across: float, up: float, width: int) -> int:
    return int(np.clip(round(width * up / across), width // 8, TALLEST))


def _pixels(first: float, last: float, count: int) -> Numbers:
    return first + (np.arange(count) + 0.5) * (last - first) / count


def _nearest(points: Numbers, at: Numbers) -> NDArray[np.int64]:
    """The number of the nearest of points that rise or fall."""
    rising = points if len(points) < 2 or points[0] < points[-1] else points[::-1]
    found = np.searchsorted((rising[1:] + rising[:-1]) / 2, at)
    return found if rising is points else len(points) - 1 - found
