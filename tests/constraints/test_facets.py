"""Boundaries of meshes by the divergence theorem, in one, two and three dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from surrogates.constraints.facets import boundary_facets
from surrogates.domains import Mesh


def filled(dim: int) -> Mesh:
    """Random points in the convex hull of the unit cube's corners, turned and stretched."""
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * dim, indexing="ij"), -1).reshape(-1, dim)
    x = np.concatenate([corners, np.random.default_rng(0).uniform(0.1, 0.9, (6, dim))])
    if dim == 1:
        order = np.argsort(x[:, 0])
        return Mesh.from_cells(2 * x, np.stack([order[:-1], order[1:]], 1))
    skew = np.eye(dim) + 0.3 * np.random.default_rng(1).normal(size=(dim, dim))
    return Mesh.from_cells(x @ skew, Delaunay(x).simplices)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_flux_of_a_linear_field_is_the_integral_of_its_divergence(dim: int) -> None:
    mesh = filled(dim)
    corners, areas = boundary_facets(mesh)
    matrix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = mesh.points @ matrix.T + 1
    torch.testing.assert_close(areas.sum(0), torch.zeros(dim, dtype=torch.float64), rtol=0, atol=1e-13)
    torch.testing.assert_close((v[corners].mean(1) * areas).sum(), matrix.trace() * mesh.measure.sum())


def test_a_hole_is_boundary_and_a_seam_is_not() -> None:
    """A strip that repeats along x: its top and bottom remain, with lengths of one period; a cell taken out leaves three sides."""
    n = 5
    x, y = np.meshgrid(np.arange(n) / n, np.arange(4.0), indexing="ij")
    index = np.arange(4 * n).reshape(n, 4)
    right = np.roll(index, -1, 0)
    lower = np.stack([index[:, :-1], right[:, :-1], index[:, 1:]], -1).reshape(-1, 3)
    upper = np.stack([right[:, :-1], right[:, 1:], index[:, 1:]], -1).reshape(-1, 3)
    strip = Mesh.from_cells(np.stack([x, y], -1).reshape(-1, 2), np.concatenate([lower, upper]), periods=(1.0, None))
    corners, areas = boundary_facets(strip)
    assert len(corners) == 2 * n
    torch.testing.assert_close(areas[:, 1].abs().sum(), torch.tensor(2.0, dtype=torch.float64))
    assert (areas[strip.points[corners[:, 0], 1] == 0, 1] < 0).all()
    inner = Mesh.from_cells(strip.points, strip.cells[np.arange(len(strip.cells)) != 1], periods=(1.0, None))  # type: ignore[arg-type,index]
    assert len(boundary_facets(inner).corners) == 2 * n + 3


def test_clouds_and_surfaces_are_refused() -> None:
    with pytest.raises(ValueError, match="cells of 3 corners"):
        boundary_facets(Mesh.from_nearest(np.random.default_rng(0).random((6, 2)), 2))
    with pytest.raises(ValueError, match="cells of 4 corners"):
        boundary_facets(Mesh.from_cells(np.eye(3), [[0, 1, 2]]))
