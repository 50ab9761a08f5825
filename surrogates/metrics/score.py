"""score(forecast, truth): every metric at every lead and trajectory, as one Dataset.

A trajectory and a few leads are in memory at a time, and values at a lead depend on that lead alone, so any chunking gives the same
answer. A member has failed from its first frame that is not finite; `failed` counts them, and the metrics take their worst values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.interchange import LEAD, MEMBER, TIME, TRAJECTORY, conditions_of, domain_of, fields_of, from_xarray
from surrogates.metrics.align import aligned
from surrogates.metrics.correlation import Correlation, VorticityCorrelation
from surrogates.metrics.crps import FairCRPS
from surrogates.metrics.lifetimes import lifetimes
from surrogates.metrics.nrmse import NRMSE
from surrogates.metrics.quantity import CHANNEL, FIELD, Quantity, ScoreMetric
from surrogates.metrics.spread_skill import SpreadSkill

CHUNK = 2**22  # float64 values of the forecast in memory at a time: 32 MB, and a few times that in temporaries
CARRIED = ("lyapunov_time", "turnover_time", "scored_time", "dataset", "split", "checksum")


def score(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    metrics: Sequence[ScoreMetric] | None = None,
    *,
    climatology: xr.DataArray | None = None,
    chunk: int | None = None,
    device: torch.device | str = "cpu",
) -> xr.Dataset:
    """Scores (trajectory, lead_time, ...) of a forecast, with or without members, where truth exists.

    `metrics`: those of `standard` unless given. `climatology`: the nRMSE of a climatological forecast (any of trajectory, lead_time,
    field; `score` of such a forecast gives "nrmse_field"), for the time to half of it. `chunk`: leads in memory at a time.
    Raises ValueError where grids, units, variables, trajectories or times do not meet, or where the truth is not finite.
    """
    forecast, truth = aligned(forecast, truth)
    fields, domain = fields_of(forecast), domain_of(forecast)
    members = forecast.sizes.get(MEMBER, 1)
    metrics = standard(fields, domain, members) if metrics is None else metrics
    quantities = _quantities(metrics)
    frames = forecast.sizes[TIME]
    chunk = chunk or max(1, CHUNK // (members * fields.count * domain.measure.numel()))
    rows = []
    for i in range(forecast.sizes[TRAJECTORY]):
        parts, failed = [], torch.zeros(1, members, 1, dtype=torch.bool, device=device)
        for start, stop in pairwise([*range(0, frames, chunk), frames]):
            window = {TRAJECTORY: [i], TIME: slice(start, stop)}
            p, y = _tensors(forecast.isel(window), truth.isel(window), fields, device)
            p, lost = fail(p, failed)
            failed = lost[:, :, -1:]
            values = evaluate(metrics, p, y, conditions_of(truth.isel(window)).to(device))
            parts.append({**values, "failed": lost.sum(1)})
        rows.append({name: torch.cat([part[name] for part in parts], 1).cpu() for name in parts[0]})
    arrays = {name: torch.cat([row[name] for row in rows]).numpy() for name in rows[0]}
    scores = _dataset(arrays, quantities, forecast, truth, fields)
    scores.attrs.update(metrics=json.dumps({m.name: {n: q.formula for n, q in m.quantities.items()} for m in metrics}), members=members)
    return scores.merge(lifetimes(scores, climatology), combine_attrs="override")


def standard(fields: Fields, domain: Box, members: int) -> tuple[ScoreMetric, ...]:
    """The metrics that apply: a velocity's vorticity where it has one component an axis, an ensemble's spread where there is one."""
    metrics: list[ScoreMetric] = [NRMSE(fields), Correlation(fields), FairCRPS()]
    if "velocity" in fields.names and domain.dim > 1 and fields["velocity"].components == domain.axes and not fields["velocity"].levels:
        metrics += [VorticityCorrelation(fields)]
    if members > 1:
        metrics += [SpreadSkill()]
    return tuple(metrics)


def evaluate(metrics: Sequence[ScoreMetric], prediction: Tensor, truth: Tensor, conditions: Conditions) -> dict[str, Tensor]:
    """The values of several metrics: prediction (B, M, T, C, *X), truth (B, T, C, *X)."""
    values: dict[str, Tensor] = {}
    for metric in metrics:
        values.update(metric.value(metric.statistics(prediction, truth, conditions.domain, conditions)))
    return values


def fail(prediction: Tensor, failed: Tensor) -> tuple[Tensor, Tensor]:
    """NaN for a member (B, M, T, C, *X) from its first frame that is not finite, or throughout where it had `failed` (B, M, 1) before."""
    bad = ~prediction.isfinite().flatten(3).all(-1)
    lost = (bad.cumsum(2) > 0) | failed
    return torch.where(lost.reshape(*lost.shape, *(1,) * (prediction.ndim - 3)), torch.nan, prediction), lost


def _tensors(forecast: xr.Dataset, truth: xr.Dataset, fields: Fields, device: torch.device | str) -> tuple[Tensor, Tensor]:
    p, y = (from_xarray(d, fields, torch.float64).to(device) for d in (forecast, truth))
    if not y.isfinite().all():
        first = int((~y.isfinite()).flatten(2).any(-1)[0].int().argmax())
        raise ValueError(
            f"the truth is not finite in trajectory {int(truth[TRAJECTORY].values[0])} at time {float(truth[TIME].values[first]):g}; "
            f"score only frames that have a truth"
        )
    return (p if MEMBER in forecast.dims else p[:, None]), y


def _quantities(metrics: Sequence[ScoreMetric]) -> dict[str, Quantity]:
    quantities: dict[str, Quantity] = {"failed": Quantity("members that are not finite, now or before", ())}
    for metric in metrics:
        for name, quantity in metric.quantities.items():
            if name in quantities:
                raise ValueError(f"two metrics yield {name!r}; score them in two calls")
            quantities[name] = quantity
    return quantities


def _dataset(
    values: Mapping[str, np.ndarray], quantities: Mapping[str, Quantity], forecast: xr.Dataset, truth: xr.Dataset, fields: Fields
) -> xr.Dataset:
    data = {}
    for name, array in values.items():
        q = quantities[name]
        data[name] = ((TRAJECTORY, LEAD, *q.dims), array, {"long_name": q.formula, "units": _units(q, fields)})
    coords = _coordinates(forecast, truth, fields)
    carried = {name: truth.attrs[name] for name in CARRIED if name in truth.attrs}
    return xr.Dataset(data, coords, carried)


def _coordinates(forecast: xr.Dataset, truth: xr.Dataset, fields: Fields) -> dict[str, Any]:
    lead = forecast[LEAD].values.astype(float)
    limit = float(truth.attrs.get("scored_time", np.inf))
    coords: dict[str, Any] = {
        TRAJECTORY: forecast[TRAJECTORY].variable,
        LEAD: (LEAD, lead, forecast[LEAD].attrs),
        TIME: (LEAD, truth[TIME].values, truth[TIME].attrs),
        "scored": (LEAD, lead <= limit * (1 + 1e-9), {"long_name": "lead within the time to which the truth is certified"}),
        CHANNEL: list(fields.channels),
        "field_of_channel": (CHANNEL, [f.name for f in fields for _ in f.channels]),
        FIELD: list(fields.names),
    }
    for unit in ("lyapunov", "turnover"):
        if f"{unit}_time" in truth.attrs:
            coords[f"lead_{unit}"] = (LEAD, lead / float(truth.attrs[f"{unit}_time"]), {"long_name": f"lead in {unit} times", "units": "1"})
    parameters = {n: (TRAJECTORY, c.values, c.attrs) for n, c in truth.coords.items() if c.attrs.get("role") == "parameter"}
    return {**coords, **{str(n): c for n, c in parameters.items() if c[1].ndim}}


def _units(quantity: Quantity, fields: Fields) -> str:
    """One unit, or one a channel (a field) where they differ."""
    if not quantity.power:
        return "1"
    units = fields.units if CHANNEL in quantity.dims else tuple(f.units for f in fields)
    raised = [u if quantity.power == 1 or u == "1" else f"({u}){quantity.power}" for u in units]
    return raised[0] if len(set(raised)) == 1 else ", ".join(raised)
