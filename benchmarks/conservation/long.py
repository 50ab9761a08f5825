"""Ten thousand steps with and without conservation laws: what the laws were built for, and what they were not.

    python benchmarks/conservation/long.py [--suite long.yaml] [--out runs/conservation] [--only kolmogorov] [--no-costs]

trains the surrogates of the suite (folders under OUT/weights), rolls each variant out into a Zarr folder under OUT/forecasts, measures it
frame by frame into OUT/series, and writes OUT/TASK.json, OUT/TASK.md and OUT/TASK.png. Stopped at any moment, the same command goes on;
what was made under other settings is refused. The classical solver on the surrogate's own grid runs as long, as the reference of what a
run of such length can know.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "speed")]

from balances import judged  # noqa: E402
from physics import Series, kolmogorov, shallow_water  # noqa: E402

from surrogates.constraints import InOrder  # noqa: E402
from surrogates.contracts import Conditions, Constraint, Step  # noqa: E402
from surrogates.data import make, open_dataset  # noqa: E402
from surrogates.fields import Fields  # noqa: E402
from surrogates.forecast import open_forecast, simulate  # noqa: E402
from surrogates.interchange import TIME, TRAJECTORY, conditions_of, fields_of, from_xarray  # noqa: E402
from surrogates.saved import load_surrogate  # noqa: E402
from surrogates.surrogate import Surrogate  # noqa: E402
from surrogates.train.cli import main as train  # noqa: E402
from surrogates.train.part import part  # noqa: E402

KEYS = {"data", "frames", "discard", "trajectories", "group", "model", "batch", "bundle", "steps", "laws", "trained", "rollouts", "solver"}
BLOCK = 250  # frames that are measured together
PHYSICS: dict[str, Callable[..., Series]] = {"kolmogorov2d": kolmogorov, "shallow_water": shallow_water}


@dataclass(frozen=True)
class Task:
    """One entry of the suite."""

    name: str
    entry: dict[str, Any]
    out: Path

    @property
    def truth(self) -> xr.Dataset:
        data = open_dataset(self.entry["data"]["dataset"], "test", size=self.entry["data"]["size"])
        return data.isel({TRAJECTORY: slice(self.entry["trajectories"])})

    def measure(self, u: torch.Tensor, conditions: Conditions) -> Series:
        """The numbers of (B, T, C, *X) frames."""
        return PHYSICS[self.entry["data"]["dataset"]](u, conditions, **self.entry.get("constants", {}))

    def law(self, entries: list[Any], fields: Fields) -> Constraint | None:
        made = [part(e, f"{self.name}.laws[{i}]", "surrogates.constraints", given=1)(fields) for i, e in enumerate(entries)]
        return InOrder(tuple(made)) if len(made) > 1 else made[0] if made else None


def tasks(suite: Path, only: list[str] | None, out: Path) -> list[Task]:
    """The tasks of a suite. Raises ValueError naming file and key for what is not one."""
    entries = yaml.safe_load(suite.read_text())
    for name in only or ():
        if name not in entries:
            raise ValueError(f"{suite}: no task {name!r}; it has {list(entries)}")
    for name, entry in entries.items():
        if wrong := (set(entry) ^ KEYS) - {"constants"}:
            raise ValueError(f"{suite}: {name}: expected the keys {sorted(KEYS)}; look at {sorted(wrong)}")
        for label, rollout in entry["rollouts"].items():
            if rollout["weights"] not in entry["trained"]:
                raise ValueError(f"{suite}: {name}: {label}: no weights {rollout['weights']!r}; `trained` has {list(entry['trained'])}")
    return [Task(name, entry, out) for name, entry in entries.items() if not only or name in only]


def trained(task: Task, label: str) -> Surrogate:
    """The surrogate of a run, trained where that is not finished."""
    folder, entry = task.out / "weights" / task.name / label, task.entry
    data = {**entry["data"], "batch_size": entry["batch"], "bundle": entry["bundle"]}
    quiet = {"validate_every": 0, "checkpoint_every": 250, "tensorboard": False}
    config = {"data": data, "model": {**entry["model"], "laws": entry["trained"][label]}, "trainer": quiet, "steps": entry["steps"]}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config))
    train(["--config", str(file), "--out", str(folder)])
    return load_surrogate(folder)


def variants(task: Task) -> Iterator[tuple[str, Step]]:
    """Every step that is rolled out, by name."""
    for label, entry in task.entry["rollouts"].items():
        surrogate = trained(task, entry["weights"])
        yield label, surrogate.with_constraint(task.law(entry["laws"], surrogate.fields))
    yield "solver", part(task.entry["solver"], f"{task.name}.solver", "surrogates.pde")()


def measured(task: Task, label: str, step: Step) -> Series:
    """A rollout, frame by frame, its initial state first; read where it was measured before under the same settings."""
    file = task.out / "series" / task.name / f"{label.replace(' ', '-')}.npz"
    made_by = sha256(json.dumps(task.entry, sort_keys=True).encode()).hexdigest()
    if file.exists():
        with np.load(file, allow_pickle=False) as stored:
            if "made by" in stored.files and str(stored["made by"]) == made_by:
                return {k: torch.from_numpy(stored[k]) for k in stored.files if k != "made by"}
    folder = task.out / "forecasts" / task.name / f"{label.replace(' ', '-')}.zarr"
    initial = task.truth.isel({TIME: slice(step.history)})
    began = time.perf_counter()
    simulate(step, initial, task.entry["frames"], out=folder, group=task.entry["group"], chunk=BLOCK, progress=True)
    print(f"{task.name}, {label}: {task.entry['frames']} frames in {time.perf_counter() - began:.0f} s", flush=True)
    conditions = conditions_of(initial)
    parts = series_of(task, initial.isel({TIME: [-1]}), conditions), series_of(task, open_forecast(folder), conditions)
    series = {k: torch.cat([p[k] for p in parts], 1) for k in parts[0]}
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(draft, **{"made by": np.array(made_by)}, **{k: v.numpy() for k, v in series.items()})
    os.replace(draft, file)
    return series


def series_of(task: Task, frames: xr.Dataset, conditions: Conditions) -> Series:
    """Measured in blocks, so that memory does not grow with the length."""
    blocks = []
    for start in range(0, frames.sizes[TIME], BLOCK):
        u = from_xarray(frames.isel({TIME: slice(start, start + BLOCK)}))
        blocks.append(task.measure(u, conditions))
    return {k: torch.cat([b[k] for b in blocks], 1) for k in blocks[0]}


def climate(task: Task) -> Series:
    """The frames of the training split, which no variant was started from."""
    data = open_dataset(task.entry["data"]["dataset"], "train", size=task.entry["data"]["size"])
    return series_of(task, data, conditions_of(data.isel({TIME: [0]})))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", type=Path, default=HERE / "long.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/conservation"))
    parser.add_argument("--only", nargs="*", help="tasks, all unless given")
    parser.add_argument("--no-costs", action="store_true", help="leave timings as they were recorded")
    options = parser.parse_args()
    try:
        chosen = tasks(options.suite, options.only, options.out)
        for task in chosen:
            make(task.entry["data"]["dataset"], task.entry["data"]["size"])
            task.law(task.entry["laws"], fields_of(task.truth))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from sheet import write

    for task in chosen:
        steps = dict(variants(task))
        found = {label: measured(task, label, step) for label, step in steps.items()}
        result = judged(task, steps, found, climate(task), costs=not options.no_costs)
        path = options.out / f"{task.name}.json"
        old = json.loads(path.read_text()) if path.exists() else {}
        if options.no_costs and "costs" in old:
            result["costs"] = old["costs"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1))
        write(task, result, found, climate(task), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
