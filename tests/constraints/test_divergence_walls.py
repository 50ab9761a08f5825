"""Projection between walls: against the mirrored periodic box, free-slip flows, and dense matrices."""

from __future__ import annotations

from math import pi

import pytest
import torch
from projections import defect, matrix, nearest, noise, project, projection_laws
from torch import Tensor

from surrogates.domains import Box, Masked

EDGES = (0.0, 0.1, 0.4, 0.5, 1.5, 2.0)
BOXES = {
    "walls": Box((8, 5), (0.0, 0.0), (2.0, 1.0), ("wall", "wall")),
    "channel": Box((6, 7), (0.0, -1.0), (3.0, 1.0), ("periodic", "wall")),
    "channel-first": Box((5, 8), (0.0, 0.0), (1.0, 3.0), ("wall", "periodic")),
    "stretched": Box((5, 4), (0.0, 0.0), (2.0, 1.0), ("wall", "periodic"), (EDGES, None)),
    "stretched-walls": Box((5, 4), (0.0, 0.0), (2.0, 1.0), ("wall", "wall"), (EDGES, None)),
    "duct": Box((4, 5, 6), (0.0, 0.0, 0.0), (1.0, 2.0, 9.0), ("wall", "wall", "periodic")),
    "mixed": Box((5, 4, 3), (0.0, 0.0, 0.0), (2.0, 1.0, 1.0), ("wall", "periodic", "wall"), (EDGES, None, None)),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
def test_is_an_orthogonal_projection(box: Box) -> None:
    projection_laws(box)


@pytest.mark.parametrize("name", ["walls", "channel", "channel-first", "duct"])
def test_is_the_periodic_projection_of_the_mirrored_flow(name: str) -> None:
    """Behind a wall the normal velocity has the other sign, the others the same."""
    box = BOXES[name]
    v = whole = noise(box)[:, 1:]
    for a in (a for a in range(box.dim) if box.boundary[a] == "wall"):
        signs = torch.ones(box.dim, dtype=torch.float64)
        signs[a] = -1
        mirrored = whole.flip(2 + a) * signs.view(-1, *(1,) * box.dim)
        whole = torch.cat([whole, mirrored], 2 + a)
    sizes = [length * (2 if kind == "wall" else 1) for length, kind in zip(box.lengths, box.boundary, strict=True)]
    double = Box.periodic(whole.shape[2:], sizes)
    corner = (slice(None), slice(None), *(slice(n) for n in box.shape))
    torch.testing.assert_close(project(box, v), project(double, whole)[corner], rtol=0, atol=1e-14)
    torch.testing.assert_close(defect(box, v), defect(double, whole))


def test_free_slip_flows_stay_and_gradients_go() -> None:
    """psi = sin(2 pi x / 2) sin(pi y) + 0.3 sin(...): no flow through walls; p = cos cos: no slope at walls."""
    box = Box((12, 10), (0.0, 0.0), (2.0, 1.0), ("wall", "wall"))
    x, y = box.grid()
    flow = torch.stack([pi * torch.sin(pi * x) * torch.cos(pi * y), -pi * torch.cos(pi * x) * torch.sin(pi * y)])
    pressure = torch.stack([-pi * torch.sin(pi * x) * torch.cos(3 * pi * y), -3 * pi * torch.cos(pi * x) * torch.sin(3 * pi * y)])
    torch.testing.assert_close(project(box, flow + pressure), flow, rtol=0, atol=1e-13)
    assert float(defect(box, pressure)) == pytest.approx(1)


@pytest.mark.parametrize("name", ["channel", "duct", "stretched"])
def test_flow_along_walls_stays_and_flow_into_them_goes(name: str) -> None:
    """Any profile across a channel, such as Poiseuille's, its mean too; a uniform wind onto a wall has nowhere to go."""
    box = BOXES[name]
    along = box.boundary.index("periodic")
    v = torch.zeros(box.dim, *box.shape, dtype=torch.float64)
    across = next(x for a, x in enumerate(box.grid()) if box.boundary[a] == "wall")
    v[along] = 1 + across.square()
    torch.testing.assert_close(project(box, v), v, rtol=0, atol=1e-14)
    wall = box.boundary.index("wall")
    onto = torch.zeros_like(v)
    onto[wall] = 1.0
    left = project(box, onto)[wall]
    assert float(left.mean(dim=wall).abs().max()) < 0.3 and float(defect(box, onto)) > 0.4


def test_nearest_by_dense_sines_and_cosines() -> None:
    """Divergence as explicit sums over sines and cosines, without any transform of ours."""
    box = BOXES["walls"]
    (nx, ny), (lx, ly) = box.shape, box.lengths

    def derivative(n: int, length: float) -> Tensor:
        i, k = torch.arange(n, dtype=torch.float64)[:, None] + 0.5, torch.arange(1, n, dtype=torch.float64)
        return torch.cos(pi / n * i * k) * (k * pi / length) @ (2 / n * torch.sin(pi / n * i * k)).T

    eye_x, eye_y = torch.eye(nx, dtype=torch.float64), torch.eye(ny, dtype=torch.float64)
    divergence = torch.cat([torch.kron(derivative(nx, lx), eye_y), torch.kron(eye_x, derivative(ny, ly))], 1)
    v = noise(box)[0, 1:]
    best = nearest(v.flatten(), divergence, box.measure.flatten().repeat(2)).view(v.shape)
    torch.testing.assert_close(project(box, v), best, rtol=0, atol=1e-12)


def test_a_stretched_box_is_the_masked_one_without_land() -> None:
    """The same faces, by singular vectors and by a sparse solve."""
    edges = (0.0, 0.2, 0.3, 0.6, 1.0)
    box = Box((5, 4), (0.0, 0.0), (2.0, 1.0), ("wall", "wall"), (EDGES, edges))
    sea = Masked(box, torch.ones(5, 4, dtype=torch.bool))
    v = noise(box)[:, 1:]
    torch.testing.assert_close(project(box, v), project(sea, v), rtol=0, atol=1e-13)


def test_stretched_divergence_is_second_order() -> None:
    """A flow of a stream function changes less and less by the projection: fourfold less for twice the cells."""

    def change(n: int) -> float:
        s = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        edges = tuple((s + 0.1 * torch.sin(2 * pi * s) / (2 * pi)).tolist())
        edges = (0.0, *edges[1:-1], 1.0)
        box = Box((n, n), (0.0, 0.0), (1.0, 1.0), ("wall", "wall"), (edges, edges))
        x, y = box.grid()
        v = torch.stack([torch.sin(pi * x) ** 2 * torch.sin(2 * pi * y), -torch.sin(2 * pi * x) * torch.sin(pi * y) ** 2])
        return float(box.integral((project(box, v) - v).square()[None]).sum().sqrt())

    assert 3.3 < change(12) / change(24) < 4.7


def test_between_walls_one_cell_apart_the_flow_is_uniform() -> None:
    box = Box((1, 5), (0.0, 0.0), (1.0, 1.0), ("wall", "periodic"))
    v = noise(box)[:, 1:]
    torch.testing.assert_close(project(box, v)[:, 1], v[:, 1].mean(-1, keepdim=True).expand(-1, 1, 5), rtol=0, atol=1e-14)


def test_matrix_of_the_projection_is_symmetric_in_the_measure() -> None:
    box = BOXES["stretched-walls"]
    m = box.measure.flatten().repeat(2)
    p = matrix(lambda v: project(box, v), (2, *box.shape))
    torch.testing.assert_close(m[:, None] * p, (m[:, None] * p).T, rtol=0, atol=1e-14)
    torch.testing.assert_close(p @ p, p, rtol=0, atol=1e-14)
    assert round(float(p.trace())) == 2 * 20 - (5 * 4 - 1)  # one condition a cell, of which one follows from the others
