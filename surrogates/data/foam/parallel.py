"""processor0, processor1, ...: a case that decomposePar cut, read as one.

    processor<i>/constant/polyMesh/cellProcAddressing     the cell of the whole mesh that each cell here is
    processor<i>/constant/polyMesh/boundary               type processor: the faces shared with processor j, in the same order there
                                                          type processorCyclic: faces of the cyclic patch referPatch, likewise

Where the whole mesh and the addressing are there, values go back to the cells they came from. Else the parts are laid one after another,
and the faces that two of them share are faces inside.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.data.foam import source
from surrogates.data.foam.patches import HALO, Patch
from surrogates.data.foam.polymesh import PolyMesh, Whole, read_labels

FOLDER = re.compile(r"processor(\d+)")
COLLATED = re.compile(r"processors\d+(_\d+-\d+)?")
Half = tuple[int, Patch, int, Patch]
"""A part, its patch, another part, and the patch there with the same faces (or, cut from a cyclic pair, those a shift away)."""


def folders(case: Path) -> list[Path]:
    """processor0, processor1, ... in this order; none where the case is whole. Raises ValueError for a gap."""
    names = {p.name: p for p in case.iterdir() if p.is_dir() and p.name.startswith("processor")}
    found = sorted(int(m[1]) for m in map(FOLDER.fullmatch, names) if m)
    if found != list(range(len(found))):
        raise ValueError(f"{case}: there are processor folders {found[:20]} but some are missing; they are counted from 0")
    return [case / f"processor{n}" for n in found]


def collated(case: Path) -> list[Path]:
    """processors4, processors4_0-3, ...: folders of files that hold all parts, which are not read."""
    return sorted(p for p in case.iterdir() if p.is_dir() and COLLATED.fullmatch(p.name))


def addressing(meshes: list[Path], cells: int) -> list[Whole] | None:
    """The cells of the whole mesh that those of each part are; None where no part says it.

    Raises ValueError where they do not fill the whole mesh, each cell once.
    """
    paths = [folder / "cellProcAddressing" for folder in meshes]
    if not any(source.find(path) for path in paths):
        return None
    found = [read_labels(path) for path in paths]
    together = np.concatenate(found)
    if len(together) != cells or together.min() < 0 or together.max() >= cells or (np.bincount(together, minlength=cells) != 1).any():
        raise ValueError(
            f"{paths[0]}: the parts name {len(together)} cells and the whole mesh has {cells}, each once; "
            "was the mesh changed after decomposePar? Remove constant/polyMesh to read the parts alone"
        )
    return found


def consecutive(meshes: list[PolyMesh]) -> list[Whole]:
    """The parts one after another."""
    ends = np.cumsum([0, *(m.cells for m in meshes)])
    return [np.arange(a, b) for a, b in pairwise(ends)]


def halves(meshes: list[PolyMesh]) -> list[Half]:
    """Each patch towards a later part (or the same), with the patch that is its other side there.

    Raises ValueError where the other side is missing or has another number of faces.
    """
    out = []
    for one, mesh in enumerate(meshes):
        for patch in (p for p in mesh.patches if p.type in HALO and p.size):
            other, back = (patch.entry[key] for key in ("neighbProcNo", "myProcNo"))
            if back != one or not isinstance(other, int) or not 0 <= other < len(meshes):
                raise ValueError(f"{mesh.path}: patch {patch.name!r} joins processors {back} and {other}; this is {one} of {len(meshes)}")
            if other < one:
                continue
            sides = [
                q for q in meshes[other].patches if _faces_back(q, patch.type, one) and q.entry.get("referPatch") in _twins(mesh, patch)
            ]
            if len(sides) != 1 or sides[0].size != patch.size:
                raise ValueError(
                    f"{meshes[other].path}: no patch of {patch.size} faces towards processor {one}, as {patch.name!r} there asks for; "
                    "do the folders belong to one decomposition?"
                )
            out.append((one, patch, other, sides[0]))
    return out


def shared(found: Sequence[Half], meshes: list[PolyMesh], cells: list[Whole]) -> Whole:
    """(2, pair): the cells on both sides of each face that two parts share, by their numbers in `cells`."""
    pairs = [np.stack([cells[i][meshes[i].owner[p.faces]], cells[j][meshes[j].owner[q.faces]]]) for i, p, j, q in found]
    return np.concatenate([np.zeros((2, 0), np.int64), *pairs], 1)


def _faces_back(patch: Patch, kind: str, towards: int) -> bool:
    return bool(patch.type == kind and patch.size and patch.entry.get("neighbProcNo") == towards)


def _twins(mesh: PolyMesh, patch: Patch) -> tuple[Any, ...]:
    """What the other side refers to: nothing, or the opposite of the cyclic patch that this one was cut from."""
    refer = patch.entry.get("referPatch")
    return (None,) if refer is None else (mesh.patch(str(refer)).entry.get("neighbourPatch"),)


def assemble(parts: list[NDArray[Any]], cells: list[Whole]) -> NDArray[np.float64]:
    """(N, k) from the values of each part."""
    out = np.empty((sum(map(len, cells)), parts[0].shape[-1]))
    for values, index in zip(parts, cells, strict=True):
        out[index] = values
    return out
