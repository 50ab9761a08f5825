"""Making data: deterministic, whatever stops it; certified; and never silently mixed with other data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from surrogates.data import generate, make, open_dataset, workers
from surrogates.data.certificate import THRESHOLD, correlation, lead
from surrogates.data.layout import Part, checksum
from surrogates.data.recipe import Recipe
from surrogates.data.truth import start
from surrogates.interchange import from_xarray

ROOT = Path(generate.__file__).parents[2]
MICRO = {
    "name": "micro",
    "equation": "kuramoto_sivashinsky",
    "seed": 1,
    "group": 2,
    "parameters": {"viscosity": 1.0},
    "domain": {"lengths": [16.0]},
    "solver": {"resolution": [32], "dt": 0.1},
    "burn_in": {"time": 2.0, "solver": {"resolution": [24], "dt": 0.1}, "settle": 0.2},
    "frames": {"count": 6, "step": 0.2, "resolution": [16]},
    "splits": {"train": 4, "valid": 2, "test": 3},
    "certificate": {"trajectories": 1, "time": 0.8, "lyapunov": 2.0},
}


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.from_json(MICRO)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(Recipe.from_json(MICRO), out=tmp_path_factory.mktemp("whole"), workers=1, quiet=True)


def sums(folder: Path) -> list[str]:
    return [checksum(p) for p in sorted(folder.glob("data/*/*"))]


def test_what_is_made_opens_with_its_provenance(whole: Path, recipe: Recipe) -> None:
    test = open_dataset(whole, "test", verify=True)
    assert test["trajectory"].values.tolist() == [6, 7, 8] and test.sizes["time"] == 6
    assert test.attrs["seed"] == 1 and test.attrs["version"] and '"group": 2' in test.attrs["recipe"]
    assert test.attrs["scored_time"] == pytest.approx(0.8) and test.attrs["lyapunov_time"] > 0 and test.attrs["turnover_time"] > 0
    assert from_xarray(test).std() > 0.1


def test_workers_do_not_change_a_bit(whole: Path, recipe: Recipe, tmp_path: Path) -> None:
    assert sums(make(recipe, out=tmp_path, workers=3, quiet=True)) == sums(whole)


def test_a_cluster_does_not_change_a_bit(whole: Path, recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    assert sums(make(recipe, out=tmp_path / "many", workers=2, scheduler="local", quiet=True)) == sums(whole)


def test_making_it_again_does_nothing(whole: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "run", None)
    assert make(recipe, out=whole, quiet=True) == whole


def test_a_trajectory_does_not_depend_on_its_neighbours(recipe: Recipe) -> None:
    together, alone = start(recipe, [0, 1], lambda work: None), start(recipe, [1], lambda work: None)
    torch.testing.assert_close(together[1:], alone, rtol=1e-9, atol=1e-9)


def test_another_recipe_is_kept_out(whole: Path, recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="was made from another recipe; give another folder"):
        make(replace(recipe, seed=2), out=whole, quiet=True)


def test_another_version_does_not_finish_what_this_one_began(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(recipe, tmp_path, monkeypatch, KeyboardInterrupt)
    monkeypatch.setattr("surrogates.__version__", "99")
    with pytest.raises(ValueError, match="was begun by version"):
        make(recipe, out=tmp_path, quiet=True)


def test_two_runs_do_not_share_a_folder(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="file locks of Unix")
    with workers.locked(tmp_path), pytest.raises(ValueError, match="another run is making"):
        make(recipe, out=tmp_path, quiet=True)


def interrupt(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    write, written = Part.write_rows, []

    def failing(part: Part, row: int, u: object) -> None:
        written.append(row)
        if len(written) == 4:
            raise error(28, "No space left on device") if error is OSError else error
        write(part, row, u)

    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(Part, "write_rows", failing)
        make(recipe, out=folder, workers=2, quiet=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_ctrl_c_and_a_full_disk_leave_what_opens_and_resumes(
    recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    interrupt(recipe, tmp_path, monkeypatch, error)
    with pytest.raises(ValueError, match="is unfinished; `surrogates data make`"):
        open_dataset(tmp_path, "train")
    assert 3 <= open_dataset(tmp_path, partial=True).sizes["trajectory"] < 9, "what was written before, and what was being written"
    assert sums(make(recipe, out=tmp_path, quiet=True)) == sums(whole)


KILLED = """
import json, os, signal, sys
from pathlib import Path
import h5py, torch
from surrogates.data import generate, hdf5, layout, make, part
from surrogates.data.recipe import Recipe

