"""What a network costs: milliseconds a step and a training step, all networks of a task in turn in one process, and its peak memory.

A step is the surrogate's, one row and the batch that it is trained with; a training step is forward, backward, clipping and Adam. Memory
is what a fresh process with nothing else in it reaches beyond what it held before the first training step. Flops are those of matrix
products, convolutions and attention in one forward of one row (torch.utils.flop_counter).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tasks import Task, task_of
from torch.utils.flop_counter import FlopCounterMode
from train import build, silent

from surrogates.surrogate import Surrogate
from surrogates.train.optimiser import Optimiser

if TYPE_CHECKING:
    from compare import Plan

SECONDS = 4.0  # a network


def measure(out: Path, plans: list[Plan], device: str) -> None:
    """Write OUT/costs-TASK.json for every task. Run it alone."""
    from timing import machine, race

    torch.set_num_threads(1)
    for plan in plans:
        task = task_of(plan.data)
        made = {label: build(task, network, 0).to(device) for label, network in plan.networks.items()}
        rows: dict[str, dict[str, Any]] = {label: {"flops": flops(task, s)} for label, s in made.items()}
        kinds: dict[str, Callable[[Task, Surrogate], Callable[[], object]]] = {
            "step": one_row,
            "batch step": whole_batch,
            "train": training,
        }
        for kind, run in kinds.items():
            clock = time.process_time if device == "cpu" else time.perf_counter
            contenders = {label: run(task, s) for label, s in made.items()}
            found = race(contenders, seconds=SECONDS * len(made) / len(kinds), warmup=2, clock=clock)
            for label in made:
                rows[label][f"{kind} ms"] = 1e3 * found.median(label)
        for label, network in plan.networks.items():
            rows[label]["memory MB"] = memory(plan.data, network)
        path = out / f"costs-{plan.task}.json"
        before = json.loads(path.read_text())["rows"] if path.exists() else {}
        path.write_text(json.dumps({"machine": machine(), "batch": task.batch, "rows": before | rows}, indent=1))


def flops(task: Task, surrogate: Surrogate) -> int:
    run = one_row(task, surrogate)
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def one_row(task: Task, surrogate: Surrogate) -> Callable[[], object]:
    return _step(task, surrogate, 1)


def whole_batch(task: Task, surrogate: Surrogate) -> Callable[[], object]:
    return _step(task, surrogate, task.batch)


def _step(task: Task, surrogate: Surrogate, rows: int) -> Callable[[], object]:
    past, _, conditions = task.training(0, 0, surrogate.bundle)
    past, conditions = past[:rows], conditions.rows(torch.arange(rows))
    device = next(surrogate.parameters()).device
    past, conditions = past.to(device), conditions.to(device)

    def run() -> object:
        with torch.no_grad():
            return surrogate(surrogate.begin(past, conditions), conditions)[0]

    return run


def training(task: Task, surrogate: Surrogate) -> Callable[[], object]:
    device = next(surrogate.parameters()).device
    past, future, conditions = task.training(0, 0, surrogate.bundle)
    past, future, conditions = past.to(device), future.to(device), conditions.to(device)
    optimiser = Optimiser(lr=1e-12).build(surrogate.parameters())

    def run() -> None:
        optimiser.zero_grad()
        surrogate.loss(past, future, conditions, noise=silent).mean().backward()
        torch.nn.utils.clip_grad_norm_(surrogate.parameters(), 1.0)
        optimiser.step()

    return run


def memory(data: dict[str, Any], network: dict[str, Any]) -> float:
    """MB by which three training steps raise the memory of a fresh process at their peak; NaN where the system does not tell."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), json.dumps({"data": data, "network": network})],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def _measured() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
    from timing import grown

    entry = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    task = task_of(entry["data"])
    run = training(task, build(task, entry["network"], 0))
    print(grown(run, calls=3))


if __name__ == "__main__":
    _measured()
