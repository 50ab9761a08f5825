"""score(forecast, truth): every metric at every lead and trajectory, as one Dataset.

A trajectory and a few leads are in memory at a time, and values at a lead depend on that lead alone, so any chunking gives the same
answer. A member has failed from its first frame that is not finite; `failed` counts them, and the metrics take their worst values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import torch
import xarray as xr
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.fields import Fields
from surrogates.interchange import GAPS, MEMBER, NAN, TIME, TRAJECTORY, conditions_of, domain_of, fields_of, from_xarray
from surrogates.metrics.align import aligned
from surrogates.metrics.label import labelled
from surrogates.metrics.lifetimes import lifetimes
from surrogates.metrics.quantity import Quantity, ScoreMetric
from surrogates.metrics.standard import standard

CHUNK = 2**22  # float64 values of the forecast in memory at a time: 32 MB, and a few times that in temporaries


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
    Where the truth declares gaps (NaN in a cell that counts), a frame with one has no score: NaN, which xarray's means leave out.
    Raises ValueError where grids, units, variables, trajectories or times do not meet, or where the truth is not finite otherwise.
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
            p, y, gap = _tensors(forecast.isel(window), truth.isel(window), fields, device)
            p, lost = fail(p, failed)
            failed = lost[:, :, -1:]
            values = unverified(evaluate(metrics, p, y, conditions_of(truth.isel(window)).to(device)), gap)
            parts.append({**values, "failed": lost.sum(1)})
        rows.append({name: torch.cat([part[name] for part in parts], 1).cpu() for name in parts[0]})
    arrays = {name: torch.cat([row[name] for row in rows]).numpy() for name in rows[0]}
    scores = labelled(arrays, quantities, forecast, truth)
    scores.attrs.update(metrics=json.dumps({m.name: {n: q.formula for n, q in m.quantities.items()} for m in metrics}), members=members)
    return scores.assign(lifetimes(scores, climatology))


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


def unverified(values: dict[str, Tensor], gap: Tensor) -> dict[str, Tensor]:
    """Values (B, T, ...) without those of frames (B, T) for which there is no truth."""
    if not gap.any():
        return values
    return {name: torch.where(gap.reshape(*gap.shape, *(1,) * (v.ndim - 2)), torch.nan, v.double()) for name, v in values.items()}


def _tensors(forecast: xr.Dataset, truth: xr.Dataset, fields: Fields, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, truth, and the frames (B, T) of which the truth is missing, and is zero."""
    p, y = (from_xarray(d, fields, torch.float64).to(device) for d in (forecast, truth))
    gap = y.isnan().flatten(2).any(-1) & (truth.attrs.get(GAPS) == NAN)
    y = torch.where(gap.reshape(*gap.shape, *(1,) * (y.ndim - 2)), 0.0, y)
    if not y.isfinite().all():
        first = int((~y.isfinite()).flatten(2).any(-1)[0].int().argmax())
        raise ValueError(
            f"the truth is not finite in trajectory {int(truth[TRAJECTORY].values[0])} at time {float(truth[TIME].values[first]):g}; "
            f"score only frames that have a truth"
        )
    return (p if MEMBER in forecast.dims else p[:, None]), y, gap


def _quantities(metrics: Sequence[ScoreMetric]) -> dict[str, Quantity]:
    quantities: dict[str, Quantity] = {"failed": Quantity("members that are not finite, now or before", ())}
    for metric in metrics:
        for name, quantity in metric.quantities.items():
            if name in quantities:
                raise ValueError(f"two metrics yield {name!r}; score them in two calls")
            quantities[name] = quantity
    return quantities
