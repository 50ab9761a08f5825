"""For how long the truth of a data set of cases is the truth: one test case solved again, finer in time and in space.

From its first stored frame the case runs again at half the Courant number, on its own mesh and on edges of half the length (about four
times the cells, so some fifteen times the work of the window). t* is the last lead at which both still correlate with the stored frames
at `THRESHOLD` or better in every field, space weighted by the areas of the cells: pointwise scores stop there, beyond it only statistics
count. It stands in `certificate.json` beside `data/`, since the files of the cases are finished before it is known:

    {"scored_time": t*, "half_courant_time": ..., "half_edges_time": ..., "checked_time": ..., "case": 28, "threshold": 0.999}

`make` does it where the recipe has `certificate: <seconds>`; for a folder made without, `surrogates data certify FOLDER --time SECONDS`.
What one run said stands under `scratch` until both are there, so that a call that was stopped does not solve it again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.data.cases.stopping import end_left
from surrogates.data.certificate import THRESHOLD, lead
from surrogates.data.formats import open_parts
from surrogates.data.truth import Tick
from surrogates.data.workers import progress
from surrogates.domains import Mesh
from surrogates.interchange import domain_of, fields_of, from_xarray

if TYPE_CHECKING:
    from surrogates.data.cases.recipe import CaseRecipe

FILE = "certificate.json"
RUNS = {"half_courant": (1.0, 2), "half_edges": (0.5, 16)}
"""The factor of the edges, and the work, in that of the window as it was made; the Courant number is halved in both."""


def certify(recipe: CaseRecipe, folder: Path, time: float, *, quiet: bool = True) -> dict[str, Any]:
    """Examine the first test case of a made folder over `time` seconds, write `certificate.json` and return what it says.

    Stopped at any moment, the same call goes on with the run that had not ended. Raises ValueError for a family that is not solved again,
    a time beyond the frames, a case that is not made, and where a program fails.
    """
    case, step = recipe.cases("test" if "test" in recipe.counts else "train")[0], recipe.frames.step
    leads = checked_leads(recipe, time)
    path = _case_file(recipe, folder, case)
    part, times = open_parts(path)[recipe.split_of(case)][0], {}
    with progress(f"{recipe.name}: certificate", leads * step * sum(work for _, work in RUNS.values()), quiet) as tick:
        for name in RUNS:
            times[name] = _held(recipe, part, path, leads, name, folder / "scratch", tick)
    told = {f"{name}_time": time for name, time in times.items()}
    found = {"scored_time": min(times.values()), **told, "checked_time": leads * step, "case": case, "threshold": THRESHOLD}
    _write(folder / FILE, found)
    for name in RUNS:
        _answer(folder / "scratch", name).unlink()
    return found


def _case_file(recipe: CaseRecipe, folder: Path, case: int) -> Path:
    from surrogates.data.cases.runs import path_of

    path = path_of(recipe, folder, case)
    if not path.exists():
        raise ValueError(f"{path} is not made yet; the certificate is worked out from its frames")
    return path


def _held(recipe: CaseRecipe, part: xr.Dataset, path: Path, leads: int, name: str, scratch: Path, tick: Tick) -> float:
    """The lead up to which one of the finer runs says what is stored: as it was found before for this file, else by solving."""
    from surrogates.data.cases.again import again

    (edges, work), step, state = RUNS[name], recipe.frames.step, path.stat()
    asked = {"file": [path.name, state.st_size, state.st_mtime_ns], "leads": leads}
    answer = _answer(scratch, name)
    if answer.exists() and (known := json.loads(answer.read_text()))["asked"] == asked:
        tick(leads * step * work)
        return float(known["time"])
    here = scratch / f"certificate.{name}"
    end_left(here)
    shutil.rmtree(here, ignore_errors=True)
    made = again(recipe, part, here, leads, edges=edges, courant=0.5, tick=lambda time: tick(time * work))
    shutil.rmtree(here)
    stored = from_xarray(part)[0, : leads + 1]
    time = lead(correlations(part, stored, torch.cat([stored[:1], made.frames]))[None], step)
    _write(answer, {"asked": asked, "time": time})
    return time


def _answer(scratch: Path, name: str) -> Path:
    return scratch / f"certificate.{name}.json"


def _write(path: Path, found: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    draft.write_text(json.dumps(found, indent=1))
    os.replace(draft, path)


def read_certificate(folder: Path) -> Mapping[str, Any]:
    """What `certify` found of the data set in a folder; empty where nobody asked."""
    path = folder / FILE
    return json.loads(path.read_text()) if path.exists() else {}


def checked_leads(recipe: CaseRecipe, time: float) -> int:
    """The frames of a time. Raises ValueError where they are more than are stored, or none, or the family is not solved again."""
    if recipe.family != "channel":
        raise ValueError(
            f"certificate: the family {recipe.family!r} is not solved again from a stored frame, only 'channel' is; leave it out"
        )
    leads = round(time / recipe.frames.step)
    if not 1 <= leads < recipe.frames.count:
        span = (recipe.frames.count - 1) * recipe.frames.step
        raise ValueError(f"certificate: {time:g} s is not between one frame, {recipe.frames.step:g} s, and all of them, {span:g} s")
    return leads


def correlations(part: xr.Dataset, a: Float[Tensor, "T C node"], b: Float[Tensor, "T C node"]) -> Float[Tensor, " T"]:
    """The lowest of any field, over space by the measure of the mesh and over components, each centred."""
    mesh, fields = domain_of(part), fields_of(part)
    assert isinstance(mesh, Mesh)
    return torch.stack([_correlation(mesh, a[:, fields.slice(f.name)], b[:, fields.slice(f.name)]) for f in fields]).amin(0)


def _correlation(mesh: Mesh, a: Float[Tensor, "T c node"], b: Float[Tensor, "T c node"]) -> Float[Tensor, " T"]:
    share = mesh.measure.double() / mesh.measure.double().sum()
    a, b = (u.double() - (u.double() * share).sum(-1, keepdim=True) for u in (a, b))
    both, left, right = ((share * p).sum((1, 2)) for p in (a * b, a * a, b * b))
    return both / (left * right).sqrt().clamp_min(1e-300)
