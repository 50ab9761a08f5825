"""Train and score every network of a suite, resuming what was stopped, then write the table.

    python benchmarks/operators/compare.py [--suite networks.yaml] [--out DIR] [--only ks mesh] [--networks FNO U-Net] [--workers 2]
                                           [--device cpu] [--no-costs] [--table]

Each run is one file under OUT/runs; a run whose file tells of the same settings is not made again, so the command is stopped and started
at will. First each network's learning rates are tried with one seed and a share of the steps, scored on the validation split; then all
seeds run with the best of them, scored on the test split. Costs are measured last, alone. Then OUT/table.md, OUT/scores.json and
OUT/table.png are written from the files.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "speed")]

from surrogates.errors import nearest  # noqa: E402

KEYS = {"data", "steps", "rates", "scan", "seeds", "networks"}


@dataclass(frozen=True)
class Plan:
    """One task of a suite: its data, its budget and its networks. `scan` is the share of the steps that a rate is tried with."""

    task: str
    data: dict[str, Any]
    steps: int
    rates: tuple[float, ...]
    scan: float
    seeds: tuple[int, ...]
    networks: Mapping[str, dict[str, Any]]

    def scans(self, label: str) -> list[Any]:
        """The runs that choose a rate: none where there is only one."""
        rates = self.rates if len(self.rates) > 1 else ()
        steps = max(1, round(self.scan * self.steps))
        return [self._run(label, lr, self.seeds[0], steps, "valid") for lr in rates]

    def finals(self, label: str, lr: float) -> list[Any]:
        return [self._run(label, lr, seed, self.steps, "test") for seed in self.seeds]

    def _run(self, label: str, lr: float, seed: int, steps: int, split: str) -> Any:
        from train import Run

        return Run(self.task, label, self.data, self.networks[label], lr, seed, steps, split)


def plans(path: Path, only: list[str] | None, networks: list[str] | None) -> list[Plan]:
    """The tasks of a suite. Raises ValueError naming file and key for what is not one, and for networks or tasks it does not have."""
    entries = yaml.safe_load(path.read_text())
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: expected a mapping of tasks, got {type(entries).__name__}")
    for name in only or ():
        if name not in entries:
            raise ValueError(f"{path}: no task {name!r}; it has {list(entries)}{nearest(name, entries)}")
    made = []
    for task, entry in entries.items():
        if wrong := set(entry) ^ KEYS:
            raise ValueError(f"{path}: {task}: expected the keys {sorted(KEYS)}; look at {sorted(wrong)}")
        known = entry["networks"]
        for name in networks or ():
            if not any(name in e["networks"] for e in entries.values()):
                raise ValueError(f"{path}: no network {name!r}; {task} has {list(known)}{nearest(name, known)}")
        chosen = {k: v for k, v in known.items() if not networks or k in networks}
        if chosen and (not only or task in only):
            rates, seeds = tuple(float(v) for v in entry["rates"]), tuple(entry["seeds"])
            made.append(Plan(task, entry["data"], int(entry["steps"]), rates, float(entry["scan"]), seeds, chosen))
    return made


def stored(out: Path, run: Any) -> dict[str, Any] | None:
    """What was written of a run with these very settings; None where there is none."""
    path = out / "runs" / f"{run.name}.json"
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    return result if result["run"] == json.loads(json.dumps(asdict(run))) else None


def best_rate(out: Path, plan: Plan, label: str) -> float | None:
    """The rate with the least validation error; None while one of its runs is missing. A network that fails at all takes the least rate."""
    if len(plan.rates) == 1:
        return plan.rates[0]
    found = {run.lr: stored(out, run) for run in plan.scans(label)}
    if any(result is None for result in found.values()):
        return None
    return min(found, key=lambda lr: (_summary(found[lr]), lr))


def _summary(result: Mapping[str, Any] | None) -> float:
    values = [s["summary"] for s in (result or {"scores": {}})["scores"].values()]
    value = math.exp(sum(math.log(v) for v in values) / len(values)) if values else math.inf
    return value if math.isfinite(value) else math.inf


def pending(out: Path, all_plans: list[Plan]) -> list[Any]:
    """The runs to make now: rates that were not tried and networks whose rate is known, the first seed of all before the second of any."""
    runs = []
    for plan in all_plans:
        for label in plan.networks:
            lr = best_rate(out, plan, label)
            runs += [r for r in (plan.scans(label) if lr is None else plan.finals(label, lr)) if stored(out, r) is None]
    return sorted(runs, key=lambda run: (run.split == "test", run.seed))


def work(run: Any, out: str, device: str, threads: int) -> str:
    """One run in a process of its own, written whole or not at all."""
    import torch
    from timing import machine
    from train import execute

    torch.set_num_threads(threads)
    result = execute(run, device) | {"machine": machine()}
    path = Path(out) / "runs" / f"{run.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(result))
    os.replace(draft, path)
    return f"{run.name}: {_summary(result):.4g} ({result['train seconds']:.0f} s)"


def leave_with(parent: int) -> None:
    """A worker whose parent is gone has nobody to work for."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def carry_out(out: Path, all_plans: list[Plan], workers: int, device: str, say: Callable[[str], None]) -> list[str]:
    """All pending runs, and those that follow from them; returns what failed, by name and reason."""
    context, failed = multiprocessing.get_context("spawn"), {}
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, context, initializer=leave_with, initargs=(os.getpid(),)) as pool:
        while runs := [r for r in pending(out, all_plans) if r.name not in failed]:
            say(f"{len(runs)} runs to make now")
            jobs = {pool.submit(work, run, str(out), device, threads): run for run in runs}
            for n, job in enumerate(as_completed(jobs), 1):
                try:
                    say(f"[{n}/{len(runs)}] {job.result()}")
                except Exception as error:  # one network that fails does not stop the others
                    failed[jobs[job].name] = f"{type(error).__name__}: {error}"
                    say(f"[{n}/{len(runs)}] {jobs[job].name} failed: {failed[jobs[job].name]}")
    return [f"{name}: {reason}" for name, reason in failed.items()]


