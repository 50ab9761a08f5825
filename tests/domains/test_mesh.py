"""A Mesh: exact integrals and gradients of linear fields, neighbours by brute force, batches, storage and clear errors."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from laws import domain_laws
from scipy.spatial import Delaunay

from surrogates.domains import Mesh


def cube(dim: int, inside: int = 40, seed: int = 0) -> Mesh:
    """The unit cube in simplices, its corners among random points; boundary "low" where x = 0."""
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=dim)))
    points = np.concatenate([corners, np.random.default_rng(seed).uniform(0.05, 0.95, (inside, dim))])
    if dim == 1:
        order = points[:, 0].argsort()
        cells = np.stack([order[:-1], order[1:]], 1)
    else:
        cells = Delaunay(points).simplices
    return Mesh.from_cells(points, cells, {"low": np.flatnonzero(points[:, 0] == 0), "high": points[:, 0] == 1})


def torus(n: int = 6, lengths: tuple[float, float] = (2.0, 3.0), shift: tuple[float, float] = (0.0, 0.0)) -> Mesh:
    """Two triangles for each of n x n cells that wrap around."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    at = lambda a, b: (((i + a) % n) * n + (j + b) % n).ravel()  # noqa: E731
    cells = np.concatenate([np.stack(three, 1) for three in ((at(0, 0), at(1, 0), at(1, 1)), (at(0, 0), at(1, 1), at(0, 1)))])
    points = np.stack([i.ravel(), j.ravel()], 1) / n * lengths + shift
    return Mesh.from_cells(points, cells, periods=lengths)


def linear(mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor]:
    """Two fields 1 + k.x (2, 1, node), and k (2, D)."""
    k = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], dtype=torch.float64)[:, : mesh.dim]
    return (1 + mesh.points @ k.T).T[:, None], k


@pytest.mark.parametrize("mesh", [cube(1), cube(2), cube(3), torus()], ids=str)
def test_it_is_a_domain(mesh: Mesh) -> None:
    domain_laws(mesh)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_integrals_of_linear_fields_are_exact(dim: int) -> None:
    mesh = cube(dim)
    u, k = linear(mesh)
    exact = 1 + k.sum(1, keepdim=True) / 2  # the value at the centre of the unit cube
    torch.testing.assert_close(mesh.integral(u), exact, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mesh.average(u), exact, rtol=1e-13, atol=1e-13)
    assert mesh.integral(u.float()).dtype == torch.float64


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_gradients_of_linear_fields_are_exact(dim: int) -> None:
    cells = cube(dim)
    for mesh in (cells, Mesh.from_nearest(cells.points, 2 * dim + 2), Mesh.from_radius(cells.points, 0.9)):
        u, k = linear(mesh)
        exact = k[:, None, :, None].expand(-1, 1, -1, *mesh.shape)
        torch.testing.assert_close(mesh.gradient(u), exact, rtol=1e-9, atol=1e-9)
    assert mesh.gradient(u.float()).dtype == torch.float32


def test_the_measure_is_the_lumped_mass_of_finite_elements() -> None:
    fem = pytest.importorskip("skfem", reason="the peer that this compares with")
    mesh = cube(2)
    basis = fem.Basis(fem.MeshTri(mesh.points.T.numpy(), mesh.cells.T.numpy()), fem.ElementTriP1())
    mass = fem.BilinearForm(lambda u, v, _: u * v).assemble(basis)
    torch.testing.assert_close(mesh.measure, torch.from_numpy(np.asarray(mass.sum(1)).ravel()), rtol=1e-12, atol=0)


def test_a_surface_has_its_area() -> None:
    """An octahedron in three dimensions: eight triangles of side sqrt 2."""
    points = np.concatenate([np.eye(3), -np.eye(3)])
    mesh = Mesh.from_cells(points, [[a, b, c] for a in (0, 3) for b in (1, 4) for c in (2, 5)])
    assert float(mesh.measure.sum()) == pytest.approx(4 * math.sqrt(3)) and mesh.edges.shape == (2, 24)


