"""Which arrays of a file hold which channels.

    scalar                       t0_fields/pressure             (B T *X)
    vector, D components         t1_fields/velocity             (B T *X D)
    tensor, D^2 components       t2_fields/stress               (B T *X D D)
    any other components         t0_fields/velocity_x, ...      one array a component
    on levels                    t0_fields/temperature_500, ... one array a level, vectors and tensors likewise

What is known beside the state has no B where all trajectories share it, no T where it is static, and lies in `scalars` where it has no *X.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import h5py
import xarray as xr

from surrogates.data.hdf5 import ORDERS, SCALARS
from surrogates.domains import Box, Masked, Patch, Sphere
from surrogates.domains.layout import axes
from surrogates.fields import Field, Fields
from surrogates.interchange import FORCINGS, STATIC, TIME, TRAJECTORY, declared, domain_of

Grid = Box | Masked | Patch | Sphere
"""The domains whose grids this layout holds."""


@dataclass(frozen=True)
class Known:
    """A field known beside the state: a forcing where it is `timed`, else static.

    `shared` by all trajectories or a value for each; `spread` over space or one number a time (a forcing only).
    Raises ValueError for a static number, which is a parameter, and for numbers on levels.
    """

    field: Field
    timed: bool = False
    shared: bool = True
    spread: bool = True

    def __post_init__(self) -> None:
        if not self.spread and not self.timed:
            raise ValueError(f"{self.field.name!r} varies neither in time nor in space; make it a parameter")
        if not self.spread and self.field.levels:
            raise ValueError(f"{self.field.name!r} has levels but no space; give each level a name of its own")


@dataclass(frozen=True)
class Array:
    """One array: `channels` of its field, in the order of the last axis (of both last axes together for a tensor)."""

    name: str
    order: int
    channels: tuple[int, ...]
    spread: bool = True

    @property
    def path(self) -> str:
        """Where in the file it lies."""
        return f"{ORDERS[self.order] if self.spread else SCALARS}/{self.name}"

    def shape(self, grid: Grid, *lead: int) -> tuple[int, ...]:
        """With `lead` before space: trajectories and times, as many as it has."""
        return (*lead, *grid.shape, *(grid.dim,) * self.order) if self.spread else lead


def order_of(f: Field, grid: Grid) -> int:
    """The tensor order of its arrays: 1 for as many components as axes, 2 for their square, else 0."""
    count = len(f.components)
    return 0 if count == 0 else 1 if count == grid.dim else 2 if count == grid.dim**2 else 0


def arrays_of(f: Field, grid: Grid, spread: bool = True) -> list[Array]:
    """The arrays of a field, in the order in which its components and levels name them."""
    levels, order = max(1, len(f.levels)), order_of(f, grid) if spread else 0
    endings = [f"_{level:g}" for level in f.levels] or [""]
    if order:
        count = len(f.components)
        return [Array(f.name + e, order, tuple(c * levels + n for c in range(count))) for n, e in enumerate(endings)]
    places = [(v, n, e) for n, v in enumerate(f.variables) for e in endings]
    return [Array(v + e, 0, (n * levels + endings.index(e),), spread) for v, n, e in places]


def every(fields: Fields, known: Sequence[Known], grid: Grid) -> Iterator[tuple[Known, Array]]:
    """All arrays of a file, the state first, as a field that is timed and not shared. Raises ValueError for a name that stands twice."""
    seen: set[str] = set()
    for k in (*(Known(f, timed=True, shared=False) for f in fields), *known):
        for array in arrays_of(k.field, grid, k.spread):
            if array.path in seen:
                raise ValueError(f"two fields would both be stored as {array.path}; rename one")
            seen.add(array.path)
            yield k, array


def known_of(dataset: xr.Dataset) -> tuple[Known, ...]:
    """What a Dataset declares beside its state, told apart by the dims of its variables."""
    space, out = set(axes(domain_of(dataset))), []
    for kind in (STATIC, FORCINGS):
        for f in declared(dataset, kind) or ():
            dims = set(dataset[f.variables[0]].dims)
            out.append(Known(f, TIME in dims, TRAJECTORY not in dims, bool(space & dims)))
    return tuple(out)


def stored(f: h5py.File, kind: str, fields: Fields, grid: Grid) -> tuple[Known, ...]:
    """What a file of ours keeps of the kind "static" or "forcings", from the attributes of its arrays."""
    out = []
    for field in fields:
        spread = arrays_of(field, grid)[0].path in f
        about = f[arrays_of(field, grid, spread)[0].path].attrs
        out.append(Known(field, bool(about["time_varying"]), not bool(about["sample_varying"]), spread))
    assert all(k.timed == (kind == FORCINGS) for k in out)
    return tuple(out)
