"""Making a data set from its recipe: groups of trajectories in threads or on a cluster, written as they come, resumed where a run was cut.

Groups are the unit of work and of resuming: a group that is not complete in its file is computed again as a whole, so the arrays
are bit-identical to those of a run that was never stopped, with any number of workers (each advances its groups on one core).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import surrogates
from surrogates import catalog
from surrogates.data import truth
from surrogates.data.certificate import certificate, jobs, subjects
from surrogates.data.files import SUFFIXES
from surrogates.data.layout import MEMBERS, OURS, PART, Known, Part, checksum, create
from surrogates.data.read import open_hdf5, read_file
from surrogates.data.recipe import Recipe, load_recipe
from surrogates.data.workers import locked, one_thread_each, pool, progress
from surrogates.errors import check_device
from surrogates.interchange import from_xarray


def make(
    recipe: str | Path | Recipe,
    size: str | None = None,
    out: str | Path | None = None,
    *,
    workers: int | None = None,
    device: str = "cpu",
    quiet: bool = False,
    scheduler: str | None = None,
) -> Path:
    """Make, resume or find a data set; returns its folder, `out` or <data root>/<name>/<size>.

    `size` is "tiny", "small" or "full" (default: "small" where the recipe declares it, else "full").
    `workers` threads (default: the cores at hand) advance one group each, or, with a `scheduler` ("local", or the address of a dask
    scheduler whose workers see the folder), so many processes, at an address by default those that are there; the bits depend on none
    of it. Raises ValueError for a recipe that is wrong
    and for a folder that holds another data set, OSError where the disk has no room for it. Stopped at any moment, the same call resumes.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, size)
    truth.solver_of(chosen, chosen.solver)
    check_device(device)
    folder = Path(out) if out is not None else catalog.data_root() / chosen.name / chosen.size
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        parts = begin(chosen, folder)
        if parts:
            with one_thread_each():
                results = run(chosen, parts, workers, device, quiet, scheduler)
            close(parts, certify(chosen, parts, results))
    return folder


def begin(recipe: Recipe, folder: Path) -> dict[str, Part]:
    """The unfinished files of the recipe, made where they are not there; none when all is done.

    Raises ValueError where the folder holds another recipe, or what another version of this package began.
    """
    written = json.dumps(truth.written(recipe), sort_keys=True)
    places = {s: folder / "data" / s / f"{recipe.name}{SUFFIXES[0]}{PART}" for s in recipe.counts}
    finished = {s: p.with_name(p.name.removesuffix(PART)) for s, p in places.items()}
    for path in (*finished.values(), *places.values()):
        if path.exists():
            _same(path, written)
    if all(p.exists() for p in finished.values()):
        return {}
    for draft in folder.glob("data/*/.*"):  # of a run that was killed while it laid out a file
        draft.unlink()
    for split, path in places.items():
        if finished[split].exists():
            os.replace(finished[split], path)
        if not path.exists():
            _create(recipe, split, path, written)
    return {s: Part(p) for s, p in places.items()}


def run(
    recipe: Recipe, parts: dict[str, Part], workers: int | None, device: str, quiet: bool, scheduler: str | None = None
) -> dict[str, Tensor]:
    """Write every group that is not complete, each into its own region of its file; returns what the certificate needs."""
    todo = [(s, ids) for s in recipe.counts for ids in recipe.groups(s) if not _complete(recipe, parts[s], s, ids)]
    checks = {name: work for name, (_, work) in jobs(recipe, device).items()}
    total = sum(checks.values()) + sum(_work(recipe, ids) for _, ids in todo)
    with progress(f"{recipe.name} ({recipe.size})", total, quiet) as tick, pool(workers, tick, scheduler) as submit:
        waiting = {submit(partial(check, recipe, name, device), work): name for name, work in checks.items()}
        for split, ids in todo:
            job = partial(write_group, recipe, parts[split].path.resolve(), split, ids, device)
            waiting[submit(job, _work(recipe, ids))] = ""
        results = {waiting[done]: done.result() for done in as_completed(waiting)}
    return {name: result for name, result in results.items() if name}


def check(recipe: Recipe, name: str, device: str, tick: truth.Tick) -> Tensor:
    """One of the runs that the certificate compares with."""
    return jobs(recipe, device)[name][0](tick)


