"""Files in The Well's layout (HDF5, format "polymathic": docs/data_format.md of PolymathicAI/the_well), written crash-safely.

    root      @dataset_name @grid_type @n_spatial_dims @n_trajectories @simulation_parameters, and a value for each of these
    dimensions, boundary_conditions             (`geometry`)
    t0_fields, t1_fields, t2_fields, scalars    (`arrays`): the state, static fields (@time_varying false), forcings, parameters
    surrogates   ours: ids of the trajectories, one `complete` byte each, and a JSON text `final`; attributes fields, static, forcings
                 and domain that tell exactly what the arrays are, recipe, version, dt, what else the maker says,
                 and where an initial state has several members their number `members`

Everything HDF5 knows about the file is written at once, to a name that is then moved into place, with the arrays preallocated,
contiguous and uncompressed. From then on only raw bytes at known offsets change: frames, synchronised; then the `complete` byte of their
trajectory; last of all `final`. So there is no moment at which a kill leaves a file that does not open. An unfinished file is
`*.hdf5.part`. All trajectories of a file share their times; those with other times go into another file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from surrogates.data.arrays import Grid, Known, every, known_of, order_of
from surrogates.data.geometry import write_geometry
from surrogates.data.hdf5 import (
    FEW,
    FINAL_BYTES,
    FORMAT,
    MEMBERS,
    ORDERS,
    OURS,
    PARAMETER,
    PART,
    ROOM_FOR_THE_REST,
    SCALARS,
    check_room,
    names,
    plain,
    reserve,
    reserved,
)
from surrogates.data.part import Part, checksum
from surrogates.domains import Mesh
from surrogates.fields import Fields
from surrogates.interchange import FORCINGS, GAPS, STATIC, domain_of, fields_of, parameters_of, time_attrs_of, times_of, trajectories_of

__all__ = ["FORMAT", "MEMBERS", "ORDERS", "OURS", "PART", "Known", "Part", "checksum", "create", "create_like", "order_of"]


def create(
    path: Path,
    *,
    name: str,
    fields: Fields,
    box: Grid,
    times: Sequence[float],
    trajectories: Sequence[int],
    parameters: Mapping[str, Sequence[float]],
    attrs: Mapping[str, str | int | float],
    known: Sequence[Known] = (),
    time_units: str = "1",
    calendar: str = "",
) -> None:
    """A new unfinished file at `path`, all of its room reserved.

    `attrs` hold at least recipe, version and dt (in the units of time); all come back as attributes of the Dataset. `known` are the
    static fields and forcings. Times are numbers, with CF units ("hours since 1996-01-01") and calendar where they stand for dates.
    Raises OSError where the disk has not that much room, ValueError for times that do not rise and for names that stand twice.
    """
    if not (np.diff(np.asarray(times, np.float64)) > 0).all():
        raise ValueError(f"{path}: the times must rise; sort the frames, and give one of those that stand twice")
    levels = {k.field.levels for k in (*map(Known, fields), *known) if k.field.levels}
    if len(levels) > 1:
        raise ValueError(f"{path}: fields on different levels {sorted(levels)} do not fit one file; write them separately")
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = (len(trajectories), len(times))
    check_room(path, ROOM_FOR_THE_REST + 4 * sum(prod(_shape(k, a.shape(box), sizes)) for k, a in every(fields, known, box)))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with h5py.File(draft, "w", libver="earliest") as f:
            f.attrs.update({"dataset_name": name, "n_trajectories": len(trajectories)})
            ours = f.create_group(OURS)
            write_geometry(f, box, times, {"units": time_units, **({"calendar": calendar} if calendar else {})})
            _parameters(f, parameters)
            _arrays(f, fields, known, box, sizes)
            declared = {"fields": fields, STATIC: _of(known, False), FORCINGS: _of(known, True)}
            ours.attrs.update({k: json.dumps(v.to_json()) for k, v in declared.items()})
            ours.attrs.update({"format": FORMAT, **attrs})
            plain(ours, "trajectory", np.asarray(trajectories, np.int64))
            plain(ours, "complete", np.zeros(len(trajectories), np.uint8))
            plain(ours, "final", np.zeros(FINAL_BYTES, np.uint8))
        reserve(draft)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def create_like(path: Path, dataset: xr.Dataset, *, name: str, attrs: Mapping[str, str | int | float]) -> None:
    """`create` for what a Dataset holds: fields, domain, times with their units, trajectories, parameters, static fields and forcings.

    Raises ValueError for a mesh, which `surrogates.data.mesh_file` holds.
    """
    domain = domain_of(dataset)
    if isinstance(domain, Mesh):
        raise ValueError(f"{path}: the Dataset lies on a mesh, and this layout holds grids; write it with surrogates.data.mesh_file")
    about = time_attrs_of(dataset)
    gaps = {GAPS: str(dataset.attrs[GAPS])} if dataset.attrs.get(GAPS) else {}
    create(
        path,
        name=name,
        fields=fields_of(dataset),
        box=domain,
        times=times_of(dataset).tolist(),
        trajectories=trajectories_of(dataset),
        parameters={k: v.tolist() for k, v in parameters_of(dataset).items()},
        attrs={**({"dt": float(dataset.attrs["dt"])} if "dt" in dataset.attrs else {}), **gaps, **attrs},
        known=known_of(dataset),
        time_units=about.get("units", "1"),
        calendar=about.get("calendar", ""),
    )


def _of(known: Sequence[Known], timed: bool) -> Fields:
    return Fields(tuple(k.field for k in known if k.timed == timed))


def _shape(k: Known, space: tuple[int, ...], sizes: tuple[int, int]) -> tuple[int, ...]:
    """(B, T, *space), less what it does not vary in."""
    return (*(() if k.shared else sizes[:1]), *(sizes[1:] if k.timed else ()), *space)


def _parameters(f: h5py.File, parameters: Mapping[str, Sequence[float]]) -> None:
    """As scalars in float32 and, if few, root attributes for any reader of the layout; exactly in our group, from which ours reads them."""
    f.attrs["simulation_parameters"] = names(parameters)
    group = f.create_group(SCALARS)
    for name, values in parameters.items():
        exact = np.asarray(values, np.float64)
        varies = bool((exact != exact[:1]).any())
        value = exact if varies else exact[0]
        if exact.size <= FEW or not varies:
            f.attrs[name] = value
        plain(f[OURS], f"{PARAMETER}{name}", np.asarray(value, np.float64))
        plain(group, name, np.asarray(value, np.float32), sample_varying=varies, time_varying=False)
    group.attrs["field_names"] = names(parameters)


def _arrays(f: h5py.File, fields: Fields, known: Sequence[Known], grid: Grid, sizes: tuple[int, int]) -> None:
    held: dict[str, list[str]] = {**{order: [] for order in ORDERS}, SCALARS: [str(n) for n in f[SCALARS].attrs["field_names"]]}
    for k, array in every(fields, known, grid):
        group = f.require_group(array.path.partition("/")[0])
        made = reserved(group, array.name, _shape(k, array.shape(grid), sizes))
        made.attrs.update({"sample_varying": not k.shared, "time_varying": k.timed, "units": k.field.units})
        if array.spread:
            made.attrs["dim_varying"] = [True] * grid.dim
        if array.order == 2:
            made.attrs.update({"symmetric": False, "antisymmetric": False})
        held[array.path.partition("/")[0]].append(array.name)
    for group_name, members in held.items():
        f.require_group(group_name).attrs["field_names"] = names(members)
