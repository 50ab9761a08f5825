"""A surrogate of wakes on meshes that it never saw, against OpenFOAM: error, drag, frequency and cost, from one command.

    python benchmarks/cylinder_wake/wake.py [--suite wake.yaml] [--out runs/cylinder_wake] [--size tiny] [--steps 200] [--seeds 0]

makes the data set, trains a surrogate a seed (folders under OUT/weights), rolls it out from the first frame of every test case (the
first `history` frames, where train.data.history is more than 1), runs OpenFOAM on coarser meshes from the same frame, and on the
truth's for one case, which says what the truth costs here, and writes OUT/wake.json, OUT/wake.md and OUT/wake.png. Stopped at any
moment, the same command goes on: training resumes, and cases that were judged under the same settings are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import xarray as xr
import yaml
from torch import Tensor

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from wake_judge import Forces, judged  # noqa: E402

from surrogates import catalog  # noqa: E402
from surrogates.bench.environment import environment, processor  # noqa: E402
from surrogates.contracts import Step  # noqa: E402
from surrogates.data import cases, kinds  # noqa: E402
from surrogates.data.cases.again import again, stored_forces  # noqa: E402
from surrogates.data.cases.runs import path_of  # noqa: E402
from surrogates.data.formats import open_parts  # noqa: E402
from surrogates.interchange import TIME, conditions_of, fields_of, from_xarray, trajectories_of  # noqa: E402
from surrogates.pde import Persistence  # noqa: E402
from surrogates.rollout import rollout  # noqa: E402
from surrogates.saved import load_surrogate  # noqa: E402
from surrogates.train.cli import main as train  # noqa: E402

FORM = 2  # of the scores: those of another form are worked out again
KEYS = {"data", "leads", "seeds", "train", "coarse"}
SURROGATE, COARSE, TRUTH = "surrogate", "OpenFOAM, edges x", "OpenFOAM, edges x 1: the truth again"
Forecaster = Callable[[xr.Dataset], "Made"]


@dataclass(frozen=True)
class Made:
    """Of a test case: frames (T, C, node), the seconds of one core that they took, forces where they are not from these frames, and what
    else is to be told."""

    frames: Tensor
    seconds: float
    forces: Forces | None = None
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """What wake.yaml says, and where results go."""

    entry: dict[str, Any]
    out: Path

    @property
    def leads(self) -> int:
        return int(self.entry["leads"])

    @property
    def history(self) -> int:
        """How many frames the surrogates are given; everybody begins from the last of these, and what follows it is scored."""
        return int(self.entry["train"]["data"].get("history", 1))

    @cached_property
    def folder(self) -> Path:
        """Of the data."""
        return catalog.data_root() / self.recipe.name / self.recipe.size

    @cached_property
    def recipe(self) -> cases.CaseRecipe:
        return cases.load(kinds.path_of(self.entry["data"]["dataset"]), self.entry["data"]["size"])

    @cached_property
    def tests(self) -> list[xr.Dataset]:
        """The test cases."""
        return open_parts(self.folder)["test"]

    @cached_property
    def certificate(self) -> Mapping[str, Any]:
        """What `cases.certify` found of the data; empty where nobody asked."""
        return cases.read_certificate(self.folder)

    @property
    def pointwise(self) -> int:
        """The last lead whose pointwise error is told: up to t* from the first frame where that is known, else all."""
        known = self.certificate.get("scored_time")
        if known is None:
            return self.leads
        return min(self.leads, int(known / self.recipe.frames.step + 1e-6) - self.history + 1)

    def truth(self, part: xr.Dataset) -> Tensor:
        """The frames of a case that are forecast (T, C, node)."""
        return from_xarray(part)[0, self.history : self.history + self.leads]


def suite_of(path: Path, out: Path, changes: dict[str, Any]) -> Suite:
    """A suite with what the command line changes. Raises ValueError naming file and key for what is not one."""
    entry = yaml.safe_load(path.read_text())
    if not isinstance(entry, dict) or (wrong := set(entry) ^ KEYS):
        raise ValueError(f"{path}: expected the keys {sorted(KEYS)}; look at {sorted(wrong) if isinstance(entry, dict) else entry!r}")
    entry["data"]["size"] = changes.get("size") or entry["data"]["size"]
    entry["train"]["steps"] = changes.get("steps") or entry["train"]["steps"]
    entry["seeds"] = changes.get("seeds") or entry["seeds"]
    recipe = cases.load(kinds.path_of(entry["data"]["dataset"]), entry["data"]["size"])
    suite = Suite(entry, out)
    entry["leads"] = min(entry["leads"], recipe.frames.count - suite.history)
    if entry["leads"] < 1:
        raise ValueError(f"{path}: train.data.history: {suite.history} frames leave none of {recipe.frames.count} to forecast")
    return suite


def forecasters(suite: Suite) -> Iterator[tuple[str, Forecaster, list[xr.Dataset]]]:
    """Who is judged, by name, and on which cases. The truth's own mesh says what the truth costs here, on one case."""
    yield "persistence", lambda part: rolled(Persistence(fields_of(part)), part, suite), suite.tests
    yield TRUTH, lambda part: solved(suite, part, 1.0), suite.tests[:1]
    for factor in suite.entry["coarse"]:
        yield f"{COARSE} {factor}", lambda part, factor=factor: solved(suite, part, float(factor)), suite.tests
    for seed in suite.entry["seeds"]:
        step = trained(suite, seed)
        yield f"{SURROGATE} {seed}", lambda part, step=step: rolled(step, part, suite), suite.tests


