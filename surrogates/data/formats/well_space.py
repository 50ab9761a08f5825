"""Space in files of The Well: axes and boundary conditions -> a domain, and what a domain does not hold.

    cartesian, or any coordinates      Box: periodic where a boundary condition says so, else points as cell centres, stretched or not
    spherical (theta, phi) in radians  Sphere: colatitude from the north, longitude; lat and lon in degrees likewise
    spherical (r, theta, phi), ...     Box of the coordinates themselves, its measure is theirs; attribute `axes` names them

A Box knows which of its ends repeat, are walls or are open; attribute `boundary_conditions` keeps all of them as JSON: kind (wall, open,
periodic), axes, fields, at which ends, with which values. A mask that is not just the ends of an axis becomes a static field
`boundary_<name>` of zeros and ones, and values that lie there a field `boundary_<name>_values`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from surrogates.data.formats import checks
from surrogates.data.formats.edges import box_of
from surrogates.data.formats.ends import opened
from surrogates.data.formats.given import Given
from surrogates.domains import Box, Sphere
from surrogates.domains.box import PERIODIC, WALL
from surrogates.domains.sphere import GRIDS

GLOBES = (("theta", "phi"), ("lat", "lon"), ("latitude", "longitude"))
POLAR = ("theta", "colatitude")
DEGREE = 0.02  # of a step: how far a latitude may lie from where the grid has it


@dataclass(frozen=True)
class Condition:
    """One boundary condition; `mask` is (*those axes), with trajectories, then times, first where it varies with them."""

    name: str
    kind: str
    axes: tuple[str, ...]
    fields: tuple[str, ...]
    sample_varying: bool
    time_varying: bool
    mask: NDArray[np.bool_] | None
    values: NDArray[np.float32] | None

    @property
    def at_ends(self) -> bool:
        """Whether it is one of an axis: the mask true at its ends at most."""
        return len(self.axes) == 1 and (self.mask is None or not self.mask[..., 1:-1].any())

    def entry(self) -> dict[str, Any]:
        """Plainly, with the values where they are few."""
        out: dict[str, Any] = {"name": self.name, "kind": self.kind, "axes": list(self.axes), "fields": list(self.fields)}
        out |= {k: True for k in ("sample_varying", "time_varying") if getattr(self, k)}
        if self.at_ends and self.mask is not None:
            out["ends"] = [bool(self.mask[..., 0].any()), bool(self.mask[..., -1].any())]
        if self.values is not None and self.values.size and self.values.size <= 64 and self.values.any():
            out["values"] = self.values.tolist()
        return out


def words(value: Any) -> tuple[str, ...]:
    """An attribute that is one name, or a list of them."""
    return tuple(v.decode() if isinstance(v, bytes) else str(v) for v in np.ravel(np.asarray(value, dtype=object)))


def conditions_in(f: h5py.File, path: Path, sizes: Mapping[str, int], count: int, frames: int) -> list[Condition]:
    """The boundary conditions of a file whose axes have these `sizes`.

    Raises ValueError for those that lie in another file, and for a mask that is not as large as its axes.
    """
    out = []
    for name in f.get("boundary_conditions", {}):
        checks.own(f["boundary_conditions"], name, path)
        bc = f["boundary_conditions"][name]
        kind = words(bc.attrs["bc_type"])[0].lower()
        mask, values = (checks.array(bc, n, path)[()] if n in bc else None for n in ("mask", "values"))
        sampled, timed = (bool(bc.attrs.get(k, False)) for k in ("sample_varying", "time_varying"))
        axes, fields = words(bc.attrs["associated_dims"]), words(bc.attrs.get("associated_fields", []))
        if mask is not None:
            lead = (*((count,) if sampled else ()), *((frames,) if timed else ()))
            _fitting(mask.shape, (*lead, *(sizes.get(a) for a in axes)), f"{path}: {bc.name}/mask", axes)
        out.append(Condition(str(name), kind, axes, fields, sampled, timed, None if mask is None else mask.astype(bool), values))
    return out


def _fitting(have: tuple[int, ...], want: tuple[int | None, ...], place: str, axes: tuple[str, ...]) -> None:
    """Raises ValueError unless a mask has one value a point of its axes, at least one; None stands for an axis that the file has not."""
    if 0 in have or len(have) != len(want) or any(w is not None and h != w for h, w in zip(have, want, strict=True)):
        shown = ", ".join("any" if n is None else str(n) for n in want) + ("," if len(want) == 1 else "")
        raise ValueError(
            f"{place} has shape {have} but its axes {', '.join(axes)} and flags say ({shown}); write it so, or remove its group "
            f"from the file and say how the axes end in source.yaml: boundary: [periodic, wall, ...]"
        )


def described(conditions: list[Condition]) -> str:
    """All of them as JSON."""
    return json.dumps([c.entry() for c in conditions])


def inner(conditions: list[Condition], axes: tuple[str, ...]) -> Iterator[tuple[str, bool, tuple[str, ...], NDArray[np.float32]]]:
    """What lies not only at the ends: name, whether it varies between trajectories, its axes, and values (*those axes)."""
    for c in conditions:
        if c.at_ends or c.mask is None or c.time_varying or not set(c.axes) <= set(axes):
            continue
        yield f"boundary_{c.name}", c.sample_varying, c.axes, c.mask.astype(np.float32)
        if c.values is not None and c.values.any() and c.values.size == c.mask.sum():
            spread = np.zeros(c.mask.shape, np.float32)
            spread[c.mask] = c.values.ravel()
            yield f"boundary_{c.name}_values", c.sample_varying, c.axes, spread


def domain_of(
    points: list[NDArray[np.float64]], axes: tuple[str, ...], grid_type: str, conditions: list[Condition], path: Path, given: Given
) -> Box | Sphere:
    """The domain. Raises ValueError for points that no domain has, and, of latitudes, says where they lie."""
    if is_globe(axes, grid_type):
        return _sphere(points, axes, path, given)
    periodic = {a for c in conditions if c.kind == PERIODIC for a in c.axes}
    said = given.boundary or tuple(PERIODIC if a in periodic else WALL for a in axes)
    if len(said) != len(axes):
        raise ValueError(f"{path}: boundary has {len(said)} entries but the axes are {axes}")
    box = box_of(points, list(said), f"{path}: dimensions {', '.join(axes)}", given.units.get("length", "1"))
    if given.boundary:
        return replace(box, open_ends=given.open_ends)
    opened_box = opened(box, [c.entry() for c in conditions if c.at_ends], axes)
    assert isinstance(opened_box, Box)
    return opened_box


def is_globe(axes: tuple[str, ...], grid_type: str) -> bool:
    """Whether the axes are those of a sphere's surface."""
    return len(axes) == 2 and (grid_type == "spherical" or axes in GLOBES)


