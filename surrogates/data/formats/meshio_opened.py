"""A trajectory of mesh files of which the first frame has been read: how data lie on its mesh, and which fields there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from surrogates.data.formats.given import Given
from surrogates.data.formats.meshio_frames import Source
from surrogates.data.formats.meshio_mesh import Layout
from surrogates.domains.box import AXES
from surrogates.fields import Field

CELLS = ("nodes", "centres", "none")
DISPLACEMENT = "displacement"
Values: TypeAlias = tuple[NDArray[np.float32], ...]
"""Of one frame, (node, component) of each field."""


class Opened(NamedTuple):
    """`layout` has the mesh, `fields` are by their names in the files, `averaged` says that data in cells become data at nodes."""

    source: Source
    layout: Layout
    fields: dict[str, Field]
    averaged: bool
    path: Path
    given: Given

    @property
    def bytes(self) -> int:
        mesh, layout = self.layout.mesh, self.layout
        held = (mesh.points, mesh.edges, mesh.measure, mesh.markers, mesh.member, mesh.cells)
        kept = (layout.points, layout.kept, layout.corners, layout.owner, layout.volume, *(np.asarray(c) for _, c in layout.cells))
        return sum(x.nbytes for x in held if x is not None) + sum(x.nbytes for x in kept)

    def frame(self, t: int) -> Values:
        """(node, component) of each field. Raises ValueError where the mesh or the fields are not those of the first frame."""
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
        return tuple(out)


def opened(source: Source, path: Path, given: Given) -> Opened:
    """Reads the first frame. Raises ValueError for a file that is not sound, and what nobody says."""
    frame = source.frame(0)
    cells = given.options.get("cells")
    if frame.cell_data:
        why = f"{sorted(frame.cell_data)} lie in cells: `nodes` averages by volume, `centres` makes nodes of cells, `none` leaves them out"
        cells = given.need(cells, "options.cells=nodes", path, why)
        if cells not in CELLS:
            raise ValueError(f"{path}: options.cells is {cells!r} but must be one of {', '.join(CELLS)}")
    layout = Layout.of(frame, source.where(0), given, centres=cells == "centres")
    first = layout.values(frame, source.where(0), averaged=cells == "nodes")
    if given.options.get("moving"):
        first[DISPLACEMENT] = layout.displacement(frame)
    if not first:
        raise ValueError(f"{source.where(0)} has no data at {'cells' if cells == 'centres' else 'nodes'}; a field has one value each")
    fields = {name: _field(name, values, layout.mesh.dim, given, path) for name, values in first.items()}
    return Opened(source, layout, fields, cells == "nodes", path, given)


def _field(name: str, values: NDArray[Any], dim: int, given: Given, path: Path) -> Field:
    count = 1 if values.ndim == 1 else values.shape[1]
    if count not in (1, 2, 3, dim * dim):
        raise ValueError(f"{path}: {name!r} has {count} components, which is no scalar, vector or tensor in {dim}-D")
    tensor = tuple(a + b for a in AXES[:dim] for b in AXES[:dim])
    labels = () if count == 1 else AXES[:count] if count <= len(AXES) else tensor
    plain = re.sub(r"\W", "_", name)
    known = given.units.get("length") if name == DISPLACEMENT else None
    return Field(plain if plain.isidentifier() else f"_{plain}", given.unit(plain, path, known), tuple(labels))
