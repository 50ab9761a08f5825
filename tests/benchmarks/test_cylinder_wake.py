"""The suite of wakes: what is said of a perfect, a frozen and a broken forecast, and the command from a recipe to the picture, resumed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

HERE = Path(__file__).parents[2] / "benchmarks" / "cylinder_wake"
sys.path[:0] = [str(HERE)]

import coarse  # noqa: E402
import judge  # noqa: E402
import wake  # noqa: E402

from surrogates.data.cases import channel, programs  # noqa: E402
from surrogates.data.cases.forces import STATIC  # noqa: E402
from surrogates.domains import Mesh  # noqa: E402
from surrogates.domains.layout import NODE  # noqa: E402
from surrogates.fields import Fields  # noqa: E402
from surrogates.interchange import declare, from_xarray, to_xarray  # noqa: E402

FIELDS = Fields(tuple(channel.fields.values()))


def made(frames: int = 120, period: float = 0.5) -> xr.Dataset:
    """Nodes of a square; in two of them, at a body, a pressure that swings."""
    from scipy.spatial import Delaunay

    x = np.stack(np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 5), indexing="ij"), -1).reshape(-1, 2)
    mesh = Mesh.from_cells(x + 1e-3 * np.random.default_rng(0).standard_normal(x.shape), Delaunay(x).simplices)
    t = 0.02 * torch.arange(frames)
    u = torch.ones(1, frames, 3, mesh.shape[0])
    u[0, :, 2] = (torch.sin(2 * torch.pi * t / period) + 2)[:, None]
    parameters = {"viscosity": [1e-3], "speed": [1.0], "size1": [0.1]}
    part = to_xarray(u, FIELDS, mesh, time=t.tolist(), trajectories=[3], parameters=parameters)
    near = np.zeros(mesh.shape[0], np.float32)
    near[[6, 7]] = 1
    values = {"body_area_x": 0.05 * near, "body_area_y": 0.01 * near, "body_distance": 0.1 * near}
    return declare(part.assign({n: (NODE, v, {"units": "m"}) for n, v in values.items()}), static=STATIC)


def test_a_perfect_forecast_has_no_error_and_the_frequency_of_the_truth() -> None:
    part = made()
    truth = from_xarray(part)[0]
    found = judge.judged(part, truth, truth)
    assert found["lasted"] == 120 and not found["failed"] and max(found["nrmse_velocity"]) == 0
    assert found["drag_error"] == found["lift_error"] == found["strouhal_error"] == 0
    assert found["strouhal"] == pytest.approx(0.1 / 0.5, rel=1e-3)
    push, shear = 2 * 0.05 * 2, 2 * 1e-3 / 0.1 * (0.01**2 - 0.05 * 0.01) / 0.0026**0.5  # of two cells, in a stream along (1, 1)
    force_x = push + shear
    assert np.mean(found["forecast"][0][:100]) == pytest.approx(force_x * 2 / 0.1, rel=1e-6)


def test_a_frozen_forecast_sheds_nothing_and_a_broken_one_is_counted() -> None:
    part = made()
    truth = from_xarray(part)[0]
    frozen = judge.judged(part, truth[:1].expand_as(truth), truth)
    assert frozen["lift_error"] == pytest.approx(1.0) and np.isnan(frozen["strouhal_error"])
    broken = truth.clone()
    broken[40:, 0, 2] = torch.nan
    broken[30:, 1, 3] = 1e5
    found = judge.judged(part, broken, truth)
    assert found["failed"] and found["lasted"] == 30 and len(found["nrmse_pressure"]) == 30


def test_fields_between_meshes_are_exact_where_they_are_linear() -> None:
    part = made()
    points = np.random.default_rng(1).uniform(-0.1, 1.1, (200, 2))
    corners = np.array([[-0.2, -0.2], [1.2, -0.2], [1.2, 1.2], [-0.2, 1.2]])
    points = np.concatenate([points, corners])
    u = torch.from_numpy(2 * points[:, 0] - points[:, 1])[None, None].expand(2, 3, -1).float()
    nodes = torch.from_numpy(coarse.domain_of(part).points.numpy())  # type: ignore[union-attr]
    assert torch.allclose(judge.between(part, points, u), (2 * nodes[:, 0] - nodes[:, 1]).float().expand(2, 3, -1), atol=1e-5)
    ones = coarse.at_points(part, from_xarray(part)[0, :1], points)
    assert np.allclose(ones[:, :2], 1.0)  # means of ones, wherever


@pytest.mark.slow
@pytest.mark.skipif(bool(programs.missing(channel.programs)), reason=programs.missing(channel.programs))
def test_one_command_from_a_recipe_to_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path / "data"))
    recipe = {
        "kind": "cases", "name": "short", "family": "channel", "parameters": {"reynolds": {"uniform": [50, 100]}},
        "mesh": {"near": 0.2, "far": 0.15, "growth": 0.4}, "solver": {"courant": 1.5},
        "frames": {"start": 0.1, "step": 0.01, "count": 6}, "splits": {"train": 2, "valid": 1, "test": 1},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    suite = yaml.safe_load((HERE / "wake.yaml").read_text())
    suite["data"], suite["coarse"] = {"dataset": str(tmp_path / "recipe.yaml"), "size": "full"}, [1]
    suite["train"]["model"]["operator"] |= {"width": 8, "layers": 2}
    suite["train"]["trainer"] = {"progress": False, "accelerator": "cpu"}
    (tmp_path / "wake.yaml").write_text(yaml.safe_dump(suite))
    out = tmp_path / "out"
    command = ["wake.py", "--suite", str(tmp_path / "wake.yaml"), "--out", str(out), "--steps", "3"]
    monkeypatch.setattr(sys, "argv", command)
    assert wake.main() == 0
    told = json.loads((out / "wake.json").read_text())
    assert list(told["rows"]) == ["persistence", "OpenFOAM, edges x 1", "surrogate 0"]
    again, still = told["rows"]["OpenFOAM, edges x 1"][0], told["rows"]["persistence"][0]
    assert again["nrmse_velocity"][-1] < 0.1 * still["nrmse_velocity"][-1]  # on its own mesh the solver says the truth again
    assert "core-seconds" in (out / "wake.md").read_text() and (out / "wake.png").stat().st_size > 1000
    monkeypatch.setattr(wake, "rolled", None)  # everything was judged before
    monkeypatch.setattr(wake, "coarser", None)
    assert wake.main() == 0
