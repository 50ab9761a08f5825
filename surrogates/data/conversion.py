"""Files of others into ours, block by block of frames: never a trajectory in memory, and at every moment sound on the disk.

    DEST/data/<split>/<name>.hdf5    `surrogates.data.layout` for grids, `surrogates.data.mesh_file` for meshes; one a split, and one more
                                     (<name>-1.hdf5, ...) for each other grid or length

What has not been finished is `*.hdf5.part`. The same call goes on there: trajectories that are complete are not read again. What was read
of a source that has changed since is never joined with what it is now: paths, sizes and times of its files are compared.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import surrogates
from surrogates.data.cuts import Cut, Split, divide, whole
from surrogates.data.formats import open_parts
from surrogates.data.formats.asking import SIDECARS
from surrogates.data.formats.given import Given
from surrogates.data.skeletons import groups
from surrogates.data.workers import StopError, locked, progress
from surrogates.data.written import CONTENT, Written

ALL = "all"
MANY = 64


def convert(
    source: str | Path,
    dest: str | Path,
    *,
    format: str | None = None,
    given: Given | None = None,
    split: Split | None = None,
    workers: int = 1,
    quiet: bool = False,
) -> Path:
    """Convert, or go on converting, a file or folder in one of `surrogates.data.formats.FORMATS`; returns `dest`.

    `given` says what the source does not, and may name the data set, which else has the name of the folder `dest`; `split` says how it
    is divided where it has no splits of its own; `workers` threads read and write a trajectory each. Raises ValueError for a source that
    is not sound or lacks something, and for a `dest` that holds something else; OSError where the disk has no room.
    """
    source, dest = Path(source).expanduser(), Path(dest).expanduser()
    if dest.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{dest} lies within {source}, which is read; give a folder outside of it")
    parts = open_parts(source, format, given)
    said = given.over(Given.beside(source)) if given else Given.beside(source)
    cuts = whole(parts)
    if ALL in cuts:
        why = "the source has no splits of its own (`by: time` with a `gap` of frames cuts one long trajectory)"
        cuts = divide(cuts[ALL], said.need(split or said.split, "split", source, why))
    name = said.name or dest.resolve().name or "data"
    dest.mkdir(parents=True, exist_ok=True)
    with locked(dest):
        files = plan(dest, _identifier(name), cuts)
        recipe = _recipe(source, format, said, split)
        todo = [f for f in files if not f.begin({"recipe": recipe, "version": surrogates.__version__})]

        def same() -> None:
            if _recipe(source, format, said, split) != recipe:
                raise ValueError(f"{source}: the source changed while it was read; remove the files in {dest} and convert it again")

        _write(todo, workers, name, quiet, same)
    return dest


def plan(dest: Path, name: str, cuts: dict[str, list[Cut]]) -> list[Written]:
    """The files to write. Raises ValueError where others are in their place."""
    files = []
    for split, mine in cuts.items():
        for n, group in enumerate(groups(mine)):
            files.append(Written(dest / "data" / split / f"{name}{f'-{n}' if n else ''}.hdf5", name, group))
    ours = {f.path for f in files} | {f.draft for f in files}
    strange = sorted(p for p in dest.glob("data/*/*.hdf5*") if p not in ours and not p.name.startswith("."))
    if strange:
        raise ValueError(f"{dest} holds another data set ({strange[0].relative_to(dest)}); give another folder, or remove it")
    if len(files) > MANY:
        warnings.warn(
            f"{name} becomes {len(files)} files, one for each grid, length and step of time among {sum(len(f.cuts) for f in files)} "
            f"trajectories; give some of them to convert fewer",
            stacklevel=3,
        )
    return files


def _write(files: Sequence[Written], workers: int, name: str, quiet: bool, before_sealing: Callable[[], None] = lambda: None) -> None:
    rows = [(f, n) for f in files for n in f.missing()]
    stop = threading.Event()
    with progress(name, sum((f.bytes(n) for f, n in rows), 0.0), quiet) as tick, ThreadPoolExecutor(max(1, workers), "convert") as pool:

        def ticked(work: float) -> None:
            if stop.is_set():
                raise StopError
            tick(work)

        try:
            done = [pool.submit(_row, f, n, ticked) for f, n in rows]
            for future in as_completed(done):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    before_sealing()
    for f in files:
        f.finish()


def _row(file: Written, n: int, tick: Callable[[float], None]) -> None:
    for work in file.row(n):
        tick(work)


def _recipe(source: Path, format: str | None, given: Given, split: Split | None) -> str:
    """What tells one conversion from another: of the source the path, size and time of every file in it."""
    below = [p for p in sorted(source.rglob("*")) if p.is_file()] if source.is_dir() else [source]
    stats = [(p.relative_to(source).as_posix(), p.stat()) for p in below if p.name not in SIDECARS]
    digest = sha256("".join(f"{name}\n{s.st_size} {s.st_mtime_ns}\n" for name, s in stats).encode()).hexdigest()
    told = {"source": source.name, "bytes": sum(s.st_size for _, s in stats), CONTENT: digest, "format": format}
    return json.dumps({"kind": "converted", **told, "given": asdict(given), "split": asdict(split) if split else None}, sort_keys=True)


def _identifier(name: str) -> str:
    """A name that is safe as that of a file."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "data"
