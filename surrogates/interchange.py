"""xarray at the shore, tensors at sea: one Dataset layout, and the two functions that cross.

A Dataset has one variable a component (`velocity_x`), dims (trajectory, [member,] time, [level,] *axes), coordinates with units, PDE
parameters as coordinates on `trajectory` with attribute role="parameter", and in `attrs` the JSON of its fields and domain, the
frame step `dt`, and where known `lyapunov_time`, `turnover_time` (time units) and `scored_time` (t*: no pointwise score beyond).
`lead_time` lies beside `time`: time since the initial state of a forecast, or since the first frame of a data set. Fields that are known
beside the state are declared likewise: `static` ones, variables without a dim "time", and `forcings`, with one.

Times are numbers, float64, in the units of `dt`. Where they stand for dates, `time` has CF units ("hours since 1996-01-01") and a
calendar. One rule holds for all: what this package returns or opens has numbers and says by its attributes which dates they are; what it
is given may have either. So `xr.open_zarr` of a stored forecast shows dates, `dates.dated` makes them of one in memory, and a Dataset
with dates goes into every function as it is: `times_of` and `dates.numbered` make the same numbers of them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from xarray.coding.times import encode_cf_datetime, infer_calendar_name

from surrogates.contracts import Conditions
from surrogates.domains import Box, Masked, Mesh, layout
from surrogates.domains.layout import AnyDomain, Described
from surrogates.domains.mesh_later import LATER, LaterMesh
from surrogates.fields import Field, Fields

TRAJECTORY, MEMBER, TIME, LEVEL, LEAD = "trajectory", "member", "time", "level", "lead_time"
STATIC, FORCINGS = "static", "forcings"
GAPS, NAN = "gaps", "NaN"
"""The attribute by which a Dataset declares that NaN stands for what is missing (as observations do), and its value."""
SINCE = " since "  # in the units of times that stand for dates
SECONDS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


def to_xarray(
    u: Tensor,
    fields: Fields,
    domain: AnyDomain,
    *,
    time: Sequence[float],
    trajectories: Sequence[int],
    members: Sequence[int] | None = None,
    parameters: Mapping[str, Sequence[float]] | None = None,
    start: float | None = None,
    attrs: Mapping[str, Any] | None = None,
    about_time: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """u: (B, T, C, *X), or (B, M, T, C, *X) where `members` are given -> Dataset, a view where u is one on the CPU.

    `start` is the time from which lead times count, the first of `time` unless given; `about_time` holds its CF units and calendar.
    Raises ValueError on a shape mismatch.
    """
    lead = (TRAJECTORY, TIME) if members is None else (TRAJECTORY, MEMBER, TIME)
    sizes = (len(trajectories), *(() if members is None else (len(members),)), len(time))
    if tuple(u.shape) != (*sizes, fields.count, *domain.shape):
        raise ValueError(
            f"u has shape {tuple(u.shape)} but {lead}, {fields.channels} and the domain need {(*sizes, fields.count, *domain.shape)}"
        )
    values, axes = u.detach().cpu().numpy(), layout.axes(domain)
    data: dict[str, Any] = {}
    channel = 0
    for f in fields:
        for name, meta in variables(f, domain):
            block = values[(slice(None),) * len(sizes) + (slice(channel, channel + max(1, len(f.levels))),)]
            channel += max(1, len(f.levels))
            if f.levels:
                data[name] = ((*lead, LEVEL, *axes), block, meta)
            else:
                data[name] = ((*lead, *axes), block[(slice(None),) * len(sizes) + (0,)], meta)
    coords = coordinates(domain, time, trajectories, members, parameters, start, about_time)
    levels = {f.levels for f in fields if f.levels}
    if len(levels) > 1:
        raise ValueError(f"fields on different levels {sorted(levels)} do not fit one Dataset; convert them separately")
    for values_of_level in levels:
        coords[LEVEL] = (LEVEL, list(values_of_level), {"long_name": "level"})
    steps = np.diff(np.asarray(time, dtype=float))
    known = {"dt": float(steps[0])} if len(steps) else {}
    return xr.Dataset(data, coords, {**known, **describe_attrs(fields, domain), **(attrs or {})})


def variables(f: Field, domain: Described) -> Iterator[tuple[str, dict[str, Any]]]:
    """The variables of a field, with their attributes."""
    of_mesh = {"mesh": layout.MESH, "location": layout.NODE} if isinstance(domain, Mesh | LaterMesh) else {}
    for name in f.variables:
        yield name, {"units": f.units, "long_name": f.long_name or name.replace("_", " "), "field": f.name, **of_mesh}


def coordinates(
    domain: Described,
    time: Sequence[float],
    trajectories: Sequence[int],
    members: Sequence[int] | None = None,
    parameters: Mapping[str, Sequence[float]] | None = None,
    start: float | None = None,
    about_time: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The coordinates of a Dataset, CF names and units where they exist. `about_time`: {"units": ..., "calendar": ...} of `time`.

    Raises ValueError for a parameter that is called like a coordinate or a dim.
    """
    t = np.asarray(time, dtype=np.float64)
    origin = start if start is not None else (t[0] if len(t) else 0.0)
    about = {"units": "1", **(about_time or {})}
    passing = about["units"].partition(SINCE)[0]
    coords: dict[str, Any] = {
        TRAJECTORY: (TRAJECTORY, np.asarray(trajectories, dtype=np.int64), {"long_name": "trajectory", "cf_role": "trajectory_id"}),
        TIME: (TIME, t, {"long_name": "time", **about, "axis": "T"}),
        LEAD: (TIME, t - origin, {"long_name": "time since the initial state", "units": passing}),
    }
    if members is not None:
        coords[MEMBER] = (MEMBER, np.asarray(members, dtype=np.int64), {"standard_name": "realization"})
    coords |= layout.coords(domain)
    check_names(parameters or (), (*coords, *layout.axes(domain)))
    for name, values in (parameters or {}).items():
        coords[name] = (TRAJECTORY, np.asarray(values, dtype=np.float64), {"role": "parameter"})
    return coords


