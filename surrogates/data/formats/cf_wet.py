"""Which cells of a grid never have a value: land in a field of the sea, the world outside of a radar's reach.

Three frames of each field tell: the first, the middle and the last. A frame without any value tells nothing (it is missing as a whole). A
cell is dry where no field has a value in any of these; what is missing in a wet cell stays NaN. Where fields or levels differ in their
dry cells (sea temperature beside wind) the caller has to say which is meant.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from surrogates.domains import Masked, Mesh
from surrogates.domains.layout import AnyDomain, axes
from surrogates.fields import Fields
from surrogates.interchange import LEVEL, TIME

MASKS = ("", "none", "any")


def land(data: xr.Dataset, state: Fields, domain: AnyDomain, mask: str, place: str) -> AnyDomain:
    """The domain, Masked where cells of it are dry. Raises ValueError where the fields differ in that and `mask` does not say "any"."""
    if mask == "none" or isinstance(domain, Masked | Mesh):
        return domain
    dry: dict[str, NDArray[np.bool_]] = {}
    for name in (v for f in state for v in f.variables):
        dry |= _never(name, data[name], axes(domain))
    if not dry:
        return domain
    where = np.logical_or.reduce(list(dry.values()))
    (first, one), *rest = dry.items()
    for name, other in rest if mask != "any" else ():
        if (one != other).any():
            raise ValueError(
                f"{place}: {first} never has a value in {int(one.sum())} cells and {name} in {int(other.sum())}, not the same ones; choose "
                "fields and levels that share their coasts (options: {variables: [...]}), or write options: {mask: any}: dry where any has "
                "no value"
            )
    if not where.any():
        return domain
    if where.all():
        raise ValueError(f"{place}: no cell ever has a value in {list(dry)}; is the fill value right?")
    return Masked(domain, torch.from_numpy(~where))


def _never(name: str, v: xr.DataArray, space: tuple[str, ...]) -> dict[str, NDArray[np.bool_]]:
    """For each level the cells without a value in any of three frames; none where these frames have no value at all."""
    frames, out = v.sizes[TIME], {}
    some = v.isel({TIME: sorted({0, frames // 2, frames - 1})}).compute()
    for n in range(v.sizes.get(LEVEL, 1)):
        one = some.isel({LEVEL: n}) if LEVEL in some.dims else some
        missing = np.isnan(one.transpose(..., *space).values)
        missing = missing.reshape(-1, *missing.shape[-len(space) :])
        told = missing[~missing.reshape(len(missing), -1).all(1)]
        if len(told):
            out[f"{name} on level {n}" if LEVEL in some.dims else repr(name)] = told.all(0)
    return out
