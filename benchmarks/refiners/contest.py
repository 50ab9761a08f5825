"""Train and judge every refiner of a suite, resuming what was stopped, then write tables and pictures.

    python benchmarks/refiners/contest.py [--suite refiners.yaml] [--out DIR] [--only ks] [--contenders "residual flow" MSE]
                                          [--workers 2] [--device cpu] [--no-costs] [--table]

First each contender's learning rates are tried with one seed and a share of the steps, by the fair energy score with 4 evaluations on
validation trajectories; then all seeds run with the best of them and are judged on test trajectories. Weights are kept under OUT/weights
and results under OUT/runs, one file a run; neither is made again while its settings are the same, so the command is stopped and started at
will. A contender that fails does not stop the others. Costs are measured last, alone.
Then OUT/table.md, OUT/scores.json and OUT/pareto.png are written from the files.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "operators"), str(HERE.parent / "speed")]

from compare import leave_with  # noqa: E402
from contender import Training, budgets, build, kept, slug, task_of, trained  # noqa: E402

from surrogates.errors import nearest  # noqa: E402

KEYS = {"data", "steps", "rates", "scan", "seeds", "judge", "solvers", "contenders"}
MAY = {"law", "recipe"}
FEW, TRIED = 4, 4  # evaluations, and trajectories, that a rate is chosen by
ENTRY = {"operator", "refiner", "target", "guess", "family"}


@dataclass(frozen=True)
class Run:
    """A trained contender and how it is judged."""

    training: Training
    judge: dict[str, Any]
    law: dict[str, Any] | None
    split: str = "test"


@dataclass(frozen=True)
class Plan:
    """One task of a suite. `scan` is the share of the steps that a rate is tried with; `families` joins contenders that differ only in what
    is fixed by training (PDE-Refiner's steps); `chosen` are those to run, `broken` those of them that cannot be built, and why."""

    task: str
    data: dict[str, Any]
    steps: int
    rates: tuple[float, ...]
    scan: float
    seeds: tuple[int, ...]
    judge: dict[str, Any]
    solvers: dict[str, dict[str, Any]]
    contenders: dict[str, dict[str, Any]]
    families: dict[str, str]
    chosen: tuple[str, ...]
    law: dict[str, Any] | None = None
    recipe: Path | None = None
    broken: dict[str, str] = field(default_factory=dict)

    def scans(self, out: Path, label: str) -> list[Run]:
        """The runs that choose a rate: none where there is only one."""
        rates, steps = self.rates if len(self.rates) > 1 else (), max(1, round(self.scan * self.steps))
        judge = self.judge | {"evaluations": [FEW], "leads": self.judge["window"], "long": 0}
        judge["trajectories"] = min(TRIED, judge["trajectories"])
        return [Run(self._training(out, label, lr, steps, self.seeds[0]), judge, None, "valid") for lr in rates]

    def finals(self, out: Path, label: str) -> list[Run]:
        """One run a seed with the best rate; none while it is not known."""
        lr = self.best(out, label)
        return [] if lr is None else [Run(self._training(out, label, lr, self.steps, s), self.judge, self.law) for s in self.seeds]

    def best(self, out: Path, label: str) -> float | None:
        """The rate with the least energy score on validation trajectories; None while one is untried. Where all fail, the least rate."""
        if len(self.rates) == 1:
            return self.rates[0]
        found = {run.training.lr: stored(out, run) for run in self.scans(out, label)}
        if any(result is None for result in found.values()):
            return None
        return min(found, key=lambda lr: (_energy(found[lr]), lr))

    def _training(self, out: Path, label: str, lr: float, steps: int, seed: int) -> Training:
        entry = self.contenders[label]
        if first := entry.get("guess"):
            entry = entry | {"guess": first | {"lr": self.best(out, first["label"]) or self.rates[0], "steps": self.steps}}
        return Training(self.task, label, self.data, entry, lr, steps, seed)


def _energy(result: dict[str, Any] | None) -> float:
    values = [r["energy score"] for r in (result or {"results": {}})["results"].values()]
    return min((v for v in values if math.isfinite(v)), default=math.inf)


def plans(path: Path, only: list[str] | None, chosen: list[str] | None) -> list[Plan]:
    """The tasks of a suite. Raises ValueError naming file and key for what is not one, and for tasks or contenders it does not have."""
    entries = yaml.safe_load(path.read_text())
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: expected a mapping of tasks, got {type(entries).__name__}")
    for name in only or ():
        if name not in entries:
            raise ValueError(f"{path}: no task {name!r}; it has {list(entries)}{nearest(name, entries)}")
    every = [label for e in entries.values() for label in e.get("contenders", {})]
    for name in chosen or ():
        if name not in every:
            raise ValueError(f"{path}: no contender {name!r}; it has {list(dict.fromkeys(every))}{nearest(name, every)}")
    made = []
    for task, entry in entries.items():
        if wrong := (set(entry) ^ KEYS) - MAY:
            raise ValueError(f"{path}: {task}: expected the keys {sorted(KEYS)}; look at {sorted(wrong)}")
        contenders = {label: resolved(entry["contenders"], label, f"{path}: {task}") for label in entry["contenders"]}
        families = {label: e.get("family", label) for label, e in entry["contenders"].items()}
        wanted = tuple(label for label in contenders if not chosen or label in chosen)
        if wanted and (not only or task in only):
            numbers = int(entry["steps"]), tuple(map(float, entry["rates"])), float(entry["scan"]), tuple(entry["seeds"])
            recipe = path.parent / entry["recipe"] if "recipe" in entry else None
            about = entry["judge"], entry["solvers"], contenders, families, wanted, entry.get("law"), recipe
            made.append(Plan(task, entry["data"], *numbers, *about))
    return made


def resolved(entries: dict[str, Any], label: str, where: str) -> dict[str, Any]:
    """A contender's entry with that of its guess in place of its name. Raises ValueError for unknown keys and guesses."""
    entry = entries[label]
    if wrong := set(entry) - ENTRY:
        raise ValueError(f"{where}: {label}: expected some of the keys {sorted(ENTRY)}; look at {sorted(wrong)}")
    plain = {k: v for k, v in entry.items() if k not in ("guess", "family")}
    if "guess" not in entry:
        return plain
    first = entry["guess"]
    if first not in entries or "refiner" in entries[first] or "target" in entry:
        raise ValueError(f"{where}: {label}: the guess {first!r} must be a contender without a refiner, and its target is the guess's own")
    return plain | {"guess": {"label": first, "entry": resolved(entries, first, where)}}


def path_of(out: Path, run: Run) -> Path:
    return out / "runs" / f"{run.training.name}.json"


def stored(out: Path, run: Run) -> dict[str, Any] | None:
    """What was written of a run with these very settings; None where there is none."""
    path = path_of(out, run)
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    return result if result["run"] == json.loads(json.dumps(asdict(run))) else None


def pending(out: Path, all_plans: list[Plan], failed: set[str]) -> list[Run]:
    """The runs to make now: rates that were not tried and contenders whose rate is known, the first seed of all before the second of any.
    What starts from a guess waits for it, unless that failed."""
    now = []
    for plan in all_plans:
        for label in plan.chosen:
            if label in plan.broken:
                continue
            runs = plan.finals(out, label) or plan.scans(out, label)
            runs = [r for r in runs if r.training.name not in failed and stored(out, r) is None]
            first = plan.contenders[label].get("guess", {}).get("label")
            if first in plan.chosen and first not in plan.broken and not _gave_up(plan, first, failed):
                known = plan.best(out, first) is not None
                runs = [r for r in runs if known and r.training.guess is not None and kept(out, r.training.guess)]
            now += runs
    return sorted(now, key=lambda run: (run.split == "test", run.training.seed))


def _gave_up(plan: Plan, label: str, failed: set[str]) -> bool:
    start = f"{slug(plan.task)}/{slug(label)}/"
    return any(name.startswith(start) for name in failed)


def execute(out: Path, run: Run, device: str = "cpu") -> dict[str, Any]:
    """Train (or read the weights), then judge with every number of evaluations; what is stored of it."""
    from judge import climate_of, endure, judge, truth_of
    from known_law import compare as held_against

    training, settings = run.training, settings_of(run.judge)
    task, name = task_of(training.data), (training.data["dataset"], training.data["size"])
    surrogate, told = trained(out, training, task, device)
    truth, law = truth_of(*name, settings, run.split), None if run.law is None else law_of(run.law)
    generative = surrogate.refiner is not None
    possible = budgets(surrogate, list(settings.evaluations))
    results: dict[int, dict[str, Any]] = {}
    for n, steps in possible.items():
        if steps is not None:
            surrogate.refiner.steps = steps  # type: ignore[union-attr]
        results[n] = judge(surrogate, truth, settings, settings.members if generative else 1, device)
        if law is not None:
            results[n]["law"] = held_against(surrogate, *name, law, device)
        if settings.long and n == max((k for k in possible if k <= settings.long_evaluations), default=min(possible)):
            results[n]["long"] = endure(surrogate, truth, climate_of(*name), settings)
    return {"run": asdict(run), **told, "results": results}


def settings_of(entry: dict[str, Any]) -> Any:
    from judge import Settings

    return Settings(**_tuples(entry))


def law_of(entry: dict[str, Any]) -> Any:
    from known_law import Law

    return Law(**_tuples(entry))


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}


