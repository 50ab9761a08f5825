"""What stands beside the contenders: persistence, draws from the climate and classical solvers, judged alike; and what a frame costs.

Costs are milliseconds a frame and member with `ROWS` members in a batch, all contenders, budgets and solvers in turn in one process on one
thread: medians of interleaved rounds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from contender import budgets, build, slug, task_of
from tasks import Grid

from surrogates.contracts import Step
from surrogates.data import open_dataset
from surrogates.interchange import from_xarray
from surrogates.noise import SeededNoise
from surrogates.pde import ForcedBurgers, Persistence
from surrogates.rollout import rollout
from surrogates.train.part import part

if TYPE_CHECKING:
    from contest import Plan

ROWS = 8
SECONDS = 1.0  # for each budget of each contender


def references(task: Grid, plan: Plan) -> dict[str, tuple[Step, int]]:
    """Steps that nobody trained, and with how many members each is judged."""
    from judge import ClimateDraws

    members = int(plan.judge["members"])
    frames = from_xarray(open_dataset(task.dataset, "train", size=task.size))[:, ::5].flatten(0, 1)
    made: dict[str, tuple[Step, int]] = {"persistence": (Persistence(task.fields), 1)}
    made["climate"] = (ClimateDraws(task.fields, frames), members)
    for label, entry in plan.solvers.items():
        solver = part(entry, f"{plan.task}: solvers: {label}", "surrogates.pde")()
        made[label] = (solver, members if isinstance(solver, ForcedBurgers) else 1)  # a solver that takes noise is an ensemble
    return made


def baselines(out: Path, plan: Plan) -> None:
    """OUT/baselines-TASK.json, made once."""
    from contest import law_of, settings_of, write_json
    from judge import judge, truth_of
    from known_law import compare, perfect
    from timing import machine

    path = out / f"baselines-{slug(plan.task)}.json"
    told = json.loads(json.dumps({"data": plan.data, "judge": plan.judge, "solvers": plan.solvers, "law": plan.law}))
    if path.exists() and json.loads(path.read_text())["run"] == told:
        return
    torch.set_num_threads(1)
    settings, task = settings_of(plan.judge), task_of(plan.data)
    truth = truth_of(plan.data["dataset"], plan.data["size"], settings)
    rows = {label: judge(step, truth, settings, members) for label, (step, members) in references(task, plan).items()}
    laws = {}
    if plan.law is not None:
        law, name = law_of(plan.law), (plan.data["dataset"], plan.data["size"])
        laws = {label: compare(step, *name, law) for label, (step, _) in references(task, plan).items()}
        laws["other true members"] = perfect(*name, law)
    write_json(path, {"run": told, "machine": machine(), "rows": rows, "laws": laws})


def frame(task: Grid, step: Any, rows: int = ROWS, device: str = "cpu") -> Callable[[], object]:
    """One frame of `rows` members, ready to run; it ends on the CPU, so that an accelerator has finished."""
    past, _, conditions = task.training(0, 0, 1)
    index = torch.arange(rows) % len(past)
    past, conditions = past[index].to(device), conditions.rows(index).to(device)
    noise = SeededNoise(0, [0] * rows, list(range(rows)))

    def run() -> object:
        with torch.inference_mode():
            return next(rollout(step, past, 1, conditions.after, noise)).cpu()

    return run


def measure(out: Path, plan: Plan, device: str) -> None:
    """OUT/costs-TASK.json: {contender: {evaluations: ms a frame and member}}. Run it alone."""
    from contest import settings_of, write_json
    from timing import machine, race

    torch.set_num_threads(1)
    task, wanted = task_of(plan.data), list(settings_of(plan.judge).evaluations)
    calls: dict[tuple[str, int], Callable[[], object]] = {}
    for label in plan.chosen:
        entry = plan.contenders[label]
        if label in plan.broken:
            continue
        first = entry.get("guess")
        guess = build(task, first["entry"], 0) if first else None
        for n, steps in budgets(build(task, entry, 0, guess), wanted).items():
            surrogate = build(task, entry, 0, guess).to(device).eval()
            if steps is not None:
                surrogate.refiner.steps = steps  # type: ignore[union-attr]
            calls[label, n] = frame(task, surrogate, device=device)
    calls |= {(label, 0): frame(task, step) for label, (step, _) in references(task, plan).items()}
    found = race({f"{label}|{n}": call for (label, n), call in calls.items()}, seconds=SECONDS * len(calls))
    rows: dict[str, dict[str, float]] = {}
    for label, n in calls:
        rows.setdefault(label, {})[str(n)] = 1e3 * found.median(f"{label}|{n}") / ROWS
    path = out / f"costs-{slug(plan.task)}.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else {}
    write_json(path, {"machine": machine(), "rows": before | rows})