def write_group(recipe: Recipe, path: Path, split: str, ids: Sequence[int], device: str, tick: truth.Tick) -> Tensor:
    """Some trajectories, into their rows of the file, here or in another process; returns the rows."""
    rows = group(recipe, ids, device, tick).numpy()
    first, members = recipe.trajectories(split)[0], recipe.members_of(split)
    part, static = Part(path), truth.static(recipe, ids)
    for n, trajectory in enumerate(ids):
        if static is not None:
            _write_static(recipe, part, static[n], (trajectory - first) * members, members)
        part.write_rows((trajectory - first) * members, rows[n * members : (n + 1) * members])
    return torch.tensor([i - first for i in ids])


def _write_static(recipe: Recipe, part: Part, static: Tensor, row: int, members: int) -> None:
    """What belongs to a trajectory and stays, (Cs, *X), before its frames: their mark covers it."""
    fields = truth.static_fields_of(recipe)
    for f in fields:
        for n in range(members):
            part.write_known(f.name, static[fields.slice(f.name)].float().numpy(), row=row + n)


def group(recipe: Recipe, ids: Sequence[int], device: str, tick: truth.Tick) -> Tensor:
    """The frames of some trajectories, (B, T, C, *X), float32; all members of an initial state, then those of the next."""
    split = recipe.split_of(ids[0])
    members, count = recipe.members_of(split), recipe.frames_of(split)
    u = truth.start(recipe, ids, tick, device).repeat_interleave(members, 0)
    rows = [i for i in ids for _ in range(members)]
    out = torch.empty(len(rows), count, u.shape[1], *recipe.frames.resolution, dtype=torch.float32)
    for n, frame in enumerate(truth.frames(recipe, rows, u, count, recipe.solver, tick, members)):
        out[:, n] = frame
    return out


def close(parts: dict[str, Part], certified: dict[str, Any]) -> None:
    """Seal every file with its checksum and the certificate."""
    for part in parts.values():
        part.finish({"checksum": checksum(part.path), "certificate": certified})


def certify(recipe: Recipe, parts: dict[str, Part], results: dict[str, Tensor]) -> dict[str, Any]:
    """The certificate from the stored frames and the runs that check them."""
    ids, rows = subjects(recipe)
    split = recipe.split_of(ids[0])
    stored = from_xarray(read_file(parts[split].path, partial=True).isel(trajectory=slice(rows)))
    return certificate(recipe, stored, results)


def _create(recipe: Recipe, split: str, path: Path, written: str) -> None:
    members = recipe.members_of(split)
    ids = [i for i in recipe.trajectories(split) for _ in range(members)]
    ours: dict[str, str | int | float] = {
        "recipe": written,
        "version": surrogates.__version__,
        "seed": recipe.seed,
        "dt": recipe.frames.step,
    }
    create(
        path,
        name=recipe.name,
        fields=truth.fields_of(recipe),
        box=truth.stored_box(recipe),
        times=[i * recipe.frames.step for i in range(recipe.frames_of(split))],
        trajectories=ids,
        parameters={n: [recipe.values(i)[n] for i in ids] for n in recipe.parameters},
        attrs=ours if members == 1 else {**ours, MEMBERS: members},
        known=[Known(f, shared=False) for f in truth.static_fields_of(recipe)],
    )


def _same(path: Path, written: str) -> None:
    with open_hdf5(path) as f:
        ours = f[OURS].attrs if OURS in f else {}
        if str(ours.get("recipe")) != written:
            raise ValueError(f"{path} was made from another recipe; give another folder with out=, or remove {path.parents[2]}")
        if path.suffix == PART and str(ours["version"]) != surrogates.__version__:
            raise ValueError(
                f"{path} was begun by version {ours['version']}, this is {surrogates.__version__}; finish it there or remove it"
            )


def _complete(recipe: Recipe, part: Part, split: str, ids: Sequence[int]) -> bool:
    first, members = recipe.trajectories(split)[0], recipe.members_of(split)
    return bool(part.complete.reshape(-1, members)[[i - first for i in ids]].all())


def _work(recipe: Recipe, ids: Sequence[int]) -> float:
    split = recipe.split_of(ids[0])
    time, rows = (recipe.frames_of(split) - 1) * recipe.frames.step, len(ids) * recipe.members_of(split)
    return truth.work_of_start(recipe, len(ids)) + truth.work(recipe.solver, time, recipe.frames.step, rows)