def baselines(out: Path, all_plans: list[Plan]) -> None:
    """OUT/baselines-TASK.json: persistence and classical solvers on the same rollouts, made once."""
    import torch
    from tasks import task_of
    from timing import machine
    from train import score

    torch.set_num_threads(1)
    for plan in all_plans:
        path = out / f"baselines-{plan.task}.json"
        if path.exists() and json.loads(path.read_text())["data"] == json.loads(json.dumps(plan.data)):
            continue
        task = task_of(plan.data)
        rows = {name: {"scores": score(task, step, "test")} for name, step in task.baselines().items()}
        path.write_text(json.dumps({"data": plan.data, "machine": machine(), "rows": rows}))


def check(all_plans: list[Plan]) -> None:
    """Build every network and call it once, before any work starts. Raises ValueError naming task and network."""
    from cost import one_row
    from tasks import task_of
    from train import build

    for plan in all_plans:
        task = task_of(plan.data)
        for label, network in plan.networks.items():
            try:
                one_row(task, build(task, network, 0))()
            except (ValueError, TypeError, ImportError) as error:
                raise ValueError(f"{plan.task}: {label}: {error}") from error


def ensure_data(all_plans: list[Plan]) -> None:
    from surrogates.data import make

    for plan in all_plans:
        if "dataset" in plan.data:
            make(plan.data["dataset"], plan.data["size"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", type=Path, default=HERE / "networks.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/operators"))
    parser.add_argument("--only", nargs="*", help="tasks, all unless given")
    parser.add_argument("--networks", nargs="*", help="networks by their label, all unless given")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-costs", action="store_true", help="leave timings as they were recorded")
    parser.add_argument("--table", action="store_true", help="only write the table of what there is")
    options = parser.parse_args()
    from report import write

    try:
        chosen = plans(options.suite, options.only, options.networks)
        if options.table:
            write(options.out, chosen, [])
            return 0
        ensure_data(chosen)
        check(chosen)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    failed = carry_out(options.out, chosen, options.workers, options.device, lambda text: print(text, flush=True))
    baselines(options.out, chosen)
    if not options.no_costs:
        from cost import measure

        measure(options.out, chosen, options.device)
    write(options.out, plans(options.suite, None, None), failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
