"""A case: a folder with times, a mesh and properties; whole, or cut into processor folders.

    cavity/
      system/controlDict
      constant/polyMesh/{points,faces,owner,neighbour,boundary}     constant/transportProperties
      0/{U,p}  0.1/{U,p}  ...                                       or processor0/{constant,0,0.1,...}, processor1/...

    case = Case("cavity")
    u = case.field("U", case.times[-1]).internal(case.count)        # (N, 3), m/s

Only what is asked for is read. Any folder or file of a case may be a link, as people share meshes and properties between cases; names that
lead out of it (.., or from the root) are refused, and no file is read because another one says so (#include). With processor folders,
those are read where they hold times that the case itself does not.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from surrogates.data.foam import parallel, source
from surrogates.data.foam.dictionary import Dictionary, Dimensions
from surrogates.data.foam.field import About, Field, read_about, read_field
from surrogates.data.foam.grammar import Parser
from surrogates.data.foam.header import read_header
from surrogates.data.foam.polymesh import PolyMesh, Whole, read_mesh
from surrogates.data.foam.tokens import Cursor
from surrogates.data.foam.units import units_of
from surrogates.data.formats import checks
from surrogates.errors import nearest

TIME = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?")
ENTRY = re.compile(r"([^:]+):([^\[\]]+)(?:\[(\d)\])?")
COPIES = ("~", ".bak", ".BAK", ".old", ".save")
MESHES = ("faces", "owner", "neighbour")


class Case:
    """`region` picks one of several meshes (constant/<region>/polyMesh). Raises ValueError where the folder is no case."""

    def __init__(self, path: Path | str, region: str = "") -> None:
        self.path, self.region = Path(path), region
        if region:
            checks.named(self.path, region)
        if not self.path.is_dir():
            raise ValueError(f"{self.path}: no such folder; an OpenFOAM case is one with constant/polyMesh and folders of times")
        whole, parts = _times(self.path), parallel.folders(self.path)
        cut = [_times(part) for part in parts]
        for folder in parallel.collated(self.path):
            if set(_times(folder)) - set(whole) or not self._polymesh(self.path).is_dir():
                raise ValueError(f"{folder}: collated files are not read; run `reconstructPar`, or write with -fileHandler uncollated")
        for part, times in zip(parts, cut, strict=True):
            if times.keys() != cut[0].keys():
                odd = sorted(times.keys() ^ cut[0].keys())
                raise ValueError(
                    f"{part}: the times {odd[:5]} are here and not in {parts[0].name}, or the other way; was the run cut short?"
                )
        self.parallel = bool(parts) and (bool(set(cut[0]) - set(whole)) or not self._polymesh(self.path).is_dir())
        self.roots = parts if self.parallel else [self.path]
        self._names = cut if self.parallel else [whole]
        if not self._polymesh(self.roots[0]).is_dir():
            raise ValueError(f"{self._polymesh(self.roots[0])}: no such folder: the case has no mesh; run blockMesh, or what makes it")

    def __repr__(self) -> str:
        return f"Case({str(self.path)!r}, {len(self.times)} times{f', {len(self.roots)} processors' if self.parallel else ''})"

    def _polymesh(self, root: Path) -> Path:
        return root / "constant" / self.region / "polyMesh"

    # -- the mesh ----------------------------------------------------------------------------------------------

    @cached_property
    def meshes(self) -> list[PolyMesh]:
        """As they lie on the disk: one, or one a processor."""
        return [read_mesh(self._polymesh(root)) for root in self.roots]

    @cached_property
    def mesh(self) -> PolyMesh:
        """The whole mesh. Raises ValueError where only the parts of it are there."""
        if not self.parallel:
            return self.meshes[0]
        if not source.find(self._polymesh(self.path) / "faces"):
            raise ValueError(f"{self._polymesh(self.path)}: only parts of the mesh are there; run `reconstructParMesh -constant`")
        return read_mesh(self._polymesh(self.path))

    @cached_property
    def addressing(self) -> list[Whole]:
        """The number, in the whole, of each cell of each part."""
        if not self.parallel:
            return [np.arange(self.meshes[0].cells)]
        if source.find(self._polymesh(self.path) / "faces"):
            found = parallel.addressing([self._polymesh(root) for root in self.roots], self.mesh.cells)
            if found is not None:
                return found
        return parallel.consecutive(self.meshes)

    @cached_property
    def count(self) -> int:
        """The number of cells."""
        return sum(map(len, self.addressing))

    def let_go(self) -> None:
        """Forget the mesh, which is read again when it is asked for; of processor folders remember which cells theirs are."""
        if "meshes" in self.__dict__:
            _ = self.count
        for name in ("meshes", "mesh", *(() if self.parallel else ("addressing",))):
            self.__dict__.pop(name, None)

    @cached_property
    def moving(self) -> list[float]:
        """The times that hold a mesh of their own."""
        return [t for t in self.times if any(self._moved(t, name) for name in ("points", *MESHES))]

    def mesh_at(self, time: float) -> PolyMesh:
        """The mesh at one time, its points where they last moved to.

        Raises ValueError where the mesh also changed its faces, or lies in processor folders.
        """
        before = [t for t in self.moving if t <= time]
        changed = [t for t in before if any(self._moved(t, name) for name in MESHES)]
        if changed or (before and self.parallel):
            what = f"the mesh gets other faces at time {changed[0]:g}" if changed else "a mesh in processor folders moves"
            raise ValueError(f"{self.path}: {what}; only points that move are read, of a whole case")
        points = self._moved(before[-1], "points") if before else None
        return self.mesh if points is None else read_mesh(self._polymesh(self.path), points)

    def _moved(self, time: float, name: str) -> Path | None:
        path = self._folder(0, time) / "polyMesh" / name
        return path if source.find(path) else None

    # -- times and fields --------------------------------------------------------------------------------------

    @property
    def times(self) -> tuple[float, ...]:
        """Rising, s."""
        return tuple(sorted(self._names[0]))

    def _folder(self, root: int, time: float) -> Path:
        if time not in self._names[root]:
            raise ValueError(f"{self.path}: there is no time {time:g}; there are {[f'{t:g}' for t in self.times][:20]}")
        return self.roots[root] / self._names[root][time] / self.region

    def names(self, time: float) -> list[str]:
        """The files of a time, sorted, without .gz; most are fields. Like OpenFOAM, hidden files and copies (U~, U.bak) are passed over."""
        folder = self._folder(0, time)
        found = [p.name.removesuffix(".gz") for p in folder.iterdir() if p.is_file()] if folder.is_dir() else []
        return sorted({name for name in found if not name.startswith(".") and not name.endswith(COPIES)})

    def about(self, name: str, time: float) -> About | None:
        """What a file of a time is, from its first lines; None for no field. Raises ValueError where it is not there, or not OpenFOAM's."""
        return read_about(self._file(0, name, time))

    def foreign(self, name: str, time: float) -> bool:
        """Whether a file of a time does not even begin as OpenFOAM's do."""
        try:
            cursor = Cursor(source.load(path := self._file(0, name, time)), path)
            return not cursor.peek().isalpha() or cursor.word() != "FoamFile"
        except ValueError:
            return True

    def field(self, name: str, time: float, *, boundary: bool = True) -> Field:
        """One field at one time. Raises ValueError, with the file, where it is missing or not sound.

        Of processor folders only the values in cells are joined; `boundary=False` stops reading after them.
        """
        if not self.parallel:
            return read_field(self._file(0, name, time), boundary=boundary)
        found = [read_field(self._file(n, name, time), boundary=False) for n in range(len(self.roots))]
        if any(f.about != replace(found[0].about) for f in found) or found[0].about.location != "vol":
            raise ValueError(f"{found[0].path}: only fields in cells, the same in all processor folders, are joined; run `reconstructPar`")
        parts = [f.internal(len(cells)) for f, cells in zip(found, self.addressing, strict=True)]
        nothing = Dictionary(found[0].path, "boundaryField", included="of processor folders only cells are joined; run `reconstructPar`")
        return Field(found[0].about, parallel.assemble(parts, self.addressing), nothing, found[0].path)

    def _file(self, root: int, name: str, time: float) -> Path:
        folder = self._folder(root, time)
        path = checks.named(folder, name)
        if not source.find(path):
            known = self.names(time)
            raise ValueError(f"{path}: no such file; time {time:g} has {known[:30]}{nearest(name, known)}")
        return path

    # -- properties --------------------------------------------------------------------------------------------

    def dictionary(self, name: str) -> Dictionary:
        """A file such as "constant/transportProperties" or "0/U", of the case itself. Raises ValueError for none, or one not sound."""
        path = checks.named(self.path, name)
        cursor = Cursor(source.load(path), path)
        return Parser(cursor, read_header(cursor)).top()

    def value(self, where: str) -> tuple[float, str]:
        """A number and its units ("" where none are said): "constant/transportProperties:nu", "0/U:boundaryField.inlet.value[0]".

        Raises ValueError for another form of `where`, and for what is no number.
        """
        found = ENTRY.fullmatch(where)
        if found is None:
            raise ValueError(f'{self.path}: {where!r} names no value; write "constant/transportProperties:nu" or "0/U:...inlet.value[0]"')
        return number_of(self.dictionary(found[1]).at(found[2]), f"{self.path / found[1]}: {found[2]}", found[3])


def number_of(value: Any, where: str, index: str | None = None) -> tuple[float, str]:
    """A plain, dimensioned or uniform value, one component of it where an index is said. Raises ValueError for anything else."""
    items = value if isinstance(value, tuple) else (value,)
    units = next((units_of(i.exponents, where) for i in items if isinstance(i, Dimensions)), "")
    last = items[-1]
    if index is not None and isinstance(last, list) and int(index) < len(last):
        last = last[int(index)]
    if isinstance(last, bool) or not isinstance(last, int | float) or not np.isfinite(last):
        more = "; pick a component: [0]" if isinstance(last, list) else ""
        raise ValueError(f"{where} is {str(value)[:80]}, and a number is needed{more}")
    return float(last), units


def _times(folder: Path) -> dict[float, str]:
    """Folders named by numbers. Raises ValueError for two names of one time."""
    out: dict[float, str] = {}
    for name in sorted(p.name for p in folder.iterdir() if TIME.fullmatch(p.name) and p.is_dir()):
        time = float(name)
        if time in out:
            raise ValueError(f"{folder}: the folders {out[time]!r} and {name!r} are the same time; remove one")
        if np.isfinite(time):
            out[time] = name
    return out
