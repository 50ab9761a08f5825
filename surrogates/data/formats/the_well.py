"""The Well: HDF5 files in its layout (docs/data_format.md of PolymathicAI/the_well), all that it can say, read from the layout alone.

    t0_fields, t1_fields, t2_fields   of time and trajectory: the state, vectors in the order of the axes, tensors in full;
                                      on a sphere to the north and to the east
                                      of trajectory, or of neither: static fields
                                      of time, but one for all trajectories: forcings
                                      constant along an axis (@dim_varying): spread over it, lazily
    scalars                           constant: parameters; of time: forcings without space
    dimensions/time                   one for all, or one a trajectory (then trajectories of equal times make a part)
    boundary_conditions, axes         `well_space`

A folder has one part a file under data/<split> (or of itself); files differ in parameters, and may in length. Files of ours, which say
more, are read by `surrogates.data.read`. The layout has no units: they are "1" unless an attribute `units` or `Given` says them.
Source: https://github.com/PolymathicAI/the_well (docs/data_format.md), Ohana et al., The Well, NeurIPS 2024, https://arxiv.org/abs/2412.00568.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.files import files_of
from surrogates.data.formats import checks, well_space
from surrogates.data.formats.given import Given
from surrogates.data.formats.part import step_of
from surrogates.data.formats.well_fields import STATE, Stored, fields_in, scalars_in
from surrogates.data.formats.well_space import words
from surrogates.data.hdf5 import ORDERS, OURS, PART, open_hdf5
from surrogates.data.read import read_file
from surrogates.domains import Box, Sphere
from surrogates.domains.box import AXES
from surrogates.fields import Fields
from surrogates.interchange import FORCINGS, STATIC, TIME, TRAJECTORY, coordinates, declare, describe_attrs, variables


def recognises(path: Path) -> bool:
    """A file, or a folder whose splits begin with one, that has dimensions and t0_fields."""
    try:
        first = [paths[0] for paths in files_of(path).values()]
        return bool(first) and all(_fits(p) for p in first)
    except (OSError, ValueError):
        return False


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """One part a file, or more where its trajectories differ in time or place. Raises ValueError for what is not sound, with the place."""
    return {split: [d for p in paths if p.suffix != PART for d in _parts(p, given)] for split, paths in files_of(path).items()}


def dataset_of(f: h5py.File, path: Path) -> xr.Dataset:
    """The one part of a file. Raises ValueError where there are several, naming what opens them."""
    found = parts_of(f, path, Given.beside(path))
    if len(found) > 1:
        raise ValueError(
            f"{path}: its trajectories have {len(found)} different time axes or grids; surrogates.data.formats.open_parts(path) gives each"
        )
    return found[0]


def parts_of(f: h5py.File, path: Path, given: Given) -> list[xr.Dataset]:
    """One a run of trajectories that share times and grid."""
    missing = [name for name in ("dimensions", "scalars", *ORDERS) if name not in f]
    if missing:
        raise ValueError(f"{path} is not in The Well's layout: it lacks the groups {missing}")
    for name in ("dimensions", "scalars", *ORDERS, *(["boundary_conditions"] if "boundary_conditions" in f else [])):
        checks.own(f, name, path)
    count, axes = int(f.attrs["n_trajectories"]), words(f["dimensions"].attrs["spatial_dims"])
    if not 1 <= len(axes) <= len(AXES) or count < 1:
        raise ValueError(f"{path}: {len(axes)} spatial axes and {count} trajectories; 1 to {len(AXES)} and at least one are needed")
    lines = [_line(f, name, path, count) for name in ("time", *axes)]
    keys = [tuple(line[n if len(line) > 1 else 0].tobytes() for line in lines) for n in range(count)]
    shape = tuple(line.shape[1] for line in lines[1:])
    conditions = well_space.conditions_in(f, path, dict(zip(axes, shape, strict=True)), count, lines[0].shape[1])
    sizes, globe = (count, lines[0].shape[1]), well_space.is_globe(axes, words(f.attrs.get("grid_type", "cartesian"))[0])
    stored = [*fields_in(f, path, given, axes, shape, sizes, globe), *scalars_in(f, path, given, sizes)]
    out = []
    for _, run in groupby(range(count), key=lambda n: keys[n]):
        rows = list(run)
        mine = [line[rows[0] if len(line) > 1 else 0] for line in lines]
        domain = well_space.domain_of(mine[1:], axes, words(f.attrs.get("grid_type", "cartesian"))[0], conditions, path, given)
        inner = well_space.inner(conditions, axes)
        every = [*stored, *(Stored.of_mask(name, varies, of, values, axes, shape) for name, varies, of, values in inner)]
        about = {"boundary_conditions": well_space.described(conditions), "axes": json.dumps(list(axes))}
        about["grid_type"] = words(f.attrs.get("grid_type", "cartesian"))[0]
        dataset = {"dataset": given.name or words(f.attrs.get("dataset_name", path.stem))[0], **about}
        out.append(_dataset(every, domain, mine[0], slice(rows[0], rows[-1] + 1), _parameters(f, path, count, given), dataset, path, given))
    return out


def _dataset(
    stored: list[Stored],
    domain: Box | Sphere,
    times: NDArray[np.float64],
    rows: slice,
    parameters: dict[str, list[float]],
    attrs: dict[str, str],
    path: Path,
    given: Given,
) -> xr.Dataset:
    t = checks.rising(times, f"{path}: dimensions/time")
    data: dict[str, Any] = {}
    for s in stored:
        dims = (*((TRAJECTORY,) if s.sampled else ()), *((TIME,) if s.timed else ()), *(domain.axes if s.spread else ()))
        for (name, meta), values in zip(variables(s.field, domain), s.components(), strict=True):
            data[name] = (dims, values[rows] if s.sampled else values, meta)
    if not any(s.kind == STATE for s in stored):
        raise ValueError(f"{path}: no field varies in time and between trajectories, so that there is nothing to predict")
    kinds = {kind: Fields(tuple(s.field for s in stored if s.kind == kind)) for kind in (STATE, STATIC, FORCINGS)}
    coords = coordinates(
        domain,
        t.tolist(),
        range(rows.start, rows.stop),
        parameters={k: v[rows] for k, v in parameters.items()},
        about_time={"units": given.units.get("time", "1")},
    )
    if len(t) > 1:
        dt = step_of(t, given, f"{path}: dimensions/time")
    else:
        dt = given.need(given.dt, "dt", path, "one frame does not say the time to the next")
    made = xr.Dataset(data, coords, {**attrs, "dt": dt, **describe_attrs(kinds[STATE], domain)})
    return declare(made, static=kinds[STATIC] if kinds[STATIC].count else None, forcings=kinds[FORCINGS] if kinds[FORCINGS].count else None)


def _parameters(f: h5py.File, path: Path, count: int, given: Given) -> dict[str, list[float]]:
    """Constant scalars, one value a trajectory, and what only the root says of its parameters."""
    out: dict[str, list[float]] = {}
    scalars = f["scalars"]
    listed = {n: checks.array(scalars, n, path) for n in words(scalars.attrs["field_names"])}
    held = {n: a[()] for n, a in listed.items() if not a.attrs.get("time_varying", False)}
    for name in words(f.attrs.get("simulation_parameters", [])):
        if name not in held and name in f.attrs and np.asarray(f.attrs[name]).dtype.kind in "iuf":
            held[name] = f.attrs[name]
    for name, value in held.items():
        values = np.ravel(np.asarray(value, np.float64))
        if len(values) not in (1, count):
            raise ValueError(f"{path}: scalar {name!r} has {len(values)} values but there are {count} trajectories")
        out[name] = np.broadcast_to(values, count).tolist()
    return {**out, **given.columns(count, path)}


def _line(f: h5py.File, name: str, path: Path, count: int) -> NDArray[np.float64]:
    """Times or points (1, N), or (B, N) where they vary between trajectories."""
    array = checks.array(f["dimensions"], name, path)
    values = np.asarray(array[()], np.float64)
    if values.ndim == 2 and len(values) == count:
        return values
    if values.ndim != 1:
        raise ValueError(f"{path}: dimensions/{name} has shape {values.shape}; a line, or one for each of {count} trajectories, is needed")
    return values[None]


def _parts(path: Path, given: Given) -> list[xr.Dataset]:
    with open_hdf5(path) as f:
        if OURS in f:
            return [read_file(path)]
        try:
            return parts_of(f, path, given)
        except KeyError as error:
            raise ValueError(f"{path} is not in The Well's layout: {error.args[0]}") from error


def _fits(path: Path) -> bool:
    with open_hdf5(path) as f:
        return "dimensions" in f and ORDERS[0] in f
