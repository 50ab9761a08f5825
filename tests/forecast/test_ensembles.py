"""Ensembles through `simulate`: grouping changes nothing, members stop one by one for their reasons, and a run that was cut goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from forecast.steps import Clock, Grows, Interrupted, U, Walk, initial

from surrogates import score, simulate
from surrogates.domains import Box
from surrogates.forecast.blowup import Limits
from surrogates.forecast.bred import Lagged
from surrogates.forecast.climate_spectrum import ClimateSpectrum
from surrogates.forecast.monitor import Guarded, SpreadMonitor
from surrogates.forecast.perturbations import Gaussian, Members
from surrogates.forecast.surroundings import Given, PerturbedParameters
from surrogates.interchange import to_xarray

EVERYTHING: dict[str, Any] = {
    "perturb": Gaussian(0.1, members=Members(paired=True)),
    "limits": Limits(maximum={"u": 3.0}),
    "surroundings": PerturbedParameters({"growth": 0.2}, inside=Given(dt=[0.5] * 4 + [0.25] * 8)),
}


def growing() -> xr.Dataset:
    return initial(3, growth=[1.1, 1.2, 1.3])


@pytest.mark.parametrize("group", [1, 5, 100])
def test_grouping_and_chunks_change_nothing(group: int) -> None:
    whole = simulate(Grows(), growing(), 12, members=4, group=12, **EVERYTHING)
    other = simulate(Grows(), growing(), 12, members=4, group=group, chunk=5, **EVERYTHING)
    for name in ("u", "failed_step", "failed_reason"):
        np.testing.assert_allclose(other[name].values, whole[name].values, rtol=1e-6, err_msg=name)
    assert (whole["failed_step"].values >= 0).any() and (whole["failed_step"].values < 0).any()


def test_a_run_that_was_cut_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    kept = {"chunk": 3, "group": 6, "members": 4, **EVERYTHING}
    whole = simulate(Grows(), growing(), 12, out=tmp_path / "whole.zarr", **kept)
    with pytest.raises(KeyboardInterrupt):
        simulate(Interrupted(Grows(), 17), growing(), 12, out=tmp_path / "cut.zarr", **kept)
    resumed = simulate(Grows(), growing(), 12, out=tmp_path / "cut.zarr", **kept)
    for name in ("u", "failed_step", "failed_reason"):
        assert np.array_equal(resumed[name].values, whole[name].values, equal_nan=True), name


def test_another_perturbation_or_surroundings_is_another_run(tmp_path: Path) -> None:
    simulate(Grows(), growing(), 2, members=2, out=tmp_path / "a.zarr", **EVERYTHING)
    for name, value in (("perturb", Gaussian(0.2)), ("surroundings", Given(dt=[0.5, 0.6])), ("limits", Limits())):
        with pytest.raises(FileExistsError, match=name):
            simulate(Grows(), growing(), 2, members=2, out=tmp_path / "a.zarr", **{**EVERYTHING, name: value})


def test_the_control_is_the_forecast_without_members_and_pairs_straddle_it() -> None:
    start = growing()
    alone = simulate(Grows(), start, 3)
    forecast = simulate(Grows(), start, 3, members=3, perturb=Gaussian(0.1, members=Members(paired=True)))
    np.testing.assert_array_equal(forecast["u"].isel(member=0).values, alone["u"].values)
    mean = forecast["u"].isel(member=[1, 2]).mean("member")  # of a linear step
    np.testing.assert_allclose(mean.values, alone["u"].values, atol=1e-5)


def test_the_reason_and_the_step_of_a_failure_are_recorded_and_the_others_go_on() -> None:
    """u grows by 1.5 a frame from 1.1: beyond 3 in frame 3, while 0.9 never is."""
    start = initial(2, growth=[1.5, 0.9]).isel(trajectory=[0, 1])
    start = start.copy(data={"u": np.full_like(start["u"].values, 1.1)})
    forecast = simulate(Grows(), start, 6, limits=Limits(maximum={"u": 3.0}))
    assert forecast["failed_step"].values.tolist() == [2, -1]
    meanings = forecast["failed_reason"].attrs["flag_meanings"].split()
    assert meanings[int(forecast["failed_reason"][0])] == "u_above_3"
    assert np.isnan(forecast["u"].values[0, 2:]).all() and np.isfinite(forecast["u"].values[1]).all()


def test_a_member_that_crossed_a_limit_is_scored_as_failed_from_there() -> None:
    start = growing()
    truth = simulate(Grows(), start, 6)
    forecast = simulate(Grows(), start, 6, members=3, perturb=Gaussian(0.1), limits=Limits(maximum={"u": 1.5}))
    failed = score(forecast, truth)["failed"].values
    steps = forecast["failed_step"].values
    want = [[int(((row >= 0) & (row <= n)).sum()) for n in range(6)] for row in steps]
    assert failed.tolist() == want and 0 < failed.max() <= 3


def test_unequal_steps_are_in_the_time_coordinate() -> None:
    forecast = simulate(Clock(), initial(1), 4, surroundings=Given(dt=[0.5, 0.25, 1.0, 0.1]))
    np.testing.assert_allclose(forecast["time"].values, [2.5, 2.75, 3.75, 3.85])
    np.testing.assert_allclose(forecast["u"].values[0, :, 0], forecast["time"].values, rtol=1e-6)


def test_lagged_members_start_from_the_frames_before() -> None:
    start = initial(1, frames=3, growth=[2.0])
    values = start["u"].values * np.array([1.0, 3.0, 5.0]).reshape(1, 3, 1).astype(np.float32)
    start = start.copy(data={"u": values})
    forecast = simulate(Grows(), start, 1, members=3, perturb=Lagged(Grows()))
    np.testing.assert_allclose(forecast["u"].values[0, :, 0, 1] / values[0, 0, 1], [10.0, 12.0, 8.0], rtol=1e-6)


def test_a_monitor_stops_the_members_of_a_trajectory_together() -> None:
    """Deviations of about .1 grow by half a frame, or not at all; a group of 3 is made one of 4."""
    forecast = simulate(
        Grows(), initial(2, growth=[1.5, 1.0]), 8, members=4, perturb=Gaussian({"u": 0.1}, U), monitor=SpreadMonitor([1.0], 0.5), group=3
    )
    steps = forecast["failed_step"].values
    assert (steps[0] == steps[0, 0]).all() and 1 <= steps[0, 0] < 8 and (steps[1] == -1).all()
    assert "spread_beyond_0.5" in forecast["failed_reason"].attrs["flag_meanings"]


def test_a_guarded_step_runs_in_the_engine_and_resumes(tmp_path: Path) -> None:
    class Calm(Walk):
        def frame(self, u: Any, n: int, conditions: Any, noise: Any) -> Any:
            return 0 * u

    guarded = Guarded(Walk(), SpreadMonitor([1.0], 0.15), Calm())
    kept: dict[str, Any] = {"members": 4, "group": 4, "chunk": 2}
    forecast = simulate(guarded, initial(2), 8, out=tmp_path / "g.zarr", **kept)
    handed = (forecast["u"].values == 0).all(-1)
    assert handed.any() and not handed.all() and (np.diff(handed.astype(int), axis=2) >= 0).all()
    assert (handed == handed[:, :1]).all()


def test_a_perturbation_may_have_the_climates_spectrum() -> None:
    data = to_xarray(torch.randn(2, 3, 1, 8), U, Box.periodic((8,), 6.28), time=[0.0, 1.0, 2.0], trajectories=[0, 1])
    perturb = Gaussian(0.1, colour=ClimateSpectrum.fit(data))
    forecast = simulate(Grows(), growing(), 1, members=20, perturb=perturb)
    assert 0 < float(forecast["u"].std("member").mean()) < 0.3
