"""From scores of single trajectories to what a table says: times to a threshold, paired intervals, spread-skill while it means something.

Times are physical, and are divided by a Lyapunov or turnover time last. A curve that never crosses is censored: its time is the last lead
that was scored, a lower bound, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from surrogates.interchange import LEAD, TRAJECTORY
from surrogates.metrics.quantity import CHANNEL, FIELD

Array = np.ndarray
BLOCK = 2**22  # numbers resampled at a time


def time_above(curve: xr.DataArray, threshold: xr.DataArray | float, start: float = 0.0) -> xr.Dataset:
    """The lead at which `curve` (..., lead_time) first reaches `threshold`: `time`, and `censored` where it never does.

    Linear between leads, from the value `start` at lead 0. A value that is inf or NaN counts as across, from the lead before it.
    """
    if not curve.sizes.get(LEAD):
        raise ValueError(f"a time to a threshold needs a curve over {LEAD!r} with at least one lead, got {dict(curve.sizes)}")
    c, h = (a.transpose(..., LEAD) for a in xr.broadcast(curve, xr.DataArray(threshold)))
    t, values, level = c[LEAD].values.astype(float), c.values, h.values
    if t[0] > 0:
        t = np.concatenate([[0.0], t])
        values = np.concatenate([np.full_like(values[..., :1], start), values], -1)
        level = np.concatenate([level[..., :1], level], -1)
    time, censored = _crossing(t, values - level)
    coords = {name: coord for name, coord in c.coords.items() if LEAD not in coord.dims}
    return xr.Dataset({"time": (c.dims[:-1], time), "censored": (c.dims[:-1], censored)}, coords)


def time_below(curve: xr.DataArray, threshold: xr.DataArray | float, start: float = 1.0) -> xr.Dataset:
    """The lead at which `curve` first falls to `threshold`; see `time_above`."""
    return time_above(-curve, -threshold, -start)


def _crossing(t: Array, excess: Array) -> tuple[Array, Array]:
    across = ~(excess < 0)
    censored = np.asarray(~across.any(-1))
    k = np.where(censored, len(t) - 1, across.argmax(-1))
    before = np.maximum(k - 1, 0)
    a = np.take_along_axis(excess, before[..., None], -1)[..., 0]
    b = np.take_along_axis(excess, k[..., None], -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = np.where(np.isfinite(b), a / (a - b), 0.0)
    fraction = np.where(k == before, 0.0, fraction)
    return np.where(censored, t[-1], t[before] + fraction * (t[k] - t[before])), censored


def in_units_of(times: xr.DataArray, scores: xr.Dataset, name: str = "lyapunov_time") -> xr.DataArray:
    """Physical times over the Lyapunov (or turnover) time of the truth. Raises ValueError where the truth declared none."""
    if name not in scores.attrs:
        raise ValueError(f"these scores carry no {name!r}, because their truth did not; set truth.attrs[{name!r}] before scoring")
    return (times / float(scores.attrs[name])).assign_attrs(units=f"{name.removesuffix('_time')} times")


def paired_bootstrap(
    a: xr.DataArray,
    b: xr.DataArray,
    statistic: Callable[..., Any] = np.mean,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """`statistic` of a - b over trajectories, with a percentile interval from resampling trajectories, the same ones for both.

    `statistic(array, axis=-1)` is np.mean, np.median or alike. With n trajectories the interval of a mean is too narrow by about
    sqrt((n - 1) / n), and by more where tails are heavy: `trajectories` says n. Source: Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13. Raises ValueError unless both hold the same trajectories.
    """
    if set(a[TRAJECTORY].values.tolist()) != set(b[TRAJECTORY].values.tolist()):
        raise ValueError(f"a pair needs the same trajectories, got {a[TRAJECTORY].values.tolist()} and {b[TRAJECTORY].values.tolist()}")
    difference = (a - b.sel({TRAJECTORY: a[TRAJECTORY]})).transpose(..., TRAJECTORY)
    d, n = difference.values, difference.sizes[TRAJECTORY]
    draws = np.random.default_rng(seed).integers(n, size=(resamples, n))
    blocks = np.array_split(draws, -(-d.size * resamples // BLOCK))
    resampled = np.concatenate([statistic(d[..., block], axis=-1) for block in blocks], -1)
    lower, upper = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    dims = difference.dims[:-1]
    coords = {name: c for name, c in difference.coords.items() if TRAJECTORY not in c.dims}
    data = {"difference": (dims, statistic(d, axis=-1)), "lower": (dims, lower), "upper": (dims, upper)}
    return xr.Dataset(data, coords, {"level": level, "trajectories": n, "resamples": resamples, "seed": seed})


def spread_skill_curve(scores: xr.Dataset, correlation: str = "correlation_field", above: float = 0.8) -> xr.DataArray:
    """Spread-skill ratio (lead_time, field) of all trajectories together, for leads before their mean `correlation` first falls to `above`.

    Squares are averaged over trajectories and over the components of a field before the root; later leads are left out. Raises
    ValueError where the scores hold no spread, as those of a single forecast.
    """
    for name in ("spread", "skill", correlation):
        if name not in scores:
            raise ValueError(f"these scores hold no {name!r}; spread-skill needs an ensemble scored with SpreadSkill and a correlation")
    m = int(scores.attrs["members"])
    squares = (scores[["spread", "skill"]] ** 2).mean(TRAJECTORY, skipna=False)
    of = scores["field_of_channel"].values
    parts = [squares.isel({CHANNEL: np.flatnonzero(of == name)}).sum(CHANNEL, skipna=False) for name in scores[FIELD].values]
    pooled = xr.concat(parts, scores[FIELD])
    ratio = ((m + 1) / m * pooled["spread"] / pooled["skill"]) ** 0.5
    held = (scores[correlation].mean(TRAJECTORY, skipna=False) > above).cumprod(LEAD) * scores["scored"] > 0
    curve: xr.DataArray = ratio.where(held).dropna(LEAD, how="all").transpose(LEAD, FIELD)
    return curve.rename("spread_skill").assign_attrs(units="1", long_name=f"spread-skill ratio while {correlation} > {above:g}")
