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

import wake  # noqa: E402
import wake_judge as judge  # noqa: E402
import wake_sheet as sheet  # noqa: E402

from surrogates.contracts import Conditions, Noise, State  # noqa: E402
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


def test_forces_that_a_run_tells_itself_are_judged_as_they_are() -> None:
    """A coarse run's velocity, carried to finer cells, says nothing of its stress at the wall."""
    part = made()
    truth = from_xarray(part)[0]
    own = torch.stack([torch.full((120,), 2.0), torch.sin(0.3 * torch.arange(120))], 1).double()
    found = judge.judged(part, truth * 7, truth, (0.9 * own, own))
    assert found["drag_error"] == pytest.approx(0.1) and found["lift_error"] == pytest.approx(0.1)
    assert found["forecast"][0] == [1.8] * 120 and found["strouhal"] == found["strouhal_truth"]


def row(drag: float, strouhal: float = 0.3, truth: float = 0.3, lasted: int = 10) -> dict[str, object]:
    errors = {"drag_error": drag, "lift_error": drag, "strouhal_error": abs(strouhal / truth - 1)}
    about = {"strouhal": strouhal, "strouhal_truth": truth, "failed": lasted < 10, "lasted": lasted, "seconds": 1.0}
    return {"nrmse_velocity": [0.1] * lasted, **errors, **about}


def cells(rows: list[dict[str, object]], pointwise: int = 10) -> dict[str, str]:
    head, _, line = sheet.table({"one": rows}, 10, pointwise).splitlines()
    return dict(zip(*([c.strip() for c in text.split("|")] for text in (head, line)), strict=True))


def test_failures_are_in_the_medians_and_a_missing_frequency_is_all_wrong() -> None:
    broken = cells([row(0.01), row(0.01, lasted=3), row(0.01, lasted=3)])
    assert broken["drag"] == broken["Strouhal"] == broken["nRMSE velocity, lead 10"] == "failed" and broken["failed"] == "2 of 3"
    assert broken["nRMSE velocity, lead 1"] == "0.1"
    frozen = cells([row(0.5, np.nan), row(0.5, np.nan), row(0.5, 0.3, np.nan)])
    assert frozen["Strouhal"] == "1e+02 %" and frozen["sheds"] == "0 of 2" and frozen["drag"] == "50 %"


def test_pointwise_errors_stop_where_the_truth_is_one_no_more() -> None:
    told = cells([row(0.01)], pointwise=5)
    assert told["nRMSE velocity, lead 5"] == "0.1" and "nRMSE velocity, lead 10" not in told and told["drag"] == "1 %"


class Counts(wake.Persistence):
    """One more than the frame before; it wants `history` of them."""

    def __init__(self, history: int) -> None:
        super().__init__(FIELDS)
        self.history = history

    def frame(self, past: torch.Tensor) -> torch.Tensor:
        assert past.shape[1] == self.history
        return past[:, -1]

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[torch.Tensor, State]:
        made = state["frame"] + 1
        return made[:, None], {**state, "frame": made}


@pytest.mark.parametrize("history", [1, 3])
def test_all_are_scored_on_the_frames_after_the_last_one_given(history: int, tmp_path: Path) -> None:
    part = made(frames=20)
    part["pressure"] = part["pressure"] * 0 + xr.DataArray(np.arange(20.0, dtype=np.float32), dims="time")
    suite = wake.Suite({"leads": 8, "train": {"data": {"history": history}}}, tmp_path)
    for own in {1, history}:
        run = wake.rolled(Counts(own), part, suite)
        assert torch.equal(run.frames[:, 2], suite.truth(part)[:, 2]) and len(run.frames) == 8
    still = wake.rolled(wake.Persistence(FIELDS), part, suite)
    assert bool((still.frames[:, 2] == history - 1).all())


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
    suite["data"], suite["coarse"] = {"dataset": str(tmp_path / "recipe.yaml"), "size": "full"}, [2]
    suite["train"]["model"]["operator"] |= {"width": 8, "layers": 2}
    suite["train"]["trainer"] = {"progress": False, "accelerator": "cpu"}
    (tmp_path / "wake.yaml").write_text(yaml.safe_dump(suite))
    out = tmp_path / "out"
    command = ["wake.py", "--suite", str(tmp_path / "wake.yaml"), "--out", str(out), "--steps", "3"]
    monkeypatch.setattr(sys, "argv", command)
    assert wake.main() == 0
    told = json.loads((out / "wake.json").read_text())
    assert list(told["rows"]) == ["persistence", wake.TRUTH, "OpenFOAM, edges x 2", "surrogate 0"]
    again, coarse, still = (told["rows"][name][0] for name in (wake.TRUTH, "OpenFOAM, edges x 2", "persistence"))
    assert again["nrmse_velocity"][-1] < 0.1 * still["nrmse_velocity"][-1]  # on its own mesh the solver says the truth again
    assert again["drag_error"] < 0.02 and coarse["cells"] < 0.5 * again["cells"] and again["machine"] == coarse["machine"] != ""
    assert "No t* is known" in (out / "wake.md").read_text()
    assert "core-seconds" in (out / "wake.md").read_text() and (out / "wake.png").stat().st_size > 1000
    monkeypatch.setattr(wake, "rolled", None)  # everything was judged before
    monkeypatch.setattr(wake, "solved", None)
    assert wake.main() == 0