def _sphere(points: list[NDArray[np.float64]], axes: tuple[str, ...], path: Path, given: Given) -> Sphere:
    if axes not in GLOBES:
        raise ValueError(f"{path}: a spherical grid has the axes {' or '.join(map(str, GLOBES))}, in this order, got {axes}; transpose it")
    radians = max(np.abs(points[0]).max(), np.abs(points[1]).max()) <= 2 * np.pi + 1e-3
    lat, lon = (np.rad2deg(p) if radians else p for p in points)
    lat = 90 - lat if axes[0] in POLAR else lat
    shape = (len(lat), len(lon))
    if not np.allclose(np.diff(lon), 360 / shape[1], rtol=1e-2):
        raise ValueError(
            f"{path}: the longitudes {axes[1]} run from {lon[0]:g} to {lon[-1]:g} degrees; a sphere needs {shape[1]} equal steps of "
            f"{360 / shape[1]:g}, the last one short of the circle (drop the meridian that stands twice)"
        )
    radius = float(given.options.get("radius", 1.0))
    for grid in GRIDS:
        sphere = Sphere(shape, grid, bool(lat[0] > lat[-1]), float(lon[0]), radius, given.units.get("length", "1"))
        if np.allclose(lat, sphere.coordinate(0).numpy(), atol=DEGREE * 180 / shape[0]):
            return sphere
    where = f"{lat[0]:g}, {lat[1]:g}, ..., {lat[-1]:g}"
    raise ValueError(f"{path}: the latitudes {where} are those of none of the grids {', '.join(GRIDS)}; interpolate the fields to one")
