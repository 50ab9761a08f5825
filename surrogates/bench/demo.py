"""The main job on an embedded default: truth -> guess -> refiner -> calibration -> benchmark, each stage once.

Stages do what the commands do that are printed before them, and like these go on where they were stopped. Seconds a stage took, over
all its attempts, are kept in `<out>/stages` (a training claims a folder that holds no files) and listed in `<out>/timings.json` at the
end; the final surrogate lies in `<out>` itself, beside report.html.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from surrogates import catalog

SUITE, SIZE, STAGES, TIMINGS = "kolmogorov2d", "small", "stages", "timings.json"
MEMBERS = 8  # of the calibration


def main(out: str = "runs/demo") -> None:
    """Make turbulence, train a surrogate, roll it out, score it, write report.html; stopped at any moment, the same command goes on.

    Args:
        out: the folder of the surrogate and its report.
    """
    report = Demo(Path(out)).run()
    print(f"\nreport: {report.resolve()}")
    print(f"in Python: import surrogates as sg; surrogate = sg.load({out!r})")


@dataclass
class Demo:
    """`training` are arguments for both trainings, `suite` changes to the suite, `leads` the frames that calibration
    looks at (as far as the ensemble mean correlates)."""

    out: Path
    size: str = SIZE
    training: Sequence[str] = ()
    suite: dict[str, Any] = field(default_factory=dict)
    leads: int = 22

    def run(self) -> Path:
        """Every stage that is not done; returns the report."""
        timings = self.timings()
        stages: dict[str, Callable[[], bool]] = {
            "make the truth": self.make,
            "train the guess": self.train_guess,
            "train the refiner": self.train_refiner,
            "calibrate the ensemble": self.calibrate,
            "benchmark and report": self.bench,
        }
        for (name, stage), command in zip(stages.items(), self.commands(), strict=True):
            print(f"\n== {name}\n$ {command}", flush=True)
            with self.timed(name, timings) as took:
                took.worked = stage()
            print(f"{timings.get(name, 0.0):.0f} s" + ("" if took.worked else ", before"), flush=True)
        write(self.out / TIMINGS, {"stages": timings, "total": sum(timings.values())})
        print("\n" + "\n".join(f"{seconds:7.1f} s  {name}" for name, seconds in timings.items()))
        print(f"{sum(timings.values()):7.1f} s  in all")
        return self.out / "report.html"

    def commands(self) -> tuple[str, ...]:
        """The same by hand, one command a stage."""
        words = (
            ["data", "make", SUITE, "--size", self.size],
            ["train", *self.arguments("guess", self.out / "guess")],
            ["train", *self.arguments("refiner", self.out)],
            ["calibrate", str(self.out), "--size", self.size, "--frames", str(self.leads), "--members", str(MEMBERS)],
            ["bench", "run", SUITE, "--surrogate", str(self.out), "--out", str(self.out)],
        )
        return tuple(shlex.join(["surrogates", *w]) for w in words)

    def make(self) -> bool:
        from surrogates.data import open_dataset
        from surrogates.data.recipe_commands import make

        try:
            open_dataset(SUITE, split="test", size=self.size)
        except ValueError:
            make(SUITE, self.size)
            return True
        make(SUITE, self.size)  # done, but it may be another recipe's: that is an error
        return False

    def train_guess(self) -> bool:
        return self.train("guess", self.out / "guess")

    def train_refiner(self) -> bool:
        return self.train("refiner", self.out)

    def train(self, config: str, out: Path) -> bool:
        from surrogates.train.cli import main as train

        return train(self.arguments(config, out)).steps > 0

    def calibrate(self) -> bool:
        from surrogates.saved import read_config
        from surrogates.train.calibrate import calibrate_command

        if "calibration" in read_config(self.out)["provenance"]:
            return False
        calibrate_command(str(self.out), size=self.size, frames=self.leads, members=MEMBERS)
        return True

    def bench(self) -> bool:
        from surrogates.bench.commands import execute
        from surrogates.bench.run import SCORES
        from surrogates.bench.suite import load_suite

        done = (self.out / SCORES).is_file()
        suite = replace(load_suite(SUITE), size=self.size, surrogates=(str(self.out),), **self.suite)
        stages = {n: s for n, s in self.timings().items() if not n.startswith("benchmark")}
        execute(suite, self.out, stages, self.commands())
        return not done

    def arguments(self, config: str, out: Path) -> list[str]:
        """What `surrogates train` takes for one of the two configurations."""
        file = Path(os.path.relpath(catalog.share("benchmarks") / SUITE / f"{config}.yaml"))
        guess = ["--model.guess", str(self.out / "guess")] if config == "refiner" else []
        return ["--config", str(file), *guess, "--data.size", self.size, "--out", str(out), *self.training]

    @contextmanager
    def timed(self, name: str, timings: dict[str, float]) -> Iterator[Took]:
        """Add what the body took to its stage's seconds, an interrupted body included, unless it had nothing to do."""
        took = Took()
        start = time.perf_counter()
        try:
            yield took
        finally:
            if took.worked or name not in timings:
                timings[name] = timings.get(name, 0.0) + time.perf_counter() - start
            write(self.out / STAGES / TIMINGS, timings)

    def timings(self) -> dict[str, float]:
        file = self.out / STAGES / TIMINGS
        return dict(json.loads(file.read_text())) if file.is_file() else {}


@dataclass
class Took:
    """Whether a stage had anything to do; taken to have until it says otherwise."""

    worked: bool = True


def write(path: Path, entry: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(entry, indent=1))
    os.replace(part, path)
