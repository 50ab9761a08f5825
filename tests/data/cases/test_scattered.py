"""Values between meshes: exact where they are linear up to a wall without slip, and not mixed across a body."""

from __future__ import annotations

import numpy as np

from surrogates.data.cases.scattered import Scattered

SIDE = (np.arange(20) + 0.5) / 20
CENTRES = np.stack(np.meshgrid(SIDE, SIDE, indexing="ij"), -1).reshape(-1, 2)


def test_what_is_linear_up_to_the_wall_is_exact_beside_it() -> None:
    """A shear flow over the wall y = 0: between the first centres and the wall it falls to zero."""
    sides = np.linspace(0, 1, 41)
    floor = np.stack([sides, 0 * sides], 1)
    rim = np.concatenate([floor, floor + np.array([0, 1]), floor[:, ::-1], floor[:, ::-1] + np.array([1, 0])])
    wanted = np.random.default_rng(0).uniform(0.001, 0.999, (300, 2)) * [1, 0.03]  # most lie below the first centres
    flow = Scattered(CENTRES, rim)
    assert np.allclose(flow.at(wanted, CENTRES[:, 1:], rim[:, 1:]), wanted[:, 1:], atol=1e-12)
    bare = Scattered(CENTRES, np.zeros((0, 2))).at(wanted, CENTRES[:, 1:], np.zeros((0, 1)))
    assert np.abs(bare - wanted[:, 1:]).max() > 0.02  # without the wall the nearest cell's


def test_what_a_body_parts_is_not_mixed() -> None:
    """Pressure 1 before a plate and -1 behind it: no place, beside or within, has a pressure between."""
    low, high = np.array([0.4, -0.1]), np.array([0.6, 1.1])
    plate = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
    fluid = CENTRES[(CENTRES[:, 0] < low[0]) | (CENTRES[:, 0] > high[0])]
    y = np.linspace(0, 1, 41)
    rim = np.concatenate([np.stack([np.full(41, x), y], 1) for x in (low[0], high[0])])
    sign = lambda points: np.where(points[:, :1] < 0.5, 1.0, -1.0)  # noqa: E731
    wanted = np.random.default_rng(1).uniform(0.02, 0.98, (500, 2))
    found = Scattered(fluid, rim, [plate]).at(wanted, sign(fluid), sign(rim))
    assert np.allclose(np.abs(found), 1.0)
    mixed = Scattered(fluid, rim).at(wanted, sign(fluid), sign(rim))
    assert np.abs(mixed).min() < 0.5
