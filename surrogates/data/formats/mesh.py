"""Our own files of fields on meshes (`surrogates.data.mesh_file`): one of them, or a folder data/<split> of such files."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from surrogates.data.formats.given import Given
from surrogates.data.hdf5 import PART
from surrogates.data.mesh_read import is_mesh_file, read_parts

SPLITS = ("train", "valid", "test")
SUFFIXES = (".hdf5", ".h5")


def recognises(path: Path) -> bool:
    """Whether there is such a file, unfinished ones included."""
    found = files_of(path)
    return any(is_mesh_file(p) for paths in found.values() for p in paths[:1])


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """The parts of all files of each split; such a file lacks nothing that could be `given`. Raises ValueError as `read_parts`."""
    found = files_of(path)
    if not found:
        raise ValueError(f"{path} holds no {' or '.join(SUFFIXES)} file, neither itself nor under data/<split>")
    return {split: [part for p in paths for part in read_parts(p)] for split, paths in found.items()}


def files_of(path: Path) -> dict[str, list[Path]]:
    """The files of each split, "all" where there is none."""
    if path.is_file():
        return {path.parent.name if path.parent.name in SPLITS else "all": [path]}
    base = path / "data" if (path / "data").is_dir() else path
    homes = {s: base / s for s in SPLITS if (base / s).is_dir()} or {base.name if base.name in SPLITS else "all": base}
    found = {s: sorted(p for p in home.iterdir() if _is_data(p)) for s, home in homes.items() if home.is_dir()}
    return {split: paths for split, paths in found.items() if paths}


def _is_data(path: Path) -> bool:
    return path.is_file() and path.suffix in (*SUFFIXES, PART) and not path.name.startswith(".")
