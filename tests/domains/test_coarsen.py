"""Coarse meshes: centres are independent and reach every node, measures and connections stay, numbering does not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay
from torch import Tensor

from surrogates.domains.coarsen import coarsen
from surrogates.domains.mesh import Mesh


def triangulation(count: int = 200, dim: int = 2, seed: int = 0) -> Mesh:
    points = np.random.default_rng(seed).random((count, dim))
    cells = np.stack([order := points[:, 0].argsort(), np.roll(order, -1)], 1)[:-1] if dim == 1 else Delaunay(points).simplices
    return Mesh.from_cells(points, cells)


def renumbered(mesh: Mesh, order: Tensor) -> Mesh:
    return Mesh(mesh.points[order], order.argsort()[mesh.edges], mesh.measure[order], periods=mesh.periods)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_no_edge_joins_two_centres_and_every_node_is_linked(dim: int) -> None:
    mesh = triangulation(dim=dim)
    coarse, links, centres = coarsen(mesh)
    chosen = torch.zeros(200, dtype=torch.bool).index_fill(0, centres, True)
    assert not chosen[mesh.edges].all(0).any()
    assert torch.equal(links[0].unique(), torch.arange(200)) and torch.equal(coarse.points, mesh.points[centres])
    pairs = {tuple(pair) for pair in mesh.edges.T.tolist()}
    assert all(fine == centres[k] or (fine, int(centres[k])) in pairs for fine, k in links.T.tolist())
    counted = int((chosen[mesh.edges[1]]).sum()) + len(centres)
    assert links.shape == (2, counted) and (links[1].diff() >= 0).all()
    assert 1.5**dim < 200 / len(centres) < 2.5**dim


def test_the_measure_is_that_of_the_cells_and_parts_stay_connected() -> None:
    mesh = triangulation()
    for _ in range(4):
        coarse, _, _ = coarsen(mesh)
        torch.testing.assert_close(coarse.volumes, mesh.volumes)
        assert coarse.components == mesh.components == 1
        mesh = coarse


def test_a_chain_keeps_every_second_node() -> None:
    mesh = triangulation(9, dim=1)
    coarse, links, centres = coarsen(mesh)
    torch.testing.assert_close(coarse.points[:, 0].sort().values, mesh.points[:, 0].sort().values[::2])
    assert coarse.edges.shape == (2, 8) and links.shape == (2, 5 + 8) and len(centres) == 5


def test_every_node_counts_for_the_nearest_centre_beside_it() -> None:
    mesh = triangulation(60)
    coarse, links, centres = coarsen(mesh)
    expected = torch.zeros(len(centres), dtype=torch.float64)
    for node in range(60):
        beside = links[1][links[0] == node]
        distance = (mesh.points[centres[beside]] - mesh.points[node]).norm(dim=1)
        expected[beside[distance.argmin()]] += mesh.measure[node]
    torch.testing.assert_close(coarse.measure, expected)


def test_refinement_is_followed() -> None:
    """A mesh graded to the left: coarse nodes crowd there as the fine ones do."""
    points = np.random.default_rng(1).random((600, 2)) ** [3, 1]
    mesh = Mesh.from_cells(points, Delaunay(points).simplices)
    coarse, _, _ = coarsen(mesh)
    left, fine_left = (float((m.points[:, 0] < 0.125).double().mean()) for m in (coarse, mesh))
    assert abs(fine_left - 0.5) < 0.05 and abs(left - fine_left) < 0.1


def test_the_numbering_does_not_matter_even_on_a_lattice() -> None:
    """Ties of distance are common there."""
    x = torch.cartesian_prod(torch.arange(7.0), torch.arange(6.0)).double()
    for mesh in (Mesh.from_radius(x, 1.01), triangulation(80)):
        order = torch.randperm(mesh.shape[0], generator=torch.Generator().manual_seed(0))
        turned, links, centres = coarsen(renumbered(mesh, order))
        coarse, links_before, centres_before = coarsen(mesh)

        def named(pairs: Tensor, first: Tensor, second: Tensor) -> set:
            return {tuple(map(int, pair)) for pair in torch.stack([first[pairs[0]], second[pairs[1]]], 1)}

        same = order[centres]
        assert set(same.tolist()) == set(centres_before.tolist())
        assert named(links, order, same) == named(links_before, torch.arange(mesh.shape[0]), centres_before)
        assert named(turned.edges, same, same) == named(coarse.edges, centres_before, centres_before)
        torch.testing.assert_close(turned.measure[same.argsort()], coarse.measure[centres_before.argsort()])


def test_members_are_coarsened_as_if_alone() -> None:
    meshes = [triangulation(40, seed=1), triangulation(25, seed=2), triangulation(40, seed=1)]
    coarse, links, _ = coarsen(Mesh.batch(meshes))
    alone = [coarsen(mesh) for mesh in meshes]
    for found, (mesh, _, _) in zip(coarse.separate(), alone, strict=True):
        assert torch.equal(found.points, mesh.points) and torch.equal(found.edges, mesh.edges)
        torch.testing.assert_close(found.measure, mesh.measure)
    assert links.shape[1] == sum(one.shape[1] for _, one, _ in alone)


def test_parts_without_edges_and_single_nodes_stay() -> None:
    lonely = Mesh(torch.rand(3, 2), torch.zeros(2, 0, dtype=torch.long), torch.ones(3), names=("wall",), markers=torch.tensor([0, 1, 0]))
    coarse, links, centres = coarsen(lonely)
    assert coarse.shape == (3,) and torch.equal(links, torch.arange(3).expand(2, -1)) and torch.equal(centres, torch.arange(3))
    assert torch.equal(coarse.markers, lonely.markers) and coarse.names == ("wall",)
    two_parts = Mesh(torch.rand(4, 2), torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), torch.ones(4))
    coarse, _, _ = coarsen(two_parts)
    assert coarse.shape == (2,) and coarse.components == 2 and coarse.edges.shape == (2, 0)


def test_a_ring_stays_a_ring() -> None:
    x = torch.arange(8, dtype=torch.float64)[:, None] / 8
    ring = Mesh.from_radius(x, 0.13, periods=(1.0,))
    coarse, _, _ = coarsen(ring)
    assert coarse.periods == (1.0,) and coarse.shape == (4,) and coarse.edges.shape == (2, 8)
    torch.testing.assert_close(coarse.relative.abs(), torch.full((8, 1), 0.25, dtype=torch.float64))
