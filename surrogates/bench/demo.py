"""The main job, end to end, on an embedded default: truth -> guess -> refiner -> calibration -> forecast, scores and report.

Each stage is a command that can be given by hand, printed as it begins; each goes on where it was stopped and is skipped when it is done.
`timings.json` beside the report keeps how long each took, summed over interruptions.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from surrogates.bench.commands import execute
from surrogates.bench.suite import load_suite
from surrogates.catalog import share
from surrogates.data.generate import make
from surrogates.saved import read_config

SUITE = "kolmogorov2d"
FRAMES, MEMBERS = 22, 8  # of the calibration: as far as the ensemble mean correlates


def main(out: str = "runs/demo") -> None:
    """Make turbulence, train a surrogate on it, roll it out, score it, and say where the report lies.

    Args:
        out: the folder of the surrogate and its report.
    """
    from surrogates.train.calibrate import calibrate_command
    from surrogates.train.cli import main as train

    folder, suite = Path(out), load_suite(SUITE)
    configs = share("benchmarks") / SUITE
    stages = Stages(folder)
    guess, refiner = str(configs / "guess.yaml"), str(configs / "refiner.yaml")
    size = suite.size or "small"
    stages("data", f"surrogates data make {suite.dataset} --size {size}", lambda: make(suite.dataset, size))
    first = ["--config", guess, "--out", str(folder / "guess")]
    stages("guess", f"surrogates train {' '.join(first)}", lambda: train(first))
    second = ["--config", refiner, "--model.guess", str(folder / "guess"), "--out", str(folder)]
    stages("refiner", f"surrogates train {' '.join(second)}", lambda: train(second))
    third = f"surrogates calibrate {folder} --frames {FRAMES} --members {MEMBERS}"
    if "calibration" not in read_config(folder)["provenance"]:
        stages("calibration", third, lambda: calibrate_command(str(folder), size=size, frames=FRAMES, members=MEMBERS))
    command = f"surrogates bench run {SUITE} --surrogate {folder} --out {folder / 'bench'}"
    with stages.timed("forecast, scores and report", command):
        suite = replace(suite, surrogates=(str(folder),))
        report = execute(suite, folder / "bench", stages.seconds, (*stages.commands, command))
    print(f"\nreport: {report.resolve()}")
    print(f"in Python: import surrogates as sg; surrogate = sg.load({str(folder)!r})")


class Stages:
    """The stages of the job, with the command of each and the seconds it took in all."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "bench" / "timings.json"
        self.seconds: dict[str, float] = json.loads(self.file.read_text()) if self.file.is_file() else {}
        self.commands: list[str] = []

    def __call__(self, name: str, command: str, run: Callable[[], object]) -> None:
        self.commands.append(command)
        with self.timed(name, command):
            run()

    @contextmanager
    def timed(self, name: str, command: str) -> Iterator[None]:
        """Say what begins, and keep the time however it ends."""
        print(f"\n[{name}] {command}", flush=True)
        before, began = self.seconds.get(name, 0.0), time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = before + time.perf_counter() - began
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(".part")
            part.write_text(json.dumps(self.seconds, indent=1))
            os.replace(part, self.file)
            print(f"[{name}] {self.seconds[name]:.0f} s", flush=True)
