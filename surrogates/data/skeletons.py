"""Which cuts fit into one file, and a file's worth of them as Datasets that know all but their frames: none of these is read."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import xarray as xr

from surrogates.data.arrays import known_of
from surrogates.data.cuts import Cut
from surrogates.data.formats.ends import CONDITIONS
from surrogates.domains.layout import NODE
from surrogates.interchange import FORCINGS, GAPS, MEMBER, STATIC, TIME, TRAJECTORY


def groups(cuts: Sequence[Cut]) -> list[list[Cut]]:
    """Cuts that fit into one file: all those on meshes; of those on grids the ones with equal grid, times and known fields."""
    out: dict[str, list[Cut]] = {}
    keys: dict[tuple[int, int, int], str] = {}
    for cut in cuts:
        place = (id(cut.part), cut.start, cut.stop)
        if place not in keys:
            keys[place] = "" if NODE in cut.part.dims else _key(cut)
        out.setdefault(keys[place], []).append(cut)
    return list(out.values())


def skeletons(cuts: Sequence[Cut]) -> list[xr.Dataset]:
    """The cuts as Datasets that know all but their frames, consecutive ones of a part together."""
    runs: list[list[Cut]] = []
    for cut in cuts:
        last = runs[-1][-1] if runs else None
        joins = last is not None and last.part is cut.part and (last.start, last.stop) == (cut.start, cut.stop)
        if joins:
            runs[-1].append(cut)
        else:
            runs.append([cut])
    return [_skeleton(run) for run in runs]


def together(pieces: Sequence[xr.Dataset]) -> xr.Dataset:
    """Those of one group on a grid as one."""
    if len(pieces) == 1:
        return pieces[0]
    return xr.concat(
        list(pieces), TRAJECTORY, data_vars="minimal", coords="minimal", compat="override", join="override", combine_attrs="override"
    )


def _skeleton(run: Sequence[Cut]) -> xr.Dataset:
    import dask.array as da

    part, first = run[0].part, run[0]
    if MEMBER in part.dims:
        raise ValueError(
            "this source has several members of a trajectory; of NetCDF and Zarr write options: {member: 0} for one of them, or options: "
            "{trajectory: number}, with the file's own name of that dim, for each as a trajectory; in Python part.isel(member=0)"
        )
    timed = {n: v for n, v in part.data_vars.items() if TIME in v.dims}
    empty = {n: (v.dims, da.zeros(v.shape, np.float32, chunks=-1), v.attrs) for n, v in timed.items()}
    cut = part.assign(empty).isel({TRAJECTORY: [c.row for c in run], TIME: slice(first.start, first.stop)})
    return cut.assign_coords({TRAJECTORY: (TRAJECTORY, [c.id for c in run], part[TRAJECTORY].attrs)})


def _key(cut: Cut) -> str:
    part, digest = cut.part, sha256()
    for what in ("domain", "fields", STATIC, FORCINGS, GAPS, CONDITIONS, "dt"):
        digest.update(f"{what}{part.attrs.get(what)}".encode())
    time = part[TIME].isel({TIME: slice(cut.start, cut.stop)})
    digest.update(f"{time.attrs.get('units')}{time.attrs.get('calendar')}".encode() + np.asarray(time.values).tobytes())
    digest.update(str(sorted(str(n) for n, c in part.coords.items() if c.attrs.get("role") == "parameter")).encode())
    for k in known_of(part):
        digest.update(f"{k.shared}{k.spread}{k.timed}".encode())
        if k.shared:
            shared = part[list(k.field.variables)]
            values: Any = shared.to_array().values if not k.timed else str(id(part)).encode()
            digest.update(np.ascontiguousarray(values).tobytes() if not k.timed else values)
    return digest.hexdigest()
