"""What a contender looks like: fields of one trajectory, kept at a few leads so that truth and contenders can be set side by side.

In a plane with a velocity the picture is its vorticity; else it is the first channel. On a line all leads are kept (a space-time
diagram), otherwise those nearest to 1 frame, 1, 2, 4 Lyapunov times and the last.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.interchange import LEAD, MEMBER, TIME, TRAJECTORY, box_of, fields_of, from_xarray

LYAPUNOV_LEADS = (1.0, 2.0, 4.0)
MEMBERS = 2
WHO = "who"


def picture(forecast: xr.Dataset, trajectory: int = 0) -> xr.DataArray:
    """(who, lead_time, *X) float32 of one trajectory: its only forecast, or the ensemble mean and the first members."""
    fields, box = fields_of(forecast), box_of(forecast)
    leads = chosen_leads(forecast[LEAD].values, forecast.attrs.get("lyapunov_time"), box.dim)
    frames = forecast.isel({TRAJECTORY: [trajectory], TIME: leads})
    u = from_xarray(frames, fields)[0]
    rows = {"forecast": u}
    if MEMBER in forecast.dims:
        rows = {"mean": u.mean(0), **{f"member {m}": u[m] for m in range(min(MEMBERS, len(u)))}}
    values = torch.stack([shown(v, fields, box) for v in rows.values()]).numpy()
    coords = {WHO: list(rows), LEAD: (LEAD, frames[LEAD].values, frames[LEAD].attrs), **{a: frames[a].values for a in box.axes}}
    return xr.DataArray(values, coords, (WHO, LEAD, *box.axes), name="picture", attrs={"long_name": title(fields, box)})


def chosen_leads(leads: np.ndarray, lyapunov: float | None, dim: int) -> list[int]:
    """Indices of the leads that are shown."""
    if dim == 1:
        return list(range(len(leads)))
    unit = lyapunov or (leads[-1] / 8)
    wanted = [leads[0], *(n * unit for n in LYAPUNOV_LEADS), leads[-1]]
    return sorted({int(np.abs(leads - w).argmin()) for w in wanted if w <= leads[-1] * (1 + 1e-9)})


def shown(u: torch.Tensor, fields: Fields, domain: Domain) -> torch.Tensor:
    """The scalar that is drawn: (T, C, *X) -> (T, *X)."""
    assert isinstance(domain, Box)
    if _has_vorticity(fields, domain):
        return domain.vorticity(u[:, fields.slice("velocity")])[:, 0]
    plane = u[:, 0]
    return plane[..., domain.shape[-1] // 2] if domain.dim == 3 else plane


def title(fields: Fields, domain: Box) -> str:
    return "vorticity" if _has_vorticity(fields, domain) else fields.channels[0].replace("_", " ")


def _has_vorticity(fields: Fields, domain: Box) -> bool:
    return domain.dim == 2 and "velocity" in fields.names and fields["velocity"].components == domain.axes
