"""What is known of trajectories on a mesh before their frames are: the mesh, times, parameters, static fields.

A file on the disk is described by such pieces (`mesh_file`), and a piece is taken from a lazy Dataset without reading any of its fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates.domains import Mesh
from surrogates.domains.layout import NODE
from surrogates.fields import Field
from surrogates.interchange import STATIC, TRAJECTORY, declared, domain_of, parameters_of, time_attrs_of, times_of, trajectories_of

MOVING = "moving"
"""The attribute that names the field which says where the nodes of a moving mesh are."""


@dataclass(frozen=True)
class Piece:
    """What is known of trajectories that share a mesh and times, before their frames: `statics` by name, (1 or R, node[, component]).

    Times are in `time_units` (CF, "1" for none), one parameter a trajectory. Raises ValueError where the counts do not agree.
    """

    mesh: Mesh
    times: Sequence[float]
    trajectories: Sequence[int]
    parameters: Mapping[str, Sequence[float]] = field(default_factory=dict)
    statics: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    dt: float | None = None
    time_units: str = "1"
    calendar: str = ""
    moving: str = ""

    def __post_init__(self) -> None:
        if self.mesh.members > 1:
            raise ValueError(f"a piece lies on one mesh, and this one joins {self.mesh.members}; write the parts of Mesh.separate()")
        if not len(self.times) or not len(self.trajectories):
            raise ValueError(f"a piece needs times and trajectories, got {len(self.times)} and {len(self.trajectories)}")
        for name, values in self.parameters.items():
            if len(values) != len(self.trajectories):
                raise ValueError(f"parameter {name!r} has {len(values)} values for {len(self.trajectories)} trajectories")

    @classmethod
    def of(cls, part: xr.Dataset) -> Piece:
        """That of a Dataset on a Mesh, of whose fields nothing is read. Raises ValueError for another domain."""
        mesh = domain_of(part)
        if not isinstance(mesh, Mesh):
            raise ValueError(f"this file is for meshes, and the Dataset lies on a {type(mesh).__name__}; write it with `layout`")
        about = time_attrs_of(part)
        return cls(
            mesh,
            times_of(part).tolist(),
            trajectories_of(part),
            {k: v.tolist() for k, v in parameters_of(part).items()},
            {f.name: _static(part, f) for f in declared(part, STATIC) or ()},
            float(part.attrs["dt"]) if "dt" in part.attrs else None,
            about.get("units", "1"),
            about.get("calendar", ""),
            str(part.attrs.get(MOVING, "")),
        )

    @property
    def step(self) -> float:
        """The time between frames; 0 of a single one."""
        return self.dt if self.dt is not None else float(self.times[1] - self.times[0]) if len(self.times) > 1 else 0.0


def numbering(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """The ids of the trajectories of each piece, all of which differ: their own, or else counted from 0."""
    every = [i for own in ids for i in own]
    if len(set(every)) == len(every):
        return [list(own) for own in ids]
    ends = np.cumsum([len(own) for own in ids]).tolist()
    return [list(range(end - len(own), end)) for own, end in zip(ids, ends, strict=True)]


def key_of(mesh: Mesh) -> str:
    """SHA-256 of all that makes a mesh: equal keys, equal meshes."""
    plain = json.dumps([list(mesh.names), list(mesh.periods), mesh.units])
    digest = hashlib.sha256(plain.encode())
    for values in (mesh.points, mesh.edges, mesh.measure, mesh.markers, mesh.cells):
        if values is not None:
            digest.update(str(tuple(values.shape)).encode() + np.ascontiguousarray(values.cpu().numpy()).tobytes())
    return digest.hexdigest()


def shape_of(x: Field, nodes: int) -> tuple[int, ...]:
    """(node[, component]). Raises ValueError for a field with levels."""
    if x.levels:
        raise ValueError(f"field {x.name!r} has levels, and on a mesh every level is a field of its own: {', '.join(x.channels)}")
    return (nodes, len(x.components)) if x.components else (nodes,)


def _static(part: xr.Dataset, x: Field) -> npt.NDArray[Any]:
    lead = (TRAJECTORY,) if any(TRAJECTORY in part[v].dims for v in x.variables) else ()
    columns = [part[v].transpose(*lead, NODE).values for v in x.variables]
    values = np.stack(columns, -1) if x.components else columns[0]
    return values if lead else values[None]
