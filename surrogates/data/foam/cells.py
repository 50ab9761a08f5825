"""The cells of a case as nodes: their centres, neighbours across faces, volumes, and the patches they touch, as a `Mesh`.

    node i      the centre of cell i, with the volume of the cell
    edge        two cells that share a face, one on each side of a processor boundary, or one on each of two cyclic patches
    marker      the patch that a face of the cell lies on; a cell on several keeps the last in the order of `boundary`

A case that is one cell thick (`empty` patches) becomes a mesh in the plane, its measure an area. Cyclic patches that a shift along one
axis carries into each other make that axis periodic, cut by decomposePar or not. A wedge stays what it is, a slice of a body, with volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from surrogates.data.foam import parallel
from surrogates.data.foam.case import Case
from surrogates.data.foam.patches import CYCLIC, FLAT, HALO, Patch
from surrogates.data.foam.polymesh import Floats, PolyMesh, Whole
from surrogates.domains import Mesh
from surrogates.domains.mesh_edges import both_ways

MATCH = 1e-4  # OpenFOAM's matchTolerance: faces of a pair differ by no more of their size


@dataclass(frozen=True, eq=False)
class Cells:
    """All parts of a case as one. `axes` are those that the case is not flat along; `patches` holds the cells of each patch."""

    centres: Floats  # (N, 3) m
    volumes: Floats  # (N,) m3
    pairs: Whole  # (2, E)
    patches: dict[str, Whole]
    kinds: dict[str, str]
    axes: tuple[int, ...]
    thickness: float  # m, of each flat axis, multiplied: volume / thickness is the measure
    periods: tuple[float | None, ...]  # of x, y, z
    points: Floats  # (P, 3) m, of all parts

    def mesh(self) -> Mesh:
        """Points (N, D) and measure in m^D. Raises ValueError as `Mesh` does."""
        markers = np.zeros(len(self.centres), np.int64)
        for number, cells in enumerate(self.patches.values(), start=1):
            markers[cells] = number
        return Mesh(
            torch.from_numpy(self.centres[:, list(self.axes)]),
            both_ways(torch.from_numpy(self.pairs), len(self.centres)),
            torch.from_numpy(self.volumes / self.thickness),
            None,
            torch.from_numpy(markers),
            tuple(self.patches),
            periods=tuple(self.periods[a] for a in self.axes),
            units="m",
        )


def cells_of(case: Case, unjoined: Sequence[str] = ()) -> Cells:
    """The cells of a case; the cyclic patches `unjoined` stay boundaries. Raises ValueError for what cannot be joined, by name."""
    index = case.addressing
    meshes = case.meshes
    if case.parallel and not np.array_equal(np.concatenate(index), np.arange(case.count)):
        meshes, index = [case.mesh], [np.arange(case.count)]
    for mesh in meshes:
        if (mesh.volumes <= 0).any():
            bad = int(np.flatnonzero(mesh.volumes <= 0)[0])
            raise ValueError(f"{mesh.path}: cell {bad} has the volume {mesh.volumes[bad]:.3g} m3; checkMesh tells more")
    pairs = [np.stack([cells[m.owner[: m.inside]], cells[m.neighbour]]) for m, cells in zip(meshes, index, strict=True)]
    joined = [_joined(m, unjoined) for m in meshes]
    pairs += [cells[pair] for (pair, _), cells in zip(joined, index, strict=True)]
    halves = [h for h in parallel.halves(meshes) if _cut_from(h[1]) not in unjoined and _cut_from(h[3]) not in unjoined]
    pairs.append(parallel.shared(halves, meshes, index))
    shifts = [shift for _, found in joined for shift in found]
    shifts += [_shift(meshes[i], p, meshes[j], q) for i, p, j, q in halves if _cut_from(p)]
    points = np.concatenate([m.points for m in meshes])
    flat = tuple(sorted({a for m in meshes for a in m.flat}))
    patches, kinds = _patches(meshes, index, unjoined)
    return Cells(
        np.concatenate([m.centres for m in meshes]),
        np.concatenate([m.volumes for m in meshes]),
        np.concatenate(pairs, 1),
        patches,
        kinds,
        tuple(a for a in range(3) if a not in flat),
        _thickness(points, flat, case),
        _periods(shifts, case),
        points,
    )


def _patches(meshes: list[PolyMesh], index: list[Whole], unjoined: Sequence[str]) -> tuple[dict[str, Whole], dict[str, str]]:
    """The cells at each patch where the flow ends."""
    cells: dict[str, list[Whole]] = {}
    kinds: dict[str, str] = {}
    for mesh, numbers in zip(meshes, index, strict=True):
        for p in mesh.patches:
            name = _cut_from(p) or p.name
            if p.type not in FLAT and (p.type not in (*CYCLIC, *HALO) or name in unjoined):
                cells.setdefault(name, []).append(numbers[mesh.owner[p.faces]])
                kinds[name] = mesh.patch(name).type
    return {name: np.concatenate(found) for name, found in cells.items()}, kinds


def _cut_from(patch: Patch) -> str:
    """The cyclic patch whose faces these are, where its pair lies on another processor; "" else."""
    return str(patch.entry["referPatch"]) if patch.type == "processorCyclic" else ""


def _thickness(points: Floats, flat: tuple[int, ...], case: Case) -> float:
    out = 1.0
    for axis in flat:
        low, high = float(points[:, axis].min()), float(points[:, axis].max())
        if np.minimum(points[:, axis] - low, high - points[:, axis]).max() > 1e-4 * (high - low):
            raise ValueError(f"{case.path}: flat along {'xyz'[axis]} by its empty patches, but its points lie in more than two planes")
        out *= high - low
    return out


def _joined(mesh: PolyMesh, unjoined: Sequence[str]) -> tuple[Whole, list[Floats]]:
    """(2, pair) of cells that cyclic patches join, and the shift of each pair of patches. Raises ValueError for what no shift joins."""
    pairs, shifts = [np.zeros((2, 0), np.int64)], []
    for p in (p for p in mesh.patches if p.size and p.name not in unjoined):
        if "cyclic" in p.type and p.type not in (*CYCLIC, *HALO):
            raise ValueError(
                f"{mesh.path}: patch {p.name!r} is {p.type!r}, whose faces do not match one by one; it can be read as a boundary: "
                f"options: {{unjoined: [{p.name}]}}"
            )
        if p.type in CYCLIC:
            other = mesh.patch(str(p.entry["neighbourPatch"]))
            if other.size != p.size or str(other.entry["neighbourPatch"]) != p.name:
                raise ValueError(f"{mesh.path}: cyclic {p.name!r} and {other.name!r} are no pair: {p.size} and {other.size} faces")
            if other.start > p.start:
                shifts.append(_shift(mesh, p, mesh, other))
                pairs.append(np.stack([mesh.owner[p.faces], mesh.owner[other.faces]]))
    return np.concatenate(pairs, 1), shifts


def _shift(mesh: PolyMesh, one: Patch, beyond: PolyMesh, other: Patch) -> Floats:
    """From the faces of a patch to those of its pair, which may lie in another part. Raises ValueError where it is none along an axis."""
    shift = beyond.faces.centres[other.faces] - mesh.faces.centres[one.faces]
    size = np.sqrt(np.linalg.norm(mesh.faces.areas[one.faces], axis=1)).max()
    mean: Floats = shift.mean(0)
    if np.abs(shift - mean).max() > MATCH * size or np.count_nonzero(np.abs(mean) > MATCH * size) != 1:
        names = [_cut_from(p) or p.name for p in (one, other)]
        raise ValueError(
            f"{mesh.path}: cyclic patches {names[0]!r} and {names[1]!r} are not one shift along x, y or z apart (a rotation?); they can "
            f"be read as boundaries: options: {{unjoined: [{', '.join(names)}]}}"
        )
    return mean


def _periods(shifts: list[Floats], case: Case) -> tuple[float | None, ...]:
    out: list[float | None] = [None, None, None]
    for shift in shifts:
        axis = int(np.abs(shift).argmax())
        length, known = float(abs(shift[axis])), out[axis]
        if known is not None and abs(known - length) > MATCH * length:
            raise ValueError(f"{case.path}: cyclic patches repeat {'xyz'[axis]} after {known:g} m and {length:g} m; one is possible")
        out[axis] = length
    return tuple(out)
