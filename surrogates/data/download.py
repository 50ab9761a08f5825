"""A recipe of `kind: download`: data that others publish where only a person can fetch them, and what they become once they are there.

kind: download
name: turbulent_channel
page: https://...                                        where they are, and under which terms
files: data_mave.npy and data_ave.npy                    what to take from there, in words
format: fdns_channel                                     one of `surrogates.data.formats`
given: {dt: 1.0, units: {...}, ...}                      what the files do not say (`formats.given`)
frames: 400                                              and grid: [32, 32, 16]: what they must hold, in trajectories as many as
splits: {train: 18, valid: 2, test: 1}                   these together, in their order

They are put into FOLDER/source and converted from there. No checksum is known where a page gives none; sizes are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from surrogates.data.conversion import ALL, convert
from surrogates.data.cuts import Split
from surrogates.data.files import SPLITS
from surrogates.data.formats import FORMATS, open_parts
from surrogates.data.formats.asking import SIDECARS
from surrogates.data.formats.given import Given
from surrogates.data.parse import check_name, load_yaml, parse
from surrogates.errors import nearest
from surrogates.interchange import TIME, TRAJECTORY, domain_of

KIND, SIZE, SOURCE = "download", "full", "source"


@dataclass(frozen=True)
class Recipe:
    """A data set that is downloaded by hand. Raises ValueError for a format or splits that do not exist."""

    name: str
    page: str
    files: str
    format: str
    given: Given
    frames: int
    grid: tuple[int, ...]
    splits: Mapping[str, int]
    kind: str = KIND
    size: str = SIZE

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.format not in FORMATS:
            raise ValueError(f"format: no format {self.format!r} among {list(FORMATS)}{nearest(self.format, FORMATS)}")
        if set(self.splits) - set(SPLITS) or "train" not in self.splits or min(self.splits.values()) < 1:
            raise ValueError(f"splits are {dict(self.splits)} but must be positive numbers of {list(SPLITS)}, train among them")

    @property
    def counts(self) -> dict[str, int]:
        """The trajectories of each split."""
        return {split: self.splits[split] for split in SPLITS if split in self.splits}

    @property
    def summary(self) -> dict[str, str]:
        """What `surrogates data list` shows."""
        return {"equation": KIND, "frames": str(self.frames), "grid": " x ".join(map(str, self.grid))}


def load(path: Path, size: str | None = None) -> Recipe:
    """The recipe of a `recipe.yaml`. Raises ValueError naming file and key; "full" is the only size."""
    if size not in (None, SIZE):
        raise ValueError(f"{path}: no size {size!r}; what others publish has one, {SIZE!r}")
    return parse(Recipe, load_yaml(path), str(path))


def sizes(path: Path) -> list[str]:
    """What others publish has one size."""
    return [SIZE]


def make(recipe: Recipe, folder: Path, *, workers: int = 1, quiet: bool = False) -> Path:
    """Convert what lies in `folder/source`, go on with it, or find it done; returns `folder`.

    Raises ValueError, with the page, where nothing was put there yet, and for files that are not the recipe's.
    """
    source, counts = folder / SOURCE, recipe.counts
    if not any(p.name not in SIDECARS and not p.name.startswith(".") for p in source.glob("*")):
        if all((folder / "data" / split / f"{recipe.name}.hdf5").is_file() for split in counts):
            return folder
        source.mkdir(parents=True, exist_ok=True)
        raise ValueError(
            f"{recipe.name} is downloaded by hand: take {recipe.files} from {recipe.page}, put it into {source} and run the same command "
            "again"
        )
    given, total = replace(recipe.given, name=recipe.name), sum(counts.values())
    _check(recipe, source, given, total)
    train, valid, test = (counts.get(split, 0) / total for split in SPLITS)
    split = Split(train, valid, test, by="order")
    return convert(source, folder, format=recipe.format, given=given, split=split, workers=workers, quiet=quiet)


def _check(recipe: Recipe, source: Path, given: Given, total: int) -> None:
    """That as many trajectories, as long and on such a grid as the recipe says are there."""
    parts = open_parts(source, recipe.format, given)
    if set(parts) != {ALL}:
        raise ValueError(f"{source} has the splits {list(parts)} of its own, and the recipe divides one series of trajectories")
    have = sum(p.sizes[TRAJECTORY] for p in parts[ALL])
    frames, grids = {p.sizes[TIME] for p in parts[ALL]}, {domain_of(p).shape for p in parts[ALL]}
    if (have, frames, grids) != (total, {recipe.frames}, {recipe.grid}):
        raise ValueError(
            f"{source} holds {have} trajectories of {sorted(frames)} frames on {sorted(grids)}, and the recipe says {total} of "
            f"{recipe.frames} on {recipe.grid}: it is another version of {recipe.page}, or another of its files; convert it with "
            f"`surrogates data convert {source} DEST --format {recipe.format}`"
        )
