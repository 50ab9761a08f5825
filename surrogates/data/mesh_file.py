"""Files of fields on meshes (HDF5, "surrogates.mesh", format 1), beside the grids of `layout`, and as crash-safe as these.

    root            @format_name "surrogates.mesh"  @format  @dataset_name  @n_trajectories  @attrs (JSON)
                    @fields, and where there are any @static and @forcings (JSON, as `Fields.to_json`)
    meshes/0000/    points (node, D) float64, edges (2, edge), measure (node), markers (node), and but for clouds cells (cell, corner);
                    @names of the markers from 1 on, @periods (0 where an axis does not repeat), @units of length, @key (SHA-256)
    parts/0000/     trajectories that share one mesh and their times; @mesh @dt @time_units [@calendar] [@moving]
        trajectory (R), time (T) float64, parameters/<name> (R) float64
        fields/<name>, forcings/<name> (R, T, node[, component]) float32;  static/<name> (1 or R, node[, component]) float32
    complete        one byte a trajectory, part after part;  final: the closing record, a JSON text

A file holds any number of meshes, and trajectories of any length: those that differ in either are parts of their own. Cells are simplices
(`mesh_cells` cuts others), edges are kept as they are. A mesh that moves is a mesh in its reference configuration and a field that says
where its nodes are, or how far they went, which `moving` names.

As in `layout`, all that HDF5 knows is written at once to a name that is then moved into place, with arrays preallocated, contiguous and
uncompressed; from then on only raw bytes at known offsets change: frames, synchronised; then their `complete` byte; last `final`. An
unfinished file is `*.hdf5.part`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates.data.hdf5 import FINAL_BYTES, PART, ROOM_FOR_THE_REST, check_room, names, reserve, reserved, sync
from surrogates.data.mesh_piece import MOVING, Piece, key_of, numbering, shape_of
from surrogates.domains import Mesh
from surrogates.domains.box import AXES
from surrogates.domains.layout import MESH, NODE
from surrogates.fields import Fields
from surrogates.interchange import (
    FORCINGS,
    LEAD,
    STATIC,
    TIME,
    TRAJECTORY,
    check_names,
    declared,
    fields_of,
    parameters_of,
    trajectories_of,
)

NAME, FORMAT = "surrogates.mesh", 1
FIELDS = "fields"
Frames = npt.NDArray[np.float32]


def create(
    path: Path,
    pieces: Sequence[Piece | xr.Dataset],
    *,
    name: str,
    fields: Fields | None = None,
    static: Fields | None = None,
    forcings: Fields | None = None,
    attrs: Mapping[str, str | int | float] | None = None,
) -> None:
    """A new unfinished file at `path`, all of its room reserved. Fields are those of the first Dataset unless given. Trajectories keep
    their ids where these differ; else they are counted from 0.

    Raises ValueError for pieces of different fields and parameters called like a coordinate or field, and OSError where the disk has not
    that much.
    """
    first = pieces[0]
    if isinstance(first, xr.Dataset):
        fields, static, forcings = fields or fields_of(first), static or declared(first, STATIC), forcings or declared(first, FORCINGS)
        _alike([p for p in pieces if isinstance(p, xr.Dataset)], fields)
    if fields is None:
        raise ValueError("pieces do not say which fields they have; give fields=")
    ids = numbering([p.trajectories if isinstance(p, Piece) else trajectories_of(p) for p in pieces])
    variables = [v for some in (fields, static, forcings) for x in some or () for v in x.variables]
    for p in pieces:
        own = set(p.parameters if isinstance(p, Piece) else parameters_of(p))
        check_names(own, (*AXES, TRAJECTORY, TIME, LEAD, MESH, NODE, *variables))
    path.parent.mkdir(parents=True, exist_ok=True)
    count = fields.count + (forcings.count if forcings else 0)
    check_room(path, 4 * count * sum(_values(p) for p in pieces) + ROOM_FOR_THE_REST)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with h5py.File(draft, "w", libver="earliest") as f:
            f.attrs.update({"format_name": NAME, "format": FORMAT, "dataset_name": name, "n_trajectories": sum(map(len, ids))})
            f.attrs.update({"attrs": json.dumps(dict(attrs or {})), "fields": json.dumps(fields.to_json())})
            kinds = {STATIC: static, FORCINGS: forcings}
            f.attrs.update({kind: json.dumps(some.to_json()) for kind, some in kinds.items() if some})
            number: dict[str, int] = {}  # equal keys, equal meshes
            for k, (p, own_ids) in enumerate(zip(pieces, ids, strict=True)):
                piece = replace(p if isinstance(p, Piece) else Piece.of(p), trajectories=own_ids)  # one of them in memory at a time
                key = key_of(piece.mesh)
                if key not in number:
                    number[key] = len(number)
                    _mesh(f.create_group(f"meshes/{number[key]:04d}"), piece.mesh, key)
                _piece(f.create_group(f"parts/{k:04d}"), piece, number[key], fields, static, forcings)
            f.create_dataset("complete", data=np.zeros(sum(map(len, ids)), np.uint8))
            f.create_dataset("final", data=np.zeros(FINAL_BYTES, np.uint8))
        reserve(draft)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


class Part:
    """An unfinished file, open for writing: `write_frames` of every row, then `finish`. Rows count trajectories part after part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path, "r") as f:
            self.fields = Fields.from_json(json.loads(f.attrs["fields"]))
            self.forcings = Fields.from_json(json.loads(f.attrs.get(FORCINGS, "[]")))
            self.attrs: dict[str, Any] = json.loads(f.attrs["attrs"])
            self.complete = f["complete"][:].astype(bool)
            self._marks, self._final = f["complete"].id.get_offset(), f["final"].id.get_offset()
            self._rows = [(place, i) for place in map(_place, in_order(f["parts"])) for i in range(place.rows)]
        self._reached = [0] * len(self.complete)

    def frames(self, row: int) -> int:
        """How many frames a trajectory has."""
        return int(self._rows[row][0].frames)

    def write(self, row: int, u: Frames, forcings: Frames | None = None) -> None:
        """One whole trajectory (T, C, node)."""
        self.write_frames(row, 0, u, forcings)

    def write_frames(self, row: int, start: int, block: Frames, forcings: Frames | None = None) -> None:
        """Frames start, start + 1, ... of a trajectory, (t, C, node), in order from 0; forcings (t, Cf, node). The last completes it.

        Raises ValueError for a block of another shape, or that does not follow the one before.
        """
        place, i = self._rows[row]
        if self.forcings.count and forcings is None:
            raise ValueError(f"this file keeps the forcings {self.forcings.channels}; give their frames too")
        given = [(FIELDS, self.fields, block)] + ([(FORCINGS, self.forcings, forcings)] if forcings is not None else [])
        last = start + len(block)
        if start != self._reached[row]:
            raise ValueError(
                f"frames from {start} of row {row} do not follow the {self._reached[row]} before; write a trajectory from frame 0 on"
            )
        for _, some, values in given:
            if values.shape != (len(block), some.count, place.nodes) or not start < last <= place.frames:
                raise ValueError(
                    f"frames {start} to {last} of shape {values.shape} do not fit row {row}, which takes {place.frames} frames of "
                    f"{some.count} channels on {place.nodes} nodes"
                )
        with open(self.path, "r+b") as file:
            for kind, some, values in given:
                for x in some:
                    cut = values[:, some.slice(x.name)]
                    data = np.ascontiguousarray(np.moveaxis(cut, 1, 2) if x.components else cut[:, 0], "<f4").tobytes()
                    file.seek(place.offsets[kind, x.name] + (i * place.frames + start) * (len(data) // len(block)))
                    file.write(data)
            sync(file)
            self._reached[row] = last % place.frames
            if last == place.frames:
                file.seek(self._marks + row)
                file.write(b"\x01")
                sync(file)
                self.complete[row] = True

    def finish(self, record: Mapping[str, Any] | None = None) -> Path:
        """Write the closing record, with the checksum, and give the file its final name, which is returned."""
        if not self.complete.all():
            raise ValueError(f"{self.path}: trajectories in rows {np.flatnonzero(~self.complete).tolist()[:10]} are not whole yet")
        text = json.dumps({"certificate": {}, **(record or {}), "checksum": checksum(self.path)}).encode()
        if len(text) > FINAL_BYTES:
            raise ValueError(f"the closing record has {len(text)} bytes but the file keeps {FINAL_BYTES} for it")
        with open(self.path, "r+b") as file:
            file.seek(self._final)
            file.write(text.ljust(FINAL_BYTES, b"\0"))
            sync(file)
        final = self.path.with_name(self.path.name.removesuffix(PART))
        os.replace(self.path, final)
        return final


def in_order(groups: h5py.Group) -> list[h5py.Group]:
    """Groups named 0000, 0001, ... by number: by name, as HDF5 has them, 10000 would come before 1001."""
    return [groups[name] for name in sorted(groups, key=lambda name: (len(name), name))]


def checksum(path: Path) -> str:
    """SHA-256 of the meshes and of every array of every part, in the order of the file."""
    digest = hashlib.sha256()
    with h5py.File(path, "r") as f:
        for mesh in in_order(f["meshes"]):
            digest.update(str(mesh.attrs["key"]).encode())
        for part in in_order(f["parts"]):
            arrays: list[h5py.Dataset] = []
            part.visititems(lambda _, x, into=arrays: into.append(x) if isinstance(x, h5py.Dataset) else None)
            for array in arrays:
                digest.update(array.name.encode())
                for row in array:
                    digest.update(np.ascontiguousarray(row).tobytes())
    return digest.hexdigest()


def _mesh(group: h5py.Group, mesh: Mesh, key: str) -> None:
    periods = [0.0 if p is None else p for p in mesh.periods]
    group.attrs.update({"names": names(mesh.names), "periods": periods, "units": mesh.units, "key": key})
    for name in ("points", "edges", "measure", "markers", "cells"):
        values = getattr(mesh, name)
        if values is not None:
            array = values.cpu().numpy()
            group.create_dataset(name, data=array.astype("<f8" if array.dtype.kind == "f" else "<i8"))


def _piece(group: h5py.Group, piece: Piece, mesh: int, fields: Fields, static: Fields | None, forcings: Fields | None) -> None:
    group.attrs.update({"mesh": mesh, "dt": piece.step, "time_units": piece.time_units})
    group.attrs.update({k: v for k, v in (("calendar", piece.calendar), (MOVING, piece.moving)) if v})
    group.create_dataset("trajectory", data=np.asarray(piece.trajectories, "<i8"))
    group.create_dataset(TIME, data=np.asarray(piece.times, "<f8"))
    for name, values in piece.parameters.items():
        group.create_dataset(f"parameters/{name}", data=np.asarray(values, "<f8"))
    rows, nodes = len(piece.trajectories), piece.mesh.shape[0]
    for x in static or ():
        known, shape = np.asarray(piece.statics[x.name], "<f4"), shape_of(x, nodes)
        if known.shape not in ((1, *shape), (rows, *shape)):
            raise ValueError(f"static field {x.name!r} has shape {known.shape} but (1 or {rows}, {', '.join(map(str, shape))}) is needed")
        group.create_dataset(f"{STATIC}/{x.name}", data=known)
    for kind, some in ((FIELDS, fields), (FORCINGS, forcings)):
        home = group.create_group(kind)
        for x in some or ():
            reserved(home, x.name, (rows, len(piece.times), *shape_of(x, nodes))).attrs["units"] = x.units


class _Place(NamedTuple):
    """Where the bytes of each array of a part begin, by kind and name, and the sizes that they share."""

    offsets: dict[tuple[str, str], int]
    rows: int
    frames: int
    nodes: int


def _place(part: h5py.Group) -> _Place:
    arrays = {(kind, n): a for kind in (FIELDS, FORCINGS) for n, a in part[kind].items()}
    rows, frames, nodes = next(iter(arrays.values())).shape[:3]
    return _Place({key: a.id.get_offset() for key, a in arrays.items()}, rows, frames, nodes)


def _values(piece: Piece | xr.Dataset) -> int:
    """Of one channel: trajectories x times x nodes, of which none is read."""
    if isinstance(piece, Piece):
        return len(piece.trajectories) * len(piece.times) * piece.mesh.shape[0]
    return len(trajectories_of(piece)) * piece.sizes.get(TIME, 1) * piece.sizes[NODE]


def _alike(parts: Sequence[xr.Dataset], fields: Fields) -> None:
    for part in parts:
        for what, have, want in (
            ("fields", fields_of(part), fields),
            (STATIC, declared(part, STATIC), declared(parts[0], STATIC)),
            (FORCINGS, declared(part, FORCINGS), declared(parts[0], FORCINGS)),
        ):
            if have != want:
                raise ValueError(f"the parts of one file have the same {what}, and here are {have} and {want}")
