"""Mesh files: those that meshio reads (VTK, VTU, XDMF, Gmsh, MED, Exodus) and CGNS (`cgns`); one of them, or a series in time.

    flow.vtu                       one frame
    flow.xdmf                      one frame, or a temporal collection
    flow.pvd                       ParaView's collection: the files of a series and their times
    flow/flow_0000.vtu, ...        a series: files of one kind, in the order of the last number in their names; `dt` is given
    runs/a/..., runs/b/...         a folder of such folders: a trajectory each

Cells of any kind become simplices, and points that no cell has are left out. Points in a plane of constant z are two-dimensional, and
vectors there lose a third component that is zero. Boundaries are the named sets: of lower-dimensional cells (Gmsh's physical groups), or
of points.

Data in cells need a decision, `options: {cells: nodes}` (averaged by volume), `centres` (a node a cell) or `none` (left out): `mesh_cells`.
The points of all frames are those of the first unless `options: {moving: true}`, which makes the field `displacement` of how far they went.
Of MED and Exodus the one step is read, tried on files of meshio's own; Exodus of several steps is refused with what to do.
Units and, for a series without times, `dt` are given. Of every trajectory the first frame is read when it is opened, which says what there
is; where there are several trajectories it is not kept, and their meshes, too, are read again when they are looked at.

Sources: https://github.com/nschloe/meshio; https://docs.vtk.org/en/latest/design_documents/VTKFileFormats.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats import meshio_safety
from surrogates.data.formats.given import Given
from surrogates.data.formats.meshio_frames import Files, Source, Temporal
from surrogates.data.formats.meshio_opened import DISPLACEMENT, Opened, Values, opened
from surrogates.data.formats.part import part
from surrogates.data.lately import Lately
from surrogates.data.mesh_features import with_shared_features
from surrogates.data.mesh_piece import MOVING
from surrogates.domains.mesh_later import LaterMesh
from surrogates.interchange import settled

SUFFIXES = (".vtk", ".vtu", ".xdmf", ".xmf", ".msh", ".med", ".exo", ".e", ".cgns")
PVD = ".pvd"


def recognises(path: Path) -> bool:
    """By the ends of names; also what is refused with a reason."""
    try:
        return bool(_series(path))
    except (OSError, ValueError):
        return False


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """A part a series, no splits. Raises ValueError for files that are not sound, cells that are not known, and what nobody says; when
    frames are read, for one on another mesh than the first."""
    found = _series(path)
    if not found:
        raise ValueError(f"{path} holds no mesh file: none ends in {', '.join((*SUFFIXES, PVD))}")
    kept: Lately[int, Opened] = Lately(lambda n: opened(_source(found[n]), found[n][0], given), lambda o: o.bytes)
    frames: Lately[tuple[int, int], Values] = Lately(lambda at: kept(at[0]).frame(at[1]), lambda f: sum(u.nbytes for u in f))
    parts = [_part(n, len(found), path, kept, frames) for n in range(len(found))]
    return with_shared_features({"all": parts if len(parts) > 1 else [settled(p) for p in parts]})


def _series(path: Path) -> list[list[Path]]:
    """The files of each trajectory."""
    if path.is_file():
        return [[path]] if path.suffix.lower() in (*SUFFIXES, PVD) else []
    mine = _numbered(path)
    return [mine] if mine else [files for p in sorted(path.iterdir()) if p.is_dir() and (files := _numbered(p))]


def _numbered(folder: Path) -> list[Path]:
    files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    collection = [p for p in files if p.suffix.lower() == PVD]
    if collection:
        return sorted(collection)[:1]
    kinds = [[p for p in files if p.suffix.lower() == suffix] for suffix in SUFFIXES]
    most = max(kinds, key=len)
    if sum(map(bool, kinds)) > 1:
        raise ValueError(
            f"{folder} holds mesh files of several kinds ({sorted({p.suffix for k in kinds for p in k})}); keep one kind in it"
        )
    return sorted(most, key=lambda p: (int((re.findall(r"\d+", p.stem) or ["0"])[-1]), p.name))


def _source(files: Sequence[Path]) -> Source:
    first = meshio_safety.checked(files[0])
    if first.suffix.lower() == PVD:
        return Files.of_collection(first)
    if len(files) == 1 and first.suffix.lower() in meshio_safety.XDMF and Temporal.recognises(first):
        return Temporal(first)
    return Files(tuple(files), None)


def _part(n: int, count: int, root: Path, kept: Lately[int, Opened], frames: Lately[tuple[int, int], Values]) -> xr.Dataset:
    """A trajectory, of which nothing is held but its source and its fields."""
    source, layout, fields, _, path, given = kept(n)
    mesh = layout.mesh
    later = LaterMesh(mesh.shape[0], mesh.dim, mesh.names, mesh.units, lambda: kept(n).layout.mesh, source.where(0))
    arrays, of = {}, {}
    for k, f in enumerate(fields.values()):
        for c, variable in enumerate(f.variables):
            arrays[variable], of[variable] = _channel(frames, n, source.count, k, c, later.shape), f
    vectors = Given(fields={f.name: f.variables for f in fields.values() if f.components})
    own = replace(given.over(vectors), parameters={k: (v[n] if len(v) == count > 1 else v[0],) for k, v in given.parameters.items()})
    for name, values in given.parameters.items():
        if len(values) not in (1, count):
            raise ValueError(f"{root}: parameter {name!r} has {len(values)} values but there are {count} trajectories; give 1 or {count}")
    made = part(arrays, of, later, given=own, times=_times(source, given, path), name=root.stem, first=n)
    return made.assign_attrs({MOVING: DISPLACEMENT} if DISPLACEMENT in fields else {})


def _channel(frames: Lately[tuple[int, int], Values], n: int, count: int, field: int, component: int, shape: tuple[int, ...]) -> Any:
    """(1, T, node), through dask; of each frame all fields are read together."""
    import dask
    import dask.array as da

    read = dask.delayed(lambda t: frames((n, t))[field][:, component])  # type: ignore[attr-defined]
    each = [da.from_delayed(read(t), shape, np.float32) for t in range(count)]  # type: ignore[no-untyped-call]
    return da.stack(each)[None]  # type: ignore[no-untyped-call]


def _times(source: Source, given: Given, path: Path) -> NDArray[np.float64]:
    if source.times is not None:
        return np.asarray(source.times, np.float64)
    if source.count == 1:
        return np.array([given.time or 0.0])
    dt = given.need(given.dt, "dt", path, "the names of a series of files do not say the time between them")
    return np.asarray((given.time or 0.0) + dt * np.arange(source.count), np.float64)
