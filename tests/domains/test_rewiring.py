"""Curvature against graphs where it is known and against full linear programmes; rewiring shortens and disturbs nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from surrogates.domains.mesh import Mesh
from surrogates.domains.rewiring import edge_curvature, node_curvature, rewire


def graph(pairs: list[tuple[int, int]], count: int) -> Mesh:
    """A mesh with these edges both ways, at scattered points."""
    points = torch.rand(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    edges = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    return Mesh(points, torch.cat([edges, edges.flip(0)], 1), torch.full((count,), 1 / count, dtype=torch.float64))


def distances(mesh: Mesh) -> np.ndarray:
    sender, receiver = mesh.edges.numpy()
    return shortest_path(coo_matrix((np.ones(len(sender)), (sender, receiver)), shape=(mesh.shape[0],) * 2), unweighted=True)


def dumbbell(side: int = 5, bridge: int = 6) -> Mesh:
    """Two square grids of nodes joined by a path."""
    left = [(float(i), float(j)) for i in range(side) for j in range(side)]
    path = [(side + float(i), side // 2 + 0.0) for i in range(bridge)]
    right = [(side + bridge + x, y) for x, y in left]
    points = torch.tensor(left + path + right, dtype=torch.float64)
    return Mesh.from_radius(points, 1.01)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_a_complete_graph(n: int) -> None:
    k = edge_curvature(graph(list(itertools.combinations(range(n), 2)), n))
    torch.testing.assert_close(k, torch.full((n * (n - 1),), n / (2 * (n - 1)), dtype=torch.float64))


@pytest.mark.parametrize(("n", "value"), [(3, 0.75), (4, 0.5), (5, 0.25), (6, 0.0), (9, 0.0)])
def test_a_cycle(n: int, value: float) -> None:
    k = edge_curvature(graph([(i, (i + 1) % n) for i in range(n)], n))
    torch.testing.assert_close(k, torch.full((2 * n,), value, dtype=torch.float64), atol=1e-12, rtol=0)


def test_a_tree_and_a_bridge_between_cliques() -> None:
    """1/deg x + 1/deg y - 1 wherever an edge is the only way."""
    rng = np.random.default_rng(1)
    tree = graph([(int(rng.integers(i)), i) for i in range(1, 30)], 30)
    degree = torch.bincount(tree.edges[1]).double()
    torch.testing.assert_close(edge_curvature(tree), (1 / degree)[tree.edges].sum(0) - 1)
    cliques = [*itertools.combinations(range(4), 2), *itertools.combinations(range(4, 9), 2), (0, 4)]
    mesh = graph(cliques, 9)
    bridge = edge_curvature(mesh)[(mesh.edges == torch.tensor([[0], [4]])).all(0)]
    torch.testing.assert_close(bridge, torch.tensor([1 / 4 + 1 / 5 - 1], dtype=torch.float64))


def test_a_hypercube() -> None:
    pairs = [(i, i ^ (1 << b)) for i in range(16) for b in range(4) if not i & (1 << b)]
    torch.testing.assert_close(edge_curvature(graph(pairs, 16)), torch.full((64,), 1 / 4, dtype=torch.float64))


def wasserstein(mesh: Mesh, x: int, y: int) -> float:
    """The whole transport problem between two lazy walks over all nodes with all graph distances."""
    d, n = distances(mesh), mesh.shape[0]
    adjacency = d == 1
    walk = (np.eye(n) + adjacency / np.maximum(adjacency.sum(1, keepdims=True), 1)) / 2
    out, into = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    plan = linprog(np.minimum(d, 1e3).reshape(-1), A_eq=np.concatenate([out, into]), b_eq=np.concatenate([walk[x], walk[y]]))
    return float(plan.fun)


def test_an_irregular_graph_against_the_full_transport_problem() -> None:
    rng = np.random.default_rng(2)
    pairs = [p for p in itertools.combinations(range(13), 2) if rng.random() < 0.3]
    mesh = graph(pairs, 13)
    expected = [1 - wasserstein(mesh, *edge) for edge in mesh.edges.T.tolist()]
    torch.testing.assert_close(edge_curvature(mesh), torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def test_more_edges_than_one_programme_holds() -> None:
    """A triangulated torus: every edge alike."""
    n = 10
    at = lambda i, j: (i % n) * n + j % n  # noqa: E731
    pairs = [(at(i, j), at(i + a, j + b)) for i in range(n) for j in range(n) for a, b in ((1, 0), (0, 1), (1, 1))]
    k = edge_curvature(graph(pairs, n * n))
    assert len(k) == 6 * n * n
    torch.testing.assert_close(k, k[0].expand_as(k))


def test_a_node_has_the_mean_of_its_edges_and_a_lonely_one_none() -> None:
    mesh = graph([(0, 1), (1, 2), (1, 3)], 5)
    torch.testing.assert_close(node_curvature(mesh), torch.tensor([1 / 3, 1 / 3, 1 / 3, 1 / 3, torch.inf], dtype=torch.float64))
    assert edge_curvature(graph([], 3)).shape == (0,)


def field_of(mesh: Mesh) -> Tensor:
    """A ramp along x."""
    return mesh.points[:, 0][None, None]


def test_a_dumbbell_becomes_shorter_and_nothing_else_changes() -> None:
    mesh = dumbbell()
    new = rewire(mesh, field_of(mesh), fraction=0.1)
    assert distances(new).max() < 0.7 * distances(mesh).max()
    before, after = set(map(tuple, mesh.edges.T.tolist())), set(map(tuple, new.edges.T.tolist()))
    assert before < after and len(after) == len(before) + 2 * round(0.1 * mesh.shape[0])
    for name in ("points", "measure", "member", "markers"):
        assert torch.equal(getattr(new, name), getattr(mesh, name))
    assert new.shape == mesh.shape and new.relative.shape == (new.edges.shape[1], 2)
    key = new.edges[1] * mesh.shape[0] + new.edges[0]
    assert (key.diff() > 0).all() and {(b, a) for a, b in after} == after


def test_new_edges_lead_from_the_bottleneck_to_the_largest_difference() -> None:
    mesh = dumbbell()
    new = rewire(mesh, field_of(mesh), fraction=0.02)
    added = set(map(tuple, new.edges.T.tolist())) - set(map(tuple, mesh.edges.T.tolist()))
    kappa, u, d = node_curvature(mesh), field_of(mesh)[0, 0], torch.from_numpy(distances(mesh))
    (x,) = {a for a, b in added if kappa[a] < kappa[b]}
    (y,) = {b for a, b in added if a == x}
    assert kappa[x] == kappa.min() and d[x, y] > 1
    assert (u - u[x]).abs()[y] == (u - u[x]).abs().max()


def test_neighbours_are_passed_over() -> None:
    """On a path 0 - 1 - 2 - 3 node 0 differs most from its neighbour 1, and is joined to the next best."""
    mesh = graph([(0, 1), (1, 2), (2, 3)], 4)
    new = rewire(mesh, torch.tensor([[[0.0, 10.0, 1.0, 2.0]]]), 1.0)
    added = set(map(tuple, new.edges.T.tolist())) - set(map(tuple, mesh.edges.T.tolist()))
    assert {pair for pair in added if pair[0] < pair[1]} == {(0, 3), (1, 3), (0, 2)}


def test_snapshots_and_channels_count_together() -> None:
    mesh = dumbbell()
    u = torch.rand(2, 3, mesh.shape[0], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    together = rewire(mesh, u, 0.2).edges
    assert torch.equal(together, rewire(mesh, u.reshape(1, 6, -1), 0.2).edges)
    assert not torch.equal(together, rewire(mesh, u[:1], 0.2).edges)
    assert torch.equal(together, rewire(mesh, -5 * u + 2, 0.2).edges)


def test_renumbering_the_nodes_changes_nothing() -> None:
    mesh = Mesh.from_nearest(torch.rand(40, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64), 3)
    u = torch.rand(1, 2, 40, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(6))
    turned = Mesh(mesh.points[order], order.argsort()[mesh.edges], mesh.measure[order])
    torch.testing.assert_close(node_curvature(turned), node_curvature(mesh)[order], atol=1e-12, rtol=0)
    count = 1 / 40 * int((node_curvature(mesh) < node_curvature(mesh).quantile(0.2) - 1e-9).sum())  # no tie at the border
    back = order[rewire(turned, u[..., order], count).edges]
    assert set(map(tuple, back.T.tolist())) == set(map(tuple, rewire(mesh, u, count).edges.T.tolist()))


def test_members_of_a_batch_are_rewired_as_if_alone() -> None:
    meshes = [dumbbell(3, 4), dumbbell(4, 5)]
    fields = [field_of(mesh) for mesh in meshes]
    both = rewire(Mesh.batch(meshes), torch.cat(fields, 2), 0.1).separate()
    for mesh, u, found in zip(meshes, fields, both, strict=True):
        assert torch.equal(found.edges, rewire(mesh, u, 0.1).edges)


def test_parts_that_no_edge_joins_may_be_joined_and_no_difference_adds_nothing() -> None:
    mesh = graph([(0, 1), (1, 2), (3, 4), (4, 5)], 7)
    assert torch.equal(rewire(mesh, torch.ones(1, 2, 7), 1.0).edges, mesh.edges)
    u = torch.tensor([0.0, 0, 0, 1, 1, 1, 9])[None, None]
    joined = rewire(mesh, u, 1.0)
    assert joined.components == 1 and mesh.components == 3


def test_few_nodes() -> None:
    one = graph([], 1)
    assert torch.equal(rewire(one, torch.ones(1, 1, 1), 0.5).edges, one.edges)
    two = graph([(0, 1)], 2)
    assert torch.equal(rewire(two, torch.tensor([[[0.0, 1.0]]]), 1.0).edges, two.edges)
    mesh = dumbbell()
    assert torch.equal(rewire(mesh, field_of(mesh), 0.0).edges, mesh.edges)
    assert rewire(mesh, field_of(mesh), 1e-6).edges.shape[1] == mesh.edges.shape[1] + 2  # at least one bottleneck


def test_what_does_not_fit_is_named() -> None:
    mesh = dumbbell()
    for fraction in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="fraction must lie between 0 and 1"):
            rewire(mesh, field_of(mesh), fraction)
    with pytest.raises(ValueError, match="this Mesh takes"):
        rewire(mesh, field_of(mesh)[..., 1:])
