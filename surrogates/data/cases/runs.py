"""Cases are solved side by side, each in a folder of its own, and kept as they finish.

    <folder>/scratch/0007.4242/             case 7, being solved by process 4242; removed when it is kept
    <folder>/data/train/<name>_0007.hdf5    kept

A case is the unit of work and of resuming: what is not kept is solved again from its beginning, on one core, to the same numbers. One that
fails, whatever it fails of, does not stop the others; its folder stays for a look, and the error at the end, or what is told where the run
is stopped before, names it with the end of the solver's log. Solvers end with their run (`stopping`).
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from os import getpid
from pathlib import Path

from surrogates.data.cases import programs, stopping
from surrogates.data.cases.certificate import certify, read_certificate
from surrogates.data.cases.history import read_log
from surrogates.data.cases.keep import keep, recipe_in
from surrogates.data.cases.recipe import CaseRecipe
from surrogates.data.truth import Tick
from surrogates.data.workers import StopError, locked, progress

POLL = 0.5  # s between looks at how far a solver is
OVERSHOOT = 2.0  # the step adapts to the last one's Courant number: so far a single step may be above the bound
RESIDUAL = 1e-5  # of the last pressure correction of a step


def make(recipe: CaseRecipe, folder: Path, *, workers: int = 1, quiet: bool = False) -> Path:
    """Make or resume all cases of a recipe; returns the folder. `workers` solvers run at a time, one core each.

    Raises FileNotFoundError, before any work, where a program is missing; ValueError where the folder holds another data set, and at the
    end where cases failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder), stopping.ended_by_signals():
        todo = unfinished(recipe, folder)
        if todo:
            programs.need(recipe.made.programs)
            for case in todo:
                recipe.values(case)  # ranges that leave no case are told now
            _solve_all(recipe, folder, todo, workers, quiet)
        if recipe.certificate is not None and not read_certificate(folder):
            programs.need(recipe.made.programs)
            certify(recipe, folder, recipe.certificate, quiet=quiet)
        scratch = folder / "scratch"
        if scratch.is_dir() and not any(scratch.iterdir()):
            scratch.rmdir()
    return folder


def unfinished(recipe: CaseRecipe, folder: Path) -> list[int]:
    """The cases that are not kept yet. Raises ValueError where the folder holds those of another recipe."""
    written = json.dumps(recipe.to_json(), sort_keys=True)
    todo = []
    for split in recipe.counts:
        for case in recipe.cases(split):
            path = path_of(recipe, folder, case)
            if not path.exists():
                todo.append(case)
            elif recipe_in(path) != written:
                raise ValueError(f"{path} was made from another recipe; give another folder with out=, or remove {folder}")
    return todo


def path_of(recipe: CaseRecipe, folder: Path, case: int) -> Path:
    """Where a case is kept."""
    return folder / "data" / recipe.split_of(case) / f"{recipe.name}_{case:04d}.hdf5"


def _solve_all(recipe: CaseRecipe, folder: Path, todo: list[int], workers: int, quiet: bool) -> None:
    stop, failed = threading.Event(), dict[int, str]()
    with progress(f"{recipe.name} ({recipe.size})", len(todo) * recipe.frames.end, quiet) as tick, ThreadPoolExecutor(workers) as pool:
        try:
            jobs = {pool.submit(one, recipe, case, folder, stop, tick): case for case in todo}
            for job in as_completed(jobs):
                try:
                    job.result()
                except Exception as error:  # whatever is wrong with one case, the others go on, and all of it is told
                    failed[jobs[job]] = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            if failed:
                print(_failures(recipe, folder, len(todo), failed), file=sys.stderr, flush=True)
            raise
    if failed:
        raise ValueError(_failures(recipe, folder, len(todo), failed))


def _failures(recipe: CaseRecipe, folder: Path, count: int, failed: Mapping[int, str]) -> str:
    told = "\n".join(f"case {case} ({_told(recipe.values(case))}): {why}" for case, why in sorted(failed.items()))
    return f"{len(failed)} of {count} cases of {recipe.name} failed; their folders are under {folder / 'scratch'}\n{told}"


def one(recipe: CaseRecipe, number: int, folder: Path, stop: threading.Event, tick: Tick = lambda _: None) -> Path:
    """Solve and keep one case. Raises ValueError where a program fails or what it gives is not sound, StopError when stopped."""
    scratch = folder / "scratch"
    for old in scratch.glob(f"{number:04d}.*"):
        stopping.end_left(old)
        shutil.rmtree(old)
    case = scratch / f"{number:04d}.{getpid()}"
    case.mkdir(parents=True)
    values, path = recipe.values(number), path_of(recipe, folder, number)
    recipe.made.build(case, values, recipe.meshing, recipe.frames, recipe.solver)
    log = solve(case, recipe.made.programs[-1], stop, tick, recipe.frames.end)
    numbers, tables = recipe.made.report(case, values, recipe.frames)
    run = read_log(log, recipe.frames.start)
    if run.courant > OVERSHOOT * recipe.solver.courant or run.residual > RESIDUAL:
        raise ValueError(f"the run is not sound: Courant number {run.courant:.2f}, residual of the pressure {run.residual:.1e}")
    path.parent.mkdir(parents=True, exist_ok=True)
    keep(recipe, number, case, path, {**numbers, **asdict(run)}, tables, programs.version_in(log))
    shutil.rmtree(case)
    return path


def solve(case: Path, solver: str, stop: threading.Event, tick: Tick, end: float) -> str:
    """Run the solver, telling `tick` how much of the time until `end` has passed; returns its log."""
    reached = 0.0
    with programs.running((solver,), case) as process:
        while process.poll() is None:
            if stop.wait(POLL):
                raise StopError
            now = min(end, programs.reached(case, solver))
            tick(now - reached)
            reached = max(now, reached)
    log = programs.checked((solver,), case, process.returncode)
    tick(end - reached)
    return log


def _told(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in values.items())
