"""From the first frame of a series the mesh, and how data of every frame lie on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.data.formats.given import Given
from surrogates.data.formats.mesh_frame import Frame
from surrogates.data.mesh_cells import DIMENSION, centred, kind_of, simplices, to_nodes, volumes_of
from surrogates.domains import Mesh

Blocks = list[tuple[int, str, NDArray[np.int64]]]
"""Number in the file, plain kind, and corners of blocks of cells."""


@dataclass(frozen=True, eq=False)
class Layout:
    """`kept` are the points that the mesh has, `owner` the cell of each simplex, `blocks` the numbers of the blocks that fill the space."""

    mesh: Mesh
    points: NDArray[np.float64]
    kept: NDArray[np.int64]
    corners: NDArray[np.int64]
    owner: NDArray[np.int64]
    volume: NDArray[np.float64]
    blocks: tuple[int, ...]
    cells: tuple[tuple[str, NDArray[Any]], ...]
    centres: bool

    @classmethod
    def of(cls, frame: Frame, place: str, given: Given, *, centres: bool) -> Layout:
        """Raises ValueError for cells of unknown kinds, flat ones and those of points that are not there; and for no unit of length."""
        blocks = _blocks(frame, place)
        top = max(DIMENSION[kind] for _, kind, _ in blocks)
        filling = [(n, kind, cells) for n, kind, cells in blocks if DIMENSION[kind] == top]
        points = _coordinates(frame.points, top)
        cut = [simplices(kind, cells, points) for _, kind, cells in filling]
        corners = np.concatenate([c for c, _ in cut])
        starts = np.cumsum([0, *(len(cells) for _, _, cells in filling)])
        owner = np.concatenate([o + s for (_, o), s in zip(cut, starts[:-1], strict=True)])
        kept = np.unique(corners)
        number = np.full(len(points), -1)
        number[kept] = np.arange(len(kept))
        units, volume = given.unit("length", Path(place.partition(", frame")[0])), volumes_of(points, corners)
        try:
            if centres:
                plain = [(kind, cells) for _, kind, cells in filling]
                mesh = centred(points, plain, _cell_boundaries(frame, blocks, filling), units)
            else:
                mesh = Mesh.from_cells(points[kept], number[corners], _boundaries(frame, blocks, top, number), units=units)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        used = tuple(n for n, _, _ in filling)
        return cls(mesh, points, kept, number[corners], owner, volume, used, tuple(frame.cells), centres)

    def values(self, frame: Frame, place: str, *, averaged: bool) -> dict[str, NDArray[Any]]:
        """Data by name, one a node of the mesh: (node[, component]). Raises ValueError for arrays of another length, and no numbers."""
        out = {}
        if not self.centres:
            for name, values in frame.point_data.items():
                self._check(name, values, len(self.points), place)
                out[name] = values[self.kept]
        if self.centres or averaged:
            for name, blocks in frame.cell_data.items():
                values = np.concatenate([blocks[n] for n in self.blocks])
                self._check(name, values, int(self.owner[-1]) + 1, place)
                if name in out:
                    raise ValueError(f"{place} has {name!r} both at points and in cells; write options: {{cells: none}} or centres")
                out[name] = values if self.centres else to_nodes(values, self.owner, self.corners, self.volume, len(self.kept))
        return {name: self._flat(values) for name, values in out.items()}

    def displacement(self, frame: Frame) -> NDArray[np.float64]:
        """How far the nodes are from where the mesh has them."""
        moved = frame.points[:, : self.points.shape[1]].astype(np.float64) - self.points
        if not self.centres:
            return moved[self.kept]
        weights = np.bincount(self.owner, self.volume)
        parts = [np.bincount(self.owner, self.volume * moved[self.kept][self.corners][..., a].mean(1)) for a in range(moved.shape[1])]
        return np.stack(parts, 1) / weights[:, None]

    def check(self, frame: Frame, place: str, moving: bool) -> None:
        """Raises ValueError for another mesh than the first frame's."""
        same = len(frame.cells) == len(self.cells) and all(
            a == c and np.array_equal(b, d) for (a, b), (c, d) in zip(frame.cells, self.cells, strict=True)
        )
        if len(frame.points) != len(self.points) or not same:
            count = sum(len(c) for _, c in frame.cells)
            raise ValueError(
                f"{place} has another mesh than the first frame ({len(frame.points)} points, {count} cells, against {len(self.points)} and "
                f"{sum(len(c) for _, c in self.cells)}); frames of a trajectory share their cells: interpolate them onto one mesh"
            )
        if not moving and not np.array_equal(frame.points[:, : self.points.shape[1]], self.points):
            raise ValueError(
                f"the points of {place} lie elsewhere than in the first frame; write options: {{moving: true}} for a moving mesh"
            )

    def _check(self, name: str, values: NDArray[Any], count: int, place: str) -> None:
        if values.dtype.kind not in "fiub" or len(values) != count:
            raise ValueError(f"{place}: {name!r} holds {len(values)} values of {values.dtype}, and {count} numbers are needed")

    def _flat(self, values: NDArray[Any]) -> NDArray[Any]:
        """(node, component), without a third component that is zero in a plane."""
        flat = values.reshape(len(values), -1) if values.ndim > 1 else values
        planar = self.points.shape[1] == 2 and flat.ndim == 2 and flat.shape[1] == 3 and not flat[:, 2].any()
        return flat[:, :2] if planar else flat


