"""Projection on meshes: dense least squares over gradients, orders on irregular triangles, open and closed boundaries, batches."""

from __future__ import annotations

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from projections import defect, noise, project, projection_laws
from torch import Tensor

from surrogates.constraints.divergence_mesh import _made
from surrogates.domains import Mesh


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


def tetrahedra() -> Mesh:
    from scipy.spatial import Delaunay

    x = np.random.default_rng(1).random((14, 3))
    return Mesh.from_cells(x, Delaunay(x).simplices)


def torus(n: int, m: int) -> Mesh:
    """A periodic lattice in squares of 1 x 1, each cut along the same diagonal."""
    i, j = (k.reshape(-1) for k in np.meshgrid(np.arange(n), np.arange(m), indexing="ij"))
    node = lambda i, j: (i % n) * m + j % m  # noqa: E731
    a, b, c, d = node(i, j), node(i + 1, j), node(i + 1, j + 1), node(i, j + 1)
    cells = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh.from_cells(np.stack([i, j], 1), cells, periods=(float(n), float(m)))


TRIANGLES = square(5)
CORNERS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [5.0, 5.0], [6.0, 5.5], [5.0, 6.0], [9.0, 9.0]])
ALONE = Mesh(
    CORNERS,
    torch.tensor([[0, 1, 1, 2, 2, 0, 3, 4, 4, 5, 5, 3], [1, 0, 2, 1, 0, 2, 4, 3, 5, 4, 3, 5]]),
    torch.rand(7) + 0.5,
    torch.tensor([[0, 1, 2], [3, 4, 5]]),
)  # two triangles and a node by itself, with measures of its own
MESHES = {"triangles": TRIANGLES, "tetrahedra": tetrahedra(), "torus": torus(4, 6), "alone": ALONE}


@pytest.mark.parametrize("name", [n for n in MESHES if n != "alone"])  # in one triangle what is left has no gradient at all
def test_is_an_orthogonal_projection(name: str) -> None:
    projection_laws(MESHES[name])


def test_is_an_orthogonal_projection_with_open_boundaries_and_for_a_batch() -> None:
    projection_laws(TRIANGLES, open_boundaries=("left", "right"))
    projection_laws(Mesh.batch([square(4), square(5, seed=1)]), open_boundaries=("left",))


def gradients(mesh: Mesh) -> Tensor:
    """(D node, node), cell by cell: the plane through its corners, spread over them by volume."""
    n, d = mesh.shape[0], mesh.dim
    out = torch.zeros(d, n, n, dtype=torch.float64)
    periods = torch.tensor([p or torch.inf for p in mesh.periods], dtype=torch.float64)
    for cell in mesh.cells:
        x = mesh.points[cell] - mesh.points[cell[0]]
        x = x - torch.where(periods.isinf(), 0.0, periods.nan_to_num(posinf=1.0) * (x / periods).round())
        plane = torch.linalg.inv(torch.cat([torch.ones(d + 1, 1, dtype=torch.float64), x], 1))  # values -> constant and slopes
        volume = 1 / float(torch.linalg.det(plane).abs()) / math.factorial(d)
        for corner in cell:
            out[:, corner, cell] += plane[1:] * volume / (d + 1) / mesh.measure[corner]
    return out.flatten(0, 1)


@pytest.mark.parametrize("name", MESHES)
def test_is_what_least_squares_over_all_gradients_leave(name: str) -> None:
    """min ||m^(1/2) (u - G p)|| over all potentials p, dense; and every gradient goes."""
    mesh = MESHES[name]
    v, root, slopes = noise(mesh)[0, 1:], mesh.measure.sqrt().repeat(mesh.dim), gradients(mesh)
    g = root[:, None] * slopes
    left = (torch.eye(len(root), dtype=torch.float64) - g @ torch.linalg.pinv(g, rtol=1e-10)) @ (root * v.flatten()) / root
    torch.testing.assert_close(project(mesh, v), left.view(v.shape), rtol=0, atol=1e-12)
    push = (slopes @ noise(mesh)[0, 0]).view(v.shape)
    assert float(project(mesh, push).abs().max()) < 1e-13 * float(push.abs().max())