def test_periodic_cells_wrap() -> None:
    mesh = torus()
    torch.testing.assert_close(mesh.measure, torch.full((36,), 6.0 / 36, dtype=torch.float64))
    assert torch.bincount(mesh.edges[1]).tolist() == [6] * 36
    assert (mesh.relative.abs() < torch.tensor([2.0, 3.0], dtype=torch.float64) / 6 + 1e-12).all()
    moved = torus(shift=(1.234, -7.0))
    torch.testing.assert_close(moved.relative, mesh.relative)
    u = torch.randn(2, 3, 36, dtype=torch.float64)
    torch.testing.assert_close(moved.gradient(u), mesh.gradient(u))


def test_on_a_periodic_lattice_the_gradient_is_the_central_difference() -> None:
    n = 5
    points = torch.cartesian_prod(torch.arange(n), torch.arange(n)).double() / n
    mesh = Mesh.from_radius(points, 1.01 / n, periods=(1.0, 1.0))
    u = torch.randn(1, 1, n, n, dtype=torch.float64)
    exact = torch.stack([(u.roll(-1, a) - u.roll(1, a)) * n / 2 for a in (2, 3)], 2)
    torch.testing.assert_close(mesh.gradient(u.flatten(2)), exact.flatten(3))
    assert float(mesh.measure.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("periods", [None, (1.0, None), (1.0, 0.7)])
def test_neighbours_are_those_of_brute_force(periods) -> None:
    points = torch.rand(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * torch.tensor([1.0, 0.7])
    points[3] = torch.tensor([-1e-18, 5.0])  # folds to the seam
    d = points[:, None] - points[None]
    for axis, length in enumerate(periods or ()):
        if length is not None:
            d[..., axis] -= length * (d[..., axis] / length).round()
    distance = d.norm(dim=2).fill_diagonal_(torch.inf)
    near = distance < 0.25
    mesh = Mesh.from_radius(points, 0.25, periods=periods)
    assert torch.equal(mesh.edges, near.nonzero().T.flip(0))
    k_near = torch.zeros_like(near).scatter_(1, distance.argsort(1)[:, :3], True)
    k_near |= k_near.T.clone()
    mesh = Mesh.from_nearest(points, 3, periods=periods)
    assert torch.equal(mesh.edges, k_near.nonzero().T.flip(0))
    torch.testing.assert_close(mesh.relative.norm(dim=1), distance[tuple(mesh.edges)])


def test_edges_are_sorted_by_receiver_and_go_both_ways() -> None:
    mesh = cube(2)
    shuffled = mesh.edges[:, torch.randperm(mesh.edges.shape[1])]
    again = Mesh(mesh.points, shuffled, mesh.measure)
    assert torch.equal(again.edges, mesh.edges)
    assert (mesh.edges[1].diff() >= 0).all()
    assert {tuple(e) for e in mesh.edges.T.tolist()} == {tuple(e[::-1]) for e in mesh.edges.T.tolist()}


def test_boundaries_have_names() -> None:
    mesh = cube(2)
    assert torch.equal(mesh.boundary("high"), mesh.points[:, 0] == 1)
    with pytest.raises(ValueError, match="'top' is not among those of this Mesh: low, high"):
        mesh.boundary("top")
    both = Mesh.from_nearest([[0.0], [1.0]], 1, boundary={"a": [0, 1], "b": [1]})
    assert both.markers.tolist() == [1, 2]


def test_it_moves_between_devices() -> None:
    mesh = cube(2)
    assert mesh.to("cpu") is mesh
    if torch.cuda.is_available():
        there = mesh.to("cuda")
        assert there.to("cuda") is there and there.relative.is_cuda
        assert_same(there.to("cpu"), mesh)


def test_one_node_and_parts_that_nothing_joins() -> None:
    one = Mesh.from_nearest([[0.3, 0.4]], 5)
    assert one.edges.shape == (2, 0) and one.components == 1 and one.relative.shape == (0, 2)
    u = torch.ones(2, 3, 1)
    assert one.integral(u).tolist() == [[1.0] * 3] * 2 and not one.gradient(u).any()
    apart = Mesh.from_radius([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.0, 5.1], [9.0, 9.0]], 0.5)
    assert apart.components == 3
    g = apart.gradient((apart.points @ torch.tensor([1.0, 2.0], dtype=torch.float64))[None, None])[0, 0]
    torch.testing.assert_close(g, torch.tensor([[1.0, 1, 0, 0, 0], [0, 0, 2, 2, 0]], dtype=torch.float64))


def test_what_it_keeps_is_fit_for_use_wherever_it_was_made_first() -> None:
    mesh, u = cube(2), torch.randn(1, 1, 44, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        mesh.gradient(u)
    mesh.gradient(u).square().sum().backward()
    mesh = Mesh.batch([cube(2)])
    _, t = torch.func.jvp(lambda u: torch.cat([mesh.gradient(u)[0, 0], mesh.average(u) * u[0]]), (u.detach(),), (u.detach(),))
    torch.testing.assert_close(t, torch.cat([mesh.gradient(u)[0, 0], 2 * mesh.average(u) * u[0]]))


def test_a_batch_is_its_members() -> None:
    meshes = [cube(2, 10), cube(2, 4, 1), cube(2, 7, 2)]
    whole, fields = Mesh.batch(meshes), [torch.randn(2, 3, *m.shape) for m in meshes]
    u = torch.cat(fields, 2)
    assert whole.members == 3 and whole.components == 3
    each = torch.stack([m.integral(f) for m, f in zip(meshes, fields, strict=True)], 1)  # (b, member)
    torch.testing.assert_close(whole.integral(u), each.flatten(0, 1))
    torch.testing.assert_close(whole.average(torch.ones_like(u)), torch.ones(6, 3, dtype=torch.float64))
    torch.testing.assert_close(whole.gradient(u), torch.cat([m.gradient(f) for m, f in zip(meshes, fields, strict=True)], 3))
    values = torch.randn(6, 2)
    spread = torch.cat([m.expand(values.view(2, 3, 2)[:, i]) for i, m in enumerate(meshes)], 2)
    torch.testing.assert_close(whole.expand(values), spread)
    for a, b in zip(whole.separate(), meshes, strict=True):
        assert_same(a, b)
    assert_same(Mesh.batch([Mesh.batch(meshes[:2]), meshes[2]]), whole)


def test_boundaries_of_one_name_are_one_in_a_batch() -> None:
    a = Mesh.from_nearest([[0.0], [1.0]], 1, boundary={"in": [0], "out": [1]})
    b = Mesh.from_nearest([[0.0], [1.0], [2.0]], 1, boundary={"out": [2]})
    both = Mesh.batch([a, b])
    assert both.names == ("in", "out") and both.markers.tolist() == [1, 2, 0, 0, 2]


def assert_same(a: Mesh, b: Mesh) -> None:
    for name in Mesh.__dataclass_fields__:
        one, other = getattr(a, name), getattr(b, name)
        same = torch.equal(one, other) and one.dtype == other.dtype if isinstance(one, torch.Tensor) else one == other
        assert same, name


@pytest.mark.parametrize("mesh", [cube(2), torus(), Mesh.batch([cube(3, 3)] * 2), Mesh.from_nearest(torch.rand(9, 1) / 3, 2, units="m")])
def test_it_is_written_down_exactly(mesh: Mesh) -> None:
    assert_same(Mesh.from_json(json.loads(json.dumps(mesh.to_json()))), mesh)
    pytest.importorskip("torch_geometric", reason="whose data this writes")
    assert_same(Mesh.from_data(mesh.to_data()), mesh)


def test_data_of_others_becomes_a_mesh() -> None:
    data = pytest.importorskip("torch_geometric.data", reason="whose data this reads")
    mesh = cube(2)
    bare = data.Data(pos=mesh.points, face=mesh.cells.T)
    assert torch.equal(Mesh.from_data(bare).edges, mesh.edges) and torch.equal(Mesh.from_data(bare).measure, mesh.measure)
    batch = data.Batch.from_data_list([data.Data(pos=torch.rand(n, 2), edge_index=torch.tensor([[0], [1]])) for n in (3, 2)])
    assert Mesh.from_data(batch).member.tolist() == [0, 0, 0, 1, 1] and Mesh.from_data(batch).edges.tolist() == [[1, 0, 4, 3], [0, 1, 3, 4]]
    with pytest.raises(ValueError, match="neither edge_index nor face"):
        Mesh.from_data(data.Data(pos=mesh.points))


SQUARE = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
X = torch.tensor(SQUARE, dtype=torch.float64)


def edges(*pairs: tuple[int, int]) -> Mesh:
    return Mesh(X, torch.tensor(pairs).T, torch.ones(4))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Mesh.from_cells(SQUARE, [[0, 1, 4]]), r"cell 0 = \[0, 1, 4\] names points that do not exist; there are 4"),
        (lambda: Mesh.from_cells(SQUARE, [[0, 1, 1]]), "names a corner twice"),
        (lambda: Mesh.from_cells(SQUARE, [[0, 1, 2]]), "node 3 has the measure 0.0"),
        (lambda: Mesh.from_cells([*SQUARE, [2.0, 0.0]], [[0, 1, 4], [0, 1, 2], [1, 2, 3]]), r"cell 0 = \[0, 1, 4\] has no volume"),
        (lambda: Mesh.from_cells(SQUARE, [[0, 1, 2, 3]]), "cut quadrilaterals into triangles"),
        (lambda: Mesh.from_cells(SQUARE, [[0, 1, 2], [1, 2, 3]], {"wall": [7]}), "'wall' names nodes 7 to 7 but there are 4"),
        (lambda: Mesh.from_cells([[0.0, 0.0], [0.5, 1.0], [1.0, 0.0]], [[0, 1, 2]], periods=(1.5, None)), "half a period .* wide or more"),
        (lambda: Mesh.from_cells(SQUARE, [[0, 1, 2], [1, 2, 3]], periods=(-1.0, None)), "one positive length or None for each of 2"),
        (lambda: Mesh.from_nearest(SQUARE, 0), "k >= 1"),
        (lambda: Mesh.from_radius(SQUARE, 0.0), "radius must be positive"),
        (lambda: Mesh.from_nearest([*SQUARE, SQUARE[0]], 2), "lie in one place"),
        (lambda: Mesh.from_nearest(torch.zeros(0, 2), 2), "at least one node"),
        (lambda: Mesh.from_nearest(torch.rand(3, 4), 2), "1 to 3 dimensions"),
        (lambda: Mesh.from_nearest([[math.nan]], 2), "point 0 is not finite"),
        (lambda: edges((0, 1), (1, 0), (0, 4), (4, 0)), "edges name nodes 0 to 4 but there are 4, 0 to 3"),
        (lambda: edges((0, 1), (1, 0), (0, 1)), "0 -> 1 is given twice"),
        (lambda: edges((0, 1), (1, 0), (2, 1)), "2 -> 1 has no way back"),
        (lambda: edges((0, 0)), "node 0 has an edge to itself"),
        (lambda: Mesh(X, torch.zeros(2, 0).long(), torch.ones(4), markers=torch.tensor([0, 0, 2, 0]), names=("a",)), "0 to 2 but names"),
        (lambda: Mesh(X, torch.zeros(2, 0).long(), torch.ones(4), names=("a", "a")), "different names"),
        (lambda: Mesh(X, torch.zeros(2, 0).long(), torch.ones(4), member=torch.tensor([0, 1, 0, 1]), members=2), "member must rise"),
        (lambda: Mesh(X, torch.tensor([[0, 2], [2, 0]]), torch.ones(4), member=torch.tensor([0, 0, 1, 1]), members=2), "joins two members"),
        (lambda: Mesh.batch([]), "at least one mesh"),
        (lambda: Mesh.batch([cube(2), cube(3)]), "must agree in dim"),
        (lambda: Mesh.batch([cube(2), Mesh.from_nearest(SQUARE, 2)]), "cells of one kind"),
        (lambda: cube(2).integral(torch.zeros(1, 1, 5)), r"this Mesh takes \(B, C, 44\)"),
        (lambda: Mesh.batch([cube(2)] * 2).expand(torch.zeros(3, 1)), "2 members a row"),
        (lambda: Mesh.from_json({"type": "box"}), "type 'mesh', got 'box'"),
    ],
)
def test_errors_say_what_to_write(make, says) -> None:
    with pytest.raises(ValueError, match=says):
        make()