torch.set_num_threads(1)
folder, recipe = Path(sys.argv[1]), Recipe.from_json(json.loads(sys.argv[2]))

def child(moment):
    left = [moment]
    def counted(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call
    hdf5.sync = part.sync = counted(hdf5.sync)    # before data, before marks and before the closing record reach the disk,
    layout.os.replace = counted(os.replace)       # and before a file is given its name
    make(recipe, out=folder, workers=1, quiet=True)
    os._exit(0)

killed = 0
for moment in [*[1, 2, 3] * 8, *range(4, 60)]:
    pid = os.fork()
    if not pid:
        child(moment)
    status = os.waitpid(pid, 0)[1]
    for path in folder.glob("data/*/micro*"):
        with h5py.File(path) as f:
            f["t0_fields"]["u"][:], f["surrogates"]["complete"][:]
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    killed += 1
print(killed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks")
def test_killed_at_every_moment_it_opens_resumes_and_is_the_same_to_the_bit(tmp_path: Path) -> None:
    entry = {**MICRO, "group": 1, "splits": {"train": 2, "test": 2}}
    whole, killed = make(Recipe.from_json(entry), out=tmp_path / "whole", workers=1, quiet=True), tmp_path / "killed"
    words = [sys.executable, "-c", KILLED, killed, json.dumps(entry)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 24
    assert sums(killed) == sums(whole)
    assert not list(killed.glob("data/*/*.part"))


def test_without_room_it_stops_before_any_work(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1000))
    monkeypatch.setattr(generate, "run", None)
    with pytest.raises(OSError, match=r"no room for 0\.1 MB, the disk has 0\.0 MB left"):
        make(recipe, out=tmp_path, quiet=True)
    assert not [p for p in tmp_path.glob("data/*/*")]


def test_a_solver_that_blows_up_is_an_error(recipe: Recipe, tmp_path: Path) -> None:
    wild = replace(recipe, initial={"rms": 1e4}, burn_in=None, solver=replace(recipe.solver, dt=0.2))
    with pytest.raises(ValueError, match=r"the truth solver blew up in trajectories .*; lower solver.dt \(0"):
        make(wild, out=tmp_path, quiet=True)
    burnt = replace(recipe, initial={"rms": 1e4})
    with pytest.raises(ValueError, match=r"; lower burn_in.solver.dt \(0.1\)"):
        start(burnt, [0], lambda work: None)


def test_the_lead_is_that_of_the_last_frame_before_any_row_falls() -> None:
    good, bad = THRESHOLD + 1e-4, THRESHOLD - 1e-4
    assert lead(torch.tensor([[1.0, good, good], [1.0, good, good]]), 0.5) == 1.0
    assert lead(torch.tensor([[1.0, good, good], [1.0, good, bad]]), 0.5) == 0.5
    assert lead(torch.tensor([[1.0, bad, good], [1.0, good, good]]), 0.5) == 0.0


def test_fields_without_a_pattern_are_compared_by_their_size() -> None:
    """Gas at one pressure is scored from the start, and one that fails at once has a lead of 0, not of less."""
    one = torch.ones(1, 4, 1, 8)
    assert torch.equal(correlation(one, one * (1 + 1e-8)), torch.ones(1, 4, dtype=torch.float64))
    assert torch.equal(correlation(0 * one, 0 * one), torch.ones(1, 4, dtype=torch.float64))
    assert torch.equal(
        correlation(one, one * torch.tensor([1.0, 1.04, 1.05, 2.0])[:, None, None])[0], torch.tensor([1.0, 1, 0, 0]).double()
    )
    assert lead(correlation(one, one), 0.5) == 1.5 and lead(correlation(one, 2 * one), 0.5) == 0.0


def test_correlation_is_centred_per_channel_and_blind_to_scale() -> None:
    u = torch.randn(2, 3, 2, 40, generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([5.0, -3.0]).reshape(2, 1)
    torch.testing.assert_close(correlation(u, 2 * u + shift), torch.ones(2, 3, dtype=torch.float64))
    torch.testing.assert_close(correlation(u, -u), -torch.ones(2, 3, dtype=torch.float64))
    x, y = torch.cos(torch.arange(40) * torch.pi / 20), torch.sin(torch.arange(40) * torch.pi / 20)
    assert float(correlation(x[None, None, None], y[None, None, None]).abs()) < 1e-6