def work(run: Run, out: str, device: str, threads: int, command: str) -> str:
    """One run in a process of its own, written whole or not at all."""
    import torch
    from timing import machine

    torch.set_num_threads(threads)
    result = execute(Path(out), run, device) | {"machine": machine(), "command": command}
    write_json(path_of(Path(out), run), result)
    scores = ", ".join(f"{n}: {r['energy score']:.4g}" for n, r in result["results"].items())
    return f"{run.training.name}: energy score by evaluations {scores} (trained in {result['train seconds']:.0f} s)"


def write_json(path: Path, value: Any) -> None:
    """Written whole or not at all; floats to six figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(short(value)))
    os.replace(draft, path)


def short(value: Any) -> Any:
    """Floats to six figures, all the way down; settings keep theirs, since they are compared."""
    if isinstance(value, dict):
        return {k: v if k == "run" else short(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [short(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value


def carry_out(out: Path, all_plans: list[Plan], workers: int, device: str, say: Callable[[str], None]) -> dict[str, str]:
    """All pending runs, and those that follow from them; returns what failed and why."""
    context, failed = multiprocessing.get_context("spawn"), {}
    threads, command = max(1, (os.cpu_count() or 1) // workers), "python " + " ".join(sys.argv)
    with ProcessPoolExecutor(workers, context, initializer=leave_with, initargs=(os.getpid(),)) as pool:
        while runs := pending(out, all_plans, set(failed)):
            say(f"{len(runs)} runs to make now")
            jobs = {pool.submit(work, run, str(out), device, threads, command): run for run in runs}
            for n, job in enumerate(as_completed(jobs), 1):
                try:
                    say(f"[{n}/{len(runs)}] {job.result()}")
                except Exception as error:  # one contender that fails does not stop the others
                    name = jobs[job].training.name
                    failed[name] = f"{type(error).__name__}: {error}"
                    say(f"[{n}/{len(runs)}] {name} failed: {failed[name]}")
    return failed


def check(plan: Plan) -> None:
    """Build every contender and call it once before any work starts; those that cannot be are noted in `plan.broken`, by reason."""
    from costs import frame

    task = task_of(plan.data)
    for label in plan.chosen:
        entry = plan.contenders[label]
        try:
            first = entry.get("guess")
            guess = build(task, first["entry"], 0) if first else None
            frame(task, build(task, entry, 0, guess), rows=1)()
        except (ValueError, TypeError, ImportError, AttributeError, RuntimeError) as error:
            plan.broken[label] = f"{type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", type=Path, default=HERE / "refiners.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/refiners"))
    parser.add_argument("--only", nargs="*", help="tasks, all unless given")
    parser.add_argument("--contenders", nargs="*", help="contenders by their label, all unless given")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-costs", action="store_true", help="leave timings as they were recorded")
    parser.add_argument("--table", action="store_true", help="only write the tables and pictures of what there is")
    options = parser.parse_args()
    from tables import write

    try:
        every, chosen = plans(options.suite, None, None), plans(options.suite, options.only, options.contenders)
        if options.table:
            write(options.out, every, {})
            return 0
        for plan in chosen:
            ensure_data(plan, options.device)
            settings_of(plan.judge)
            check(plan)
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    failed = {f"{p.task}/{label}": reason for p in chosen for label, reason in p.broken.items()}
    for name, reason in failed.items():
        print(f"left out: {name}: {reason}", file=sys.stderr, flush=True)
    failed |= carry_out(options.out, chosen, options.workers, options.device, lambda text: print(text, flush=True))
    from costs import baselines, measure

    for plan in chosen:
        baselines(options.out, plan)
        if not options.no_costs:
            measure(options.out, plan, options.device)
    write(options.out, every, failed)
    return 1 if failed else 0


def ensure_data(plan: Plan, device: str) -> None:
    """Make what is not there: a data set of the package, or the recipe beside the suite."""
    from surrogates.data import make

    make(plan.recipe or plan.data["dataset"], plan.data["size"], device=device)


if __name__ == "__main__":
    sys.exit(main())
