"""The borders of cells from their centres: e_{k+1} = 2 x_k - e_k, one number free, chosen so that widths change least from cell to cell.

With s_0 = 0, s_{k+1} = 2 x_k - s_k the borders are e_k = s_k + (-1)^k e_0; every width is positive while s_k - x_k < e_0 (k odd) and
e_0 < x_k - s_k (k even). Equal steps, powers r^k and cos((k + 1/2) pi / N) all have such borders; centres without any lie no way that
cells could.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from surrogates.data.formats import checks
from surrogates.domains.box import PERIODIC, WALL, Box

Numbers = NDArray[np.float64]
EQUAL = 1e-3  # coordinates are often float32: of 1000 points, a step is known that well


def box_of(points: list[Numbers], boundary: list[str], place: str, units: str = "1") -> Box:
    """The Box whose points these are, one array an axis: of equal cells where they are, else stretched.

    Raises ValueError for an axis that does not rise, is stretched and periodic, or whose points are no centres of cells.
    """
    lower: list[float] = []
    upper: list[float] = []
    edges: list[tuple[float, ...] | None] = []
    for axis, (values, kind) in enumerate(zip(points, boundary, strict=True)):
        what = f"{place}: axis {axis}"
        x = checks.rising(values, what)
        if len(x) == 1:
            raise ValueError(f"{what} has one point, from which no extent follows; leave that axis out")
        h = float(x[-1] - x[0]) / (len(x) - 1)
        if np.abs(np.diff(x) - h).max() <= EQUAL * h:
            start = float(x[0]) if kind == PERIODIC else float(x[0]) - h / 2
            lower.append(start)
            upper.append(start + len(x) * h)
            edges.append(None)
            continue
        if kind == PERIODIC:
            raise ValueError(f"{what} is periodic and its steps are not equal ({np.diff(x).min():g} to {np.diff(x).max():g}); resample it")
        e = edges_of(x, what)
        lower.append(float(e[0]))
        upper.append(float(e[-1]))
        edges.append(tuple(e.tolist()))
    kinds = tuple(k if k == PERIODIC else WALL for k in boundary)
    return Box(tuple(map(len, points)), tuple(lower), tuple(upper), kinds, tuple(edges), units)


def edges_of(x: Numbers, place: str) -> Numbers:
    """The borders of cells whose centres are x (rising, at least two). Raises ValueError where there are none."""
    s = np.zeros(len(x) + 1)
    for k, centre in enumerate(x):
        s[k + 1] = 2 * centre - s[k]
    sign = np.where(np.arange(len(s)) % 2 == 0, 1.0, -1.0)
    free = x - s[:-1]
    low = float(-free[1::2].min()) if len(x) > 1 else -np.inf
    high = float(free[::2].min())
    if not low < high:
        raise ValueError(
            f"{place}: no cells have these points as their centres; interpolate the fields to points that have (equal steps, or steps that "
            "grow smoothly)"
        )
    bends = np.diff(s, 2) * sign[:-2]
    first = -float(bends.mean()) / 4 if len(x) > 2 else (low + high) / 2
    first = first if low < first < high else (low + high) / 2
    return s + sign * first
