"""Projection on meshes: gradients go, dense least squares agree, boundaries are closed unless declared open, batches are their members."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from projections import defect, matrix, noise, project, projection_laws
from torch import Tensor

from surrogates.constraints.divergence_mesh import _made
from surrogates.domains import Box, Masked, Mesh


def square(n: int, seed: int = 0) -> Mesh:
    """Triangles in the unit square, boundaries left, right and walls, nodes inside moved at random."""
    from scipy.spatial import Delaunay

    line = np.linspace(0, 1, n)
    x = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    inside = ((x > 0) & (x < 1)).all(1)
    x[inside] += np.random.default_rng(seed).uniform(-0.25, 0.25, (inside.sum(), 2)) / n
    cells = Delaunay(x).simplices
    a, b = x[cells[:, 1]] - x[cells[:, 0]], x[cells[:, 2]] - x[cells[:, 0]]
    cells = cells[np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) > 1e-10]
    walls = (x[:, 1] == 0) | (x[:, 1] == 1)
    return Mesh.from_cells(x, cells, {"walls": walls, "left": x[:, 0] == 0, "right": x[:, 0] == 1})


TRIANGLES = square(5)
CLOUD = Mesh.from_nearest(np.random.default_rng(0).random((20, 2)), 4, boundary={"left": [0, 3]})
SPACE = Mesh.from_nearest(np.random.default_rng(1).random((18, 3)), 5)
ALONE = Mesh(torch.rand(5, 2), torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), torch.ones(5))  # two pairs and a single node
LATTICE = Mesh.from_radius(np.stack(np.meshgrid(np.arange(4.0), np.arange(6.0), indexing="ij"), -1).reshape(-1, 2), 1.1, periods=(4.0, 6.0))


MESHES = {"triangles": TRIANGLES, "cloud": CLOUD, "space": SPACE, "lattice": LATTICE}


@pytest.mark.parametrize("name", MESHES)
def test_is_an_orthogonal_projection(name: str) -> None:
    projection_laws(MESHES[name])


def test_is_an_orthogonal_projection_with_open_boundaries_and_for_a_batch() -> None:
    projection_laws(TRIANGLES, open_boundaries=("left", "right"))
    projection_laws(Mesh.batch([square(4), square(5, seed=1)]), open_boundaries=("left",))


def gradients(mesh: Mesh) -> Tensor:
    """The matrix of the mesh's own gradient, (D node, node)."""
    return matrix(lambda p: mesh.gradient(p)[:, 0], (1, *mesh.shape))


@pytest.mark.parametrize("name", MESHES)
def test_is_what_least_squares_leave(name: str) -> None:
    """min ||m^(1/2) (u - G p)|| over all potentials p, dense."""
    mesh = MESHES[name]
    v, root = noise(mesh)[0, 1:], mesh.measure.sqrt().repeat(mesh.dim)
    g = root[:, None] * gradients(mesh)
    left = (torch.eye(len(root), dtype=torch.float64) - g @ torch.linalg.pinv(g, rtol=1e-10)) @ (root * v.flatten()) / root
    torch.testing.assert_close(project(mesh, v), left.view(v.shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MESHES)
def test_every_gradient_of_the_mesh_goes(name: str) -> None:
    mesh = MESHES[name]
    push = mesh.gradient(noise(mesh)[:, :1])[:, 0]
    assert float(project(mesh, push).abs().max()) < 1e-13 * float(push.abs().max())


def test_with_an_inlet_and_an_outlet_a_uniform_flow_stays_but_not_between_closed_ends() -> None:
    """Closed, it is the gradient of x, exactly so by least squares. Open at both ends, x is no potential that is zero there."""
    v = torch.zeros(2, *TRIANGLES.shape, dtype=torch.float64)
    v[0] = 1
    assert float(project(TRIANGLES, v).abs().max()) < 1e-13
    held = project(TRIANGLES, v, open_boundaries=("left", "right"))
    assert float(TRIANGLES.average((held - v)[None]).abs().max()) < 0.06
    assert float(TRIANGLES.average((project(TRIANGLES, v, open_boundaries=("left",)) - v)[None])[0, 0]) < -0.8


def test_a_stream_function_that_is_constant_on_the_boundary_is_changed_less_on_finer_meshes() -> None:
    def change(n: int) -> float:
        mesh = square(n)
        x, y = mesh.points.T * torch.pi
        v = torch.stack([torch.sin(x) ** 2 * torch.sin(2 * y), -torch.sin(2 * x) * torch.sin(y) ** 2])
        return float((mesh.integral((project(mesh, v) - v).square()[None]).sum() / mesh.integral(v.square()[None]).sum()).sqrt())

    coarse, fine = change(9), change(17)
    assert coarse < 0.3 and fine < 0.6 * coarse


def test_a_lattice_of_points_is_a_periodic_grid() -> None:
    """Least squares over four neighbours are central differences."""
    sea = Masked(Box.periodic((4, 6), (4.0, 6.0)), torch.ones(4, 6, dtype=torch.bool))
    mesh = Mesh.from_radius(LATTICE.points, 1.1, periods=(4.0, 6.0))
    v = noise(sea)[:, 1:]
    torch.testing.assert_close(project(mesh, v.flatten(2)), project(sea, v).flatten(2), rtol=0, atol=1e-13)
    torch.testing.assert_close(defect(mesh, v.flatten(2)), defect(sea, v))


def test_a_batch_of_meshes_is_its_members() -> None:
    parts = [square(4), square(5, seed=1), ALONE]
    both = Mesh.batch(parts[:2])
    v = noise(both)[:, 1:]
    pieces = v.split([m.shape[0] for m in parts[:2]], 2)
    torch.testing.assert_close(
        project(both, v), torch.cat([project(m, p) for m, p in zip(parts, pieces, strict=False)], 2), rtol=0, atol=1e-13
    )
    apart = torch.stack([defect(m, p)[:, 0] for m, p in zip(parts, pieces, strict=False)], 1).flatten()
    torch.testing.assert_close(defect(both, v)[:, 0], apart)


def test_nodes_without_neighbours_and_several_parts_need_no_care() -> None:
    v = noise(ALONE)[:, 1:]
    held = project(ALONE, v)
    assert torch.equal(held[:, :, 4], v[:, :, 4]) and float(defect(ALONE, held).max()) < 1e-14
    across = ALONE.points[[1, 3]] - ALONE.points[[0, 2]]
    push = ((held[:, :, [0, 2]] + held[:, :, [1, 3]]) * across.T).sum(1)
    torch.testing.assert_close(push, torch.zeros_like(push), rtol=0, atol=1e-14)


def test_a_factorisation_is_made_once_and_forgotten_with_its_mesh() -> None:
    mesh = square(4)
    project(mesh, noise(mesh)[:, 1:])
    first = _made[mesh][()]
    project(mesh, noise(mesh, seed=1)[:, 1:])
    project(mesh, noise(mesh)[:, 1:], open_boundaries=("left",))
    assert _made[mesh][()] is first and len(_made[mesh]) == 2
    last = weakref.ref(first)
    del mesh, first
    gc.collect()
    assert last() is None


def test_an_unknown_open_boundary_is_refused() -> None:
    with pytest.raises(ValueError, match="boundary 'inlet' is not among those of this Mesh: walls, left, right"):
        project(TRIANGLES, noise(TRIANGLES)[:, 1:], open_boundaries=("inlet",))
