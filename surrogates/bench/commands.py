"""What `surrogates bench list | run` do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from surrogates import catalog
from surrogates.bench.about import about
from surrogates.bench.report import REPORT, write_report
from surrogates.bench.run import run_suite
from surrogates.bench.suite import Suite, load_suite
from surrogates.bench.verdict import verdict
from surrogates.contracts import Step
from surrogates.data import open_dataset
from surrogates.saved import load


def list_suites() -> None:
    """The suites that can be run, and what each compares."""
    table = Table("suite", "data set", "frames", "members", "solver", "surrogates")
    for name in catalog.names("benchmarks"):
        suite = load_suite(name)
        grids = ", ".join(str(n) for n, _ in suite.solver.runs)
        data = f"{suite.dataset} ({suite.size or 'largest made'})"
        table.add_row(name, data, str(suite.frames), str(suite.members), f"{suite.solver.equation} at {grids}", ", ".join(suite.surrogates))
    Console().print(table)


def run(suite: str, surrogate: list[str] | str | None = None, out: str | None = None) -> None:
    """Run a suite and write its report; stopped at any moment, the same command goes on with the next contender.

    Args:
        suite: a suite that `surrogates bench list` shows, or the path of a suite.yaml.
        surrogate: the folder of a saved surrogate (or several, as [a, b]) instead of those in the suite.
        out: the folder to write to (default: runs/bench/<suite>).
    """
    chosen = load_suite(suite)
    given = [surrogate] if isinstance(surrogate, str) else surrogate
    chosen = replace(chosen, surrogates=tuple(given)) if given else chosen
    report = execute(chosen, Path(out or f"runs/bench/{chosen.name}"))
    print(f"report: {report.resolve()}")


def execute(suite: Suite, out: Path, stages: Mapping[str, float] | None = None, commands: tuple[str, ...] = ()) -> Path:
    """Open the data, load the surrogates, run, and write the report; returns report.html.

    Raises ValueError where the data set has not been made or does not fit, FileNotFoundError where a surrogate is missing and
    FileExistsError where `out` holds another run.
    """
    folders = _named(suite)
    truth = open_dataset(suite.dataset, split=suite.split, size=suite.size)
    training = open_dataset(suite.dataset, split="train", size=suite.size)
    models: dict[str, Step] = {name: load(folder) for name, folder in folders.items()}
    print(f"{suite.name}: {truth.sizes['trajectory']} trajectories, {suite.frames} frames", flush=True)
    known = about(models, truth, training, folders, stages, commands)
    scores = run_suite(suite, models, truth, training, out, known)
    write_report(out)
    for sentence in verdict(scores):
        print(sentence)
    return out / REPORT


def _named(suite: Suite) -> dict[str, Path]:
    """Folders by the names under which they appear. Raises ValueError where the suite has none, or two of one name."""
    folders = {Path(f).resolve().name: Path(f) for f in suite.surrogates}
    if not folders:
        raise ValueError(f"suite {suite.name!r} names no surrogates; give one: `surrogates bench run {suite.name} --surrogate FOLDER`")
    if len(folders) < len(suite.surrogates):
        raise ValueError(f"surrogates {list(suite.surrogates)} have the same folder name twice; the table could not tell them apart")
    return folders
