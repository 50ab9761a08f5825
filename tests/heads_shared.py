"""What every Head must pass, and the domains and conditions that heads are tried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogates.contracts import Conditions, Domain, Head
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.normalise import Normaliser
from surrogates.record import construct, describe

EDGES = (0.0, 0.2, 0.5, 0.6, 0.9, 1.3, 1.5, 1.6, 2.0)
BOXES: dict[str, Box] = {
    "periodic": Box.periodic((8, 6), (2.0, 3.0)),
    "odd": Box.periodic((7, 9), 2.0),
    "channel": Box((8, 6), (0.0, 1.0), (2.0, 2.0), ("periodic", "wall")),
    "basin": Box((6, 8), (0.0, 0.0), (1.0, 2.0), ("wall", "wall")),
    "stretched": Box((6, 8), (0.0, 0.0), (1.0, 2.0), ("periodic", "wall"), (None, EDGES)),
    "stretched basin": Box((6, 8), (0.0, 0.0), (1.0, 2.0), ("wall", "wall"), (None, EDGES)),
}
SPACES: dict[str, Box] = {
    "periodic": Box.periodic((6, 4, 5), (2.0, 3.0, 1.0)),
    "duct": Box((4, 5, 8), (0.0,) * 3, (1.0, 1.0, 2.0), ("wall", "periodic", "wall"), (None, None, EDGES)),
}
SPHERES: dict[str, Sphere] = {
    "gauss": Sphere((10, 20), "legendre-gauss", west=10.0, radius=3.0),
    "cells": Sphere((10, 20), "cells", north_first=False),
    "poles": Sphere((11, 20), "poles", radius=6.37e6, units="m"),
}


def triangles(nodes: int, seed: int = 0, dim: int = 2) -> Mesh:
    """Random points in a cube with its corners, joined by Delaunay's simplices."""
    from scipy.spatial import Delaunay

    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * dim), -1).reshape(-1, dim)
    points = np.concatenate([np.random.default_rng(seed).random((nodes, dim)) * 0.9 + 0.05, corners])
    return Mesh.from_cells(points, Delaunay(points).simplices)


def cloud(nodes: int = 30) -> Mesh:
    return Mesh.from_nearest(np.random.default_rng(1).random((nodes, 2)), 5)


def finite_volumes() -> dict[str, Domain]:
    """Every kind of domain whose cells have faces."""
    sea = Masked(BOXES["channel"], torch.rand(8, 6, generator=torch.Generator().manual_seed(3)) > 0.3)
    line = Box((8,), (0.0,), (2.0,), ("wall",), (EDGES,))
    meshes = {"triangles": triangles(20), "tetrahedra": triangles(12, dim=3), "cloud": cloud()}
    batch = Mesh.batch([triangles(9, 1), triangles(20, 2), triangles(5, 3)])
    return {**BOXES, "line": line, "space": SPACES["duct"], **SPHERES, "sea": sea, **meshes, "batch": batch}


class Foreign:
    """A Domain that no head knows."""

    shape, members, mask, measure = (2,), 1, None, torch.ones(2)

    def integral(self, u: Tensor) -> Tensor:
        return u.sum(2)

    def expand(self, values: Tensor) -> Tensor:
        return values[:, :, None].expand(-1, -1, 2)


def fields_of(domain: Domain) -> Fields:
    """A scalar, a velocity and another scalar."""
    names = ("north", "east") if isinstance(domain, Sphere) else ("x", "y", "z")[: domain.dim]  # type: ignore[attr-defined]
    return Fields.of(Field("T", "K"), Field("velocity", "m s-1", names), Field("q"))


def around(domain: Domain, rows: int = 2, dt: float = 0.1, **more: Any) -> Conditions:
    one = torch.ones(rows * domain.members, dtype=torch.float64)
    return Conditions(domain, 0 * one, dt * one, torch.zeros(len(one), 0), **more)


def rows_on(domain: Domain) -> int:
    return 1 if isinstance(domain, Mesh) else 2


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def statistics(fields: Fields, dim: int, tendency: float = 1.0) -> Normaliser:
    """State mean 1 and std 2, tendency mean 0 and a std that differs between channels."""
    one = torch.ones(fields.count)
    return Normaliser(one, 2 * one, 0 * one, tendency * (1 + torch.arange(fields.count) / 2), dim=dim)


def head_laws(head: Head, y: Tensor, past: Tensor, conditions: Conditions, *, made: tuple[int, ...], rounding: float) -> Tensor:
    """Other channels are the last frame's bit for bit, rows are alone, inputs stay, types are kept, the outputs matter, and it writes
    itself down. Returns the next state."""
    assert isinstance(head, Head)
    before = y.clone(), past.clone()
    u = head(y, past, conditions)
    assert torch.equal(y, before[0]) and torch.equal(past.nan_to_num(), before[1].nan_to_num()), "a head changed its caller's tensor"
    assert u.shape == past[:, -1].shape and u.dtype == past.dtype
    others = [c for c in range(past.shape[2]) if c not in made]
    torch.testing.assert_close(u[:, others], past[:, -1, others], rtol=0, atol=0, equal_nan=True)
    assert (u[:, list(made)] != head(2 * y, past, conditions)[:, list(made)]).any()
    if conditions.domain.members == 1 and len(y) > 1:
        last = torch.tensor([len(y) - 1])
        alone = head(y[last], past[last], conditions.rows(last))
        torch.testing.assert_close(alone, u[last], rtol=0, atol=rounding * float(u.nan_to_num().abs().max()), equal_nan=True)
    torch.testing.assert_close(construct(describe(head))(y, past, conditions), u, rtol=0, atol=0, equal_nan=True)
    return u
