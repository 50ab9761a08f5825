"""OpenFOAM on a coarser mesh, from the same first frame: what a surrogate has to be faster than at the same error.

The case is built as the recipe builds it, but for lengths of edges times `factor`; its velocity and pressure begin as the stored frame,
taken at the cells' centres. From then on it is OpenFOAM's own run, whose frames are read at the nodes of the truth. The cost is the
processor time of the solver alone; meshing comes on top.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from judge import between
from torch import Tensor

from surrogates.data.cases import channel
from surrogates.data.cases.dictionary import number
from surrogates.data.cases.history import read_log
from surrogates.data.cases.runs import solve
from surrogates.data.foam import Case
from surrogates.interchange import TIME, domain_of, from_xarray, trajectories_of

if TYPE_CHECKING:
    from surrogates.data.cases.recipe import CaseRecipe

LENGTHS = ("near", "wake", "far", "growth")


def run(recipe: CaseRecipe, part: xr.Dataset, leads: int, factor: float, folder: Path) -> tuple[Tensor, float, int]:
    """Frames 1, ..., leads at the nodes of `part` (T, C, node), the solver's seconds, and how many cells it had."""
    folder.mkdir(parents=True)
    values = recipe.values(trajectories_of(part)[0])
    meshing = {name: value * (factor if name in LENGTHS else 1.0) for name, value in recipe.meshing.items()}
    frames = replace(recipe.frames, start=0.0, count=leads + 1)
    channel.build(folder, values, meshing, frames, recipe.solver)
    centres = Case(folder).mesh.centres[:, :2]
    first = from_xarray(part.isel({TIME: slice(1)}))[0]
    begin(folder, at_points(part, first, centres))
    log = read_log(solve(folder, channel.programs[-1], threading.Event(), lambda _: None, frames.end))
    case = Case(folder)
    made = []
    for n in range(1, leads + 1):
        time = min(case.times, key=lambda t: abs(t - n * frames.step))
        u, p = (case.field(name, time, boundary=False).internal(case.count) for name in ("U", "p"))
        made.append(np.concatenate([u[:, :2], p], 1).T)
    return between(part, centres, torch.from_numpy(np.stack(made))), log.seconds, case.count


def at_points(part: xr.Dataset, u: Tensor, points: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """A frame (1, C, node) at other points: the mean of the nodes that lie nearest to each, the nearest node's where there are none."""
    from scipy.spatial import cKDTree

    mesh = domain_of(part)
    values, weights = u[0].numpy().T.astype(np.float64), mesh.measure.numpy()
    home = cKDTree(points).query(mesh.points.numpy())[1]
    total = np.bincount(home, weights, len(points))
    sums = np.stack([np.bincount(home, weights * column, len(points)) for column in values.T], 1)
    alone = total == 0
    out = sums / np.where(alone, 1.0, total)[:, None]
    out[alone] = values[cKDTree(mesh.points.numpy()).query(points[alone])[1]]
    return out


def begin(folder: Path, values: np.ndarray) -> None:  # type: ignore[type-arg]
    """Put (u, v, p) of every cell into the fields of time 0, as numbers."""
    rows = {"U": ("vector", [f"({number(u)} {number(v)} 0)" for u, v, _ in values.tolist()])}
    rows["p"] = ("scalar", [number(p) for *_, p in values.tolist()])
    for name, (kind, entries) in rows.items():
        path = folder / "0" / name
        lines = path.read_text(encoding="ascii").splitlines()
        at = next(n for n, line in enumerate(lines) if line.startswith("internalField"))
        lines[at] = f"internalField nonuniform List<{kind}>\n{len(entries)}\n(\n" + "\n".join(entries) + "\n);"
        path.write_text("\n".join(lines) + "\n", encoding="ascii")