def test_with_an_inlet_and_an_outlet_a_uniform_flow_stays_but_not_between_closed_ends() -> None:
    """Closed, it is the gradient of x. Open at both ends, nothing leaves through the walls."""
    v = torch.zeros(2, *TRIANGLES.shape, dtype=torch.float64)
    v[0] = 1
    assert float(project(TRIANGLES, v).abs().max()) < 1e-13
    torch.testing.assert_close(project(TRIANGLES, v, open_boundaries=("left", "right")), v, rtol=0, atol=1e-14)
    assert float(defect(TRIANGLES, v, open_boundaries=("left", "right"))) < 1e-14
    assert float(TRIANGLES.average(project(TRIANGLES, v, open_boundaries=("left",))[None])[0, 0]) < 0.2


def test_a_uniform_flow_around_a_torus_stays() -> None:
    v = torch.tensor([0.3, -2.0], dtype=torch.float64)[:, None].expand(2, 24)
    torch.testing.assert_close(project(MESHES["torus"], v), v, rtol=0, atol=1e-14)


def test_flows_of_a_stream_function_are_changed_to_second_order_and_gradients_left_to_first() -> None:
    """On triangles whose nodes are moved by up to a quarter of their distance: the adjoint of `Mesh.gradient` fails this by far."""

    def errors(n: int) -> tuple[float, float]:
        mesh = square(n)
        x, y = mesh.points.T * torch.pi
        flow = torch.stack([torch.sin(x) ** 2 * torch.sin(2 * y), -torch.sin(2 * x) * torch.sin(y) ** 2])
        push = torch.stack([torch.sin(x) * torch.cos(2 * y), 2 * torch.cos(x) * torch.sin(2 * y)])
        changed, left = project(mesh, flow) - flow, project(mesh, push)
        size = [mesh.integral(v.square()[None]).sum().sqrt() for v in (changed, flow, left, push)]
        return float(size[0] / size[1]), float(size[2] / size[3])

    (changed, left), (changed_fine, left_fine) = errors(9), errors(17)
    assert changed < 0.06 and changed / changed_fine > 3 and left < 0.13 and left / left_fine > 1.6


def test_on_a_plane_in_space_what_is_normal_to_it_stays() -> None:
    flat = TRIANGLES
    tilted = Mesh.from_cells(torch.cat([flat.points, 0 * flat.points[:, :1]], 1), flat.cells)
    v = noise(tilted)[:, 1:]
    held = project(tilted, v)
    torch.testing.assert_close(held[:, 2], v[:, 2], rtol=0, atol=1e-14)
    torch.testing.assert_close(held[:, :2], project(flat, v[:, :2]), rtol=0, atol=1e-13)


def test_a_batch_of_meshes_is_its_members() -> None:
    parts = [square(4), square(5, seed=1)]
    both = Mesh.batch(parts)
    v = noise(both)[:, 1:]
    pieces = v.split([m.shape[0] for m in parts], 2)
    torch.testing.assert_close(
        project(both, v), torch.cat([project(m, p) for m, p in zip(parts, pieces, strict=True)], 2), rtol=0, atol=1e-13
    )
    apart = torch.stack([defect(m, p)[:, 0] for m, p in zip(parts, pieces, strict=True)], 1).flatten()
    torch.testing.assert_close(defect(both, v)[:, 0], apart)


def test_a_node_in_no_cell_keeps_its_velocity() -> None:
    v = noise(ALONE)[:, 1:]
    assert torch.equal(project(ALONE, v)[:, :, 6], v[:, :, 6])


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


def test_what_has_no_divergence_is_refused() -> None:
    with pytest.raises(ValueError, match="boundary 'inlet' is not among those of this Mesh: walls, left, right"):
        project(TRIANGLES, noise(TRIANGLES)[:, 1:], open_boundaries=("inlet",))
    cloud = Mesh.from_nearest(np.random.default_rng(0).random((9, 2)), 3)
    with pytest.raises(ValueError, match="this Mesh is a cloud of points; triangulate it"):
        project(cloud, noise(cloud)[:, 1:])
