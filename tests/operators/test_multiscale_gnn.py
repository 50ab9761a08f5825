"""The multi-scale graph network: its U as loops, how far it sees, symmetries, batches, conditioning, bad input."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay
from torch import Tensor, nn
from torch.nn.functional import relu

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.domains.coarsen import coarsen
from surrogates.domains.mesh import Mesh
from surrogates.operators.mesh_graph_net import Perceptron
from surrogates.operators.mesh_inputs import View, inputs
from surrogates.operators.multiscale_gnn import MultiscaleGNN

DOUBLE = {"rtol": 1e-9, "atol": 1e-11}


def mesh_of(count: int = 30, seed: int = 0, dim: int = 2, **options) -> Mesh:
    points = np.random.default_rng(seed).random((count, dim))
    cells = np.stack([order := points[:, 0].argsort(), np.roll(order, -1)], 1)[:-1] if dim == 1 else Delaunay(points).simplices
    return Mesh.from_cells(points, cells, **options)


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> MultiscaleGNN:
    """With exchanges that matter: they start at zero."""
    torch.manual_seed(0)
    f = MultiscaleGNN(cin, cout, embedding, **{"width": 5, "levels": 2} | options).double()
    for block in f.blocks:
        for p in block.update.layers.parameters():
            nn.init.normal_(p, std=0.3)
    return f


def state(mesh: Mesh, rows: int = 2, channels: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(rows, channels, *mesh.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awake(f: MultiscaleGNN) -> MultiscaleGNN:
    """With an embedding that matters."""
    for p in (f.film.out.weight, f.film.out.bias):
        nn.init.normal_(p, std=0.3)
    return f


def joined(f: Perceptron, *arguments: Tensor) -> Tensor:
    """What a perceptron does to the concatenation of its arguments, all matrices of its first layer side by side."""
    z = torch.cat([part.weight for part in f.parts], 1) @ torch.cat(arguments) + f.parts[0].bias
    for layer in f.layers:
        z = layer(relu(z))
    return z


def exchanged(block, sources: Tensor, h: Tensor, edges: Tensor, offset: Tensor, film) -> Tensor:
    """One exchange for one member, node by node and edge by edge; offset: x_receiver - x_sender in its unit of length."""
    gain, shift, gate = film
    new = []
    for i in range(len(h)):
        messages = [
            joined(block.message, torch.cat([offset[k], offset[k].norm()[None]]), sources[s], h[i])
            for k, (s, r) in enumerate(edges.T.tolist())
            if r == i
        ]
        m = sum(messages) / len(messages) if messages else torch.zeros_like(h[i])
        new.append(h[i] + gain * joined(block.update, h[i], gate * m) + shift)
    return torch.stack(new)


def rms(mesh: Mesh) -> Tensor:
    return mesh.relative.square().sum(1).mean().sqrt()


def loops(f: MultiscaleGNN, x: Tensor, mesh: Mesh, e: Tensor) -> Tensor:
    """Three levels, one exchange within each on the way up and one on the way down: x (Cin, node) of one member."""
    (one, up_1, at_1), blocks = coarsen(mesh), iter(f.blocks)
    two, up_2, at_2 = coarsen(one)
    films = iter([[v[0] for v in row] for row in f.film(e[None])])

    def step(sources: Tensor, h: Tensor, edges: Tensor, offset: Tensor) -> Tensor:
        return exchanged(next(blocks), sources, h, edges, offset, next(films))

    def within(h: Tensor, m: Mesh) -> Tensor:
        return step(h, h, m.edges, m.relative / rms(m))

    up_offsets = [(b.points[link[1]] - a.points[link[0]]) / rms(a) for a, b, link in ((mesh, one, up_1), (one, two, up_2))]
    h0 = within(torch.stack([joined(f.encode, u) for u in x.T]), mesh)
    h1 = within(step(h0, h0[at_1], up_1, up_offsets[0]), one)
    h2 = within(step(h1, h1[at_2], up_2, up_offsets[1]), two)
    h1 = within(step(h2, h1, up_2.flip(0), -up_offsets[1]), one)
    h0 = within(step(h1, h0, up_1.flip(0), -up_offsets[0]), mesh)
    return torch.stack([joined(f.decode, h) for h in h0]).T


def test_its_formulas_as_loops() -> None:
    mesh, f = mesh_of(14), awake(small(2, 3, 2))
    x, e = state(mesh), torch.randn(2, 2, dtype=torch.float64)
    torch.testing.assert_close(f(x, mesh, e), torch.stack([loops(f, *row) for row in zip(x, (mesh,) * 2, e, strict=True)]), **DOUBLE)


def test_it_is_an_operator_and_counts_its_parameters() -> None:
    f = MultiscaleGNN(3, 2, 5, dim=3, width=8, levels=2, layers=2, boundaries=("wall", "inlet"))
    assert isinstance(f, Operator)
    w, blocks = 8, 2 * 5 + 4
    exchange = (4 + 2 * w) * w + w + (w * w + w) + 2 * w * w + w + (w * w + w)
    ends = (5 * w + w) + (w * w + w) + (w * w + w) + (w * 2 + 2)
    film = 5 * 2 * w + 2 * w + (2 * w + 1) * 3 * blocks * w
    assert len(f.blocks) == blocks and sum(p.numel() for p in f.parameters()) == blocks * exchange + ends + film


def test_it_starts_as_a_map_at_each_node_and_learns_to_look_around() -> None:
    torch.manual_seed(0)
    f, mesh = MultiscaleGNN(2, 1, width=5, levels=2).double(), mesh_of()
    assert reach(f, mesh, 7) == 1
    f(state(mesh), mesh).square().sum().backward()
    torch.optim.SGD(f.parameters(), 0.1).step()
    assert reach(f, mesh, 7) > 10


def reach(f: MultiscaleGNN, mesh: Mesh, node: int) -> int:
    """How many nodes a node's answer depends on."""
    x = state(mesh, 1).requires_grad_()
    (g,) = torch.autograd.grad(f(x, mesh)[0, 0, node], x)
    return int((g.abs().sum((0, 1)) > 0).sum())


