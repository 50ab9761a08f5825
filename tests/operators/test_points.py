"""Points: what a network sees of a geometry, in rows and back."""

from __future__ import annotations

import math

import pytest
import torch

from surrogates.domains import Box
from surrogates.domains.mesh import Mesh
from surrogates.operators.points import harmonics_at, points_of, repeat
from surrogates.operators.positions import positions

CPU = torch.device("cpu")


def cloud(nodes: int, seed: int = 0, **options) -> Mesh:
    torch.manual_seed(seed)
    return Mesh.from_nearest(
        torch.rand(nodes, 2, dtype=torch.float64) * torch.tensor([2.0, 0.5]) + 1, 3, torch.rand(nodes) + 0.1, **options
    )


def test_values_go_to_rows_and_back() -> None:
    batch = Mesh.batch([cloud(5), cloud(9, 1), cloud(7, 2)])
    for domain, rows, count in (
        (Box.periodic((3, 4), 1.0), 2, 12),
        (cloud(6), 2, 6),
        (batch, 6, 9),
        (Mesh.batch([cloud(4), cloud(4)]), 4, 4),
    ):
        p = points_of(domain, (2, 1), torch.float64, CPU)
        x = torch.randn(2, 3, *domain.shape, dtype=torch.float64)
        h = p.rows(x)
        assert h.shape == (rows, count, 3) and torch.equal(p.fields(h.mT), x)
    h = points_of(batch, (1, 1), torch.float64, CPU).rows(x := torch.randn(2, 3, 21))  # the second row's second member
    assert torch.equal(h[4], x[1, :, 5:14].mT)


def test_weights_are_the_measure_and_fillers_have_none() -> None:
    parts = [cloud(5), cloud(9, 1)]
    p = points_of(Mesh.batch(parts), (0, 0), torch.float64, CPU)
    for row, part in zip(p.weight, parts, strict=True):
        n = len(part.points)
        torch.testing.assert_close(row[:n], part.measure / part.measure.mean())
        assert row[n:].eq(0).all()
    stretched = Box((4, 2), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"), (None, (0.0, 0.25, 1.0)))
    torch.testing.assert_close(points_of(stretched, (1, 1), torch.float64, CPU).weight, torch.tensor([[0.5, 1.5] * 4], dtype=torch.float64))
    assert points_of(Box.periodic((4, 2), 1.0), (1, 1), torch.float64, CPU).weight is None


def test_a_box_is_seen_as_by_the_networks_for_grids() -> None:
    box = Box((6, 5), (1.0, -2.0), (3.0, 6.0), ("periodic", "wall"))
    expected = positions(box, (3, 2), torch.float64, CPU).reshape(1, 30, 10)
    torch.testing.assert_close(points_of(box, (3, 2), torch.float64, CPU).seen, expected)


def test_a_mesh_is_seen_over_its_own_extent_and_over_its_periods() -> None:
    mesh = cloud(12, periods=(4.0, None))
    p = points_of(mesh, (1, 2), torch.float64, CPU)
    y = mesh.points[:, 1]
    theta = torch.stack([2 * math.pi * mesh.points[:, 0] / 4, math.pi * (y - y.min()) / (y.max() - y.min())], 1)
    torch.testing.assert_close(p.seen[0], harmonics_at(theta, (1, 2)))
    moved = mesh.points + torch.tensor([4.0, 0.0])
    torch.testing.assert_close(p.see(moved), p.seen)
    torch.testing.assert_close(p.see(mesh.points.float()), p.seen, rtol=0, atol=1e-5)


def test_a_single_node_lies_at_the_origin() -> None:
    p = points_of(Mesh.from_nearest(torch.tensor([[3.0, 4.0]]), 2), (1, 1), torch.float32, CPU)
    assert torch.equal(p.seen, torch.tensor([[[0.0, 1.0, 0.0, 1.0]]]))


def test_they_are_made_once_for_a_mesh() -> None:
    mesh = cloud(5)
    one, two = (points_of(mesh, (1, 1), torch.float32, CPU) for _ in range(2))
    assert one.seen is two.seen and points_of(cloud(5), (1, 1), torch.float32, CPU).seen is not one.seen
    with torch.inference_mode():
        fresh = points_of(cloud(5), (1, 1), torch.float32, CPU)
    assert not fresh.seen.is_inference()


@pytest.mark.parametrize("members", [1, 3])
def test_what_belongs_to_members_is_repeated_row_by_row(members: int) -> None:
    v = torch.randn(members, 2, 5)
    r = repeat(v, 6)
    assert all(torch.equal(r[i], v[i % members]) for i in range(6))
