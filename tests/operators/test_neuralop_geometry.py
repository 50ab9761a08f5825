"""GINO and FNOGNO: their own answer where they have one; periods, measures and several meshes where they have none; clear errors."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from surrogates.domains import Box
from surrogates.domains.mesh import Mesh
from surrogates.operators.neuralop_geometry import FNOGNO, GINO, between, integrate

pytest.importorskip("neuralop", reason="the library that is adapted")
BOTH = pytest.mark.parametrize("kind", [GINO, FNOGNO])


def small(kind: type = GINO, embedding: int = 0, **options) -> GINO | FNOGNO:
    torch.manual_seed(0)
    return kind(2, 1, embedding, **{"width": 6, "modes": (4, 3), "layers": 2, "grid": 8, "kernel": (5,), "octaves": 2} | options)


def cloud(nodes: int, seed: int = 0, *, even: bool = False, **options) -> Mesh:
    torch.manual_seed(seed)
    points = torch.rand(nodes, 2, dtype=torch.float64) * torch.tensor([3.0, 1.0])
    return Mesh.from_nearest(points, 3, None if even else torch.rand(nodes) + 0.1, **options)


def join(mesh: Mesh, grid: tuple[int, ...] = (8, 8), radius: float = 1.5):
    return between(mesh, grid, radius, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("kernel", [(5,), (16,), ()])
def test_gino_gives_their_own_answer_for_equal_cells_without_periods(kernel: tuple[int, ...]) -> None:
    """Also where a hidden layer is as wide as its input (16), and without any."""
    f, mesh, x = small(kernel=kernel), cloud(20, even=True), torch.randn(3, 2, 20)
    where = join(mesh)
    grid = where.points.view(1, 8, 8, 2)
    theirs = f.model(where.nodes[None], grid, where.nodes[None], x=f.lift(x.mT)).mT
    torch.testing.assert_close(f(x, mesh), theirs, rtol=1e-4, atol=1e-6)


def test_fnogno_gives_their_own_answer_from_means_on_the_grid() -> None:
    f, mesh, x = small(FNOGNO), cloud(20, even=True), torch.randn(3, 2, 20)
    where = join(mesh)
    near = torch.cdist(where.points, where.nodes) * 7 <= 1.5
    means = (near.float() / near.sum(1, keepdim=True).clamp(min=1)) @ x.permute(0, 2, 1)
    theirs = f.model(where.points.view(8, 8, 2), where.nodes, means.view(3, 8, 8, 2)).mT
    torch.testing.assert_close(f(x, mesh), theirs, rtol=1e-4, atol=1e-6)


def test_neighbours_are_those_of_all_pairs_across_periods() -> None:
    mesh, grid, radius = cloud(25, periods=(3.0, None)), (8, 6), 1.7
    where = join(mesh, grid, radius)
    y = mesh.points[:, 1]
    at = torch.stack([mesh.points[:, 0] / 3 * 8, (y - y.min()) / (y.max() - y.min()) * 5], 1)
    lattice = torch.tensor(list(itertools.product(range(8), range(6))))
    d = at[:, None] - lattice
    d[..., 0] -= 8 * (d[..., 0] / 8).round()
    pairs = {(int(i), int(g)) for i, g in (d.norm(dim=-1) <= radius).nonzero()}
    assert set(zip(where.there.sender.tolist(), where.there.receiver.tolist(), strict=True)) == pairs
    assert set(zip(where.back.receiver.tolist(), where.back.sender.tolist(), strict=True)) == pairs
    assert len(where.share) == len(pairs) and {i for i, _ in pairs} == set(range(25))


def test_the_integral_is_the_sum_over_pairs_by_measure() -> None:
    f, mesh = small(), cloud(12, periods=(3.0, None))
    where, u = join(mesh), torch.randn(12, 2, 6)
    got = integrate(f.model.gno_in, u, where.there, where.nodes, where.points, where.share)
    embed, layers = f.model.gno_in.pos_embedding, f.model.gno_in.integral_transform.channel_mlp
    expected, total = torch.zeros(64, 2, 6), torch.zeros(64)
    for i, g in zip(where.there.sender.tolist(), where.there.receiver.tolist(), strict=True):
        k = layers(torch.cat([embed(where.nodes[i : i + 1]), embed(where.points[g : g + 1])], 1))
        expected[g] += mesh.measure[i].float() * k * u[i]
        total[g] += mesh.measure[i].float()
    torch.testing.assert_close(got, expected / total.clamp(min=1e-9)[:, None, None], rtol=1e-4, atol=1e-6)


@BOTH
def test_a_period_further_is_the_same_place(kind: type) -> None:
    f, mesh, x = small(kind), cloud(20, periods=(3.0, 1.0)), torch.randn(2, 2, 20)
    further = mesh.points + torch.tensor([3.0, -2.0]) * (torch.rand(20, 2) > 0.5)
    torch.testing.assert_close(f(x, Mesh.from_nearest(further, 3, mesh.measure, periods=(3.0, 1.0))), f(x, mesh), rtol=1e-4, atol=1e-6)


@BOTH
def test_the_order_of_nodes_is_nothing(kind: type) -> None:
    f, mesh, x, order = small(kind), cloud(15), torch.randn(2, 2, 15), torch.randperm(15)
    turned = Mesh.from_nearest(mesh.points[order], 3, mesh.measure[order])
    torch.testing.assert_close(f(x[..., order], turned), f(x, mesh)[..., order], rtol=1e-4, atol=1e-6)


@BOTH
def test_meshes_in_one_batch_do_not_see_each_other(kind: type) -> None:
    f, parts, x, e = small(kind, 3), [cloud(9), cloud(1, 1), cloud(14, 2)], torch.randn(2, 2, 24), torch.randn(6, 3)
    y = f(x, Mesh.batch(parts), e)
    for i, nodes in enumerate((slice(0, 9), slice(9, 10), slice(10, 24))):
        torch.testing.assert_close(y[..., nodes], f(x[..., nodes], parts[i], e[i::3]), rtol=1e-4, atol=1e-6)


@BOTH
def test_an_embedding_enters_as_constant_channels(kind: type) -> None:
    mesh, x, e = cloud(9), torch.randn(2, 2, 9), torch.randn(2, 3)
    torch.manual_seed(0)
    plain = kind(5, 1, width=6, modes=(4, 3), layers=2, grid=8, kernel=(5,), octaves=2)
    torch.testing.assert_close(small(kind, 3)(x, mesh, e), plain(torch.cat([x, e[:, :, None].expand(-1, -1, 9)], 1), mesh))


@BOTH
def test_it_can_be_differentiated_both_ways(kind: type) -> None:
    f, mesh, (x, t) = small(kind), cloud(9), torch.randn(2, 1, 2, 9).unbind(0)
    x.requires_grad_()
    _, forwards = torch.func.jvp(lambda x: f(x, mesh), (x,), (t,))
    w = torch.randn_like(forwards)
    (backwards,) = torch.autograd.grad((f(x, mesh) * w).sum(), x)
    torch.testing.assert_close((forwards * w).sum(), (backwards * t).sum(), rtol=1e-3, atol=1e-5)
    f(x, mesh).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in f.parameters())


@BOTH
@pytest.mark.parametrize("dim", [1, 3])
def test_lines_and_solids_too(kind: type, dim: int) -> None:
    f = small(kind, modes=(4,) * (dim - 1) + (3,), grid=6)
    mesh = Mesh.from_nearest(torch.rand(20, dim), 3)
    assert f(torch.randn(2, 2, 20), mesh).shape == (2, 1, 20)


@BOTH
def test_its_state_is_tensors_only(kind: type) -> None:
    held = nn.ModuleDict({"operator": small(kind)})
    state = held.state_dict()
    assert all(isinstance(v, Tensor) for v in state.values())
    held.load_state_dict(state, strict=True)


@BOTH
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"modes": (4, 6)}, "holds"),
        ({"modes": (4, 0)}, "modes must be"),
        ({"grid": (7, 8)}, "odd leading axes"),
        ({"grid": 1}, "grid must be"),
        ({"grid": (8, 8, 8)}, "grid must be"),
        ({"radius": 0.5}, "radius must lie between 0.707"),
        ({"radius": 4.0}, "and 3.5"),
        ({"width": 0}, "width must be"),
        ({"kernel": (8, 0)}, "kernel must be"),
        ({"options": {"fno_skipp": "linear"}}, "fno_skipp"),
        ({"options": {"fno_norm": "batch"}}, "refuses"),
    ],
)
def test_what_cannot_be_built_is_named(kind: type, wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(kind, **wrong)


@BOTH
def test_what_does_not_fit_is_named(kind: type) -> None:
    f, mesh, x = small(kind), cloud(9), torch.zeros(1, 2, 9)
    line = Mesh.from_nearest(torch.rand(9, 1), 2)
    for arguments, message in (
        ((x.double(), mesh), "are float32"),
        ((x[:, :1], mesh), f"x has 1 channels but this {kind.__name__}"),
        ((x, line), "built with dim=2 but the mesh has points in 1 dimensions"),
        ((x, mesh, torch.zeros(1, 2)), "takes an embedding of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            f(*arguments)
    with pytest.raises(TypeError, match="works on a Mesh, got a Box"):
        f(torch.zeros(1, 2, 4, 4), Box.periodic((4, 4), 1.0))


@BOTH
def test_without_the_library_the_error_says_how_to_install_it(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "neuralop", None)
    with pytest.raises(ImportError, match="pip install 'neuraloperator"):
        small(kind)