def check_names(parameters: Iterable[str], taken: Iterable[str]) -> None:
    """Raise ValueError for a parameter whose name is taken, by a coordinate, a dim or a field: it would stand in its place."""
    both = sorted(set(parameters) & set(taken))
    if both:
        raise ValueError(f"parameter {both[0]!r} is called like a coordinate or field of the data; call it {both[0]}_value, say")


def describe_attrs(fields: Fields, domain: Described) -> dict[str, str]:
    """The attributes from which fields and domain are read again."""
    conventions = "CF-1.11 UGRID-1.0" if isinstance(domain, Mesh | LaterMesh) else "CF-1.11"
    return {"Conventions": conventions, "fields": json.dumps(fields.to_json()), "domain": json.dumps(layout.entry(domain))}


def fields_of(dataset: xr.Dataset) -> Fields:
    """The fields a Dataset declares, less those no longer in it; without a declaration, one scalar a variable."""
    if "fields" in dataset.attrs:
        declared = Fields.from_json(json.loads(dataset.attrs["fields"]))
        return Fields(tuple(f for f in declared if all(v in dataset for v in f.variables)))
    entries = []
    for name in dataset.data_vars:
        if TIME in dataset[name].dims or set(dataset[name].dims) & set(layout.SPACE):
            levels = tuple(float(v) for v in dataset[LEVEL].values) if LEVEL in dataset[name].dims else ()
            entries.append(Field(str(name), dataset[name].attrs.get("units", "1"), levels=levels))
    return Fields(tuple(entries))


def declare(dataset: xr.Dataset, *, static: Fields | None = None, forcings: Fields | None = None) -> xr.Dataset:
    """The Dataset, saying which of its variables are static fields and forcings. Raises ValueError for one with other dims, or none."""
    for fields, timed in ((static, False), (forcings, True)):
        for name in () if fields is None else (v for f in fields for v in f.variables):
            if name not in dataset or (TIME in dataset[name].dims) != timed:
                what = "a forcing needs a variable with a dim 'time'" if timed else "a static field needs a variable without a dim 'time'"
                raise ValueError(f"{what}, and {name!r} is none among {sorted(map(str, dataset.data_vars))}")
    kinds = {STATIC: static, FORCINGS: forcings}
    return dataset.assign_attrs({kind: json.dumps(fields.to_json()) for kind, fields in kinds.items() if fields is not None})


def declared(dataset: xr.Dataset, kind: str) -> Fields | None:
    """The fields that a Dataset declares as "static" or "forcings"; None where there are none."""
    fields = Fields.from_json(json.loads(dataset.attrs.get(kind, "[]")))
    return fields if fields.count else None


