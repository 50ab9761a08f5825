"""One part of a source as a Dataset: lazy arrays, one a component, named and laid out as `surrogates.interchange` says.

A source names its arrays (`u`, `v`, `p`); `Given.fields` says which of them are one vector: {velocity: [u, v]}. What it does not name is
a scalar of its own. `Given.options` has `gaps: NaN` where NaN means missing, and is not the ruin of a solver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats import checks
from surrogates.data.formats.cf_time import runs
from surrogates.data.formats.given import Given
from surrogates.data.starts import goes_on
from surrogates.domains import layout
from surrogates.domains.layout import Described
from surrogates.fields import Field, Fields
from surrogates.interchange import GAPS, TIME, TRAJECTORY, coordinates, declare, describe_attrs, domain_of, variables

Lazy = Any
"""An array that reads what is asked of it: a memory map, or one of dask."""


def wholes(names: Sequence[str], given: Given, path: Path) -> dict[str, str]:
    """The name of the field that each array is of, or a component of. Raises ValueError for components that are not there."""
    vectors = {part: name for name, parts in given.fields.items() for part in parts}
    lost = [part for part in vectors if part not in names]
    if lost:
        raise ValueError(f"{path}: `fields` names {lost}, and the arrays are {list(names)}")
    return {name: vectors.get(name, name) for name in names}


def fields_of(
    names: Sequence[str], given: Given, path: Path, axes: Sequence[str], known: Mapping[str, str] | None = None
) -> dict[str, Field]:
    """For each array the field it is of, vectors as `given.fields` says; units as given, else `known`. Order: that of `names`.

    Raises ValueError for a vector of arrays that are not there or as many as no vector has, and for units that nobody says.
    """
    out: dict[str, Field] = {}
    for name, whole in wholes(names, given, path).items():
        parts = given.fields.get(whole, ())
        if len(parts) not in (0, 1, len(axes), len(axes) ** 2):
            raise ValueError(f"{path}: field {whole!r} has {len(parts)} components {list(parts)}; a vector here has {len(axes)}")
        tensor = tuple(a + b for a in axes for b in axes)
        labels = () if len(parts) < 2 else tuple(axes) if len(parts) == len(axes) else tensor
        out[name] = Field(whole, given.unit(whole, path, (known or {}).get(name)), components=labels)
    return out


def part(
    arrays: Mapping[str, Lazy],
    of: Mapping[str, Field],
    domain: Described,
    *,
    given: Given,
    times: Sequence[float] | NDArray[np.float64],
    name: str,
    parameters: Mapping[str, Sequence[float]] | None = None,
    dt: float | None = None,
    first: int = 0,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Arrays (trajectory, time, *axes) as a Dataset; `of` says the field of each, and `given.fields` the order within a vector.

    `dt` is the step where times are not exact multiples of it, `first` the id of the first trajectory. Raises ValueError where shapes
    differ from each other or from the domain, and for times that have no step (`step_of`).
    """
    count = next(iter(arrays.values())).shape[0]
    want, axes = (count, len(times), *domain.shape), layout.axes(domain)
    data: dict[str, Any] = {}
    fields = Fields(tuple(dict.fromkeys(of.values())))
    for f in fields:
        sources = given.fields.get(f.name, ()) if f.components else [n for n in of if of[n] == f]
        for (variable, meta), source in zip(variables(f, domain), sources, strict=True):
            if tuple(arrays[source].shape) != want:
                raise ValueError(f"array {source!r} has shape {tuple(arrays[source].shape)} but trajectories, times and grid need {want}")
            data[variable] = ((TRAJECTORY, TIME, *axes), _native(arrays[source]), meta)
    coords = coordinates(
        domain,
        [float(t) for t in times],
        range(first, first + count),
        parameters={**(parameters or {}), **given.columns(count, Path(name))},
    )
    unit = given.units.get("time", "1")
    for time in (TIME, "lead_time"):
        coords[time][2]["units"] = unit
    step = dt if dt is not None else step_of(np.asarray(times, np.float64), given, f"{name}: time") if len(times) > 1 else 0.0
    gaps = {GAPS: str(given.options[GAPS])} if GAPS in given.options else {}
    said = {"dataset": given.name or name, "dt": step, **gaps, **describe_attrs(fields, domain)}
    return xr.Dataset(data, coords, {**said, **(attrs or {})})


def step_of(times: NDArray[np.float64], given: Given, place: str) -> float:
    """The step of rising times: as given, else that of all, or the shortest of which the others, over missing frames, are multiples.

    Raises ValueError for steps that are neither (those within a tenth of a given one are taken as they come), and for a given one that no
    frame follows.
    """
    if given.dt is None:
        with suppress(ValueError):
            return checks.step(times, place)
    elif len(times) > 1 and not goes_on(times, given.dt)[1:].any():
        raise ValueError(f"{place}: frames lie {np.diff(times).min():g} apart or more, and dt is given as {given.dt:g}; correct it")
    return runs(times, given, place)[1]


def with_static(made: xr.Dataset, arrays: Mapping[str, Lazy], *fields: Field) -> xr.Dataset:
    """The Dataset with static fields: by variable (`force_x`), (trajectory, *axes) or, the same for all trajectories, (*axes)."""
    domain = domain_of(made)
    axes = layout.axes(domain)
    for f in fields:
        for name, meta in variables(f, domain):
            u = arrays[name]
            made = made.assign({name: (axes if len(u.shape) == len(axes) else (TRAJECTORY, *axes), _native(u), meta)})
    return declare(made, static=Fields(fields))


def _native(values: Lazy) -> Lazy:
    """In the byte order of this machine, which is all that torch takes; lazily."""
    if values.dtype.isnative:
        return values
    import dask.array as da

    blocks = values if isinstance(values, da.Array) else da.from_array(values, chunks=(1, *values.shape[1:]))  # type: ignore[no-untyped-call]
    return blocks.astype(values.dtype.newbyteorder("="))