def _blocks(frame: Frame, place: str) -> Blocks:
    out: Blocks = []
    for n, (kind, cells) in enumerate(frame.cells):
        if kind == "vertex" or not len(cells):
            continue
        plain = kind_of(kind, place)
        if not cells.size:
            raise ValueError(f"{place}: its {kind}s have no corners; the file is damaged or was cut short, copy it again")
        if int(cells.min()) < 0 or int(cells.max()) >= len(frame.points):
            wrong = int(((cells < 0) | (cells >= len(frame.points))).any(1).argmax())
            raise ValueError(
                f"{place}: cell {wrong} of the {kind}s names point {int(cells[wrong].max())}, and there are {len(frame.points)}, 0 up"
            )
        out.append((n, plain, cells))
    if not out:
        raise ValueError(f"{place} has no cells; a cloud of points is no mesh file")
    return out


def _coordinates(points: NDArray[Any], top: int) -> NDArray[np.float64]:
    """float64, without the axes at the end that are constant, down to the dimension of the cells."""
    x = np.asarray(points, np.float64)
    while x.shape[1] > top and not np.ptp(x[:, -1]):
        x = x[:, :-1]
    return np.ascontiguousarray(x)


def _boundaries(frame: Frame, blocks: Blocks, top: int, number: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """The nodes of named sets: points of sets of points, and of cells that do not fill the space."""
    out = {n: p for n, p in frame.point_sets.items()}
    for name, sets in frame.sets.items():
        own = [cells[sets[n]].reshape(-1) for n, kind, cells in blocks if DIMENSION[kind] < top and n < len(sets) and len(sets[n])]
        if own:
            out[name] = np.concatenate(own)
    nodes = {n: np.unique(number[p]) for n, p in out.items()}
    return {n: p[p >= 0] for n, p in nodes.items() if (p >= 0).any()}


def _cell_boundaries(frame: Frame, blocks: Blocks, filling: Blocks) -> dict[str, NDArray[np.int64]]:
    """The cells that have all corners of a cell of a named set of sides."""
    out = {}
    top = max(DIMENSION[kind] for _, kind, _ in filling)
    for name, sets in frame.sets.items():
        sides = {
            frozenset(side.tolist())
            for n, kind, cells in blocks
            if DIMENSION[kind] == top - 1 and n < len(sets) and len(sets[n])
            for side in cells[sets[n]]
        }
        touched = np.zeros(len(frame.points), bool)
        touched[[p for side in sides for p in side]] = True
        found, start = [], 0
        for _, _, cells in filling:
            for c in np.flatnonzero(touched[cells].sum(1) >= top):
                corners = frozenset(cells[c].tolist())
                if any(side <= corners for side in sides if next(iter(side)) in corners):
                    found.append(start + int(c))
            start += len(cells)
        if found:
            out[name] = np.array(found, np.int64)
    return out
