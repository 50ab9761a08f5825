"""What a weather model is told beside the state and can be computed: the sun, and where in the day and the year it is.

    toa_incident_solar_radiation   W m-2, the mean over the step that ends at each time (`solar`)
    year_progress_sin, _cos        of 2 pi (part of the year that is over)
    day_progress_sin, _cos         of 2 pi (part of the day that is over) + longitude: local solar time

All are lazy (time, lat, lon) float32, made block by block of frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.solar import moments, radiation
from surrogates.errors import nearest
from surrogates.fields import Field, Fields
from surrogates.interchange import TIME

SOLAR = "toa_incident_solar_radiation"
PROGRESS = ("year_progress_sin", "year_progress_cos", "day_progress_sin", "day_progress_cos")
COMPUTED = (SOLAR, *PROGRESS)
BLOCK = 1 << 24  # bytes of frames made at once


def computed(
    names: Sequence[str], times: NDArray[np.float64], about: Mapping[str, str], dt: float, lat: Any, lon: Any
) -> dict[str, xr.Variable]:
    """Those of `COMPUTED` that are named. Raises ValueError for another name, and for times that are no dates."""
    wrong = [n for n in names if n not in COMPUTED]
    if wrong:
        raise ValueError(f"forcings {wrong} cannot be computed; there are {list(COMPUTED)}{nearest(wrong[0], COMPUTED)}")
    phi, east = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    moments(times[:1], about)
    out = {}
    for f in fields_of(names):
        values = _lazy(_maker(f.name, about, dt, phi, east), times, (len(phi), len(east)))
        out[f.name] = xr.Variable((TIME, "lat", "lon"), values, {"units": f.units, "long_name": f.long_name, "field": f.name})
    return out


def fields_of(names: Sequence[str]) -> Fields:
    """Their fields."""
    return Fields(tuple(Field(n, "W m-2" if n == SOLAR else "1", long_name=n.replace("_", " ")) for n in names))


def _maker(name: str, about: Mapping[str, str], dt: float, lat: Any, lon: Any) -> Callable[[Any], NDArray[np.float32]]:
    if name == SOLAR:
        return lambda t: radiation(t, about, lat, lon, over=dt).astype(np.float32)
    wave: Callable[[Any], Any] = np.sin if name.endswith("sin") else np.cos

    def progress(t: Any) -> NDArray[np.float32]:
        when = moments(t, about)
        east = np.zeros_like(lon) if name.startswith("year") else np.deg2rad(lon)
        phase = 2 * np.pi * (when.of_year if name.startswith("year") else when.of_day)
        values = wave(phase[:, None, None] + east[None, None])
        return np.broadcast_to(values, (len(when.days), len(lat), len(lon))).astype(np.float32)

    return progress


def _lazy(make: Callable[[Any], NDArray[np.float32]], times: NDArray[np.float64], grid: tuple[int, int]) -> Any:
    import dask.array as da

    frames = max(1, BLOCK // (4 * grid[0] * grid[1]))
    blocks: Any = da.from_array(times, chunks=frames)  # type: ignore[no-untyped-call]
    return blocks.map_blocks(
        make, dtype=np.float32, new_axis=(1, 2), chunks=(blocks.chunks[0], (grid[0],), (grid[1],)), meta=np.empty((0, 0, 0), np.float32)
    )
