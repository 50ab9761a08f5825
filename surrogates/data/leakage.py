"""Leakage: the same frame in two splits, found by a hash of its content.

A frame is hashed as the bytes of its state channels in float32, dry cells left out, missing values and both zeros alike. Eight bytes of
BLAKE2b a frame are kept: of a million frames two different ones agree with probability 3e-8, and a suspicion is looked at again in full.
A frame without any value is no frame of the data, and equals none.
Source: J.-P. Aumasson et al., BLAKE2, RFC 7693, https://www.rfc-editor.org/rfc/rfc7693.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.sample import Frame, one_member
from surrogates.data.written import channels
from surrogates.domains import Masked
from surrogates.interchange import TIME, TRAJECTORY, domain_of, fields_of

Hashes = NDArray[np.uint64]
NOTHING = 0
"""In place of the hash of a frame that is missing as a whole."""


@dataclass(frozen=True)
class Place:
    """A frame by the part it is in, the trajectory's row there, and its number."""

    part: int
    row: int
    frame: int


@dataclass(frozen=True)
class Duplicate:
    """A frame that is in two splits, where it is first in each, and how many of the second's frames are in the first at all."""

    splits: tuple[str, str]
    places: tuple[Place, Place]
    count: int


def hashes(u: Frame, wet: NDArray[np.bool_] | None = None) -> Hashes:
    """One a frame (T, C, *X) -> (T,), `NOTHING` where all of it is missing."""
    flat = u.reshape(*u.shape[:2], -1)
    flat = (flat if wet is None else flat[:, :, wet.ravel()]) + np.float32(0)  # -0 + 0 = 0
    flat[np.isnan(flat)] = np.nan
    found = [int.from_bytes(blake2b(np.ascontiguousarray(f).data, digest_size=8).digest(), "little") for f in flat]
    return np.where(np.isnan(flat).all((1, 2)), np.uint64(NOTHING), np.array(found, np.uint64))


def duplicates(found: Mapping[str, Sequence[NDArray[np.uint64]]], parts: Mapping[str, Sequence[xr.Dataset]]) -> list[Duplicate]:
    """Frames that two splits share; `found` holds the hashes (R, T) of each part of each split."""
    out = []
    for a, b in combinations(found, 2):
        first, second = (np.concatenate([h.ravel() for h in found[s]]) for s in (a, b))
        shared = np.isin(second, first) & (second != NOTHING)
        for at in np.flatnonzero(shared):
            here, there = _place(found[a], int(np.flatnonzero(first == second[at])[0])), _place(found[b], int(at))
            if _equal(parts[a][here.part], here, parts[b][there.part], there):
                out.append(Duplicate((a, b), (here, there), int(shared.sum())))
                break
    return out


def wet_of(part: xr.Dataset) -> NDArray[np.bool_] | None:
    """The cells that count."""
    domain = domain_of(part)
    return domain.wet.numpy() if isinstance(domain, Masked) else None


def _place(found: Sequence[NDArray[np.uint64]], at: int) -> Place:
    for n, h in enumerate(found):
        if at < h.size:
            return Place(n, *divmod(at, h.shape[1]))
        at -= h.size
    raise AssertionError("unreachable")


def _equal(one: xr.Dataset, here: Place, other: xr.Dataset, there: Place) -> bool:
    u, v = (channels(one_member(d).isel({TRAJECTORY: p.row, TIME: p.frame}), fields_of(d), ()) for d, p in ((one, here), (other, there)))
    if u.shape != v.shape:
        return False
    wet = wet_of(one)
    return bool(np.array_equal(u[:, wet], v[:, wet], equal_nan=True) if wet is not None else np.array_equal(u, v, equal_nan=True))
