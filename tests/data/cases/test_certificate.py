"""t* is the last lead at which finer runs still say what is stored; fields are weighed each by itself, cells by their areas."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates import data
from surrogates.cli import main
from surrogates.data import cases
from surrogates.data.cases import again, certificate, channel, programs, runs
from surrogates.data.cases.recipe import CaseRecipe, Frames, Solver
from surrogates.data.cuts import Cut
from surrogates.data.distribution import Distribution
from surrogates.data.formats import open_parts
from surrogates.data.sections import Split
from surrogates.data.truth import Tick
from surrogates.data.written import Written
from surrogates.domains import Mesh
from surrogates.fields import Fields
from surrogates.interchange import from_xarray, to_xarray

SHORT = CaseRecipe(
    "wake", "channel", {"reynolds": Distribution("constant", (50.0,))}, {"near": 0.2, "far": 0.15, "growth": 0.4},
    Frames(6, 0.01, 0.2), {"train": Split(1)}, Solver(1.5),
)  # fmt: skip


def stored(frames: int) -> xr.Dataset:
    from scipy.spatial import Delaunay

    points = np.random.default_rng(0).uniform(size=(60, 2))
    mesh = Mesh.from_cells(points, Delaunay(points).simplices)
    u = torch.from_numpy(np.random.default_rng(1).standard_normal((1, frames, 3, 60))).float()
    return to_xarray(u, Fields(tuple(channel.fields.values())), mesh, time=[0.01 * n for n in range(frames)], trajectories=[0])


def test_correlations_are_of_the_worst_field_weighed_by_areas() -> None:
    part = stored(4)
    a = from_xarray(part)[0]
    assert torch.allclose(certificate.correlations(part, a, 3 * a + 2), torch.ones(4, dtype=torch.float64))
    worse = a.clone()
    worse[2, 2] = -a[2, 2]  # pressure alone
    assert certificate.correlations(part, a, worse).tolist() == pytest.approx([1, 1, -1, 1])


def kept(folder: Path, recipe: CaseRecipe = SHORT) -> xr.Dataset:
    """The data set of a recipe of one case, of random numbers, as a file of ours."""
    path, part = runs.path_of(recipe, folder, 0), stored(recipe.frames.count)
    file = Written(path, recipe.name, [Cut(part, 0, 0, recipe.frames.count, 0)])
    file.begin({"recipe": json.dumps(recipe.to_json(), sort_keys=True), "version": "0"})
    list(file.row(0))
    file.finish()
    return open_parts(path)["train"][0]


class Finer:
    """Instead of a finer run: what is stored, up to frame 3, or 2 on finer edges, then noise."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []
        self.stops = 99

    def __call__(
        self, recipe: CaseRecipe, part: xr.Dataset, folder: Path, leads: int, *, edges: float, courant: float, tick: Tick
    ) -> again.Again:
        if len(self.asked) == self.stops:
            raise KeyboardInterrupt
        folder.mkdir(parents=True)
        self.asked.append((edges, courant))
        made = from_xarray(part)[0, 1 : leads + 1].clone()
        made[3 if edges == 1 else 2 :] = torch.randn_like(made[3 if edges == 1 else 2 :])
        tick(0.01 * leads)
        return again.Again(made, torch.zeros(leads, 2), 1.0, 60)


@pytest.fixture
def finer(monkeypatch: pytest.MonkeyPatch) -> Finer:
    made = Finer()
    monkeypatch.setattr(again, "again", made)
    monkeypatch.setattr(programs, "need", lambda programs: None)
    return made


def test_the_certificate_ends_where_the_first_of_both_runs_leaves(tmp_path: Path, finer: Finer) -> None:
    with pytest.raises(ValueError, match="not made yet"):
        cases.certify(SHORT, tmp_path, 0.05)
    kept(tmp_path)
    found = cases.certify(SHORT, tmp_path, 0.05)
    assert finer.asked == [(1.0, 0.5), (0.5, 0.5)]
    assert (found["half_courant_time"], found["half_edges_time"], found["scored_time"]) == pytest.approx((0.03, 0.02, 0.02))
    assert cases.read_certificate(tmp_path) == json.loads(json.dumps(found)) and cases.read_certificate(tmp_path / "none") == {}


