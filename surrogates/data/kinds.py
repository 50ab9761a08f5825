"""Four kinds of recipe make a data set: an equation that we solve, cases that a CFD code runs, observations in a package, a download.

A `recipe.yaml` says which by its key `kind` (none: an equation). Each kind is a module with `load(path, size)`, `sizes(path)` and
`make(recipe, folder, workers=, quiet=)`, and its recipes tell their `name`, `size`, `counts` and `summary`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from surrogates import catalog
from surrogates.data import generate
from surrogates.data.parse import load_yaml
from surrogates.data.recipe import Recipe, load_recipe, sizes_of
from surrogates.data.recipe import path_of as path_of
from surrogates.data.workers import cores
from surrogates.errors import nearest

KINDS = {"cases": "surrogates.data.cases", "observations": "surrogates.data.observed", "download": "surrogates.data.download"}


@runtime_checkable
class Made(Protocol):
    """What every recipe tells: `counts` are the trajectories of each split, `summary` has "equation", "frames" and "grid"."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def summary(self) -> Mapping[str, str]: ...


def kind_of(path: Path) -> str | None:
    """The kind that a recipe declares; None for an equation. Raises ValueError for one that does not exist."""
    kind = load_yaml(path).get("kind")
    if kind is not None and not (isinstance(kind, str) and kind in KINDS):
        raise ValueError(f"{path}: kind: {kind!r} is none of {list(KINDS)}{nearest(str(kind), KINDS)}; leave it out for an equation")
    return None if kind is None else str(kind)


def load(name_or_path: str | Path, size: str | None = None) -> Recipe | Made:
    """A recipe of any kind, in one of its sizes. Raises ValueError naming file and key."""
    path = path_of(name_or_path)
    kind = kind_of(path)
    if kind is None:
        return load_recipe(path, size)
    loaded: Made = _package(kind).load(path, size)
    return loaded


def sizes(name_or_path: str | Path) -> list[str]:
    """The sizes that a recipe declares."""
    path = path_of(name_or_path)
    kind = kind_of(path)
    return sizes_of(path) if kind is None else list(_package(kind).sizes(path))


def make(
    recipe: str | Path | Recipe,
    size: str | None = None,
    out: str | Path | None = None,
    *,
    workers: int | None = None,
    device: str = "cpu",
    scheduler: str | None = None,
    quiet: bool = False,
) -> Path:
    """Make, resume or find a data set of any kind; returns its folder, `out` or <data root>/<name>/<size>.

    `recipe` is a name, the path of a `recipe.yaml`, or the recipe of an equation. `device` and `scheduler` are for equations
    (`generate.make`). Raises ValueError for a recipe that is wrong, for a folder that holds another data set, and for what its kind does
    not take.
    """
    path = None if isinstance(recipe, Recipe) else path_of(recipe)
    kind = None if path is None else kind_of(path)
    if path is None or kind is None:
        return generate.make(recipe, size, out, workers=workers, device=device, quiet=quiet, scheduler=scheduler)
    for name, value, default in (("device", device, "cpu"), ("scheduler", scheduler, None)):
        if value != default:
            raise ValueError(f"{path.parent.name} is of kind {kind!r}, whose data are not computed here: leave {name}= out")
    package = _package(kind)
    loaded: Made = package.load(path, size)
    folder = Path(out) if out is not None else catalog.data_root() / loaded.name / loaded.size
    return Path(package.make(loaded, folder, workers=workers or cores(), quiet=quiet))


def _package(kind: str) -> Any:
    return import_module(KINDS[kind])
