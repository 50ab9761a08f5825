"""The commands on a tiny data set that is really made, with surrogates that are really trained, saved and loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import surrogates as sg
from surrogates.bench import commands
from surrogates.data.recipe_commands import make
from surrogates.forecast import open_forecast
from surrogates.forecast.commands import rollout
from surrogates.interchange import domain_of, fields_of
from surrogates.operators import FNO
from surrogates.refine import FEATURES, FlowMatching


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained surrogate of the tiny Burgers data, which is made first."""
    make("burgers", "tiny")
    truth = sg.open_dataset("burgers", split="test", size="tiny")
    torch.manual_seed(0)
    size = {"width": 4, "modes": (6,), "layers": 1}
    guess, network = FNO(1, 1, 0, **size), FNO(3, 1, FEATURES, **size)
    surrogate = sg.Surrogate(
        fields_of(truth), domain_of(truth), float(truth.attrs["dt"]), operator=guess, refiner=FlowMatching(network, channels=1, steps=2)
    )
    return sg.save(surrogate, tmp_path_factory.mktemp("saved") / "untrained", {"seed": 7})


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    entry = {
        "dataset": "burgers",
        "size": "tiny",
        "frames": 6,
        "members": 3,
        "solver": {"equation": "Burgers", "resolutions": [32, 64], "max_dt": 0.025},
        "timing": {"frames": 1, "repeats": 1},
    }
    path = tmp_path / "small" / "suite.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(entry))
    return path


def test_run_writes_all_it_promises(saved: Path, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.run(str(suite), str(saved), str(tmp_path / "out"))
    printed = capsys.readouterr().out
    assert f"report: {(tmp_path / 'out' / 'report.html').resolve()}" in printed and "held-out trajectories" in printed
    for name in ("scores.nc", "table.md", "report.html", "forecast.zarr", "bench.json", "costs.json"):
        assert (tmp_path / "out" / name).exists(), name
    page = (tmp_path / "out" / "report.html").read_text()
    assert "burgers (tiny)" in page and "guess FNO" in page and "seed 7" in page and "FlowMatching" in page
    assert sg.__version__ in page and torch.__version__ in page
    scores = xr.load_dataset(tmp_path / "out" / "scores.nc")
    assert scores["evaluations"].sel(contender=["untrained", "untrained-guess"]).values.tolist() == [3, 1]


def test_list_shows_the_suites(capsys: pytest.CaptureFixture[str]) -> None:
    commands.list_suites()
    assert "kolmogorov2d" in capsys.readouterr().out


def test_run_says_what_is_missing(saved: Path, suite: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names no surrogates.*--surrogate FOLDER"):
        commands.run(str(suite), out=str(tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match="not a saved surrogate"):
        commands.run(str(suite), str(tmp_path), str(tmp_path / "out"))
    with pytest.raises(ValueError, match="same folder name twice"):
        commands.run(str(suite), [str(saved), str(saved)], str(tmp_path / "out"))
    suite.write_text(suite.read_text().replace("burgers", "burgersx"))
    with pytest.raises(ValueError, match="did you mean 'burgers'"):
        commands.run(str(suite), str(saved), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# -- surrogates rollout --------------------------------------------------------------------------------------------


def test_rollout_is_simulate(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "forecast"
    rollout(str(saved), "burgers", 3, str(out), size="tiny", members=2, seed=4, start=5, group=3)
    truth = sg.open_dataset("burgers", split="test", size="tiny")
    want = sg.simulate(sg.load(saved), truth.isel(time=[5]), 3, members=2, seed=4, group=3)
    assert np.array_equal(open_forecast(out)["u"].values, want["u"].values)
    printed = capsys.readouterr().out
    assert "2 trajectories x 2 members, 3 frames" in printed and "12 steps in" in printed and "none of 4 runs failed" in printed
    assert str(out.resolve()) in printed
    rollout(str(saved), "burgers", 3, str(out), size="tiny", members=2, seed=4, start=5, group=3)
    assert "steps/s" not in capsys.readouterr().out, "nothing was made, so nothing is timed"


def test_rollout_says_where_members_failed(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = sg.load(saved)
    with torch.no_grad():
        broken.normaliser.tendency_std.fill_(1e6)
    sg.save(broken, tmp_path / "broken")
    rollout(str(tmp_path / "broken"), "burgers", 3, str(tmp_path / "forecast"), size="tiny", members=2)
    printed = capsys.readouterr().out
    assert "4 of 4 runs failed" in printed
    truth = sg.open_dataset("burgers", split="test", size="tiny")
    assert f"trajectory {int(truth['trajectory'][1])}, member 1: amplitude beyond 100 times the initial after 0 frames" in printed


def test_rollout_refuses_what_it_cannot_start_from(saved: Path, tmp_path: Path) -> None:
    for start in (-1, 16):
        with pytest.raises(ValueError, match=f"--start {start} needs frames {start} to {start}, but the trajectories hold 0 to 15"):
            rollout(str(saved), "burgers", 3, str(tmp_path / "f"), size="tiny", start=start)
    with pytest.raises(ValueError, match="no split 'tset'.*did you mean 'test'"):
        rollout(str(saved), "burgers", 3, str(tmp_path / "f"), split="tset", size="tiny")
    rollout(str(saved), "burgers", 3, str(tmp_path / "f"), size="tiny")
    with pytest.raises(FileExistsError, match="another run: it differs in frames"):
        rollout(str(saved), "burgers", 4, str(tmp_path / "f"), size="tiny")


# -- surrogates demo -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_demo_runs_once_and_then_has_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from surrogates.bench.demo import Demo
    from surrogates.bench.suite import Solver, Timing

    small = ["--steps", "40", "--model.operator.width", "6", "--model.operator.modes", "[8,5]", "--model.operator.layers", "2"]
    suite = {"frames": 8, "members": 3, "solver": Solver("Kolmogorov", (16, 24), (0.1, 0.1)), "timing": Timing(1, 1)}
    demo = Demo(tmp_path / "demo", "tiny", small, suite, leads=8)
    report = demo.run()
    assert report.is_file() and sg.load(tmp_path / "demo").refiner is not None
    first, page = json.loads((tmp_path / "demo" / "timings.json").read_text()), report.read_text()
    assert len(first["stages"]) == 5 and first["total"] == pytest.approx(sum(first["stages"].values()))
    assert "surrogates train --config" in page and "Tried on the validation split" in page and "train the guess" in page
    capsys.readouterr()
    demo.run()
    assert json.loads((tmp_path / "demo" / "timings.json").read_text()) == first
    assert capsys.readouterr().out.count("s, before") == 5
