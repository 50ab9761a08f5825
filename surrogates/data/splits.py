"""Splits of a Dataset in memory: by trajectory, by parameter range or by time block; disjoint, and each knows its name."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import xarray as xr

from surrogates.data.files import SPLIT
from surrogates.errors import nearest
from surrogates.interchange import TIME, TRAJECTORY, parameters_of


def by_trajectory(dataset: xr.Dataset, counts: Mapping[str, int]) -> dict[str, xr.Dataset]:
    """Consecutive trajectories, as many as `counts` says for each split. Raises ValueError where there are too few."""
    have, need = dataset.sizes.get(TRAJECTORY, 1), sum(counts.values())
    if need > have or min(counts.values()) < 1:
        raise ValueError(f"splits of {dict(counts)} trajectories need {need}, each at least 1, but the Dataset has {have}")
    edges = np.cumsum([0, *counts.values()]).tolist()
    return {s: _named(dataset.isel({TRAJECTORY: slice(a, b)}), s) for s, a, b in zip(counts, edges[:-1], edges[1:], strict=True)}


def by_parameter(dataset: xr.Dataset, name: str, ranges: Mapping[str, tuple[float, float]]) -> dict[str, xr.Dataset]:
    """Trajectories whose parameter lies in [lower, upper) of each split. Raises ValueError for overlaps and empty splits."""
    known = parameters_of(dataset)
    if name not in known:
        raise ValueError(f"the Dataset has no parameter {name!r}; it has {sorted(known)}{nearest(name, known)}")
    rising = sorted(ranges.items(), key=lambda item: item[1])
    for (a, (_, upper)), (b, (lower, _)) in pairwise(rising):
        if lower < upper:
            raise ValueError(f"the ranges of {a!r} and {b!r} overlap at {lower:g}; a split by parameter range keeps them apart")
    values, out = known[name].numpy(), {}
    for split, (lower, upper) in ranges.items():
        rows = np.flatnonzero((values >= lower) & (values < upper))
        if not len(rows):
            raise ValueError(
                f"no trajectory has {name} in [{lower:g}, {upper:g}) of split {split!r}; they lie from {values.min():g} to {values.max():g}"
            )
        out[split] = _named(dataset.isel({TRAJECTORY: rows}), split)
    return out


def by_time(dataset: xr.Dataset, fractions: Mapping[str, float], gap: int = 0) -> dict[str, xr.Dataset]:
    """Consecutive blocks of time, as long as `fractions` says, less the first `gap` frames of every block but the first: so far apart that
    the end of one tells nothing of the next. Raises ValueError where they do not make at most the whole, or the gap leaves nothing of one.
    """
    total = sum(fractions.values())
    if min(fractions.values()) <= 0 or total > 1 + 1e-9:
        raise ValueError(f"fractions must be positive and sum to at most 1, got {dict(fractions)}")
    edges = np.round(np.cumsum([0, *fractions.values()]) * dataset.sizes[TIME]).astype(int).tolist()
    spans = {s: (a + (gap if n else 0), b) for n, (s, a, b) in enumerate(zip(fractions, edges[:-1], edges[1:], strict=True))}
    for split, (a, b) in spans.items():
        if gap < 0 or a >= b:
            raise ValueError(f"a gap of {gap} frames leaves nothing of the block {split!r}; give it a larger share, or a narrower gap")
    return {s: _named(dataset.isel({TIME: slice(a, b)}), s) for s, (a, b) in spans.items()}


def split_of(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    """By the coordinate "split" where the trajectories have one, else the last tenth (at least one) for validation."""
    if SPLIT in dataset.coords and dataset[SPLIT].dims == (TRAJECTORY,):
        labels = dataset[SPLIT].values
        return {str(s): _named(dataset.isel({TRAJECTORY: np.flatnonzero(labels == s)}), str(s)) for s in dict.fromkeys(labels.tolist())}
    have = dataset.sizes.get(TRAJECTORY, 1)
    if have < 2:
        raise ValueError("one trajectory cannot be split by trajectory; use surrogates.data.by_time(dataset, {'train': .8, 'valid': .2})")
    valid = max(1, have // 10)
    return by_trajectory(dataset, {"train": have - valid, "valid": valid})


def _named(dataset: xr.Dataset, split: str) -> xr.Dataset:
    return dataset.assign_attrs({SPLIT: split})
