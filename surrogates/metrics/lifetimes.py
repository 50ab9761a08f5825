"""How long a forecast is good for: until its correlation falls to .8, and until its error reaches half of climatology's.

Both the first crossing (linear between leads) and the count of frames above .8, because a curve may come back; per trajectory, and for
the mean curve of all trajectories. Only leads within the certified time of the truth count.
"""

from __future__ import annotations

import xarray as xr

from surrogates.interchange import LEAD, TRAJECTORY
from surrogates.metrics.summary import time_above, time_below

HIGH = 0.8
HALF = 0.5
CORRELATIONS = {"correlation_field": "high_correlation", "correlation_vorticity": "high_vorticity_correlation"}


def lifetimes(scores: xr.Dataset, climatology: xr.DataArray | None = None) -> dict[str, xr.DataArray]:
    """The times that the curves of `scores` give, by name. Raises ValueError where climatology lacks a lead of theirs."""
    scored = scores.isel({LEAD: scores["scored"].values})
    out: dict[str, xr.DataArray] = {}
    if not scored.sizes[LEAD]:
        return out
    for curve, name in CORRELATIONS.items():
        if curve in scored:
            out.update(_high(scored[curve], name))
    if climatology is not None and "nrmse_field" in scored:
        half = HALF * _at_leads(climatology, scored[LEAD])
        times = time_above(scored["nrmse_field"], half)
        out["half_climatology_time"] = times["time"].assign_attrs(long_name="time to half of climatology's nRMSE")
        out["half_climatology_censored"] = times["censored"].assign_attrs(long_name="not reached in the leads scored")
    return out


def _high(curve: xr.DataArray, name: str) -> dict[str, xr.DataArray]:
    each, mean = time_below(curve, HIGH), time_below(curve.mean(TRAJECTORY, skipna=False), HIGH)
    return {
        f"{name}_time": each["time"].assign_attrs(long_name=f"first lead at which the correlation is {HIGH}"),
        f"{name}_censored": each["censored"].assign_attrs(long_name="not reached in the leads scored"),
        f"{name}_frames": (curve > HIGH).sum(LEAD).assign_attrs(long_name=f"frames with correlation above {HIGH}"),
        f"{name}_time_of_mean": mean["time"].assign_attrs(long_name=f"first lead at which the mean correlation is {HIGH}"),
        f"{name}_censored_of_mean": mean["censored"].assign_attrs(long_name="not reached in the leads scored"),
    }


def _at_leads(climatology: xr.DataArray, leads: xr.DataArray) -> xr.DataArray:
    if LEAD not in climatology.dims:
        return climatology
    step = float(leads.diff(LEAD).min()) if leads.size > 1 else 1.0
    try:
        return climatology.sel({LEAD: leads.values}, method="nearest", tolerance=1e-3 * step).assign_coords({LEAD: leads})
    except KeyError:
        have = climatology[LEAD].values
        raise ValueError(
            f"climatology has leads {have.min():g} to {have.max():g} ({len(have)}) but the scores need {leads.values.min():g} to "
            f"{leads.values.max():g} ({leads.size}); score it against the same frames"
        ) from None