def static_of(dataset: xr.Dataset) -> Float[Tensor, "B C *X"] | None:
    """The static fields that a Dataset declares, float32, a row a trajectory. Raises ValueError for one missing or in other units."""
    fields = declared(dataset, STATIC)
    if fields is None:
        return None
    domain, rows = domain_of(dataset), len(trajectories_of(dataset))
    axes = layout.axes(domain)
    parts = [_variable(dataset, v, f, (TRAJECTORY, TIME), axes)[:, 0] for f in fields for v in f.variables]
    return _filled(
        torch.cat([torch.from_numpy(np.require(p, requirements="W")).to(torch.float32).expand(rows, *p.shape[1:]) for p in parts], 1),
        domain,
    )


def domain_of(dataset: xr.Dataset) -> AnyDomain:
    """The geometry of a Dataset. Raises ValueError where it declares none, or where its coordinates contradict it."""
    if "domain" not in dataset.attrs:
        raise ValueError("the Dataset has no attribute 'domain'; set attrs['domain'] = json.dumps(Box.periodic(shape, lengths).to_json())")
    stored = json.loads(dataset.attrs["domain"])
    names = {n for n in dataset.coords if n in layout.SPACE or str(n).startswith(f"{layout.MESH}_")}
    names = {LATER} if LATER in names else names
    return layout.read(stored, {str(k): v for k, v in dataset.sizes.items()}, {str(n): dataset[n].values for n in names})


