"""Scores as a Dataset: dims (trajectory, lead_time, ...), coordinates with units, every variable with its formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from surrogates.fields import Fields
from surrogates.interchange import LEAD, MEMBER, TIME, TRAJECTORY, domain_of, fields_of
from surrogates.metrics.quantity import CHANNEL, FIELD, RANK, WAVENUMBER, Quantity
from surrogates.metrics.shells import shell_wavenumbers

CARRIED = ("lyapunov_time", "turnover_time", "scored_time", "dataset", "split", "checksum")
OF_CHANNEL = "field_of_channel"


def labelled(values: Mapping[str, np.ndarray], quantities: Mapping[str, Quantity], forecast: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """The values (trajectory, lead_time, *dims) of an aligned forecast and truth, with what the truth declares about its time scales."""
    fields = fields_of(forecast)
    data = {}
    for name, array in values.items():
        q = quantities[name]
        data[name] = ((TRAJECTORY, LEAD, *q.dims), array, {"long_name": q.formula, "units": _units(q, fields, domain_of(forecast).units)})
    used = {dim for name in values for dim in quantities[name].dims}
    coords = {**_leads(forecast, truth), **_channels(fields), **_bins(forecast, used)}
    return xr.Dataset(data, coords, {name: truth.attrs[name] for name in CARRIED if name in truth.attrs})


def _leads(forecast: xr.Dataset, truth: xr.Dataset) -> dict[str, Any]:
    """Trajectories with their parameters; leads in time, Lyapunov and turnover units, and whether the truth is certified there."""
    lead = forecast[LEAD].values.astype(float)
    limit = float(truth.attrs.get("scored_time", np.inf))
    coords: dict[str, Any] = {
        TRAJECTORY: (TRAJECTORY, truth[TRAJECTORY].values, truth[TRAJECTORY].attrs),
        LEAD: (LEAD, lead, forecast[LEAD].attrs),
        TIME: (LEAD, truth[TIME].values, truth[TIME].attrs),
        "scored": (LEAD, lead <= limit * (1 + 1e-9), {"long_name": "lead within the time to which the truth is certified"}),
    }
    for unit in ("lyapunov", "turnover"):
        if f"{unit}_time" in truth.attrs:
            coords[f"lead_{unit}"] = (LEAD, lead / float(truth.attrs[f"{unit}_time"]), {"long_name": f"lead in {unit} times", "units": "1"})
    for name, c in truth.coords.items():
        if c.attrs.get("role") == "parameter" and c.dims == (TRAJECTORY,):
            coords[str(name)] = (TRAJECTORY, c.values, c.attrs)
    return coords


def _channels(fields: Fields) -> dict[str, Any]:
    of = [f.name for f in fields for _ in f.channels]
    return {CHANNEL: list(fields.channels), OF_CHANNEL: (CHANNEL, of), FIELD: list(fields.names)}


def _bins(forecast: xr.Dataset, used: Iterable[str]) -> dict[str, Any]:
    coords: dict[str, Any] = {}
    if WAVENUMBER in used:
        box = domain_of(forecast)
        attrs = {"long_name": "wavenumber of the shell", "units": "rad" if box.units == "1" else f"rad ({box.units})-1"}
        coords[WAVENUMBER] = (WAVENUMBER, shell_wavenumbers(box).numpy(), attrs)
    if RANK in used:
        coords[RANK] = (RANK, np.arange(forecast.sizes.get(MEMBER, 1) + 1), {"long_name": "members below the truth"})
    return coords


def _units(quantity: Quantity, fields: Fields, length: str) -> str:
    """One unit, or one a channel (a field) where they differ."""
    if quantity.field:
        units: tuple[str, ...] = (fields[quantity.field].units,)
    else:
        units = fields.units if CHANNEL in quantity.dims else tuple(f.units for f in fields)
    raised = [" ".join(p for p in (_power(u, quantity.power), _power(length, quantity.length)) if p) or "1" for u in units]
    return raised[0] if len(set(raised)) == 1 else ", ".join(raised)


def _power(unit: str, n: int) -> str:
    if n == 0 or unit == "1":
        return ""
    return unit if n == 1 else f"({unit}){n}"