def trained(suite: Suite, seed: int) -> Step:
    """The surrogate of a seed, trained where that is not finished."""
    folder, said = suite.out / "weights" / f"seed-{seed}", suite.entry["train"]
    quiet = {"validate_every": 0, "checkpoint_every": 250, "tensorboard": False}
    data = {"dataset": str(suite.folder), **said["data"]}
    config = {**said, "data": data, "seed": seed, "trainer": {**quiet, **said.get("trainer", {})}}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config))
    train(["--config", str(file), "--out", str(folder)])
    return load_surrogate(folder)


def rolled(step: Step, part: xr.Dataset, suite: Suite) -> Made:
    """A rollout from the last of the given frames, and those before it that the step needs. Seconds of processor time, one thread."""
    past = part.isel({TIME: slice(suite.history - step.history, suite.history)})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.process_time()
        with torch.inference_mode():
            frames = [f[0] for f in rollout(step, from_xarray(past), suite.leads, conditions_of(past).after)]
        return Made(torch.stack(frames), time.process_time() - began)
    finally:
        torch.set_num_threads(threads)


def solved(suite: Suite, part: xr.Dataset, factor: float) -> Made:
    """OpenFOAM on edges `factor` times as long from the same frame, its forces and those of the truth both by OpenFOAM."""
    number, recipe = int(trajectories_of(part)[0]), suite.recipe
    scratch = suite.out / "scratch" / f"{number}-{factor:g}"
    shutil.rmtree(scratch, ignore_errors=True)
    run = again(recipe, part, scratch, suite.leads, first=suite.history - 1, edges=factor)
    shutil.rmtree(scratch)
    true = stored_forces(cases.tables_of(path_of(recipe, suite.folder, number)), part, recipe.frames.start)
    forces = run.coefficients, true[suite.history : suite.history + suite.leads]
    return Made(run.frames, run.seconds, forces, {"cells": run.cells})


def scored(suite: Suite, label: str, forecaster: Forecaster, part: xr.Dataset) -> dict[str, Any]:
    """What is said of one case; read where it was judged under the same settings on a machine of the same processor."""
    number, machine = int(trajectories_of(part)[0]), processor()
    own = {k: suite.entry[k] for k in ("data", "leads", *(("train",) if label.startswith(SURROGATE) else ()))}
    settings = [FORM, own, suite.history, label, part.attrs["checksum"], machine]
    made_by = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    name = re.sub(r"[^\w.]+", "-", label)
    path = suite.out / "scores" / name / f"{number:04d}.json"
    if path.exists():
        held: dict[str, Any] = json.loads(path.read_text())
        if held["made by"] == made_by:
            return held
    made = forecaster(part)
    said = judged(part, made.frames, suite.truth(part), made.forces)
    found = {"made by": made_by, "machine": machine, "case": number, **said, "seconds": made.seconds, **made.more}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(found))
    os.replace(draft, path)
    print(f"{label}, case {number}: {made.seconds:.1f} s, drag off by {found['drag_error']:.1%}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", type=Path, default=HERE / "wake.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/cylinder_wake"))
    parser.add_argument("--size", help="of the data set, that of the suite unless given")
    parser.add_argument("--steps", type=int, help="of training, those of the suite unless given")
    parser.add_argument("--seeds", type=int, nargs="*", help="of training, those of the suite unless given")
    options = parser.parse_args()
    try:
        suite = suite_of(options.suite, options.out, {k: getattr(options, k) for k in ("size", "steps", "seeds")})
        kinds.make(suite.entry["data"]["dataset"], suite.entry["data"]["size"], quiet=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from wake_sheet import write

    rows: dict[str, list[dict[str, Any]]] = {}
    for label, forecaster, parts in forecasters(suite):
        rows[label] = [scored(suite, label, forecaster, part) for part in parts]
        write(suite, rows, environment())
    return 0


if __name__ == "__main__":
    sys.exit(main())
