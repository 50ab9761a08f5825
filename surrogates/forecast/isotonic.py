"""Isotonic regression: the monotone values nearest to given ones in weighted least squares.

    min sum_i w_i (x_i - y_i)^2      over   x_1 >= x_2 >= ...                    (one axis: pool adjacent violators, exact)
    min sum_ij w_ij (x_ij - y_ij)^2  over   x non-increasing along both axes     (Dykstra's alternating projections onto each)

Sources: Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions, 1972; Dykstra and Robertson, "An algorithm
for isotonic regression for two or more independent variables", Annals of Statistics 10, 1982.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def falling(y: Array, weight: Array) -> Array:
    """The nearest non-increasing sequence. Raises ValueError for weights that are not positive."""
    if y.shape != weight.shape or not (weight > 0).all():
        raise ValueError(f"weights must be positive and as many as values, got shapes {y.shape} and {weight.shape}")
    means, weights, lengths = list[float](), list[float](), list[int]()
    for value, w in zip(y.tolist(), weight.tolist(), strict=True):
        means, weights, lengths = [*means, value], [*weights, w], [*lengths, 1]
        while len(means) > 1 and means[-1] > means[-2]:
            total = weights[-2] + weights[-1]
            means[-2:] = [(weights[-2] * means[-2] + weights[-1] * means[-1]) / total]
            weights[-2:], lengths[-2:] = [total], [lengths[-2] + lengths[-1]]
    return np.repeat(means, lengths)


def falling_both_ways(y: Array, weight: Array, *, tolerance: float = 1e-10, sweeps: int = 1000) -> Array:
    """The nearest table (I, J) that does not increase along either axis, to `tolerance`, or after so many sweeps."""
    x = y.astype(np.float64)
    rows, columns = np.zeros_like(x), np.zeros_like(x)  # what each projection took away last time
    for _ in range(sweeps):
        a = np.stack([falling(v, w) for v, w in zip((x + rows), weight, strict=True)])
        rows = x + rows - a
        b = np.stack([falling(v, w) for v, w in zip((a + columns).T, weight.T, strict=True)], 1)
        columns = a + columns - b
        done = float(np.abs(b - x).max()) < tolerance and float(np.abs(a - b).max()) < tolerance
        x = b
        if done:
            break
    return np.minimum.accumulate(x, 1)
