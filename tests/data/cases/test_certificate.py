"""t* is the last lead at which finer runs still say what is stored; fields are weighed each by itself, cells by their areas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data import cases
from surrogates.data.cases import again, certificate, channel, programs, runs
from surrogates.data.cases.recipe import CaseRecipe, Frames, Solver
from surrogates.data.distribution import Distribution
from surrogates.data.formats import open_parts
from surrogates.data.sections import Split
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


def test_the_certificate_ends_where_the_first_of_both_runs_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, asked = stored(6), []
    u = from_xarray(part)[0]

    def finer(recipe: CaseRecipe, part: xr.Dataset, folder: Path, leads: int, *, edges: float, courant: float) -> again.Again:
        folder.mkdir(parents=True)
        asked.append((edges, courant))
        made = u[1 : leads + 1].clone()
        made[3 if edges == 1 else 2 :] = torch.randn_like(made[3 if edges == 1 else 2 :])
        return again.Again(made, torch.zeros(leads, 2), 1.0, 60)

    path = runs.path_of(SHORT, tmp_path, 0)
    path.parent.mkdir(parents=True)
    with pytest.raises(ValueError, match="not made yet"):
        cases.certify(SHORT, tmp_path, 0.05)
    path.touch()
    monkeypatch.setattr(again, "again", finer)
    monkeypatch.setattr(certificate, "open_parts", lambda path: {"train": [part]})
    found = cases.certify(SHORT, tmp_path, 0.05)
    assert asked == [(1.0, 0.5), (0.5, 0.5)]
    assert (found["half_courant_time"], found["half_edges_time"], found["scored_time"]) == pytest.approx((0.03, 0.02, 0.02))
    assert cases.read_certificate(tmp_path) == json.loads(json.dumps(found)) and cases.read_certificate(tmp_path / "none") == {}


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