def test_a_chain_is_seen_farther_with_every_level() -> None:
    """Edges of level l span 2^l nodes: seen are 2 layers (1 + 2 + ... ) and the links between, which one mesh would need steps for."""
    mesh = mesh_of(129, dim=1)
    middle = int(mesh.points[:, 0].argsort()[64])
    seen = [reach(small(dim=1, levels=levels), mesh, middle) for levels in (1, 2, 3, 4)]
    assert all(b >= 1.7 * a for a, b in pairwise(seen)), seen
    assert seen[3] > 64 > 2 * 2 * 5 + 1  # five levels visited twice, one edge each


def renumbered(mesh: Mesh, order: Tensor) -> Mesh:
    return Mesh(mesh.points[order], order.argsort()[mesh.edges], mesh.measure[order], None, mesh.markers[order], mesh.names)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_it_commutes_with_a_renumbering_of_the_nodes(dim: int) -> None:
    mesh = mesh_of(dim=dim, boundary={"wall": [0, 3]})
    f, x, order = small(dim=dim, boundaries=("wall",)), state(mesh), torch.randperm(30)
    torch.testing.assert_close(f(x[..., order], renumbered(mesh, order)), f(x, mesh)[..., order], **DOUBLE)


def test_it_commutes_with_translations_and_does_not_see_the_scale_unless_it_is_told_the_unit() -> None:
    mesh, x = mesh_of(), state(mesh_of())
    moved = Mesh(mesh.points + 3, mesh.edges, mesh.measure)
    torch.testing.assert_close(small()(x, moved), small()(x, mesh), rtol=1e-7, atol=1e-9)
    larger = Mesh(3 * mesh.points, mesh.edges, mesh.measure)
    torch.testing.assert_close(small()(x, larger), small()(x, mesh), **DOUBLE)
    told = small(length=0.2)
    assert (told(x, larger) - told(x, mesh)).abs().max() > 1e-3
    torch.testing.assert_close(small(length=0.6)(x, larger), told(x, mesh), **DOUBLE)


def test_boundaries_are_seen() -> None:
    f, x = small(boundaries=("wall",)), state(mesh_of())
    assert (f(x, mesh_of(boundary={"wall": [0]})) - f(x, mesh_of())).abs().max() > 1e-3


def test_a_batch_of_different_meshes_is_each_alone() -> None:
    meshes = [mesh_of(12, 3), mesh_of(25, 4), mesh_of(17, 5)]
    f = awake(small(embedding=3))
    xs, e = [state(m, rows=2, seed=i) for i, m in enumerate(meshes)], torch.randn(2, 3, 3, dtype=torch.float64)
    together = f(torch.cat(xs, 2), Mesh.batch(meshes), e.flatten(0, 1))
    alone = [f(x, m, e[:, i]) for i, (x, m) in enumerate(zip(xs, meshes, strict=True))]
    torch.testing.assert_close(together, torch.cat(alone, 2), **DOUBLE)


