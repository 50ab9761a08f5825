"""Monotone regression: feasible, and no feasible table is nearer (the conditions of optimality, and a dense search)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize

from surrogates.forecast.isotonic import falling, falling_both_ways


def random(shape: tuple[int, ...], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    g = np.random.default_rng(seed)
    return g.random(shape), g.random(shape) + 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_sequence_is_the_nearest_falling_one(seed: int) -> None:
    y, w = random((7,), seed)
    x = falling(y, w)
    assert (np.diff(x) <= 1e-12).all()
    difference = np.diff(np.eye(7), axis=0)
    best = minimize(lambda v: w @ (v - y) ** 2, y.mean() * np.ones(7), constraints=LinearConstraint(difference, -np.inf, 0), tol=1e-12)
    assert w @ (x - y) ** 2 <= best.fun + 1e-9
    np.testing.assert_allclose(falling(x, w), x, atol=1e-12)


def test_a_table_is_the_nearest_that_falls_both_ways() -> None:
    y, w = random((4, 3), 5)
    x = falling_both_ways(y, w)
    assert (np.diff(x, axis=0) <= 1e-8).all() and (np.diff(x, axis=1) <= 1e-8).all()
    along = np.concatenate([np.kron(np.diff(np.eye(4), axis=0), np.eye(3)), np.kron(np.eye(4), np.diff(np.eye(3), axis=0))])
    best = minimize(
        lambda v: (w.ravel() * (v - y.ravel()) ** 2).sum(),
        np.full(12, y.mean()),
        constraints=LinearConstraint(along, -np.inf, 0),
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    np.testing.assert_allclose(x.ravel(), best.x, atol=1e-5)
    np.testing.assert_allclose(falling_both_ways(x, w), x, atol=1e-8)


def test_one_column_is_the_sequence_and_bad_weights_are_named() -> None:
    y, w = random((6, 1), 2)
    np.testing.assert_allclose(falling_both_ways(y, w)[:, 0], falling(y[:, 0], w[:, 0]), atol=1e-9)
    with pytest.raises(ValueError, match="weights must be positive"):
        falling(np.ones(2), np.array([1.0, 0.0]))
