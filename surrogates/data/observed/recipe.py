"""A recipe of `kind: observations`: which files hold what was observed, under which checksums, and what becomes of them.

kind: observations
name: north_america_1996
about: {source: ..., licence: ...}                       written into every file
source: {debian: libncarg-data, files: {Tstorm.cdf: {member: usr/share/..., sha256: ...}}}       or {pypi: name==version, files: ...}
time: {units: hours since 1996-01-05}                    where the file has none
frames: 64                                               and grid: [33, 36]: what the files must hold
fields: {wind: {variables: [Vstorm.cdf v, Ustorm.cdf u], units: m s-1}}       a vector northward, eastward
derived: {velocity: {geostrophic: sea_level}}
cells: whole                                             dry where a frame that has values lacks one; `all`: every cell is wet
splits: {train: [1996-01-05, 1996-01-13], valid: [...], test: [...]}          first and last, both included
gap: 1                                                   days between splits, at least
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from surrogates.data.files import SPLITS
from surrogates.data.parse import check_name, load_yaml, parse

KIND, SIZE = "observations", "full"
CELLS = ("whole", "all")


@dataclass(frozen=True)
class Held:
    """A file by its place in the package and the SHA-256 of its bytes."""

    member: str
    sha256: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.member)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ValueError(f"member {self.member!r} must be a path inside the package")
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(f"sha256 {self.sha256!r} must be 64 hexadecimal digits")


@dataclass(frozen=True)
class Source:
    """One package, of Debian or of PyPI, and the files of it that are read, by the names they get here."""

    files: Mapping[str, Held]
    debian: str = ""
    pypi: str = ""

    def __post_init__(self) -> None:
        if bool(self.debian) == bool(self.pypi):
            raise ValueError("a source is one package: write debian: NAME, or pypi: NAME==VERSION")
        for name in self.files:
            if PurePosixPath(name).name != name or name.startswith((".", "-")):
                raise ValueError(f"files: {name!r} must be a plain file name")
        for package in (self.debian, self.pypi):
            if not set(package) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_=") or package.startswith("-"):
                raise ValueError(f"{package!r} is no name of a package")

    @property
    def package(self) -> str:
        return f"Debian package {self.debian}" if self.debian else f"PyPI package {self.pypi}"


@dataclass(frozen=True)
class Observed:
    """One field: "FILE VARIABLE" of each component, northward then eastward, and the units of the values."""

    variables: tuple[str, ...]
    units: str
    long_name: str = ""

    def __post_init__(self) -> None:
        if len(self.variables) not in (1, 2) or any(len(v.split()) != 2 for v in self.variables):
            raise ValueError(f"variables {list(self.variables)} must be one 'FILE VARIABLE', or two: northward, then eastward")


@dataclass(frozen=True)
class Derived:
    """A vector that follows from a field: the geostrophic current of a sea level."""

    geostrophic: str


@dataclass(frozen=True)
class Clock:
    """What the files do not say about time."""

    units: str = ""


@dataclass(frozen=True)
class Recipe:
    """A data set of observations. Raises ValueError for splits that are not known, fields that are not there, files that nothing names."""

    name: str
    source: Source
    fields: Mapping[str, Observed]
    splits: Mapping[str, tuple[Any, ...]]
    frames: int
    grid: tuple[int, ...]
    gap: float
    kind: str = KIND
    cells: str = CELLS[0]
    time: Clock = field(default_factory=Clock)
    derived: Mapping[str, Derived] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    size: str = SIZE

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.cells not in CELLS:
            raise ValueError(f"cells is {self.cells!r} but must be one of {list(CELLS)}")
        if set(self.splits) - set(SPLITS) or "train" not in self.splits:
            raise ValueError(f"splits are {list(self.splits)} but must be some of {list(SPLITS)}, train among them")
        for name, entry in self.fields.items():
            lost = [v.split()[0] for v in entry.variables if v.split()[0] not in self.source.files]
            if lost:
                raise ValueError(f"fields.{name} reads {lost}, and source.files has {list(self.source.files)}")
        for name, law in self.derived.items():
            if law.geostrophic not in self.fields or name in self.fields:
                raise ValueError(
                    f"derived.{name} needs a field {law.geostrophic!r} and a name of its own; the fields are {list(self.fields)}"
                )

    @property
    def counts(self) -> dict[str, int]:
        """One trajectory a split."""
        return {split: 1 for split in SPLITS if split in self.splits}

    @property
    def summary(self) -> dict[str, str]:
        """What `surrogates data list` shows."""
        return {"equation": KIND, "frames": str(self.frames), "grid": " x ".join(map(str, self.grid))}

    def to_json(self) -> dict[str, Any]:
        """What a file keeps, and is known by."""
        return {**asdict(self), "splits": {s: [str(v) for v in limits] for s, limits in self.splits.items()}}


def load(path: Path, size: str | None = None) -> Recipe:
    """The recipe of a `recipe.yaml`. Raises ValueError naming file and key; "full" is the only size."""
    if size not in (None, SIZE):
        raise ValueError(f"{path}: no size {size!r}; observations have one, {SIZE!r}")
    return parse(Recipe, load_yaml(path), str(path))


def sizes(path: Path) -> list[str]:
    """Observations have one size."""
    return [SIZE]
