"""A surrogate of wakes on meshes that it never saw, against OpenFOAM: error, drag, frequency and cost, from one command.

    python benchmarks/cylinder_wake/wake.py [--suite wake.yaml] [--out runs/cylinder_wake] [--size tiny] [--steps 200] [--seeds 0]

makes the data set, trains a surrogate a seed (folders under OUT/weights), rolls it out from the first frame of every test case, runs
OpenFOAM on coarser meshes from the same frame, and writes OUT/wake.json, OUT/wake.md and OUT/wake.png. Stopped at any moment, the same
command goes on: training resumes, and cases that were judged under the same settings are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

import coarse  # noqa: E402
from judge import judged  # noqa: E402

from surrogates import catalog  # noqa: E402
from surrogates.bench.environment import environment  # noqa: E402
from surrogates.contracts import Step  # noqa: E402
from surrogates.data import cases, kinds  # noqa: E402
from surrogates.data.formats import open_parts  # noqa: E402
from surrogates.interchange import TIME, conditions_of, fields_of, from_xarray, trajectories_of  # noqa: E402
from surrogates.pde import Persistence  # noqa: E402
from surrogates.rollout import rollout  # noqa: E402
from surrogates.saved import load_surrogate  # noqa: E402
from surrogates.train.cli import main as train  # noqa: E402

KEYS = {"data", "leads", "seeds", "train", "coarse"}
SURROGATE, COARSE, TRUTH = "surrogate", "OpenFOAM, edges x", "OpenFOAM, the truth"
Forecaster = Callable[[xr.Dataset], tuple[Tensor, float, dict[str, Any]]]
"""Of a test case: frames (T, C, node), the seconds of one core that they took, and what else is to be told."""


@dataclass(frozen=True)
class Suite:
    """What wake.yaml says, and where results go."""

    entry: dict[str, Any]
    out: Path

    @property
    def leads(self) -> int:
        return int(self.entry["leads"])

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


def suite_of(path: Path, out: Path, changes: dict[str, Any]) -> Suite:
    """A suite with what the command line changes. Raises ValueError naming file and key for what is not one."""
    entry = yaml.safe_load(path.read_text())
    if not isinstance(entry, dict) or (wrong := set(entry) ^ KEYS):
        raise ValueError(f"{path}: expected the keys {sorted(KEYS)}; look at {sorted(wrong) if isinstance(entry, dict) else entry!r}")
    entry["data"]["size"] = changes.get("size") or entry["data"]["size"]
    entry["train"]["steps"] = changes.get("steps") or entry["train"]["steps"]
    entry["seeds"] = changes.get("seeds") or entry["seeds"]
    recipe = cases.load(kinds.path_of(entry["data"]["dataset"]), entry["data"]["size"])
    entry["leads"] = min(entry["leads"], recipe.frames.count - 1)
    return Suite(entry, out)


def forecasters(suite: Suite) -> Iterator[tuple[str, Forecaster]]:
    """Who is judged, by name."""
    yield "persistence", lambda part: rolled(Persistence(fields_of(part)), part, suite.leads)
    for factor in suite.entry["coarse"]:
        yield f"{COARSE} {factor}", lambda part, factor=factor: coarser(suite, part, factor)
    for seed in suite.entry["seeds"]:
        step = trained(suite, seed)
        yield f"{SURROGATE} {seed}", lambda part, step=step: rolled(step, part, suite.leads)


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


def rolled(step: Step, part: xr.Dataset, leads: int) -> tuple[Tensor, float, dict[str, Any]]:
    """A rollout from the first frames; later ones where the step needs more than one. Seconds of processor time, one thread."""
    past = part.isel({TIME: slice(step.history)})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.process_time()
        with torch.inference_mode():
            frames = [f[0] for f in rollout(step, from_xarray(past), leads, conditions_of(past).after)]
        return torch.stack(frames), time.process_time() - began, {}
    finally:
        torch.set_num_threads(threads)


def coarser(suite: Suite, part: xr.Dataset, factor: float) -> tuple[Tensor, float, dict[str, Any]]:
    scratch = suite.out / "scratch" / f"{trajectories_of(part)[0]}-{factor:g}"
    shutil.rmtree(scratch, ignore_errors=True)
    frames, seconds, cells = coarse.run(suite.recipe, part, suite.leads, factor, scratch)
    shutil.rmtree(scratch)
    return frames, seconds, {"cells": cells}


def scored(suite: Suite, label: str, forecaster: Forecaster, part: xr.Dataset) -> dict[str, Any]:
    """What is said of one case; read where it was judged under the same settings."""
    number = trajectories_of(part)[0]
    own = {k: suite.entry[k] for k in ("data", "leads", *(("train",) if label.startswith(SURROGATE) else ()))}
    made_by = sha256(json.dumps([own, label, part.attrs["checksum"]], sort_keys=True).encode()).hexdigest()
    path = suite.out / "scores" / label.replace(" ", "-").replace(",", "") / f"{number:04d}.json"
    if path.exists():
        held: dict[str, Any] = json.loads(path.read_text())
        if held["made by"] == made_by:
            return held
    frames, seconds, more = forecaster(part)
    truth = from_xarray(part)[0, 1 : suite.leads + 1]
    found = {"made by": made_by, "case": number, **judged(part, frames, truth), "seconds": seconds, **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(found))
    os.replace(draft, path)
    print(f"{label}, case {number}: {seconds:.1f} s, drag off by {found['drag_error']:.1%}", flush=True)
    return found


def truth_costs(suite: Suite) -> list[float]:
    """The solver's seconds for the frames that are forecast: its steps are even once the flow is there."""
    share = suite.leads * suite.recipe.frames.step / suite.recipe.frames.end
    return [float(part.attrs["seconds"]) * share for part in suite.tests]


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
    from sheet import write

    rows: dict[str, list[dict[str, Any]]] = {}
    for label, forecaster in forecasters(suite):
        rows[label] = [scored(suite, label, forecaster, part) for part in suite.tests]
        write(suite, rows, truth_costs(suite), environment())
    return 0


if __name__ == "__main__":
    sys.exit(main())
