"""Errors of time averages are those of the first-order autoregressive process, whose autocorrelation time is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from surrogates.forecast.averages import autocorrelation_time, time_average


def autoregressive(rho: float, rows: int, frames: int, seed: int = 0) -> NDArray[np.float64]:
    """Of unit variance from the first frame on."""
    e = np.random.default_rng(seed).standard_normal((rows, frames))
    x = e.copy()
    for n in range(1, frames):
        x[:, n] = rho * x[:, n - 1] + np.sqrt(1 - rho**2) * e[:, n]
    return x


def exact_variance(rho: float, frames: int) -> float:
    """Of the mean of so many frames."""
    return float(((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**frames) / (frames * (1 - rho) ** 2)) / frames)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_the_autocorrelation_time_is_that_of_the_process(rho: float) -> None:
    """Within three deviations of its estimate, tau sqrt(2 (2 W + 1) / N) with a window of W = 6 tau (Madras and Sokal, 1988)."""
    tau, exact = autocorrelation_time(autoregressive(rho, 8, 20000)), (1 + rho) / (1 - rho)
    assert float(tau) == pytest.approx(exact, rel=3 * (2 * (12 * max(exact, 1) + 1) / 160000) ** 0.5)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_the_standard_error_is_the_deviation_of_means_over_many_runs(rho: float) -> None:
    runs, frames = 300, 400
    x = xr.DataArray(autoregressive(rho, runs, frames).T, dims=("time", "run"))
    found = time_average(x)
    mean_square = float((found["standard_error"] ** 2).mean())
    assert mean_square == pytest.approx(exact_variance(rho, frames), rel=0.1)
    inside = np.abs(found["mean"]) < 1.96 * found["standard_error"]
    assert 0.9 < float(inside.mean()) < 0.98
    naive = np.abs(found["mean"]) < 1.96 * x.std("time") / frames**0.5
    assert rho == 0 or float(naive.mean()) < 0.6  # as if frames were independent


def test_rows_are_independent_runs_and_time_has_units() -> None:
    x = autoregressive(0.8, 6, 5000).reshape(2, 3, 5000, 1) * np.array([1.0, 3.0]) + np.array([0.0, 10.0])
    dims, time = ("trajectory", "member", "time", "channel"), 0.25 * np.arange(5000)
    values = xr.DataArray(x, dims=dims, coords={"time": time}, attrs={"units": "K"})
    found = time_average(values)
    np.testing.assert_allclose(found["autocorrelation_time"], 9 * 0.25, rtol=0.1)
    np.testing.assert_allclose(found["effective_samples"], 30000 / 9, rtol=0.1)
    np.testing.assert_allclose(found["standard_error"], np.array([1.0, 3.0]) * np.sqrt(9 / 30000), rtol=0.1)
    assert found["mean"].attrs["units"] == "K" and found.attrs["frames"] == 30000
    one = time_average(values.isel(member=0, trajectory=0, drop=True))
    assert (one["standard_error"] > 2 * found["standard_error"]).all()


def test_what_never_varies_is_known_exactly_and_what_is_not_a_number_is_not() -> None:
    x = np.ones((1, 8, 2))
    x[0, 3, 1] = np.nan
    found = time_average(xr.DataArray(x, dims=("trajectory", "time", "k")))
    assert found["standard_error"].values[0] == 0 and np.isnan(found["standard_error"].values[1]) and np.isnan(found["mean"].values[1])


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="4 frames or more"):
        time_average(xr.DataArray(np.zeros(3), dims="time"))
    with pytest.raises(ValueError, match="equally spaced"):
        time_average(xr.DataArray(np.zeros(5), dims="time", coords={"time": [0.0, 1.0, 2.0, 4.0, 5.0]}))
