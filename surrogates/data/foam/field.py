"""A field of a time folder: its values in cells (on faces, at points), and what its boundary conditions give on patches.

    dimensions      [0 1 -1 0 0 0 0];
    internalField   uniform (0 0 0);  |  nonuniform List<vector> N(...);
    boundaryField   { inlet { type fixedValue; value uniform (1 0 0); } ... }

On a patch a field has the value that the file gives; where the type needs none, what the type says: zeroGradient the value of the cell,
noSlip zero, symmetry and slip the cell's without its part along the normal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.data.foam import source
from surrogates.data.foam.dictionary import Dictionary, Dimensions
from surrogates.data.foam.grammar import Parser
from surrogates.data.foam.header import Header, read_header
from surrogates.data.foam.lists import TYPES
from surrogates.data.foam.patches import FLAT
from surrogates.data.foam.polymesh import PolyMesh
from surrogates.data.foam.tokens import Cursor
from surrogates.data.foam.units import units_of

KIND = re.compile(r"(vol|surface|point)(Scalar|Vector|SphericalTensor|SymmTensor|Tensor)Field(?:::Internal)?")
COMPONENTS = {
    "scalar": (),
    "vector": ("x", "y", "z"),
    "sphericalTensor": (),
    "symmTensor": ("xx", "xy", "xz", "yy", "yz", "zz"),
    "tensor": ("xx", "xy", "xz", "yx", "yy", "yz", "zx", "zy", "zz"),
}
SAME = ("zeroGradient", "calculated", "cyclic", "processor", "processorCyclic")  # where they write no value, the cell's is theirs
TANGENT = ("slip", "symmetry", "symmetryPlane", "cyclicSlip")


@dataclass(frozen=True)
class About:
    """What a field is, from the first lines of its file: where ("vol", "surface", "point"), of what ("vector"), in which units."""

    name: str
    location: str
    kind: str
    units: str

    @property
    def components(self) -> tuple[str, ...]:
        return COMPONENTS[self.kind]


@dataclass(frozen=True, eq=False)
class Field:
    """values: (k,) where the field is uniform, else (N, k), k = 1 for scalars; in the units of `about`."""

    about: About
    values: NDArray[Any]
    boundary: Dictionary
    path: Path

    def internal(self, count: int) -> NDArray[Any]:
        """(count, k), without copying. Raises ValueError where the file has another number."""
        if self.values.ndim == 2 and len(self.values) != count:
            raise ValueError(f"{self.path}: {len(self.values)} values, but the mesh has {count}; does the field belong to this mesh?")
        return np.broadcast_to(self.values, (count, self.values.shape[-1]))

    def patch(self, mesh: PolyMesh, name: str) -> NDArray[np.float64]:
        """(faces of the patch, k), of a field in cells. Raises ValueError where neither the file nor the type of the patch says it."""
        patch = mesh.patch(name)
        width = self.values.shape[-1]
        if patch.type in FLAT:
            raise ValueError(f"{self.path}: patch {name!r} is {patch.type!r}: there is no field on it")
        entry = self._entry(name, patch.groups)
        if "value" in entry:
            value = uniform_or_list(entry["value"], self.about.kind, f"{entry.place}: value")
            if value.ndim == 2 and len(value) != patch.size:
                raise ValueError(f"{entry.place}: {len(value)} values for {patch.size} faces")
            return np.array(np.broadcast_to(value, (patch.size, width)), np.float64)
        kind = str(entry["type"])
        cell = np.array(self.internal(mesh.cells)[mesh.owner[patch.faces]], np.float64)
        if kind == "noSlip":
            return np.zeros_like(cell)
        if kind in TANGENT and self.about.kind == "vector":
            areas = mesh.faces.areas[patch.faces]
            normal = areas / np.maximum(np.linalg.norm(areas, axis=1, keepdims=True), np.finfo(float).tiny)
            tangent: NDArray[np.float64] = cell - normal * (cell * normal).sum(1, keepdims=True)
            return tangent
        if kind in SAME or (kind in TANGENT and width == 1):
            return cell
        raise ValueError(
            f"{entry.place}: type {kind!r} writes no value here; let OpenFOAM write the field once, or use the cells beside it"
        )

    def _entry(self, name: str, groups: tuple[str, ...]) -> Dictionary:
        """By name, then by group, then by pattern."""
        exact = [n for n in (name, *groups) if n in self.boundary.entries]
        return self.boundary.dictionary(exact[0] if exact else name)


def read_about(path: Path) -> About | None:
    """From the first lines. None where the file is no field. Raises ValueError where it is one and is not sound."""
    cursor, header = _open(path)
    found = KIND.fullmatch(header.kind)
    if found is None:
        return None
    return _about(path, found, Parser(cursor, header).top(until="dimensions"))


def read_field(path: Path, *, boundary: bool = True) -> Field:
    """The whole field, or without its boundary. Raises ValueError, with file and line, for what is not sound."""
    cursor, header = _open(path)
    found = KIND.fullmatch(header.kind)
    if found is None:
        cursor.fail(f"class {header.kind!r} is no field of scalars, vectors or tensors", 0)
    assert found is not None
    key = "value" if header.kind.endswith("::Internal") else "internalField"
    entries = Parser(cursor, header).top(until=None if boundary else key)
    about = _about(path, found, entries)
    values = uniform_or_list(entries[key], about.kind, f"{path}: {key}")
    below = entries.dictionary("boundaryField") if boundary and "boundaryField" in entries else Dictionary(path, "boundaryField")
    return Field(about, values, below, path)


def uniform_or_list(value: Any, kind: str, where: str) -> NDArray[Any]:
    """(k,) of "uniform v", (N, k) of "nonuniform List<kind> ...". Raises ValueError for anything else."""
    width = TYPES[kind]
    word, body = value if isinstance(value, tuple) and len(value) == 2 else ("", value)
    if word == "nonuniform" and isinstance(body, np.ndarray):
        found: NDArray[Any] = body.reshape(len(body), -1)
        if found.shape[1] == width:
            return found
    elif word == "nonuniform" and body == []:
        return np.zeros((0, width))
    elif word == "uniform" and not isinstance(body, np.ndarray):
        try:
            one = np.array(body, np.float64).reshape(-1)
        except (TypeError, ValueError):
            one = np.zeros(0)
        if len(one) == width:
            return one
    shown = f"{word} {body!r}" if not isinstance(body, np.ndarray) else f"{word} List of shape {body.shape}"
    raise ValueError(f"{where}: expected `uniform` with one {kind} or `nonuniform List<{kind}>`, found {shown[:80]}")


def _open(path: Path) -> tuple[Cursor, Header]:
    cursor = Cursor(source.load(path), path)
    return cursor, read_header(cursor)


def _about(path: Path, found: re.Match[str], entries: Dictionary) -> About:
    dimensions = entries["dimensions"]
    if not isinstance(dimensions, Dimensions):
        raise ValueError(f"{path}: dimensions are {dimensions!r}; they look like [0 1 -1 0 0 0 0]")
    kind = found[2][0].lower() + found[2][1:]
    return About(path.name.removesuffix(".gz"), found[1], kind, units_of(dimensions.exponents, str(path)))
