"""Small meshes that tests share."""

from __future__ import annotations

import numpy as np

from surrogates.domains import Mesh


def square(n: int, seed: int = 0) -> Mesh:
    """A square of (n + 1)^2 points, jiggled inside, with its sides named."""
    rng = np.random.default_rng(seed)
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1), indexing="ij"))
    inner = (x > 0) & (x < 1) & (y > 0) & (y < 1)
    points = np.stack([x, y], 1) + 0.2 / n * rng.uniform(-1, 1, (len(x), 2)) * inner[:, None]
    at = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = (q.ravel() for q in (at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]))
    cells = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    sides = {"walls": np.flatnonzero((y == 0) | (y == 1)), "inflow": np.flatnonzero(x == 0), "outflow": np.flatnonzero(x == 1)}
    return Mesh.from_cells(points, cells, sides, units="m")
