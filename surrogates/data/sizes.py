"""The sizes of a recipe: `sizes` holds changes laid over the rest, `full` none, and trajectories are numbered through the splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from surrogates.data.parse import load_yaml, merge, parse
from surrogates.errors import nearest

SIZES = ("tiny", "small", "full")
T = TypeVar("T")


def of_size(kind: type[T], path: Path, entry: dict[str, Any], size: str | None) -> T:
    """What a recipe's YAML says in one of its sizes, every size parsed: without `size` "small" where it is declared, else "full".

    Raises ValueError naming file and key.
    """
    known, changes = _declared(path, entry.pop("sizes", None))
    size = size or ("small" if "small" in known else "full")
    if size not in known:
        raise ValueError(f"{path}: no size {size!r}; it has {known}{nearest(size, known)}")
    if "size" in entry:
        raise ValueError(f"{path}: size: unknown key; the size is chosen when the data set is made")
    every = {s: parse(kind, merge({**entry, "size": s}, changes.get(s) or {}), f"{path} (size {s})") for s in known}
    return every[size]


def declared(path: Path) -> list[str]:
    """The sizes that a `recipe.yaml` declares."""
    return _declared(path, load_yaml(path).get("sizes"))[0]


def numbers(counts: Mapping[str, int], split: str, name: str) -> range:
    """The ids of a split of the recipe `name`; they run on through its splits. Raises ValueError for a split that it lacks."""
    start = 0
    for other, count in counts.items():
        if other == split:
            return range(start, start + count)
        start += count
    raise ValueError(f"no split {split!r} in recipe {name!r}; it has {list(counts)}")


def _declared(path: Path, entry: Any) -> tuple[list[str], Mapping[str, Any]]:
    changes = entry or {}
    if not isinstance(changes, dict):
        raise ValueError(f"{path}: sizes: expected a mapping of {list(SIZES)} to changes, got {changes!r}")
    for key, change in changes.items():
        if key not in SIZES or not isinstance(change, dict | None):
            raise ValueError(f"{path}: sizes.{key}: the sizes are {list(SIZES)}, each a mapping of changes{nearest(str(key), SIZES)}")
    return [s for s in SIZES if s == "full" or s in changes], changes
