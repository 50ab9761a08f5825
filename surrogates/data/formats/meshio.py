"""Mesh files that meshio reads: VTK, VTU, XDMF, CGNS, Gmsh, MED, Exodus; one of them, or a series in time.

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
Units and, for a series without times, `dt` are given. Meshes are read when a file is opened, frames when they are looked at.

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
from surrogates.data.formats.meshio_mesh import Layout
from surrogates.data.formats.part import part
from surrogates.data.mesh_features import with_shared_features
from surrogates.data.mesh_piece import MOVING
from surrogates.domains.box import AXES
from surrogates.fields import Field

SUFFIXES = (".vtk", ".vtu", ".xdmf", ".xmf", ".cgns", ".msh", ".med", ".exo", ".e")
PVD = ".pvd"
CELLS = ("nodes", "centres", "none")
DISPLACEMENT = "displacement"


def recognises(path: Path) -> bool:
    """By the ends of names."""
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
    return with_shared_features({"all": [_part(files, n, len(found), path, given) for n, files in enumerate(found)]})


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


def _part(files: Sequence[Path], n: int, count: int, root: Path, given: Given) -> xr.Dataset:
    path, source = files[0], _source(files)
    frame = source.frame(0)
    options = dict(given.options)
    cells = options.get("cells")
    if frame.cell_data:
        why = f"{sorted(frame.cell_data)} lie in cells: `nodes` averages by volume, `centres` makes nodes of cells, `none` leaves them out"
        cells = given.need(cells, "options.cells=nodes", path, why)
        if cells not in CELLS:
            raise ValueError(f"{path}: options.cells is {cells!r} but must be one of {', '.join(CELLS)}")
    layout = Layout.of(frame, source.where(0), given, centres=cells == "centres")
    first = layout.values(frame, source.where(0), averaged=cells == "nodes")
    if options.get("moving"):
        first[DISPLACEMENT] = layout.displacement(frame)
    if not first:
        raise ValueError(f"{source.where(0)} has no data at {'cells' if cells == 'centres' else 'nodes'}; a field has one value each")
    fields = {name: _field(name, values, layout.mesh.dim, given, path) for name, values in first.items()}
    frames = _Frames(source, layout, fields, cells == "nodes")
    arrays, of = {}, {}
    for n_field, f in enumerate(fields.values()):
        for c, variable in enumerate(f.variables):
            arrays[variable], of[variable] = frames.channel(n_field, c), f
    vectors = Given(fields={f.name: f.variables for f in fields.values() if f.components})
    own = replace(given.over(vectors), parameters={k: (v[n] if len(v) == count > 1 else v[0],) for k, v in given.parameters.items()})
    for name, values in given.parameters.items():
        if len(values) not in (1, count):
            raise ValueError(f"{root}: parameter {name!r} has {len(values)} values but there are {count} trajectories; give 1 or {count}")
    made = part(arrays, of, layout.mesh, given=own, times=_times(source, given, path), name=root.stem, first=n)
    return made.assign_attrs({MOVING: DISPLACEMENT} if options.get("moving") else {})


def _times(source: Source, given: Given, path: Path) -> NDArray[np.float64]:
    if source.times is not None:
        return np.asarray(source.times, np.float64)
    if source.count == 1:
        return np.array([given.time or 0.0])
    dt = given.need(given.dt, "dt", path, "the names of a series of files do not say the time between them")
    return np.asarray((given.time or 0.0) + dt * np.arange(source.count), np.float64)


def _field(name: str, values: NDArray[Any], dim: int, given: Given, path: Path) -> Field:
    count = 1 if values.ndim == 1 else values.shape[1]
    if count not in (1, 2, 3, dim * dim):
        raise ValueError(f"{path}: {name!r} has {count} components, which is no scalar, vector or tensor in {dim}-D")
    tensor = tuple(a + b for a in AXES[:dim] for b in AXES[:dim])
    labels = () if count == 1 else AXES[:count] if count <= len(AXES) else tensor
    plain = re.sub(r"\W", "_", name)
    known = given.units.get("length") if name == DISPLACEMENT else None
    return Field(plain if plain.isidentifier() else f"_{plain}", given.unit(plain, path, known), tuple(labels))


class _Frames:
    """The frames of a series through dask; of each, all fields are read together."""

    def __init__(self, source: Source, layout: Layout, fields: dict[str, Field], averaged: bool) -> None:
        self.source, self.layout, self.fields, self.averaged = source, layout, fields, averaged
        self._last: tuple[int, list[NDArray[np.float32]]] | None = None

    def channel(self, field: int, component: int) -> Any:
        """(1, T, node)."""
        import dask
        import dask.array as da

        read = dask.delayed(lambda t: self.frame(t)[field][:, component])  # type: ignore[attr-defined]
        shape = self.layout.mesh.shape
        frames = [da.from_delayed(read(t), shape, np.float32) for t in range(self.source.count)]  # type: ignore[no-untyped-call]
        return da.stack(frames)[None]  # type: ignore[no-untyped-call]

    def frame(self, t: int) -> list[NDArray[np.float32]]:
        """(node, component) of each field. Raises ValueError where the mesh or the fields are not those of the first frame."""
        kept = self._last
        if kept is not None and kept[0] == t:
            return kept[1]
        frame, place = self.source.frame(t), self.source.where(t)
        moving = DISPLACEMENT in self.fields
        self.layout.check(frame, place, moving)
        values = self.layout.values(frame, place, averaged=self.averaged)
        if moving:
            values[DISPLACEMENT] = self.layout.displacement(frame)
        missing = [n for n in self.fields if n not in values]
        if missing:
            raise ValueError(f"{place} lacks {missing}, which the first frame has; it has {sorted(values)}")
        out = []
        for name, f in self.fields.items():
            u = values[name].reshape(len(values[name]), -1)
            if u.shape[1] < len(f.variables):
                raise ValueError(f"{place}: {name!r} has {u.shape[1]} components, and in the first frame {len(f.variables)}")
            out.append(u[:, : len(f.variables)].astype(np.float32))
        self._last = (t, out)
        return out
