"""A solved case becomes a file of ours, one trajectory: on a mesh (`data.mesh_file`) or on a grid (`data.layout`), its histories beside.

history/         @bodies where forces were measured
    time         (step) s, every time step of the solver from the first frame on
    force        (step, body, part, axis) m3 s-2: pressure and viscous parts of the force per depth and density
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import surrogates
from surrogates.data import layout, mesh_file
from surrogates.data.cases.history import Histories
from surrogates.data.cases.recipe import CaseRecipe
from surrogates.data.foam import Case
from surrogates.data.hdf5 import OURS, PART, open_hdf5
from surrogates.data.mesh_piece import Piece
from surrogates.domains import Box, Masked, Mesh
from surrogates.fields import Fields

HISTORY = "history"
SLACK = 1e-4  # of the step, by which a frame may be late


def keep(recipe: CaseRecipe, number: int, solved: Path, path: Path, numbers: Mapping[str, float], tables: Histories, version: str) -> Path:
    """Write the case `number`, solved in a folder, to `path`, which is returned. Raises ValueError for frames missing or not finite."""
    case, family, values = Case(solved), recipe.made, recipe.values(number)
    domain, cells = family.domain(case)
    frames = _frames(recipe, case, cells)
    fields = Fields(tuple(family.fields.values()))
    attrs: dict[str, str | int | float] = {
        "recipe": json.dumps(recipe.to_json(), sort_keys=True),
        "version": surrogates.__version__,
        "seed": recipe.seed,
        "dt": recipe.frames.step,
        "solver": f"OpenFOAM {version}, {family.programs[-1]}: {family.scheme}",
    }
    about: dict[str, Any] = {"name": recipe.name, "fields": fields, "attrs": attrs}
    times = [n * recipe.frames.step for n in range(recipe.frames.count)]
    draft = path.with_name(path.name + PART)
    draft.unlink(missing_ok=True)
    columns = {name: [value] for name, value in values.items()}
    part: mesh_file.Part | layout.Part
    if isinstance(domain, Mesh):
        statics = {name: np.asarray(v, np.float32)[None] for name, v in family.static(case, values).items()}
        piece = Piece(domain, times, [number], columns, statics, recipe.frames.step, "s")
        mesh_file.create(draft, [piece], static=Fields(tuple(family.statics)), **about)
        _tables(draft, tables)
        part = mesh_file.Part(draft)
        part.write(0, frames)
        return part.finish({"certificate": dict(numbers)})
    layout.create(draft, box=domain, times=times, trajectories=[number], parameters=columns, time_units="s", **about)
    _tables(draft, tables)
    part = layout.Part(draft)
    part.write(0, _gridded(frames, domain))
    return part.finish({"checksum": layout.checksum(draft), "certificate": dict(numbers)})


def tables_of(path: Path) -> dict[str, NDArray[np.float64]]:
    """The tables of a file of one case, by name: "time" and what its family measured. Raises ValueError for another file."""
    with open_hdf5(path) as f:
        if HISTORY not in f:
            raise ValueError(f"{path} holds no history of a solver; files of `kind: cases` do")
        return {name: np.asarray(table[:]) for name, table in f[HISTORY].items()}


def recipe_in(path: Path) -> str:
    """The JSON of the recipe that a file was made from; empty where it says none."""
    with open_hdf5(path) as f:
        ours = f[OURS].attrs if OURS in f else {}
        attrs: Mapping[str, Any] = json.loads(f.attrs["attrs"]) if "attrs" in f.attrs else ours
        return str(attrs.get("recipe", ""))


def _frames(recipe: CaseRecipe, case: Case, cells: NDArray[np.int64]) -> NDArray[np.float32]:
    """(T, C, place): every field at every frame."""
    family, clock = recipe.made, recipe.frames
    out = np.empty((clock.count, sum(max(1, len(f.components)) for f in family.fields.values()), len(cells)), np.float32)
    known = np.array(case.times)
    for n in range(clock.count):
        wanted = clock.start + n * clock.step
        nearest = float(known[np.abs(known - wanted).argmin()])
        if abs(nearest - wanted) > SLACK * clock.step:
            raise ValueError(f"{case.path}: there is no frame at {wanted:g} s, the nearest is at {nearest:g} s; did the run end early?")
        channel = 0
        for name, f in family.fields.items():
            columns = ["xyz".index(c) for c in f.components] or [0]
            values = case.field(name, nearest, boundary=False).internal(case.count)[cells]
            out[n, channel : channel + len(columns)] = values[:, columns].T
            channel += len(columns)
    if not np.isfinite(out).all():
        raise ValueError(f"{case.path}: frame {int(np.flatnonzero(~np.isfinite(out).all((1, 2)))[0])} is not finite")
    return out


def _gridded(frames: NDArray[np.float32], domain: Box | Masked) -> NDArray[np.float32]:
    """(T, C, *X); 0 where a cell is dry."""
    wet = domain.mask
    if wet is None:
        return frames.reshape(*frames.shape[:2], *domain.shape)
    out = np.zeros((*frames.shape[:2], *domain.shape), np.float32)
    out[:, :, wet.numpy()] = frames
    return out


def _tables(path: Path, tables: Histories) -> None:
    """While the file is a draft: its arrays are in place and stay there."""
    with h5py.File(path, "r+") as f:
        group = f.create_group(HISTORY)
        for name, table in tables.items():
            group.create_dataset(name, data=np.asarray(table, "<f8"))
