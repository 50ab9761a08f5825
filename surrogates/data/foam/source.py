"""The bytes of a file of a case: a memory map of it, or what `<name>.gz` beside it unpacks to.

A plain file costs no memory. A packed one costs what it unpacks to, which is bounded before it is there: a small file that unpacks to
more than `ROOM` and `RATIO` times its size is refused, and can still be unpacked by hand.
"""

from __future__ import annotations

import gzip
import mmap
import zlib
from pathlib import Path

Bytes = bytes | mmap.mmap
ROOM, RATIO, BLOCK = 64 << 20, 256, 1 << 20
"""Bytes that any packed file may unpack to; above that, so many times its own size (numbers as text pack 3 to 20 times)."""


def find(path: Path) -> Path | None:
    """`path`, or `path`.gz, whichever is a file; None for neither. OpenFOAM prefers the plain one too."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def load(path: Path) -> Bytes:
    """The bytes of `path` or `path`.gz. Raises ValueError for neither, an empty file, a damaged .gz, and one that unpacks to too much."""
    found = find(path)
    if found is None:
        raise ValueError(f"{path}: no such file, nor {path.name}.gz")
    try:
        if found.suffix == ".gz":
            return _unpack(found)
        if found.stat().st_size == 0:
            raise ValueError(f"{found}: the file is empty; was the disk full, or is the case still being written?")
        with found.open("rb") as f:
            return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ValueError(f"{found}: cannot be read ({error})") from error


def _unpack(path: Path) -> bytes:
    limit = ROOM + RATIO * path.stat().st_size
    out = bytearray()
    try:
        with gzip.open(path, "rb") as f:
            while block := f.read(BLOCK):
                out += block
                if len(out) > limit:
                    raise ValueError(f"{path}: unpacks to more than {limit} bytes; if that is what it is, say `gunzip {path.name}`")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: is not a sound .gz file ({error}); copy it again") from error
    return bytes(out)
