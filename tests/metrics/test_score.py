"""score: alignment, chunking, failures, labels, and errors that say what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray
from surrogates.metrics import NRMSE, Correlation, FairCRPS, VorticityCorrelation, score, standard


def test_a_perfect_forecast(world: SimpleNamespace) -> None:
    scores = score(world.forecast(world.y[:, 1:]), world.truth())
    for name in ("nrmse", "vrmse_field", "crps", "energy_score", "failed", "energy_spectrum_distance"):
        assert not scores[name].any(), name
    for name in ("correlation", "correlation_field", "correlation_vorticity"):
        np.testing.assert_allclose(scores[name], 1, rtol=1e-12)
    assert scores["high_correlation_censored"].all() and (scores["high_correlation_frames"] == 6).all()
    np.testing.assert_allclose(scores["high_correlation_time"], 1.2)
    xr.testing.assert_allclose(scores["divergence"], scores["divergence_truth"].rename("divergence"))


@pytest.mark.parametrize("chunk", [1, 3])
def test_any_chunking_gives_the_same_bits(world: SimpleNamespace, chunk: int) -> None:
    p = world.p.clone()
    p[1, 2, 3, 0, 0, 0] = torch.nan
    forecast = world.forecast(p)
    xr.testing.assert_identical(score(forecast, world.truth(), chunk=chunk), score(forecast, world.truth()))


def test_lazy_and_loaded_forecasts_score_alike(world: SimpleNamespace, scores: xr.Dataset) -> None:
    pytest.importorskip("dask.array", reason="dask holds lazy Datasets")
    lazy = world.forecast().chunk({"time": 3, "member": 2})
    xr.testing.assert_identical(score(lazy, world.truth().chunk()), scores)


def test_values_are_those_of_the_metric(world: SimpleNamespace, scores: xr.Dataset) -> None:
    """nRMSE by numpy, from the Datasets."""
    forecast, truth = world.forecast(), world.truth()
    error2 = sum(
        ((forecast[n].mean("member") - truth[n].isel(time=slice(1, None))) ** 2).mean(("x", "y")) for n in ("velocity_x", "velocity_y")
    )
    square = sum((truth[n].isel(time=slice(1, None)) ** 2).mean(("x", "y")) for n in ("velocity_x", "velocity_y"))
    found = scores["nrmse_field"].sel(field="velocity")
    np.testing.assert_allclose(found, ((error2 / square) ** 0.5).transpose("trajectory", "time"), rtol=1e-5)


def test_without_members_an_ensemble_of_one(world: SimpleNamespace) -> None:
    one = score(world.forecast(world.p[:, 0]), world.truth())
    xr.testing.assert_identical(one, score(world.forecast(world.p[:, :1]), world.truth()))
    assert "spread" not in one and one.attrs["members"] == 1
    np.testing.assert_allclose(one["crps"].sel(channel="dye"), abs(world.p[:, 0] - world.y[:, 1:])[:, :, 2].mean((-2, -1)), rtol=1e-5)


def test_frames_are_matched_by_time_and_trajectories_by_id(world: SimpleNamespace, scores: xr.Dataset) -> None:
    """The same scores from a truth in another order whose clock is off by rounding, and from parts of either."""
    only = [NRMSE(world.fields)]
    whole = scores["nrmse"]
    shuffled = world.truth(time=[t + 1e-9 for t in world.times]).isel(trajectory=[2, 0, 1])
    np.testing.assert_array_equal(score(world.forecast(), shuffled, only)["nrmse"], whole)
    part = score(world.forecast().isel(trajectory=[2]), world.truth().isel(time=slice(4, None)), only)
    xr.testing.assert_equal(part["nrmse"], whole.isel(trajectory=[2], lead_time=slice(3, None)))
    thinned = score(world.forecast().isel(time=slice(1, None, 2)), world.truth(), only)
    xr.testing.assert_equal(thinned["nrmse"], whole.isel(lead_time=slice(1, None, 2)))


def test_a_single_frame_and_trajectory_need_no_dims(world: SimpleNamespace, scores: xr.Dataset) -> None:
    found = score(world.forecast().isel(time=2, trajectory=1), world.truth().isel(trajectory=1), [NRMSE(world.fields)])
    xr.testing.assert_equal(found["nrmse"], scores["nrmse"].isel(trajectory=[1], lead_time=[2]))


def test_leads_are_labelled_in_every_unit(world: SimpleNamespace, scores: xr.Dataset) -> None:
    np.testing.assert_allclose(scores["lead_time"], np.arange(1, 9) * 0.2)
    np.testing.assert_allclose(scores["time"], 5 + np.arange(1, 9) * 0.2)
    np.testing.assert_allclose(scores["lead_lyapunov"], scores["lead_time"] / 0.5)
    np.testing.assert_allclose(scores["lead_turnover"], scores["lead_time"] / 0.25)
    assert scores["scored"].values.tolist() == [True] * 6 + [False] * 2
    assert scores["viscosity"].values.tolist() == [0.1, 0.2, 0.3]
    bare = score(world.forecast(), world.truth(attrs={}), [NRMSE(world.fields)])
    assert "lead_lyapunov" not in bare.coords and bare["scored"].all()


def test_variables_carry_formula_units_and_version(world: SimpleNamespace, scores: xr.Dataset) -> None:
    assert scores["energy"].attrs["units"] == "(m s-1)2, 1" and scores["spread"].attrs["units"] == "m s-1, m s-1, 1"
    assert scores["enstrophy_spectrum"].attrs["units"] == "(m s-1)2 (m)-2"
    assert json.loads(scores.attrs["metrics"]).keys() == {m.name for m in standard(world.fields, world.box, 8)}
    assert all(scores[name].attrs["long_name"] for name in scores.data_vars)
    assert scores["rank"].values.tolist() == list(range(9)) and scores["wavenumber"].attrs["units"] == "rad (m)-1"


def test_scores_survive_a_file(scores: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("h5netcdf", reason="h5netcdf (pip install 'pde-surrogates[io]') writes NetCDF")
    scores.to_netcdf(tmp_path / "scores.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "scores.nc", engine="h5netcdf") as again:
        xr.testing.assert_equal(again.load(), scores)
        assert again.attrs == scores.attrs


@pytest.mark.parametrize("chunk", [1, 100])
def test_a_member_that_blew_up_has_failed_from_there_on(world: SimpleNamespace, scores: xr.Dataset, chunk: int) -> None:
    """Coming back to finite values does not undo it, and it takes part in every mean."""
    p, good = world.p.clone(), scores
    p[1, 5, 3, 2, 0, 0] = torch.inf
    only = [NRMSE(world.fields), Correlation(world.fields), VorticityCorrelation(world.fields)]
    scores = score(world.forecast(p), world.truth(), only, chunk=chunk)
    assert scores["failed"].values.tolist() == [[0] * 8, [0, 0, 0, 1, 1, 1, 1, 1], [0] * 8]
    lost = dict(trajectory=1, lead_time=slice(3, None))
    assert np.isinf(scores["nrmse"].isel(lost)).all() and (scores["correlation_field"].isel(lost) == 0).all()
    xr.testing.assert_equal(scores["nrmse"].isel(lead_time=slice(0, 3)), good["nrmse"].isel(lead_time=slice(0, 3)))
    assert scores["high_vorticity_correlation_frames"][1] <= 3 and scores["high_vorticity_correlation_time"][1] <= 0.8
    assert np.isinf(scores["nrmse"].mean("trajectory").isel(lead_time=-1)).all()


def test_only_the_metrics_asked_for(world: SimpleNamespace) -> None:
    scores = score(world.forecast(), world.truth(), [NRMSE(world.fields), FairCRPS()])
    assert set(scores.data_vars) == {"nrmse", "nrmse_field", "crps", "failed"}


def test_time_to_half_of_climatology(world: SimpleNamespace) -> None:
    """A forecast of zero has nRMSE 1 at every lead; errors that grow linearly cross one half in between."""
    only = [NRMSE(world.fields)]
    climatology = score(world.forecast(0 * world.y[:, 1:]), world.truth(), only)["nrmse_field"]
    np.testing.assert_allclose(climatology, 1)
    growing = world.y[:, 1:] * (1 + torch.linspace(0, 1.75, 8)[:, None, None, None])  # nRMSE 0, .25, .5, ...
    scores = score(world.forecast(growing), world.truth(), only, climatology=climatology)
    np.testing.assert_allclose(scores["half_climatology_time"], 0.6, rtol=1e-6)
    assert not scores["half_climatology_censored"].any()
    constant = score(world.forecast(growing), world.truth(), only, climatology=xr.DataArray(1.0))
    xr.testing.assert_allclose(constant["half_climatology_time"], scores["half_climatology_time"])
    with pytest.raises(ValueError, match=r"climatology has leads 0.2 to 0.6"):
        score(world.forecast(), world.truth(), only, climatology=climatology.isel(lead_time=slice(0, 3)))


def test_nothing_is_said_beyond_the_certified_time(world: SimpleNamespace) -> None:
    """A correlation that falls after t* is censored at the last scored lead."""
    p = torch.cat([world.y[:, 1:7], -world.y[:, 7:]], 1)
    only = [Correlation(world.fields)]
    scores = score(world.forecast(p), world.truth(), only)
    assert scores["high_correlation_censored"].all()
    np.testing.assert_allclose(scores["high_correlation_time"], 1.2)
    longer = score(world.forecast(p), world.truth(attrs={}), only)
    np.testing.assert_allclose(longer["high_correlation_time"], 1.2 + 0.2 * 0.1)  # from 1 to -1 crosses .8 after a tenth of the step
    np.testing.assert_allclose(longer["high_correlation_time_of_mean"], 1.22)


def test_without_a_certified_lead_there_are_scores_but_no_times(world: SimpleNamespace) -> None:
    scores = score(world.forecast(), world.truth(attrs={"scored_time": 0.1}), [Correlation(world.fields)])
    assert not scores["scored"].any() and set(scores.data_vars) == {"correlation", "correlation_field", "failed"}


def test_bad_input_is_refused(world: SimpleNamespace) -> None:
    forecast, truth = world.forecast(), world.truth()
    with pytest.raises(ValueError, match=r"times 105.2 to 106.6 \(8 frames\), lies on a frame of the truth, times 5 to 6.6 \(9 frames\)"):
        score(world.forecast(time=[t + 100 for t in world.times[1:]], start=105.0), truth)
    with pytest.raises(ValueError, match=r"no trajectories \[9\]; it has \[3, 4\]"):
        score(forecast, truth.isel(trajectory=[0, 1]))
    with pytest.raises(ValueError, match="the truth lacks 'velocity_y'"):
        score(forecast, truth.drop_vars("velocity_y"))
    with pytest.raises(ValueError, match="none of its declared fields"):
        score(forecast.drop_vars(["velocity_x", "dye"]), truth)
    with pytest.raises(ValueError, match="lead_time"):
        score(forecast.drop_vars("lead_time"), truth)
    wrong = truth.copy()
    wrong["dye"] = wrong["dye"].assign_attrs(units="kg")
    with pytest.raises(ValueError, match="'dye' has units 'kg' but '1' are needed"):
        score(forecast, wrong)
    nan = world.y.clone()
    nan[1, 4] = torch.nan
    with pytest.raises(ValueError, match="not finite in trajectory 4 at time 5.8"):
        score(forecast, world.truth(nan))
    with pytest.raises(ValueError, match="two metrics yield 'nrmse'"):
        score(forecast, truth, [NRMSE(world.fields), NRMSE(world.fields)])


def test_frames_whose_truth_is_missing_have_no_score_and_the_others_theirs(world: SimpleNamespace) -> None:
    nan, only = world.y.clone(), [NRMSE(world.fields), Correlation(world.fields)]
    nan[1, 4] = torch.nan
    whole = score(world.forecast(), world.truth(attrs={}), only)
    gappy = score(world.forecast(), world.truth(nan, attrs={"gaps": "NaN"}), only)
    missing = (whole["nrmse_field"] != gappy["nrmse_field"]).any("field")
    assert int(missing.sum()) == 1 and bool(gappy["nrmse_field"].isnull().all("field").values[missing.values].all())
    kept = gappy["correlation"].notnull()
    xr.testing.assert_equal(gappy["correlation"].where(kept), whole["correlation"].where(kept))
    infinite = nan.clone()
    infinite[0, 2] = torch.inf
    with pytest.raises(ValueError, match="not finite in trajectory 3"):
        score(world.forecast(), world.truth(infinite, attrs={"gaps": "NaN"}), only)


def test_different_grids_are_refused(world: SimpleNamespace) -> None:
    coarse = Box.periodic((4, 6), (1.0, 2.0), "m")
    other = to_xarray(torch.zeros(3, 8, 3, 4, 6), world.fields, coarse, time=world.times[1:], trajectories=[3, 4, 9], start=5.0)
    with pytest.raises(ValueError, match="Box.resample"):
        score(other, world.truth())


def test_one_dimension_and_walls_get_the_metrics_that_apply() -> None:
    fields = Fields.of(Field("u"))
    wall = Box((12,), (0.0,), (1.0,), ("wall",))
    u = torch.randn(2, 5, 1, 12, generator=torch.Generator().manual_seed(0))
    truth = to_xarray(u, fields, wall, time=[0.0, 1.0, 2.0, 3.0, 4.0], trajectories=[0, 1])
    forecast = to_xarray(u[:, 1:], fields, wall, time=[1.0, 2.0, 3.0, 4.0], trajectories=[0, 1], start=0.0)
    scores = score(forecast, truth)
    assert not scores["nrmse"].any() and "energy_spectrum" not in scores and "correlation_vorticity" not in scores
