"""MeshGraphNet: its formula node by node, renumbering, batches, translations, padding, world edges, recomputation and clear errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay
from torch import Tensor, nn

from surrogates.contracts import Operator
from surrogates.domains import Box, Mesh
from surrogates.operators import mesh_inputs
from surrogates.operators.mesh_graph_net import MeshGraphNet, Perceptron
from surrogates.operators.mesh_inputs import View, inputs, world_edges

DOUBLE = {"dtype": torch.float64}


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> MeshGraphNet:
    torch.manual_seed(0)
    return MeshGraphNet(cin, cout, embedding, **{"width": 8, "layers": 2} | options).double()


def triangles(nodes: int = 14, seed: int = 0, scale: float = 1.0, order: np.ndarray | None = None) -> Mesh:
    points = np.random.default_rng(seed).random((nodes, 2)) * scale
    cells, wall = Delaunay(points).simplices, np.arange(3)
    if order is not None:  # node order[i] becomes node i
        points, cells, wall = points[order], order.argsort()[cells], order.argsort()[wall]
    return Mesh.from_cells(points, cells, {"wall": wall, "inlet": np.zeros(0, int)})


def conditioned(**options) -> MeshGraphNet:
    f = small(embedding=3, boundaries=("inlet", "wall"), **options)
    nn.init.normal_(f.film.out.weight)
    return f


def run(p: Perceptron, *arguments: Tensor) -> Tensor:
    """The perceptron of the paper, over the concatenation."""
    weight = torch.cat([part.weight for part in p.parts], 1)
    z = torch.cat(arguments, -1) @ weight.T + p.parts[0].bias
    for layer in p.layers:
        z = z.relu() @ layer.weight.T + layer.bias
    return z if p.norm is None else nn.functional.layer_norm(z, z.shape[-1:], p.norm.weight, p.norm.bias)


def plain(f: MeshGraphNet, x: Tensor, mesh: Mesh, e: Tensor) -> Tensor:
    """One row, edge by edge and node by node: h'_i = h_i + (1+gamma) f_v([h_i, (1+gamma') sum_j m_ij, ..]) + beta."""
    kinds = torch.stack([mesh.boundary("inlet"), mesh.boundary("wall")]).double()
    h = list(run(f.encode, torch.cat([x, kinds]).T))
    unit = mesh.relative.square().sum(1).mean().sqrt()
    sets = [mesh.edges] if len(f.encode_edges) == 1 else [mesh.edges, world_edges(mesh, f.view.world_radius)]
    latents = []
    for encode, edges in zip(f.encode_edges, sets, strict=True):
        offset = [(mesh.points[r] - mesh.points[s]) / unit for s, r in edges.T.tolist()]
        latents.append([run(encode, torch.cat([d, d.norm()[None]])) for d in offset])
    for block, (gain, shift, gate) in zip(f.blocks, f.film(e[None]), strict=True):
        sums = []
        for k, (message, edges) in enumerate(zip(block.messages, sets, strict=True)):
            m = [run(message, old, h[s], h[r]) for old, (s, r) in zip(latents[k], edges.T.tolist(), strict=True)]
            total = [torch.zeros_like(h[0]) for _ in h]
            for (_, r), value in zip(edges.T.tolist(), m, strict=True):
                total[r] = total[r] + value
            sums.append(total)
            latents[k] = [old + new for old, new in zip(latents[k], m, strict=True)]
        h = [a + gain[0] * run(block.update, a, *(gate[0] * total[i] for total in sums)) + shift[0] for i, a in enumerate(h)]
    return torch.stack([run(f.decode, a) for a in h]).T


@pytest.mark.parametrize("radius", [None, 0.4])
def test_it_is_the_formula_of_the_paper(radius: float | None) -> None:
    f, mesh = conditioned(world_radius=radius), triangles()
    x, e = torch.randn(3, 2, 14, **DOUBLE), torch.randn(3, 3, **DOUBLE)
    torch.testing.assert_close(f(x, mesh, e), torch.stack([plain(f, x[i], mesh, e[i]) for i in range(3)]))


@pytest.mark.parametrize("sets", [1, 2])
def test_it_is_an_operator_and_counts_its_parameters(sets: int) -> None:
    c, layers, hidden, embedding = 8, 3, 2, 5
    f = MeshGraphNet(
        4, 2, embedding, dim=3, width=c, layers=layers, hidden=hidden, boundaries=("a",), world_radius=None if sets == 1 else 0.1
    )
    assert isinstance(f, Operator)
    perceptron = lambda size, out, norm=2: size * c + c + (hidden - 1) * (c * c + c) + c * out + out + norm * out  # noqa: E731
    ends = perceptron(4 + 1, c) + sets * perceptron(4, c) + perceptron(c, 2, norm=0)
    block = sets * perceptron(3 * c, c) + perceptron((1 + sets) * c, c)
    film = (embedding * 2 * c + 2 * c) + (2 * c + 1) * 3 * layers * c
    assert sum(p.numel() for p in f.parameters()) == ends + layers * block + film


def test_the_first_layers_are_drawn_as_one() -> None:
    torch.manual_seed(0)
    p, one = Perceptron((32, 32, 32), 32, 32, 1), nn.Linear(96, 32)
    weight = torch.cat([part.weight for part in p.parts], 1)
    torch.testing.assert_close(weight.std(), one.weight.std(), rtol=0.05, atol=0)


def test_it_commutes_with_a_renumbering_of_the_nodes() -> None:
    order = np.random.default_rng(1).permutation(14)
    f, x, e = conditioned(world_radius=0.3), torch.randn(2, 2, 14, **DOUBLE), torch.randn(2, 3, **DOUBLE)
    torch.testing.assert_close(f(x[..., order], triangles(order=order), e), f(x, triangles(), e)[..., order])


@pytest.mark.parametrize("embedding", [0, 3])
def test_meshes_in_a_batch_do_not_see_each_other(embedding: int) -> None:
    f = conditioned(world_radius=0.4) if embedding else small(world_radius=0.4)
    meshes = [triangles(9), triangles(14, 1), triangles(5, 2, scale=10.0)]
    x, e = torch.randn(2, 2, 28, **DOUBLE), torch.randn(6, embedding, **DOUBLE) if embedding else None
    rows = [None if e is None else e.view(2, 3, -1)[:, i] for i in range(3)]
    parts = [f(part, mesh, row) for part, mesh, row in zip(x.split((9, 14, 5), 2), meshes, rows, strict=True)]
    torch.testing.assert_close(f(x, Mesh.batch(meshes), e), torch.cat(parts, 2))


def test_translations_and_the_seam_of_a_period_are_not_seen() -> None:
    points = torch.rand(20, 2, generator=torch.Generator().manual_seed(0), **DOUBLE)
    f, x = small(world_radius=0.35), torch.randn(1, 2, 20, **DOUBLE)
    y = f(x, Mesh.from_nearest(points, 3, periods=(1.0, 1.0)))
    moved = (points + torch.tensor([0.7, -0.2])) % 1.0
    torch.testing.assert_close(f(x, Mesh.from_nearest(moved, 3, periods=(1.0, 1.0))), y)
    walled = Mesh.from_nearest(points + 5, 3)
    torch.testing.assert_close(f(x, walled), f(x, Mesh.from_nearest(points, 3)))
    assert (f(x, walled) - y).abs().max() > 1e-3


def test_scale_is_seen_where_a_length_is_given() -> None:
    x, mesh, large = torch.randn(1, 2, 14, **DOUBLE), triangles(), triangles(scale=3.0)
    f = small()
    torch.testing.assert_close(f(x, large), f(x, mesh))
    fixed = small(length=0.3)
    assert (fixed(x, large) - fixed(x, mesh)).abs().max() > 1e-3
    torch.testing.assert_close(small(length=0.9)(x, large), fixed(x, mesh))


@pytest.mark.parametrize("rows", [1, 6])
def test_rounding_up_to_whole_images_is_not_seen(rows: int) -> None:
    """Float32 on a CPU takes more nodes and edges than there are; float64 takes what there is."""
    mesh, f = Mesh.batch([triangles(350), triangles(20, 1)]), conditioned(world_radius=0.02)
    x, e = torch.randn(rows, 2, 370, **DOUBLE), torch.randn(2 * rows, 3, **DOUBLE)
    exact = f(x, mesh, e)
    slopes = torch.autograd.grad(exact.square().sum(), f.parameters())
    f, seen = f.float(), inputs(mesh, f.view, rows, torch.float32, torch.device("cpu"))
    if mesh_inputs.ONEDNN:
        assert seen.links[0].graph.sender.shape[0] * rows % 128 == 0 and seen.links[0].graph.sender.shape[0] > mesh.edges.shape[1]
    y = f(x.float(), mesh, e.float())
    torch.testing.assert_close(y.double(), exact, rtol=1e-4, atol=1e-4)
    for a, b in zip(torch.autograd.grad(y.square().sum(), f.parameters()), slopes, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


def test_recomputing_layers_gives_the_same_gradients() -> None:
    mesh, x, e = triangles(), torch.randn(2, 2, 14, **DOUBLE), torch.randn(2, 3, **DOUBLE)
    slopes = []
    for checkpoint in (False, True):
        f = conditioned(checkpoint=checkpoint)
        slopes.append(torch.autograd.grad(f(x, mesh, e).square().sum(), f.parameters()))
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_derivatives_are_those_of_finite_differences() -> None:
    mesh = triangles(6)
    f = conditioned(width=3, layers=1)
    x, e = torch.randn(2, 2, 6, **DOUBLE, requires_grad=True), torch.randn(2, 3, **DOUBLE, requires_grad=True)
    weight = f.blocks[0].messages[0].parts[1].weight
    called = lambda x, e, w: torch.func.functional_call(f, {"blocks.0.messages.0.parts.1.weight": w}, (x, mesh, e))  # noqa: E731
    assert torch.autograd.gradcheck(called, (x, e, weight), fast_mode=True, check_forward_ad=True)
    f, x, t = conditioned(checkpoint=True), x.detach(), torch.randn_like(x)
    _, derivative = torch.func.jvp(lambda x: f(x, mesh, e), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, mesh, e) - f(x - 1e-6 * t, mesh, e)) / 2e-6, rtol=1e-5, atol=1e-7)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, plain, mesh = small(embedding=3), small(), triangles()
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    x, e = torch.randn(2, 2, 14, **DOUBLE), torch.randn(2, 3, **DOUBLE)
    torch.testing.assert_close(f(x, mesh, e), plain(x, mesh))
    f(x, mesh, e).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in f.film.out.parameters())


def test_a_node_sees_as_many_edges_far_as_there_are_layers() -> None:
    line = Mesh.from_radius(torch.arange(9.0)[:, None], 1.0)
    x = torch.randn(1, 2, 9, **DOUBLE, requires_grad=True)
    (slope,) = torch.autograd.grad(small(dim=1, layers=3)(x, line)[0, 0, 4], x)
    assert (slope.abs().amax((0, 1)) > 0).tolist() == [abs(i - 4) <= 3 for i in range(9)]


def test_world_edges_are_close_nodes_that_no_edge_joins() -> None:
    mesh = Mesh.batch([triangles(12), triangles(10, 1)])
    near = (mesh.points[:, None] - mesh.points).norm(dim=2) < 0.5
    near &= (mesh.member[:, None] == mesh.member) & ~torch.eye(22, dtype=torch.bool)
    near[mesh.edges[0], mesh.edges[1]] = False
    assert torch.equal(world_edges(mesh, 0.5), near.nonzero().T.flip(0)) and near.any()


def test_one_node_no_edges_and_nodes_alone() -> None:
    f = small(world_radius=0.1)
    one = Mesh.from_nearest([[0.5, 0.5]], 4)
    assert f(torch.randn(3, 2, 1, **DOUBLE), one).isfinite().all()
    assert f.float()(torch.randn(3, 2, 1), one).isfinite().all()
    apart = Mesh.from_radius([[0.0, 0.0], [0.05, 0.0], [9.0, 9.0]], 0.1)
    x = torch.randn(1, 2, 3)
    torch.testing.assert_close(f(x, apart)[..., 2:], f(x[..., 2:], one))


X = torch.zeros(2, 2, 14)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: small(width=0), "width must be at least 1"),
        (lambda: small(length=-1.0), "length must be positive or None"),
        (lambda: small(world_radius=0.0), "world_radius must be positive or None"),
        (lambda: small(dim=3)(X, triangles()), "built with dim=3 but the mesh has points in 2 dimensions"),
        (lambda: small(3)(X, triangles()), "x has 2 channels but this MeshGraphNet was built with in_channels=3"),
        (lambda: small()(X[..., :5], triangles()), r"this Mesh takes \(B, C, 14\)"),
        (lambda: small(embedding=3)(X, triangles()), r"takes an embedding of shape \(2, 3\)"),
        (lambda: small(boundaries=("walls",))(X, triangles()), "boundary 'wall' but this network knows walls"),
    ],
)
def test_errors_say_what_to_write(make, says) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_a_box_is_not_a_mesh() -> None:
    with pytest.raises(TypeError, match="works on a Mesh, got a Box"):
        small()(torch.zeros(1, 2, 4), Box.periodic((4,), 1.0))


def test_inputs_are_made_once_for_a_mesh_and_view() -> None:
    mesh, view = triangles(), View(("wall", "inlet"), 0.3)
    cpu = torch.device("cpu")
    assert inputs(mesh, view, 2, torch.float32, cpu) is inputs(mesh, View(("wall", "inlet"), 0.3), 2, torch.float32, cpu)
    assert inputs(mesh, view, 2, torch.float64, cpu) is inputs(mesh, view, 3, torch.float64, cpu)


COMPILED = """
import torch
from surrogates.domains import Mesh
from surrogates.operators.mesh_graph_net import MeshGraphNet

torch.manual_seed(0)
f = MeshGraphNet(2, 1, 3, width=4, layers=2, boundaries=("wall",))
compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
for nodes in (9, 12):
    mesh = Mesh.from_nearest(torch.rand(nodes, 2), 3, boundary={"wall": [0]})
    x, e = torch.randn(2, 2, nodes), torch.randn(2, 3)
    y = compiled(x, mesh, e)
    y.sum().backward()
    torch.testing.assert_close(y, f(x, mesh, e))
"""


@pytest.mark.slow
def test_it_compiles_whole() -> None:
    """In a process of its own: the annotations checked in tests are no part of the graph."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
