"""Time averages and how well they are known: frames of a run are not independent, so N of them count for fewer.

    Var(mean of N frames) = sigma^2 tau / N,     tau = 1 + 2 sum_{k >= 1} rho_k,     N_eff = N / tau,

rho_k the autocorrelation at a lag of k frames. The sum is cut at the first lag k >= 6 max(tau(k), 1), where what is left is noise (Sokal's
window); the variance about the sample's own mean is too small by tau/N, which is made good. Rows (trajectories, members) count as
independent runs of one climate: leave out the leads at which they still remember what they started from. Sources: Sokal, "Monte Carlo
methods in statistical mechanics", 1997, section 3, https://doi.org/10.1007/978-1-4899-0319-8_6; Priestley, Spectral Analysis and
Time Series, 1981, section 5.3.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.interchange import MEMBER, SINCE, TIME, TRAJECTORY, time_attrs_of, times_of

Array = NDArray[np.float64]
WINDOW = 6.0
LONG = "integrated autocorrelation time, of one side twice"


def autocorrelation_time(x: Array) -> Array:
    """tau, in frames, of runs (R, T, ...) of one process each: (...), 1 for white noise; NaN where a value is. Needs T >= 4."""
    rows, frames = x.shape[:2]
    if frames < 4:
        raise ValueError(f"an autocorrelation needs some frames, got {frames}")
    anomaly = x.astype(np.float64) - x.mean((0, 1))
    spectrum = np.fft.rfft(anomaly, 2 * frames, axis=1)
    lagged = np.fft.irfft(np.abs(spectrum) ** 2, 2 * frames, axis=1)[:, :frames].sum(0)
    pairs = (rows * (frames - np.arange(frames))).reshape(-1, *(1,) * (lagged.ndim - 1))
    covariance = lagged / pairs
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(covariance[:1] > 0, covariance / covariance[:1], np.where(np.isnan(covariance[:1]), np.nan, 0.0))
    tau = 1 + 2 * np.cumsum(rho[1:], 0)
    lags = np.arange(1, frames).reshape(-1, *(1,) * (tau.ndim - 1))
    cut = lags >= WINDOW * np.maximum(tau, 1.0)  # also where neighbours are opposed and tau is below 1
    at = np.where(cut.any(0), cut.argmax(0), frames - 2)[None]
    chosen = np.take_along_axis(tau, at, 0)[0]
    return np.where(np.isnan(chosen), np.nan, np.maximum(chosen, 1 / frames))


def time_average(values: xr.DataArray) -> xr.Dataset:
    """`mean`, its `standard_error`, `effective_samples` and `autocorrelation_time` (time units) over trajectories, members and times.

    `values` has the dim "time" (numbers or dates), with at least 4 frames a row and equal steps between them, and any dims beside. Raises
    ValueError where the frames are too few or apart by different times. A row with a value that is not finite makes the answer NaN:
    select before.
    """
    rows = [d for d in (TRAJECTORY, MEMBER) if d in values.dims]
    if TIME not in values.dims or values.sizes[TIME] < 4:
        raise ValueError(f"a time average with an error needs a dim 'time' of 4 frames or more, got {dict(values.sizes)}")
    clock = values.coords.to_dataset()
    steps = np.diff(times_of(clock)) if TIME in values.coords else np.ones(values.sizes[TIME] - 1)
    if not np.allclose(steps, steps[0], rtol=1e-3):
        raise ValueError("the frames are not equally spaced in time; interpolate them before averaging")
    others = [d for d in values.dims if d not in (*rows, TIME)]
    x = values.transpose(*rows, TIME, *others).values.astype(np.float64)
    x = x.reshape(-1, *x.shape[len(rows) :])
    tau, n = autocorrelation_time(x), x.shape[0] * x.shape[1]
    effective = n / tau
    mean, spread = x.mean((0, 1)), x.var((0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(spread / (effective - 1))  # spread/(1 - 1/n_eff) is the variance, over n_eff
    error = np.where(effective > 1, error, np.inf)
    units, passing = values.attrs.get("units", "1"), time_attrs_of(clock).get("units", "1").partition(SINCE)[0]
    out = {
        "mean": (others, mean, {"units": units}),
        "standard_error": (
            others,
            np.where(np.isnan(mean), np.nan, error),
            {"units": units, "long_name": "standard deviation of the mean"},
        ),
        "effective_samples": (others, effective, {"units": "1", "long_name": "independent frames that as many are worth"}),
        "autocorrelation_time": (others, tau * steps[0], {"units": passing, "long_name": LONG}),
    }
    coords = {d: values.coords[d] for d in others if d in values.coords}
    return xr.Dataset(out, coords, {"frames": n})
