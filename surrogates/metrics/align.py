"""A forecast beside its truth: the same trajectories, by id, and the same frames, by physical time.

Frames of the forecast for which no truth exists are left out; so is truth that was not forecast. Times match within a thousandth of the
smallest frame step, because the two clocks were added up in different orders. Where both stand for dates, the forecast's are counted as
the truth's are, whatever its units and origin.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from surrogates.dates import numbered
from surrogates.domains.layout import AnyDomain, same
from surrogates.errors import nearest
from surrogates.interchange import LEAD, TIME, TRAJECTORY, domain_of, fields_of, trajectories_of

TOLERANCE = 1e-3


def aligned(forecast: xr.Dataset, truth: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Both with dims trajectory and time, frame for frame. Raises ValueError where they do not meet, saying where each lies."""
    truth = _with_dims(numbered(truth))
    forecast = _with_dims(numbered(forecast, truth))
    _check_fields(forecast, truth)
    check_same_domain(domain_of(forecast), domain_of(truth))
    wanted, known = trajectories_of(forecast), trajectories_of(truth)
    missing = [i for i in wanted if i not in known]
    if missing:
        raise ValueError(f"the truth has no trajectories {missing}; it has {known}. Select those of the forecast, or another split")
    truth = truth.isel({TRAJECTORY: [known.index(i) for i in wanted]})
    if LEAD not in forecast.coords:
        raise ValueError(f"the forecast has no coordinate {LEAD!r} on 'time'; assign the time since its initial state")
    rows, columns = _common_frames(forecast[TIME].values.astype(float), truth[TIME].values.astype(float))
    return forecast.isel({TIME: rows}), truth.isel({TIME: columns})


def check_same_domain(forecast: AnyDomain, truth: AnyDomain) -> None:
    """Raise ValueError unless both lie on one grid."""
    if not same(forecast, truth):
        raise ValueError(
            f"the forecast lies on {forecast} but the truth on {truth}; bring one to the grid of the other, for instance with Box.resample"
        )


def _with_dims(dataset: xr.Dataset) -> xr.Dataset:
    for dim in (TRAJECTORY, TIME):
        if dim not in dataset.dims:
            dataset = dataset.expand_dims(dim)
    single = {name: c for name, c in dataset.coords.items() if c.dims == ()}
    along = {name: TIME if name == LEAD else TRAJECTORY for name, c in single.items() if name == LEAD or c.attrs.get("role") == "parameter"}
    return dataset.assign_coords({name: (dim, [float(single[name])], single[name].attrs) for name, dim in along.items()})


def _check_fields(forecast: xr.Dataset, truth: xr.Dataset) -> None:
    fields = fields_of(forecast)
    if not fields.names:
        raise ValueError(f"the forecast holds none of its declared fields; it has {sorted(map(str, forecast.data_vars))}")
    for f in fields:
        for name in f.variables:
            if name not in truth:
                known = sorted(map(str, truth.data_vars))
                raise ValueError(f"the truth lacks {name!r} of the forecast; it has {known}{nearest(name, known)}")


def _common_frames(forecast: np.ndarray, truth: np.ndarray) -> tuple[list[int], list[int]]:
    steps = np.concatenate([np.diff(np.unique(forecast)), np.diff(np.unique(truth)), [np.inf]])
    tolerance = TOLERANCE * (steps.min() if np.isfinite(steps.min()) else 1.0)
    gap = np.abs(forecast[:, None] - truth[None])
    rows = np.flatnonzero(gap.min(1) <= tolerance) if gap.size else np.array([], dtype=int)
    if not len(rows):
        raise ValueError(f"no frame of the forecast, times {_range(forecast)}, lies on a frame of the truth, times {_range(truth)}")
    return [int(i) for i in rows], [int(i) for i in gap[rows].argmin(1)]


def _range(times: np.ndarray) -> str:
    return f"{times.min():g} to {times.max():g} ({len(times)} frames)" if len(times) else "(none)"
