"""A weather surrogate on a real storm and one on the sphere, against persistence, climatology and the solver, from one command.

    python benchmarks/weather/weather.py [--suite weather.yaml] [--out runs/weather] [--only sphere] [--seeds 0]

makes the data sets, trains a surrogate a task and seed (folders under OUT/weights), forecasts from every start of the test split that no
missing frame touches, and writes OUT/TASK.json, OUT/TASK.md and OUT/TASK.png. Stopped at any moment, the same command goes on: training
resumes, and what has been scored under the same settings, by the same code in `JUDGES`, is kept with the commit and machine that it
is from.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from climate import ByClimate, Climate  # noqa: E402
from verify import Scores, verify  # noqa: E402

from surrogates.bench.environment import environment  # noqa: E402
from surrogates.contracts import Step  # noqa: E402
from surrogates.data import kinds  # noqa: E402
from surrogates.data.files import open_dataset  # noqa: E402
from surrogates.data.windows import Batch, Windows  # noqa: E402
from surrogates.pde import Persistence  # noqa: E402
from surrogates.rollout import rollout  # noqa: E402
from surrogates.saved import load_surrogate  # noqa: E402
from surrogates.train.cli import main as train  # noqa: E402
from surrogates.train.part import part  # noqa: E402

KEYS, MAY = {"data", "leads", "seeds", "train"}, {"solvers", "climatology"}
BY_HOUR = "by hour"
JUDGES = ("verify.py", "climate.py")
"""What a score depends on, beside settings and data: with another one it is taken again."""
GROUP = 16  # starts that are rolled out together
SURROGATE = "surrogate"


@dataclass(frozen=True)
class Task:
    """One entry of the suite."""

    name: str
    entry: dict[str, Any]
    out: Path

    @cached_property
    def windows(self) -> Windows:
        """One past frame and `leads` future ones, from every start of the test split."""
        data = self.entry["data"]
        return Windows(data["dataset"], 1, self.entry["leads"], split="test", size=data["size"])

    @cached_property
    def climate(self) -> Climate:
        """From the training split alone."""
        data = self.entry["data"]
        train = open_dataset(data["dataset"], "train", size=data["size"])
        return Climate.of(train, self.windows.domain, by_hour=self.entry.get("climatology") == BY_HOUR)

    def batches(self) -> Iterator[Batch]:
        for start in range(0, len(self.windows), GROUP):
            yield self.windows.batch(range(start, min(start + GROUP, len(self.windows))))


def tasks(suite: Path, only: list[str] | None, seeds: list[int] | None, out: Path) -> list[Task]:
    """The tasks of a suite. Raises ValueError naming file and key for what is not one."""
    entries = yaml.safe_load(suite.read_text())
    for name in only or ():
        if name not in entries:
            raise ValueError(f"{suite}: no task {name!r}; it has {list(entries)}")
    for name, entry in entries.items():
        if wrong := (set(entry) - MAY) ^ KEYS:
            raise ValueError(f"{suite}: {name}: expected the keys {sorted(KEYS)} and perhaps {sorted(MAY)}; look at {sorted(wrong)}")
        if entry.get("climatology", BY_HOUR) != BY_HOUR:
            raise ValueError(f"{suite}: {name}: climatology is {entry['climatology']!r}; write {BY_HOUR!r}, or leave it out for one mean")
    chosen = {n: {**e, "seeds": seeds or e["seeds"]} for n, e in entries.items() if not only or n in only}
    return [Task(name, entry, out) for name, entry in chosen.items()]


def steps(task: Task) -> Iterator[tuple[str, Step]]:
    """What is judged, by name; trained surrogates last, a name a seed."""
    fields = task.windows.fields
    yield "persistence", Persistence(fields)
    yield "climatology", ByClimate(fields, task.climate)
    for label, entry in task.entry.get("solvers", {}).items():
        yield label, part(entry, f"{task.name}.solvers.{label}", "surrogates.pde")()
    for seed in task.entry["seeds"]:
        yield f"{SURROGATE} {seed}", trained(task, seed)


def trained(task: Task, seed: int) -> Step:
    """The surrogate of a seed, trained where that is not finished."""
    folder, said = task.out / "weights" / f"{task.name}-{seed}", task.entry["train"]
    quiet = {"validate_every": 0, "checkpoint_every": 250, "tensorboard": False}
    data = {**task.entry["data"], **said["data"]}
    config = {**said, "data": data, "seed": seed, "trainer": {**quiet, **said.get("trainer", {})}}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config))
    train(["--config", str(file), "--out", str(folder)])
    return load_surrogate(folder)


def forecast(task: Task, step: Step) -> tuple[Tensor, Tensor, Tensor, float]:
    """Forecasts and truth (N, L, C, *X) from every start, the times (N, L) they are for, and the seconds a start took."""
    made, true, times = [], [], []
    began = time.perf_counter()
    with torch.inference_mode():
        for batch in task.batches():
            frames = list(rollout(step, batch.past, task.entry["leads"], batch.conditions.after))
            made.append(torch.stack(frames, 1))
            true.append(batch.future)
            where = batch.conditions
            times.append(torch.stack([where.after(n + 1).time for n in range(task.entry["leads"])], 1))
    return torch.cat(made), torch.cat(true), torch.cat(times), (time.perf_counter() - began) / len(task.windows)


def scored(task: Task, label: str, step: Step) -> dict[str, Any]:
    """Scores and cost of one step; read where they were taken under the same settings."""
    said = {k: task.entry.get(k) for k in ("data", "leads", "climatology")}
    own = {"solver": task.entry.get("solvers", {}).get(label)} | ({"train": task.entry["train"]} if label.startswith(SURROGATE) else {})
    made_by = sha256(json.dumps([said, own, task.windows.checksum, judges()], sort_keys=True).encode()).hexdigest()
    path = task.out / "scores" / task.name / f"{label.replace(' ', '-')}.json"
    if path.exists():
        held: dict[str, Any] = json.loads(path.read_text())
        if held["made by"] == made_by:
            return held
    predicted, truth, times, seconds = forecast(task, step)
    scores: Scores = verify(predicted, truth, task.climate.at(times), task.windows.domain, task.windows.fields)
    now = environment()
    by = {"commit": now["commit"], "machine": now["machine"], "threads": now["threads"], "versions": now["versions"]}
    found = {"made by": made_by, **by, **scores, "seconds a forecast": seconds, "last": predicted[0, -1].tolist()}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(found))
    os.replace(draft, path)
    return found


def judges() -> str:
    """Of the code that judges, as it is."""
    return sha256(b"".join((HERE / name).read_bytes() for name in JUDGES)).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", type=Path, default=HERE / "weather.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/weather"))
    parser.add_argument("--only", nargs="*", help="tasks, all unless given")
    parser.add_argument("--seeds", type=int, nargs="*", help="training seeds, those of the suite unless given")
    options = parser.parse_args()
    try:
        chosen = tasks(options.suite, options.only, options.seeds, options.out)
        for task in chosen:
            kinds.make(task.entry["data"]["dataset"], task.entry["data"]["size"], quiet=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from weather_sheet import write

    for task in chosen:
        rows = {label: scored(task, label, step) for label, step in steps(task)}
        write(task, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
