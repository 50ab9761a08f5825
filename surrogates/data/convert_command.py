"""`surrogates data convert SOURCE DEST`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surrogates.data.conversion import convert
from surrogates.data.cuts import Split
from surrogates.data.files import files_of
from surrogates.data.formats.given import Given
from surrogates.data.hdf5 import open_hdf5
from surrogates.data.parse import parse


def convert_command(
    source: str, dest: str, format: str | None = None, given: str | None = None, split: dict[str, Any] | None = None, workers: int = 1
) -> None:
    """Convert files of another format into ours; stopped at any moment, the same command goes on.

    What the files do not say (step, lengths, boundary, units) is asked for by name; it is written in source.yaml beside them, or in a
    file told by --given.

    Args:
        source: the file or folder to read.
        dest: the folder to write, as dest/data/<split>/*.hdf5.
        format: the format of the source, where it is not to be found from its files.
        given: what the source does not say, as '{dt: 0.1, lengths: [1, 2]}' or in a YAML file; goes before source.yaml beside it.
        split: how a source without splits is divided, such as '{train: 0.8, valid: 0.1, test: 0.1, by: time, gap: 20}'.
        workers: how many trajectories are read and written at once.
    """
    known = Given.told(given) if given is not None else None
    divided = parse(Split, split, "--split") if split is not None else None
    folder = convert(source, dest, format=format, given=known, split=divided, workers=workers)
    counts = {split: sum(map(_trajectories, paths)) for split, paths in files_of(folder).items()}
    told = ", ".join(f"{split} {count}" for split, count in counts.items())
    print(f"{folder}: trajectories {told}; `surrogates data info {folder}` describes it")


def _trajectories(path: Path) -> int:
    with open_hdf5(path) as f:
        return int(f.attrs["n_trajectories"])