def test_a_run_that_had_ended_is_not_solved_again_unless_its_case_is_another(tmp_path: Path, finer: Finer) -> None:
    kept(tmp_path / "calm")
    calm = cases.certify(SHORT, tmp_path / "calm", 0.05)
    finer.asked, finer.stops = [], 1
    kept(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        cases.certify(SHORT, tmp_path / "stopped", 0.05)
    assert cases.read_certificate(tmp_path / "stopped") == {}
    finer.stops = 99
    assert cases.certify(SHORT, tmp_path / "stopped", 0.05) == calm
    assert finer.asked == [(1.0, 0.5), (0.5, 0.5)] and not list((tmp_path / "stopped" / "scratch").iterdir())
    finer.asked, finer.stops = [], 1
    with pytest.raises(KeyboardInterrupt):
        cases.certify(SHORT, tmp_path / "stopped", 0.05)
    os.utime(runs.path_of(SHORT, tmp_path / "stopped", 0), ns=(1, 1))
    finer.stops = 99
    cases.certify(SHORT, tmp_path / "stopped", 0.05)
    assert finer.asked == [(1.0, 0.5), (1.0, 0.5), (0.5, 0.5)]


def test_the_command_certifies_once_and_then_tells(tmp_path: Path, finer: Finer, capsys: pytest.CaptureFixture[str]) -> None:
    kept(tmp_path)
    words = ["data", "certify", str(tmp_path)]
    assert main(words) == 2
    assert "no certificate yet; say over how many seconds, from 0.01 to 0.05: --time" in capsys.readouterr().err
    assert main([*words, "--time", "0.05"]) == 0
    out = capsys.readouterr().out
    assert "t* = 0.02 (half the Courant number 0.03, half the edges 0.02, checked up to 0.05, in case 0)" in out
    assert main([*words, "--time", "0.05"]) == 0 and main(words) == 0
    assert capsys.readouterr().out == 2 * out and len(finer.asked) == 2
    assert main([*words, "--time", "0.03"]) == 0 and len(finer.asked) == 4  # over another time it is another one
    assert main([*words, "--time", "3"]) == 2
    assert "3 s is not between one frame" in capsys.readouterr().err


def test_the_command_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kept(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert main(["data", "certify", str(tmp_path), "--time", "0.05"]) == 2
    assert "apt-get install --no-install-recommends openfoam gmsh" in capsys.readouterr().err
    assert main(["data", "certify", str(runs.path_of(SHORT, tmp_path, 0))]) == 2
    assert "give the folder" in capsys.readouterr().err


def test_an_equation_was_certified_when_it_was_made_and_others_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = data.make("burgers", "tiny", tmp_path / "burgers", workers=1, quiet=True)
    t = float(data.open_dataset(made, "test").attrs["scored_time"])
    assert main(["data", "certify", str(made)]) == 0
    assert f"t* = {t:.4g} (half dt" in capsys.readouterr().out
    assert main(["data", "certify", str(made), "--time", "1"]) == 2
    assert "certified as it was made" in capsys.readouterr().err
    path = tmp_path / "other" / "data" / "train" / "other.hdf5"
    file = Written(path, "other", [Cut(stored(3), 0, 0, 3, 0)])
    file.begin({"recipe": json.dumps({"kind": "converted"}), "version": "0"})
    list(file.row(0))
    file.finish()
    assert main(["data", "certify", str(tmp_path / "other")]) == 2
    assert "cannot be solved again" in capsys.readouterr().err


@pytest.mark.skipif(bool(programs.missing(channel.programs)), reason=programs.missing(channel.programs))
def test_a_case_again_from_a_stored_frame(tmp_path: Path) -> None:
    """On its own mesh the same flow and the same forces; on a coarser one the forces that OpenFOAM has there, whatever the carried velocity
    would say; `make` examines a case where the recipe asks."""
    recipe = replace(SHORT, certificate=0.02)
    folder = cases.make(recipe, tmp_path / "made", quiet=True)
    said = cases.read_certificate(folder)
    assert 0 <= said["scored_time"] <= said["half_courant_time"] == pytest.approx(0.02) and not (folder / "scratch").exists()
    path = runs.path_of(recipe, folder, 0)
    part = open_parts(path)["train"][0]
    truth, forces = from_xarray(part)[0], again.stored_forces(cases.tables_of(path), part, recipe.frames.start)
    same = again.again(recipe, part, tmp_path / "same", 4, first=1)
    assert torch.allclose(same.frames, truth[2:], atol=0.05) and torch.allclose(same.coefficients[1:], forces[3:], rtol=0.03, atol=0.02)
    coarse = again.again(recipe, part, tmp_path / "coarse", 4, first=1, edges=2.0)
    assert coarse.cells < 0.5 * same.cells and coarse.frames.shape == same.frames.shape
    last = (tmp_path / "coarse/postProcessing/force_obstacle0/0/force.dat").read_text().splitlines()[-1]
    total = float(last.replace("(", " ").split()[1]) / channel.DEPTH
    assert float(coarse.coefficients[-1, 0]) == pytest.approx(2 * total / 0.1, rel=1e-5)
