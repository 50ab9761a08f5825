"""The arrays of a file of The Well: what each is by its flags, and its components, lazily, spread over axes along which it is constant.

On a sphere a vector is stored along the axes of the file and read to the north and to the east, as `Sphere` has it: theta is colatitude,
which grows southward, so that its component changes sign, and with it those of a tensor that have one index of theta.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from surrogates.data.formats import checks
from surrogates.data.formats.given import Given
from surrogates.data.formats.well_space import POLAR, words
from surrogates.data.hdf5 import ORDERS
from surrogates.data.lazy import lazy, negated
from surrogates.fields import Field
from surrogates.interchange import FORCINGS, STATIC

STATE = "state"
NORTH_EAST = ("north", "east")


@dataclass(frozen=True)
class Stored:
    """A field and its values ([B] [T] *X, components last), B where `sampled`, T where `timed`, *X where `spread`."""

    field: Field
    values: Any
    sampled: bool
    timed: bool
    spread: bool = True
    order: int = 0
    southward: bool = False

    @property
    def kind(self) -> str:
        """What it is to a model: of what it is given, and what it makes."""
        return STATIC if not self.timed else STATE if self.sampled and self.spread else FORCINGS

    def components(self) -> Iterator[Any]:
        """One array ([B] [T] *X) a component, in the order of the field."""
        flat = self.values.reshape(*self.values.shape[: self.values.ndim - self.order], -1) if self.order else self.values[..., None]
        sides = round(flat.shape[-1] ** (1 / self.order)) if self.order else 1
        for n in range(flat.shape[-1]):
            south = self.southward and sum(i == 0 for i in np.unravel_index(n, (sides,) * self.order)) % 2
            yield negated(flat[..., n]) if south else flat[..., n]

    @classmethod
    def of_mask(
        cls, name: str, sampled: bool, of: tuple[str, ...], values: NDArray[np.float32], axes: tuple[str, ...], shape: tuple[int, ...]
    ) -> Stored:
        """A static field that lies on some of the axes, spread over the others."""
        lead = values.shape[:1] if sampled else ()
        order = sorted(range(len(of)), key=lambda n: axes.index(of[n]))
        turned = values.transpose(*range(len(lead)), *(len(lead) + n for n in order))
        held = (*lead, *(n if a in of else 1 for a, n in zip(axes, shape, strict=True)))
        return cls(Field(_identifier(name)), np.broadcast_to(turned.reshape(held), (*lead, *shape)), sampled, False)


def fields_in(
    f: h5py.File, path: Path, given: Given, axes: tuple[str, ...], shape: tuple[int, ...], sizes: tuple[int, int], globe: bool = False
) -> list[Stored]:
    """All fields. Raises ValueError for an array of another shape than its flags and the dimensions of the file say."""
    out = []
    for order, group in enumerate(ORDERS):
        tensor = tuple(f"{a}_{b}" for a in NORTH_EAST for b in NORTH_EAST) if globe else tuple(a + b for a in axes for b in axes)
        labels = ((), NORTH_EAST if globe else axes, tensor)[order]
        for name in words(f[group].attrs["field_names"]):
            array, about = checks.array(f[group], name, path), f[group][name].attrs
            sampled, timed = (bool(about.get(k, True)) for k in ("sample_varying", "time_varying"))
            varies = [bool(v) for v in about.get("dim_varying", [True] * len(axes))]
            lead = (*(sizes[:1] if sampled else ()), *(sizes[1:] if timed else ()))
            held = (*lead, *(n for n, v in zip(shape, varies, strict=True) if v), *(len(axes),) * order)
            open_ = (*lead, *(n if v else 1 for n, v in zip(shape, varies, strict=True)), *(len(axes),) * order)
            if array.shape not in (held, open_):  # the documentation drops an axis of no variation, the authors' loader wants it of size 1
                raise ValueError(f"{path}: field {name!r} has shape {array.shape} but the dimensions of the file say {held}")
            values = _spread(lazy(array, path, len(lead)).reshape(open_), (*lead, *shape, *(len(axes),) * order))
            unit = given.unit(name, path, str(about.get("units", "1")))
            south = globe and axes[0] in POLAR
            out.append(Stored(Field(_identifier(name), unit, labels), values, sampled, timed, order=order, southward=south))
    return out


def scalars_in(f: h5py.File, path: Path, given: Given, sizes: tuple[int, int]) -> list[Stored]:
    """Those that vary in time."""
    out = []
    for name in words(f["scalars"].attrs["field_names"]):
        about = checks.array(f["scalars"], name, path).attrs
        if not about.get("time_varying", False):
            continue
        values, sampled = np.asarray(f["scalars"][name][()], np.float32), bool(about.get("sample_varying", False))
        held = sizes if sampled else sizes[1:]
        if values.shape != held:
            raise ValueError(f"{path}: scalar {name!r} has shape {values.shape} but the dimensions of the file say {held}")
        unit = given.unit(name, path, str(about.get("units", "1")))
        out.append(Stored(Field(_identifier(name), unit), values, sampled, True, spread=False))
    return out


def _spread(values: Any, shape: tuple[int, ...]) -> Any:
    if values.shape == shape:
        return values
    if isinstance(values, np.ndarray):
        return np.broadcast_to(values, shape)
    import dask.array as da

    return da.broadcast_to(values, shape)  # type: ignore[no-untyped-call]


def _identifier(name: str) -> str:
    """The name as Python can write it: "magnetic field" is magnetic_field."""
    found = re.sub(r"\W", "_", name)
    return found if found.isidentifier() else f"_{found}"
