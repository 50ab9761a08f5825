"""Opening a data set, known by name (<data root>/<name>/<size>/data/<split>/*.hdf5) or by the path of a file or folder.

What is not in our layout, The Well's, goes to `surrogates.data.formats`, which knows the formats of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import xarray as xr

from surrogates import catalog
from surrogates.data.layout import MEMBERS, OURS, PART
from surrogates.data.read import open_hdf5, read_file
from surrogates.data.sizes import SIZES
from surrogates.domains.layout import NODE, same
from surrogates.errors import nearest
from surrogates.interchange import TIME, TRAJECTORY, domain_of

SPLITS = ("train", "valid", "test")

SUFFIXES = (".hdf5", ".h5")
SPLIT, ALL = "split", "all"


def open_dataset(
    name_or_path: str | Path, split: str | None = None, *, size: str | None = None, partial: bool = False, verify: bool = False
) -> xr.Dataset:
    """A data set, made before by `surrogates data make`, or any file or folder in The Well's layout or one of `surrogates.data.formats`.

    `split` is "train", "valid" or "test"; None joins them, with a coordinate "split" on the trajectories. "members" are the true
    members of initial states of their own, where the equation draws noise: dims (trajectory, member, time, ...). Of several sizes the
    largest that was made is opened unless `size` says which. `partial=True` opens the complete trajectories of an unfinished one;
    `verify=True` compares the arrays with their checksum. Raises ValueError where there is nothing to open, or it is not sound.
    """
    folder = locate(name_or_path, size)
    if foreign(folder):
        return _of_others(folder, split)
    found = files_of(folder)
    _check_split(folder, split, found)
    parts, held = [], []
    for name, paths in found.items():
        for path in paths if split == name or (split is None and name != MEMBERS) else ():
            part = read_file(path, partial=partial, verify=verify)
            labels = {} if split or name == ALL else {SPLIT: (TRAJECTORY, [name] * part.sizes[TRAJECTORY])}
            parts.append(part.assign_coords(labels))
            held.append(path.relative_to(folder).as_posix() if folder.is_dir() else path.name)
    joined = _joined(folder, parts, held)
    return joined.assign_attrs({SPLIT: split or "", **({"size": folder.name} if folder.name in SIZES else {})})


def foreign(path: Path) -> bool:
    """Whether something else than files in The Well's layout is there; of damaged HDF5 files our own reader tells what is wrong."""
    try:
        first = next(p for paths in files_of(path).values() for p in paths)
    except ValueError:
        return True
    try:
        with open_hdf5(first) as f:
            return OURS not in f and "dimensions" not in f
    except ValueError:
        return first.suffix not in (*SUFFIXES, PART)


def _of_others(path: Path, split: str | None) -> xr.Dataset:
    """Through `formats.open_parts`, the parts of a split joined."""
    from surrogates.data.formats import open_parts

    found = open_parts(path)
    _check_split(path, split, found)
    chosen = [(name, part) for name in ([split] if split else found) for part in found[name]]
    labelled = [p if split or s == ALL else p.assign_coords({SPLIT: (TRAJECTORY, [s] * p.sizes[TRAJECTORY])}) for s, p in chosen]
    return _joined(path, labelled).assign_attrs({SPLIT: split or ""})


def _joined(path: Path, parts: Sequence[xr.Dataset], names: Sequence[str] = ()) -> xr.Dataset:
    """The parts as one. Raises ValueError where they do not fit, with what opens them."""
    try:
        return join(parts, names)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}; surrogates.data.formats.open_parts(path) gives the parts one by one, and training by name trains on all"
        ) from error


def _check_split(path: Path, split: str | None, found: Mapping[str, object]) -> None:
    if split is not None and split not in found:
        raise ValueError(f"{path} has no split {split!r}; it has {list(found)}{nearest(split, found)}")


def locate(name_or_path: str | Path, size: str | None = None) -> Path:
    """The file, or folder with `data/<split>`, that a name or path stands for. Raises ValueError, saying what makes it."""
    path, text, root = Path(name_or_path).expanduser(), str(name_or_path), catalog.data_root()
    made = [s for s in reversed(SIZES) if (root / text / s / "data").is_dir()]
    if made and size in (None, *made):
        return root / text / (size or made[0])
    if path.suffix in SUFFIXES or "/" in text or "\\" in text or (path.exists() and size is None):
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
        return path
    known = catalog.names("datasets")
    if text not in known:
        raise ValueError(f"no data set {text!r} under {root} and no recipe of that name among {known}{nearest(text, known)}")
    label = f"{text!r} of size {size!r}" if size else f"{text!r}"
    raise ValueError(f"{label} has not been made under {root}; run `surrogates data make {text}{f' --size {size}' if size else ''}`")


def files_of(folder: Path) -> dict[str, list[Path]]:
    """The files of each split, unfinished ones included. Raises ValueError where there are none."""
    if folder.is_file():
        return {folder.parent.name if folder.parent.name in (*SPLITS, MEMBERS) else ALL: [folder]}
    base = folder / "data" if (folder / "data").is_dir() else folder
    homes = {s: base / s for s in (*SPLITS, MEMBERS) if (base / s).is_dir()} or {base.name if base.name in SPLITS else ALL: base}
    out: dict[str, list[Path]] = {}
    for split, home in homes.items():
        found = sorted(p for p in home.iterdir() if p.suffix in (*SUFFIXES, PART) and not p.name.startswith("."))
        if found:
            out[split] = found
    if not out:
        raise ValueError(f"{folder} holds no {' or '.join(SUFFIXES)} file, neither itself nor under data/<split>")
    return out


def join(parts: Sequence[xr.Dataset], names: Sequence[str] = ()) -> xr.Dataset:
    """Along trajectories; `names` are those of their files. Raises ValueError where they differ in grid, fields, step or length."""
    first = parts[0]
    if len(parts) == 1:
        return first
    for n, other in enumerate(parts[1:], 1):
        for what in ("domain", "fields", "dt"):
            if other.attrs[what] != first.attrs[what]:
                raise ValueError(f"the files of one data set differ in {what}: {first.attrs[what]} and {other.attrs[what]}")
        if other.sizes[TIME] != first.sizes[TIME]:
            (a, b) = (f"{names[i]} has {p.sizes[TIME]}" if names else f"{p.sizes[TIME]}" for i, p in ((0, first), (n, other)))
            raise ValueError(f"the files of one data set differ in length: {a} and {b} frames")
        if NODE in first.dims and not same(domain_of(first), domain_of(other)):
            raise ValueError("the files of one data set lie on different meshes")
    together = xr.concat(list(parts), dim=TRAJECTORY, data_vars="minimal", coords="minimal", compat="override", join="override")
    together.attrs = {k: v for k, v in first.attrs.items() if k != "checksum"}
    if all("checksum" in p.attrs for p in parts):
        together.attrs["checksum"] = sha256("".join(p.attrs["checksum"] for p in parts).encode()).hexdigest()
    if len(np.unique(together[TRAJECTORY].values)) < together.sizes[TRAJECTORY]:
        together = together.assign_coords({TRAJECTORY: np.arange(together.sizes[TRAJECTORY])})
    return together
