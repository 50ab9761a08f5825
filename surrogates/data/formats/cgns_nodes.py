"""Nodes of a CGNS file in HDF5: groups with an attribute `label`, whose data are the array " data" in them.

Source: https://cgns.github.io/CGNS_docs_current/hdf5/index.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from surrogates.data.formats import checks

DATA, DEPTH = " data", 12


def label_of(group: Any) -> str:
    told = group.attrs.get("label", "") if isinstance(group, h5py.Group) else ""
    return told.decode("ascii", "replace") if isinstance(told, bytes) else str(told)


def closed(group: h5py.Group, path: Path, depth: int = DEPTH) -> None:
    """That no link leads to another file: asking whether a node is there would open it."""
    for name in group:
        checks.own(group, name, path)
        if isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], h5py.Group):
            if not depth:
                raise ValueError(f"{path}: {group.name} lies deeper than CGNS goes; it is damaged")
            closed(group[name], path, depth - 1)


def named(group: h5py.Group, label: str) -> list[tuple[str, h5py.Group]]:
    return [(name, group[name]) for name in group if label_of(group.get(name)) == label]


def labelled(group: h5py.Group, label: str) -> list[h5py.Group]:
    return [g for _, g in named(group, label)]


def only(group: h5py.Group, label: str, path: Path) -> h5py.Group:
    found = labelled(group, label)
    if len(found) != 1:
        what = f"{len(found)} nodes {label}: {[g.name for g in found]}" if found else f"no node {label}"
        raise ValueError(f"{path}: {group.name} has {what}, and one is read; merge zones into one (ParaView: Merge Blocks, then VTU)")
    return found[0]


def child(group: h5py.Group, name: str, path: Path) -> h5py.Group:
    found = group.get(name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{path}: {group.name} has no node {name}; it has {sorted(group)}")
    return found


def numbers(group: h5py.Group, path: Path, count: int | None = None) -> NDArray[Any]:
    """The data of a node, flat."""
    values: NDArray[Any] = np.asarray(checks.array(group, DATA, path)[...]).reshape(-1)
    if not len(values) or (count is not None and len(values) != count):
        raise ValueError(f"{path}: {group.name} has {len(values)} numbers, and {count or 'some'} are needed")
    return values


def integers(group: h5py.Group, path: Path) -> NDArray[np.int64]:
    values = numbers(group, path)
    if values.dtype.kind not in "iu":
        raise ValueError(f"{path}: {group.name} holds {values.dtype}, and whole numbers are needed")
    return values.astype(np.int64)


def text(group: h5py.Group, path: Path) -> str:
    return numbers(group, path).astype(np.uint8).tobytes().decode("ascii", "replace").strip("\0 ")
