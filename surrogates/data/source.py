"""A data set of any kind as its parts: what was made, files of ours on grids or meshes, whatever `surrogates.data.formats` reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from surrogates.data.files import files_of, foreign, locate
from surrogates.data.formats import mesh, open_parts, reader_of
from surrogates.data.formats.given import Given
from surrogates.data.hdf5 import OURS, PART, open_hdf5
from surrogates.data.mesh_read import read_parts
from surrogates.data.read import read_file

WELL, MESH = "the_well", "mesh"


@dataclass(frozen=True)
class Piece:
    """One part and where it comes from: "data/train/sea.hdf5", or "part 0 of /a/case" where a format has no file for each."""

    dataset: xr.Dataset
    label: str


@dataclass(frozen=True)
class Source:
    """The pieces of each split; `unfinished` files are among them as far as they are complete."""

    path: Path
    format: str
    splits: dict[str, list[Piece]]
    unfinished: bool = False

    @property
    def described(self) -> str:
        """The first split, from which statistics are taken: that of training where there is one."""
        return "train" if "train" in self.splits else next(iter(self.splits))


def source_of(
    name_or_path: str | Path,
    size: str | None = None,
    *,
    format: str | None = None,
    given: Given | None = None,
    partial: bool = False,
    verify: bool = False,
) -> Source:
    """Open by name or path. `partial` takes the complete trajectories of unfinished files, `verify` compares the checksums of our files.

    Raises ValueError where there is nothing, for a file that is not sound, and where it lacks something, with the line to write.
    """
    path = locate(name_or_path, size)
    if format not in (None, WELL, MESH) or given is not None or (format is None and _others(path)):
        found = open_parts(path, format, given)
        name = reader_of(path, format).__name__.rpartition(".")[2]
        return Source(path, name, {s: [Piece(p, _label(path, n, len(ps))) for n, p in enumerate(ps)] for s, ps in found.items()})
    on_meshes = format == MESH or mesh.recognises(path)
    files = mesh.files_of(path) if on_meshes else files_of(path)
    splits = {s: [p for file in ps for p in _pieces(file, on_meshes, partial, verify)] for s, ps in files.items()}
    held = {s: ps for s, ps in splits.items() if ps}
    if not held:
        raise ValueError(f"{path} holds no complete trajectory yet; say again what made it, which resumes it")
    return Source(path, _format(files, on_meshes), held, any(p.suffix == PART for ps in files.values() for p in ps))


def _others(path: Path) -> bool:
    return foreign(path) and not mesh.recognises(path)


def _pieces(file: Path, on_meshes: bool, partial: bool, verify: bool) -> list[Piece]:
    if on_meshes:
        parts = read_parts(file, partial=partial, verify=verify)
        return [Piece(p, _label(file, n, len(parts))) for n, p in enumerate(parts) if p.sizes["trajectory"]]
    with open_hdf5(file) as f:
        ours = OURS in f
    if ours:
        dataset = read_file(file, partial=partial, verify=verify)
        return [Piece(dataset, str(file))] if dataset.sizes["trajectory"] else []
    parts = [p for ps in open_parts(file, WELL).values() for p in ps]
    return [Piece(p, _label(file, n, len(parts))) for n, p in enumerate(parts)]


def _format(files: dict[str, list[Path]], on_meshes: bool) -> str:
    if on_meshes:
        return "fields on meshes, of ours"
    with open_hdf5(next(p for ps in files.values() for p in ps)) as f:
        return "The Well's layout, of ours" if OURS in f else "The Well's layout"


def _label(path: Path, n: int, count: int) -> str:
    return str(path) if count == 1 else f"part {n} of {path}"