def test_whole_images_of_float32_change_nothing() -> None:
    """A mesh large enough that the counts of nodes and edges are filled up."""
    mesh, f = mesh_of(400), awake(small(embedding=2))
    x, e = state(mesh, rows=8), torch.randn(8, 2, dtype=torch.float64)
    exact, g = f(x, mesh, e), f.float()
    assert inputs(mesh, View(), 8, torch.float32, x.device).nodes > 400
    torch.testing.assert_close(g(x.float(), mesh, e.float()).double(), exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("parts", [1, 2])
def test_gradients_are_those_of_finite_differences(parts: int) -> None:
    mesh = Mesh.batch([mesh_of(6, i) for i in range(parts)])
    f = awake(small(1, 1, 2, width=3, levels=1))
    x = state(mesh, 2, 1).requires_grad_()
    e = torch.randn(2 * parts, 2, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*f.blocks[1].named_parameters("blocks.1"), strict=True)  # from the mesh to the first coarser one

    def apply(x: Tensor, e: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(f, dict(zip(names, weights, strict=True)), (x, mesh, e))

    assert torch.autograd.gradcheck(apply, (x, e, *weights), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    mesh = Mesh.batch([mesh_of(9, 3), mesh_of(12, 4)])
    f, x, t = small(), state(mesh), state(mesh, seed=2)
    _, derivative = torch.func.jvp(lambda x: f(x, mesh), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, mesh) - f(x - 1e-6 * t, mesh)) / 2e-6, rtol=1e-5, atol=1e-7)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, plain, mesh = small(embedding=3), small(), mesh_of()
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    x, e = state(mesh), torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(f(x, mesh, e), plain(x, mesh), **DOUBLE)
    f(x, mesh, e).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in f.film.out.parameters())


def test_meshes_smaller_than_the_levels_single_nodes_and_parts_that_no_edge_joins() -> None:
    f = small(levels=4, length=1.0)
    lonely = Mesh(torch.rand(3, 2), torch.zeros(2, 0, dtype=torch.long), torch.ones(3))
    one = Mesh(torch.rand(1, 2), torch.zeros(2, 0, dtype=torch.long), torch.ones(1))
    pairs = Mesh(torch.rand(4, 2), torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), torch.ones(4))
    for mesh in (lonely, one, pairs, mesh_of(5), Mesh.batch([one, pairs])):
        x = state(mesh).requires_grad_()
        f(x, mesh).square().sum().backward()
        assert x.grad.isfinite().all() and (x.grad.abs().amax((0, 1)) > 0).all()
    x = state(pairs)
    other = x.clone()
    other[..., 2:] = 0
    torch.testing.assert_close(f(other, pairs)[..., :2], f(x, pairs)[..., :2], **DOUBLE)


def test_levels_are_made_once_a_mesh_and_forgotten_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from surrogates.operators import mesh_levels

    calls = []
    monkeypatch.setattr(mesh_levels, "coarsen", lambda mesh: calls.append(1) or coarsen(mesh))
    f, mesh = small(), mesh_of()
    before = len(mesh_levels._places)
    with torch.inference_mode():
        f(state(mesh), mesh)
    f(state(mesh).requires_grad_(), mesh).sum().backward()
    assert len(calls) == 2 and len(mesh_levels._places) == before + 1
    del mesh
    assert len(mesh_levels._places) == before


MESH = mesh_of()


@pytest.mark.parametrize(
    ("f", "arguments", "error", "message"),
    [
        (small(), (state(MESH), Box.periodic((30,), 1.0)), TypeError, "works on a Mesh, got a Box"),
        (small(dim=3), (state(MESH), MESH), ValueError, "built with dim=3 but the mesh has points in 2 dimensions"),
        (small(), (state(MESH)[:, :1], MESH), ValueError, "x has 1 channels but this MultiscaleGNN was built with in_channels=2"),
        (small(embedding=3), (state(MESH), MESH), ValueError, r"embedding of shape \(2, 3\).* got none"),
        (small(boundaries=("wall",)), (state(MESH), mesh_of(boundary={"inlet": [0]})), ValueError, "has a boundary 'inlet'"),
    ],
)
def test_what_does_not_fit_is_named(f: MultiscaleGNN, arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        f(*arguments)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"levels": 0}, {"layers": 0}, {"dim": 0}, {"length": -1.0}])
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)