def settled(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with its mesh read, where that was put off (`mesh_later`), so that it can be written with xarray."""
    if LATER not in dataset.coords:
        return dataset
    coords = layout.coords(domain_of(dataset))
    return dataset.drop_vars([LATER, *(n for n in coords if n in dataset.coords)]).assign_coords(coords)


def box_of(dataset: xr.Dataset) -> Box:
    """The geometry of a Dataset on a Box. Raises ValueError for another kind."""
    domain = domain_of(dataset)
    if not isinstance(domain, Box):
        raise ValueError(f"this works on a Box only, and the Dataset lies on a {type(domain).__name__}")
    return domain


def from_xarray(dataset: xr.Dataset, fields: Fields | None = None, dtype: torch.dtype = torch.float32) -> Float[Tensor, ...]:
    """Dataset -> (B, T, C, *X), or (B, M, T, C, *X) where it has members; missing trajectory and time dims have length one.

    What is missing (NaN) in a dry cell of a Masked domain becomes 0, so that networks can read it; other values there stay as they are.

    Raises ValueError for a field that is missing or whose units differ from those asked for.
    """
    fields = fields or fields_of(dataset)
    domain = domain_of(dataset)
    axes = layout.axes(domain)
    lead = (TRAJECTORY, MEMBER, TIME) if MEMBER in dataset.dims else (TRAJECTORY, TIME)
    parts = []
    for f in fields:
        for name in f.variables:
            parts.append(_variable(dataset, name, f, lead, axes))
    return _filled(torch.from_numpy(np.concatenate(parts, axis=len(lead))).to(dtype), domain)


def _filled(u: Tensor, domain: AnyDomain) -> Tensor:
    """Zero for what is missing in dry cells."""
    return torch.where(u.isnan() & ~domain.wet, 0.0, u) if isinstance(domain, Masked) else u


def _variable(dataset: xr.Dataset, name: str, f: Field, lead: tuple[str, ...], axes: tuple[str, ...]) -> NDArray[Any]:
    if name not in dataset:
        raise ValueError(f"the Dataset lacks {name!r} of field {f.name!r}; it has {sorted(map(str, dataset.data_vars))}")
    array = dataset[name]
    units = array.attrs.get("units", "1")
    if units != f.units:
        raise ValueError(f"{name!r} has units {units!r} but {f.units!r} are needed; convert it and set its 'units' attribute")
    for dim in (*lead, LEVEL):
        if dim not in array.dims and dim != LEVEL:
            array = array.expand_dims(dim)
    if not f.levels:
        array = array.expand_dims(LEVEL)
    elif tuple(array[LEVEL].values.tolist()) != f.levels:
        raise ValueError(f"{name!r} lies on levels {array[LEVEL].values.tolist()} but {list(f.levels)} are needed")
    return np.ascontiguousarray(array.transpose(*lead, LEVEL, *axes).values)


def time_attrs_of(dataset: xr.Dataset) -> dict[str, str]:
    """CF units and calendar of the times, also where xarray has made dates of them; none where they are plain numbers.

    Dates that have lost their units count from 1970-01-01 in the unit in which `dt` is a step of theirs, or as their leads do. Raises
    ValueError where that is none.
    """
    if TIME not in dataset.coords:
        return {}
    held = {**dataset[TIME].encoding, **dataset[TIME].attrs}
    out = {k: str(held[k]) for k in ("units", "calendar") if held.get(k) is not None}
    if out.get("units", "1") != "1":
        return out
    return _counted(dataset) if are_dates(dataset) else {}


def are_dates(dataset: xr.Dataset) -> bool:
    """Whether the times are dates, datetime64 or cftime's, rather than numbers."""
    return TIME in dataset.coords and dataset[TIME].dtype.kind in "MO"


def _counted(dataset: xr.Dataset) -> dict[str, str]:
    """How dates count that do not say how they did: from one origin, so that the parts of a Dataset count alike."""
    values, dt = np.atleast_1d(dataset[TIME].values), dataset.attrs.get("dt")
    leads = {**dataset[LEAD].encoding, **dataset[LEAD].attrs}.get("units") if LEAD in dataset.coords else None
    steps = np.diff(values) / np.timedelta64(1, "s") if values.dtype.kind == "M" else [d.total_seconds() for d in np.diff(values)]
    fits = [unit for unit, seconds in SECONDS.items() if dt and len(steps) and np.isclose(min(steps), float(dt) * seconds)]
    unit = leads if leads in SECONDS else "hours" if dt is None else fits[0] if fits else None
    if unit is None:
        raise ValueError(
            f"the times are dates, and nothing tells in which unit dt = {float(dt or 0):g} is; set "  # of one date no step is known
            "dataset.time.encoding['units'], such as 'hours since 1996-01-01'"
        )
    return {"units": f"{unit}{SINCE}1970-01-01", "calendar": infer_calendar_name(values)}


def times_of(dataset: xr.Dataset) -> NDArray[np.float64]:
    """The times as numbers, float64, in the units of `time_attrs_of`, also where xarray has made dates of them; 0 without a time.

    Raises ValueError for dates that do not say in which units they were numbers, and for lengths of time.
    """
    if TIME not in dataset.coords:
        return np.zeros(dataset.sizes.get(TIME, 1))
    values, about = np.atleast_1d(dataset[TIME].values), time_attrs_of(dataset)
    if values.dtype.kind in "iuf":
        return values.astype(np.float64)
    if SINCE not in about.get("units", ""):
        raise ValueError(f"the times are {values.dtype}, neither numbers nor dates with units like 'hours since 1996-01-01'; give numbers")
    numbers, _, _ = encode_cf_datetime(values, about["units"], about.get("calendar"), np.dtype(np.float64))
    return np.array(numbers, np.float64)  # of its own: the encoder may hand out a view that nothing may be written to


def trajectories_of(dataset: xr.Dataset) -> list[int]:
    """The trajectory ids; 0 for a Dataset without that dim and coordinate."""
    if TRAJECTORY not in dataset.coords:
        return list(range(dataset.sizes.get(TRAJECTORY, 1)))
    return [int(v) for v in np.atleast_1d(dataset[TRAJECTORY].values)]


def parameters_of(dataset: xr.Dataset) -> dict[str, Tensor]:
    """PDE parameters by name, float64, one value a trajectory."""
    out = {}
    for name, coord in dataset.coords.items():
        if coord.attrs.get("role") == "parameter":
            out[str(name)] = torch.from_numpy(np.atleast_1d(coord.values).astype(np.float64))
    return out


def conditions_of(dataset: xr.Dataset, names: Sequence[str] | None = None) -> Conditions:
    """Conditions at the *last* time of the Dataset: dt, every parameter (or those in `names`) and static field, per trajectory.

    Raises ValueError where dt or a parameter is not to be found.
    """
    count = len(trajectories_of(dataset))
    if "dt" not in dataset.attrs:
        raise ValueError("the Dataset has no attribute 'dt' (the frame step); set dataset.attrs['dt']")
    known = parameters_of(dataset)
    wanted = tuple(known) if names is None else tuple(names)
    for name in wanted:
        if name not in known:
            raise ValueError(
                f"the Dataset has no parameter {name!r}; it has {sorted(known)}. Assign a coordinate on 'trajectory' with role='parameter'"
            )
    columns = [known[n].expand(count) for n in wanted]
    parameters = torch.stack(columns, 1) if columns else torch.zeros(count, 0, dtype=torch.float64)
    last = float(times_of(dataset)[-1])
    ones = torch.ones(count, dtype=torch.float64)
    return Conditions(domain_of(dataset), ones * last, ones * float(dataset.attrs["dt"]), parameters, wanted, static_of(dataset))
