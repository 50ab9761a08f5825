"""Frames of mesh files, one read at a time: files of a series, ParaView's collections, XDMF's temporal ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from surrogates.data.formats import cgns, checks, gmsh_text, meshio_safety
from surrogates.data.formats.mesh_frame import Frame

T = TypeVar("T")
BOOKKEEPING = ("gmsh:physical", "gmsh:geometrical", "gmsh:dim_tags", "cell_tags", "medit:ref", "CellEntityIds")
"""Names of data that say where cells and points belong, and are no fields."""
STEPPED = re.compile(r"\[\d+\] - \S+$")
"""How meshio names the steps of a field of MED."""
GMSH, CGNS, EXODUS = ".msh", ".cgns", (".e", ".exo")


@runtime_checkable
class Source(Protocol):
    """A trajectory of frames; `times` are None where nobody says."""

    @property
    def count(self) -> int: ...
    @property
    def times(self) -> tuple[float, ...] | None: ...
    def frame(self, t: int) -> Frame: ...
    def where(self, t: int) -> str: ...


@dataclass(frozen=True)
class Files:
    """A file a frame."""

    files: tuple[Path, ...]
    times: tuple[float, ...] | None

    @classmethod
    def of_collection(cls, path: Path) -> Files:
        """Those of a .pvd. Raises ValueError for parts, names that lead elsewhere, and times that do not rise."""
        entries = list(meshio_safety.parse(path).iter("DataSet"))
        if any(e.get("part", "0") != "0" for e in entries):
            raise ValueError(f"{path} holds frames in several parts; merge them into a file a frame")
        try:
            times = [float(e.get("timestep", "")) for e in entries]
        except ValueError as error:
            raise ValueError(f"{path} has a DataSet without a timestep ({error})") from error
        files = tuple(checks.inside(path.parent, e.get("file", "")) for e in entries)
        return cls(files, tuple(checks.rising(times, f"{path}: timestep").tolist()))

    @property
    def count(self) -> int:
        return len(self.files)

    def where(self, t: int) -> str:
        return str(self.files[t])

    def frame(self, t: int) -> Frame:
        path = meshio_safety.checked(self.files[t])
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        if path.suffix.lower() == GMSH and gmsh_text.is_text(path):
            return guarded(path, lambda: gmsh_text.read(path))
        if path.suffix.lower() == CGNS:
            return guarded(path, lambda: cgns.read(path))
        import_meshio()
        import meshio

        if path.suffix.lower() in EXODUS:
            guarded(path, lambda: _one_step(path))
        return guarded(path, lambda: of_mesh(meshio.read(path)))


@dataclass(frozen=True)
class Temporal:
    """A temporal collection of XDMF, whose mesh stands once."""

    path: Path
    _times: list[float] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        grids = [g for g in meshio_safety.parse(self.path).iter("Grid") if g.get("CollectionType") == "Temporal"]
        times = [t.get("Value", "nan") for g in grids[:1] for child in g for t in child.iter("Time")]
        self._times.extend(checks.rising([float(t) for t in times], f"{self.path}: Time").tolist())

    @staticmethod
    def recognises(path: Path) -> bool:
        return any(g.get("CollectionType") == "Temporal" for g in meshio_safety.parse(path).iter("Grid"))

    @property
    def times(self) -> tuple[float, ...]:
        return tuple(self._times)

    @property
    def count(self) -> int:
        return len(self._times)

    def where(self, t: int) -> str:
        return f"{self.path}, frame {t}"

    def frame(self, t: int) -> Frame:
        import_meshio()
        import meshio

        def read() -> Frame:
            with meshio.xdmf.TimeSeriesReader(self.path) as reader:
                points, cells = reader.read_points_cells()
                _, point_data, cell_data = reader.read_data(t)[:3]
                return of_mesh(meshio.Mesh(points, cells, point_data, cell_data))

        return guarded(self.path, read)


def _one_step(path: Path) -> None:
    """Raises ValueError for an Exodus file of several steps, of which meshio takes the first."""
    import netCDF4

    with netCDF4.Dataset(path) as file:
        count = len(file.dimensions["time_step"]) if "time_step" in file.dimensions else 1
    if count > 1:
        raise ValueError(
            f"{path} holds {count} steps, and meshio reads only the first; write each as a VTU with a .pvd (ParaView: File > Save Data, "
            "Write Time Steps)"
        )


def of_mesh(m: Any) -> Frame:
    """A mesh of meshio's."""
    named = {n: [np.asarray(b if b is not None else [], np.int64) for b in blocks] for n, blocks in m.cell_sets.items()}
    for name, (tag, dim) in _groups(m).items():
        tags = m.cell_data.get("gmsh:physical")
        if tags is not None:
            named[name] = [np.flatnonzero(t == tag) if b.dim == dim else np.zeros(0, np.int64) for t, b in zip(tags, m.cells, strict=True)]
    stepped = sorted(n for n in (*m.point_data, *m.cell_data) if STEPPED.search(n))
    if stepped:
        raise ValueError(f"several steps in one file, {stepped}, are not read; write each as a VTU, with a .pvd")
    plain = {n: v for n, v in m.cell_data.items() if not n.startswith(BOOKKEEPING)}
    points = {n: np.asarray(v) for n, v in m.point_data.items() if not n.startswith(BOOKKEEPING)}
    cells = [(b.type, np.asarray(b.data, np.int64) if b.type[:7] != "polyhed" else b.data) for b in m.cells]
    sets = {n: v for n, v in named.items() if not n.startswith("gmsh:")}
    return Frame(np.asarray(m.points), cells, points, plain, sets, {n: np.asarray(v, np.int64) for n, v in m.point_sets.items()})


def _groups(m: Any) -> dict[str, tuple[int, int]]:
    """Gmsh's physical groups: name -> (tag, dimension)."""
    return {n: (int(v[0]), int(v[1])) for n, v in m.field_data.items() if np.size(v) == 2 and np.asarray(v).dtype.kind in "iu"}


def guarded(path: Path, read: Callable[[], T]) -> T:
    """What meshio says of a file that is not sound, with the file. It raises whatever its parsers do."""
    try:
        return read()
    except MemoryError as error:
        raise ValueError(f"{path} declares arrays that do not fit into memory; it is damaged") from error
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read ({said}); is it whole, and of the kind that its name says?") from error


def import_meshio() -> None:
    """Raises ImportError with the line that installs it."""
    try:
        import meshio  # noqa: F401
    except ImportError as error:
        raise ImportError("mesh files need meshio: pip install 'meshio>=5.3.5' (or the extra 'io')") from error
