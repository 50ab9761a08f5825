"""Every contender starts from the same state and is scored alike; a run goes on where it was cut, and takes no folder of another."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from bench.tiny import FIELDS, Made, suite, surrogate

from surrogates import pde, simulate
from surrogates.bench import Solver, Timing, contenders, cost, costs, run_suite
from surrogates.bench.contenders import Contender, climatology
from surrogates.bench.run import _save, load
from surrogates.fields import Field, Fields
from surrogates.forecast import open_forecast
from surrogates.metrics import score


def again(made: Made, out: Path, **change: Any) -> xr.Dataset:
    return run_suite(suite(**change), {"mine": surrogate()}, made.truth, made.training, out)


def same_scores(a: xr.Dataset, b: xr.Dataset) -> bool:
    timed = {"cost", "cost_single", "cost_batch", "cost_spread", "wall"}
    return all(np.array_equal(a[n].values, b[n].values, equal_nan=a[n].dtype.kind == "f") for n in a.variables if n not in timed)


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return Path(shutil.copytree(made.folder, tmp_path / "copy"))


def test_all_contenders_are_there(made: Made) -> None:
    kinds = dict(zip(made.scores["contender"].values.tolist(), made.scores["kind"].values.tolist(), strict=True))
    solvers = {f"solver-{n}": "solver" for n in (16, 24, 64)}
    assert kinds == {"mine": "ensemble", "mine-guess": "guess", **solvers, "persistence": "persistence", "climatology": "climatology"}
    assert made.scores.attrs["reference"] == "mine"
    assert not made.scores["half_climatology_censored"].sel(contender="climatology").any()
    assert made.scores["members"].sel(contender="mine") == 4
    assert made.scores["evaluations"].sel(contender=["mine", "mine-guess", "solver-64", "persistence"]).values.tolist() == [4, 1, 40, 0]


def test_scores_are_those_of_simulate_and_score(made: Made) -> None:
    start = made.truth.isel(time=[0])
    clim = simulate(pde.Climatology(FIELDS, climatology(made.training, FIELDS)), start, 20)
    level = score(clim, made.truth)["nrmse_field"]
    ensemble = score(simulate(surrogate(), start, 20, members=4), made.truth, climatology=level)
    mine = made.scores.sel(contender="mine")
    for name in ("nrmse", "crps", "spread_skill", "rank_histogram", "half_climatology_time"):
        assert np.array_equal(mine[name].values, ensemble[name].values), name


def test_laws_of_the_contenders(made: Made) -> None:
    nrmse = made.scores["nrmse_field"].isel(field=0)
    frames = made.truth["u"].values.astype(float)
    persistence = np.sqrt(((frames[:, :1] - frames[:, 1:]) ** 2).mean(-1) / (frames[:, 1:] ** 2).mean(-1))
    assert np.allclose(nrmse.sel(contender="persistence"), persistence, rtol=1e-5)
    assert float(nrmse.sel(contender="solver-64").max()) < 1e-3, "the solver of the truth's own resolution makes the truth"
    assert np.allclose(nrmse.sel(contender="mine-guess"), nrmse.sel(contender="solver-24"), rtol=1e-2), "the guess is that solver"
    first = nrmse.isel(lead_time=0).mean("trajectory")
    assert first.sel(contender="solver-64") < first.sel(contender="solver-24") < first.sel(contender="solver-16")


def test_climatology_knows_the_training_split_only(made: Made) -> None:
    mean = climatology(made.training, FIELDS)
    assert np.allclose(mean[0], made.training["u"].values.astype(float).mean((0, 1)))
    with pytest.raises(ValueError, match="split 'train' only"):
        climatology(made.truth, FIELDS)
    broken = made.training.copy(deep=True)
    broken["u"].values[2, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"not finite, in trajectories \[2\]"):
        climatology(broken, FIELDS)


def test_costs_count_members_and_come_from_one_clock(made: Made) -> None:
    cost = made.scores["cost"].to_series()
    assert (cost > 0).all() and np.isfinite(cost).all()
    stored = json.loads((made.folder / "costs.json").read_text())["costs"]
    assert all(len(entry["rounds"]) == 3 for entry in stored.values())
    assert cost["mine"] == pytest.approx(1e3 * np.median(stored["mine"]["rounds"]))


def test_a_forecast_costs_its_members(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    class Slow(pde.Persistence):
        """A millisecond a row, on a clock of its own."""

        def __call__(self, state: Any, *rest: Any) -> Any:
            clock[0] += 1e-3 * len(state["frame"])
            return super().__call__(state, *rest)

    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])
    slow = [Contender("one", "one", "guess", Slow(FIELDS)), Contender("many", "many", "ensemble", Slow(FIELDS), members=8)]
    measured = costs(slow, made.truth, suite(timing=Timing(2, 3)))
    for each in measured.values():
        assert each.single == pytest.approx(1e-3) and each.batch == pytest.approx(1e-3), "per trajectory, whatever the batch"
    assert measured["one"].forecast == pytest.approx(1e-3) and measured["many"].forecast == pytest.approx(8e-3)


def test_the_forecast_of_the_ensemble_is_kept(made: Made) -> None:
    forecast = open_forecast(made.folder / "forecast.zarr")
    assert dict(forecast.sizes) == {"trajectory": 3, "member": 4, "time": 20, "x": 48}
    want = simulate(surrogate(), made.truth.isel(time=[0]), 20, members=4)
    assert np.array_equal(forecast["u"].values, want["u"].values)


def test_pictures_are_of_the_forecast(made: Made) -> None:
    truth = xr.load_dataset(made.folder / "pictures" / "truth.nc")["picture"]
    assert np.array_equal(truth.values[0], made.truth["u"].values[0, 1:])
    mine = xr.load_dataset(made.folder / "pictures" / "mine.nc")["picture"]
    assert mine["who"].values.tolist() == ["mean", "member 0", "member 1"]


# -- resume --------------------------------------------------------------------------------------------------------


def test_what_is_finished_is_not_run_again(made: Made, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    forecast = Contender.forecast
    monkeypatch.setattr(Contender, "forecast", lambda self, *a: calls.append(self.name) or forecast(self, *a))
    assert same_scores(again(made, copy), made.scores)
    assert calls == []
    (copy / "contenders" / "solver-24.nc").unlink()
    assert same_scores(again(made, copy), made.scores)
    assert calls == ["solver-24"]


def test_cut_and_resumed_is_uninterrupted(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forecast, left = Contender.forecast, [3]

    def cut(self: Contender, *rest: Any) -> xr.Dataset:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return forecast(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Contender, "forecast", cut)
        with pytest.raises(KeyboardInterrupt):
            again(made, tmp_path / "out")
    assert len(list((tmp_path / "out" / "contenders").glob("*.nc"))) == 3
    assert same_scores(again(made, tmp_path / "out"), made.scores)


def test_a_resolution_may_be_added(made: Made, copy: Path) -> None:
    more = again(made, copy, solver=Solver("KuramotoSivashinsky", (16, 24, 32, 64), (0.25, 0.25, 0.25, 0.05)))
    assert same_scores(more.drop_sel(contender="solver-32"), made.scores)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"frames": 10}, r"data\.frames"),
        ({"members": 5}, r"mine\.members"),
        ({"seeds": (1,)}, r"mine\.seed"),
        ({"solver": Solver("KuramotoSivashinsky", (16, 24, 64), (0.1, 0.25, 0.05))}, r"solver-16\.step"),
    ],
)
def test_a_folder_of_another_run_is_refused(made: Made, copy: Path, change: dict[str, Any], what: str) -> None:
    with pytest.raises(FileExistsError, match=f"holds another run: it differs in {what}"):
        again(made, copy, **change)


def test_other_weights_and_other_data_are_another_run(made: Made, copy: Path) -> None:
    other = surrogate()
    with torch.no_grad():
        other.operator.weight.mul_(0.9)  # type: ignore[union-attr, operator]
    with pytest.raises(FileExistsError, match=r"differs in .*mine\.weights"):
        run_suite(suite(), {"mine": other}, made.truth, made.training, copy)
    with pytest.raises(FileExistsError, match=r"differs in data\.checksum"):
        run_suite(suite(), {"mine": surrogate()}, made.truth.assign_attrs(checksum="?"), made.training, copy)


def test_a_folder_that_is_no_benchmark_is_left_alone(made: Made, tmp_path: Path) -> None:
    (tmp_path / "scores.nc").write_text("mine")
    with pytest.raises(FileExistsError, match="no benchmark of ours"):
        again(made, tmp_path)
    assert (tmp_path / "scores.nc").read_text() == "mine"


def test_a_saved_surrogates_own_folder_may_hold_its_benchmark(made: Made, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert same_scores(again(made, tmp_path), made.scores)


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_forecast_that_blows_up_counts_as_failed(made: Made, tmp_path: Path) -> None:
    class Doubles(pde.Persistence):
        def __call__(self, state: Any, *rest: Any) -> Any:
            frame = state["frame"] * 2
            return frame.unsqueeze(1), {**state, "frame": frame}

    scores = run_suite(suite(), {"doubles": Doubles(FIELDS)}, made.truth, made.training, tmp_path / "out")
    assert scores["failed"].sel(contender="doubles").isel(lead_time=-1).values.tolist() == [1, 1, 1]
    assert np.isinf(scores["nrmse_field"].sel(contender="doubles").isel(lead_time=-1)).all()
    assert not scores["half_climatology_censored"].sel(contender="doubles").any()


def test_errors_come_before_the_work(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="forecasts 20 frames from frame 5 but the trajectories hold 15"):
        again(made, tmp_path / "out", start=5)
    wrong = pde.Persistence(Fields.of(Field("height")))
    with pytest.raises(ValueError, match=r"'wrong' predicts \('height',\) but ks holds \('u',\)"):
        run_suite(suite(), {"wrong": wrong}, made.truth, made.training, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_later_start_is_another_initial_state(made: Made, tmp_path: Path) -> None:
    late = again(made, tmp_path / "out", start=10, frames=10)
    assert late["lead_time"].values.tolist() == made.scores["lead_time"].values[:10].tolist()
    frames = made.truth["u"].values.astype(float)
    persistence = np.sqrt(((frames[:, 10:11] - frames[:, 11:]) ** 2).mean(-1) / (frames[:, 11:] ** 2).mean(-1))
    assert np.allclose(late["nrmse_field"].sel(contender="persistence").isel(field=0), persistence, rtol=1e-5)


def test_seeds_and_surrogates_are_contenders_of_their_own(made: Made) -> None:
    both = {"a": surrogate(), "b": surrogate(16)}
    names = [c.name for c in contenders(replace(suite(), seeds=(0, 1)), both, made.truth, made.training)]
    assert names[:6] == ["a-seed0", "a-seed1", "a-guess", "b-seed0", "b-seed1", "b-guess"]


def test_scores_by_date_are_stored_and_read_as_numbers(tmp_path: Path) -> None:
    about = {"units": "hours since 1996-01-01", "calendar": "noleap"}
    coords = {"lead_time": ("lead_time", [6.0], {"units": "hours"}), "time": ("lead_time", [30.0], about)}
    scores = xr.Dataset({"rmse": ("lead_time", [0.5])}, coords)
    _save(scores, tmp_path / "scores.nc")
    xr.testing.assert_identical(load(tmp_path / "scores.nc"), scores)
