"""A whole forecast without its values: names, dims, coordinates, units, and how it was made. It takes no memory for them.

Times count as those of the initial state do, and stand for the same dates: `time` has its CF units and calendar, leads the unit alone.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

import surrogates
from surrogates.forecast.keep import Keep
from surrogates.forecast.plan import BEFORE, Plan
from surrogates.forecast.sinks import FAILED_REASON, FAILED_STEP
from surrogates.identity import known
from surrogates.interchange import LEAD, MEMBER, SINCE, STATIC, TIME, TRAJECTORY, declared, parameters_of, time_attrs_of

CARRIED = ("dataset", "split", "checksum", "lyapunov_time", "turnover_time", "scored_time")
KEEP, STEP_DT, MADE = "keep", "step_dt", "frames_made"
FROM = "initial_time"
"""Attribute: the time of the first initial state, from which lead times count, also where a forecast goes on from another."""


def template_of(plan: Plan, initial: xr.Dataset) -> xr.Dataset:
    """Dims (trajectory, [member,] time, ...), values NaN, no member failed."""
    of_members = () if plan.members is None else (plan.members,)
    lead, sizes = (TRAJECTORY, *(MEMBER for _ in of_members)), (len(plan.trajectories), *of_members)
    data: dict[str, Any] = {}
    for name, v in plan.selection.variables(plan.frames).items():
        data[name] = ((*lead, *v.dims), np.broadcast_to(np.asarray(np.nan, v.dtype), (*sizes, *v.shape)), dict(v.attrs))
    codes = {"flag_values": list(range(len(plan.reasons))), "flag_meanings": " ".join(r.replace(" ", "_") for r in plan.reasons)}
    data[FAILED_STEP] = (lead, np.full(sizes, -1), {"long_name": "frames made before the member blew up or was stopped; -1 if it was not"})
    data[FAILED_REASON] = (lead, np.zeros(sizes, np.int64), {"long_name": "why the member stopped", **codes})
    times = np.array(plan.times())
    return xr.Dataset(data, _coordinates(plan, initial, times[plan.keep.every - 1 :: plan.keep.every]), _attributes(plan, initial, times))


def _coordinates(plan: Plan, initial: xr.Dataset, times: NDArray[np.float64]) -> dict[str, Any]:
    about = {"units": "1", **time_attrs_of(initial)}
    passing = about["units"].partition(SINCE)[0]
    coords: dict[str, Any] = {
        TRAJECTORY: (TRAJECTORY, np.array(plan.trajectories, np.int64), {"long_name": "trajectory", "cf_role": "trajectory_id"}),
        TIME: (TIME, times, {"long_name": "time", **about, "axis": "T"}),
        LEAD: (TIME, times - _first(plan, initial), {"long_name": "time since the first initial state", "units": passing}),
    }
    if plan.members is not None:
        coords[MEMBER] = (MEMBER, np.arange(plan.members), {"standard_name": "realization"})
    coords |= plan.selection.coordinates()
    if not plan.selection.points:  # of whole frames, so that a forecast can go on from them
        coords |= {n: (v.dims, v.values, dict(v.attrs)) for n, v in static_variables(initial).items()}
    count = len(plan.trajectories)
    return coords | {k: (TRAJECTORY, v.expand(count).numpy(), {"role": "parameter"}) for k, v in parameters_of(initial).items()}


def _attributes(plan: Plan, initial: xr.Dataset, times: NDArray[np.float64]) -> dict[str, Any]:
    dt = _step(plan, times)
    out: dict[str, Any] = {k: initial.attrs[k] for k in CARRIED if k in initial.attrs}
    out |= {"surrogates_version": surrogates.__version__, "torch_version": str(torch.__version__), "seed": plan.seed, "group": plan.group}
    made = plan.before + plan.frames // plan.keep.every * plan.keep.every
    out |= {"step": type(plan.step).__name__, MADE: made, FROM: _first(plan, initial), **plan.selection.attrs()}
    if dt is not None:
        out["dt"] = dt * plan.keep.every
    if static_variables(initial) and not plan.selection.points:
        out[STATIC] = initial.attrs[STATIC]
    if dt is not None and plan.keep.every > 1:
        out[STEP_DT] = dt
    if plan.keep != Keep():
        out[KEEP] = json.dumps(known(plan.keep))
    return out


def _first(plan: Plan, initial: xr.Dataset) -> float:
    """When the first forecast began, of which this one may be a continuation."""
    here = float(plan.conditions.time[0])
    return float(initial.attrs.get(FROM, here)) if BEFORE in initial.attrs else here


def _step(plan: Plan, times: NDArray[np.float64]) -> float | None:
    """From each frame to the next, by their times; None where it varies."""
    start = float(plan.conditions.time[0])
    steps = np.diff(times, prepend=start)
    rounding = 1e-6 * abs(steps[0]) + 8 * np.finfo(np.float64).eps * np.abs(times).max()
    if np.abs(steps - steps[0]).max() > rounding:
        return None
    told = float(plan.conditions.dt[0])
    return told if abs(told - steps[0]) <= rounding else float((times[-1] - start) / len(times))


def static_variables(initial: xr.Dataset) -> dict[str, xr.DataArray]:
    """The static fields that an initial state declares."""
    return {v: initial[v] for f in declared(initial, STATIC) or () for v in f.variables}
