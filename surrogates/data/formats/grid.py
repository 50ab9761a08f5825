"""A Box from the points that a file lists, and steps as numbers that people wrote: 0.01, not the 0.0099999998 of its float32.

The points of a walled axis are the centres of equal cells; those of a periodic one begin anywhere and never repeat their end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from surrogates.data.formats import checks
from surrogates.data.formats.given import Given
from surrogates.domains.box import AXES, PERIODIC, Box

DIGITS = 1e-5  # relative: what float32 and some thousand sums leave


def box_of(points: Sequence[ArrayLike], path: Path, given: Given, *, boundary: Sequence[str] = (), units: str | None = None) -> Box:
    """The Box with these points on its axes; `boundary` and `units` as the file has them, where `given` says nothing else.

    Raises ValueError for points that are not evenly spaced, and for what neither the file nor `given` says.
    """
    kinds = given.need(given.boundary or tuple(boundary), "boundary", path, f"the file does not say how its {len(points)} axes end")
    if len(kinds) != len(points):
        raise ValueError(f"{path}: boundary has {len(kinds)} entries but the grid has {len(points)} axes")
    lower, lengths, shape = [], [], []
    for axis, (values, kind) in enumerate(zip(points, kinds, strict=True)):
        place = f"{path}: the points of axis {AXES[axis]}"
        x = checks.rising(values, place)
        h = checks.step(x, place)
        length = neat(h * len(x))
        start = float(x[0]) - (0.0 if kind == PERIODIC else length / len(x) / 2)
        lower.append(neat(start, length))
        lengths.append(length)
        shape.append(len(x))
    return given.box(shape, path, lengths=lengths, lower=lower, boundary=kinds, units=units)


def times_of(values: ArrayLike, place: str) -> list[float]:
    """Rising, even times as multiples of one step. Raises ValueError where they are neither."""
    t = checks.rising(values, place)
    if len(t) == 1:
        return [float(t[0])]
    step = neat(checks.step(t, place))
    start = neat(float(t[0]), step * len(t))
    return [start + n * step for n in range(len(t))]


def neat(value: float, scale: float | None = None) -> float:
    """The number with fewest digits within rounding of float32, relative to `scale` (default: to itself)."""
    room = DIGITS * abs(value if scale is None else scale)
    for digits in range(1, 8):
        short = float(np.format_float_scientific(value, digits - 1))
        if abs(short - value) <= room / 10:
            return short
    return value
