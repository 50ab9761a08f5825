"""Attention as integrals: against the dense kernel, translations, refinement, weights, meshes, derivatives and what does not fit."""

from __future__ import annotations

import math
import types

import pytest
import torch
from torch import Tensor, nn

from surrogates.contracts import Operator
from surrogates.domains import Box, Mesh
from surrogates.operators import galerkin
from surrogates.operators.galerkin import GalerkinTransformer, integrate
from surrogates.operators.rotary import lowest_waves


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> GalerkinTransformer:
    torch.manual_seed(0)
    f = GalerkinTransformer(cin, cout, embedding, **{"dim": 1, "width": 8, "layers": 2, "heads": 2} | options).double()
    for block in f.blocks:
        nn.init.normal_(block.attention.gain)
        nn.init.normal_(block.attention.shift)
        nn.init.normal_(block.attention.qkv.weight, std=0.3)
        nn.init.normal_(block.attention.qkv.bias)  # norms stay away from where all features agree
    return f


def box(*shape: int) -> Box:
    return Box.periodic(shape, 2 * math.pi)


def stretched(n: int) -> Box:
    """Cells that grow by a factor of about 20 from end to end."""
    s = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    edges = ((3 * s).exp() - 1) / (math.exp(3) - 1)
    return Box((n,), (0.0,), (1.0,), ("wall",), ((0.0, *edges[1:-1].tolist(), 1.0),))


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_it_is_an_operator_and_counts_its_parameters() -> None:
    f = GalerkinTransformer(3, 2, 5, dim=2, width=8, layers=3, heads=2, positions=(1, 2), expansion=3.0)
    assert isinstance(f, Operator)
    c, h = 8, 24
    layer = (3 * c * c + 3 * c) + (c * c + c) + 4 * c + (c * h + h) + (h * c + c)
    ends = ((3 + 6) * h + h) + (h * c + c) + (c * h + h) + (h * 2 + 2)
    film = (5 * 2 * c + 2 * c) + (2 * c + 1) * 3 * 3 * c
    assert sum(q.numel() for q in f.parameters()) == ends + 3 * layer + film


def norm(u: Tensor) -> Tensor:
    return (u - u.mean(-1, keepdim=True)) / (u.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()


def layer_by_kernel(layer: nn.Module, h: Tensor, theta: Tensor, share: Tensor, waves: Tensor, by: Tensor) -> Tensor:
    """One layer on the points (n, C) of one row, by the whole kernel kappa(x, x') = q(x).k(x'); by: gamma, beta, gamma'."""
    a, (n, c) = layer.attention, h.shape
    heads, seen = a.heads, h * (1 + by[0]) + by[1]
    q, k, v = (seen @ a.qkv.weight.T + a.qkv.bias).view(n, 3, heads, -1).unbind(1)
    gain, shift = a.gain, a.shift
    if a.galerkin:
        k, v = norm(k) * gain[0] + shift[0], norm(v) * gain[1] + shift[1]
    else:
        q, k = norm(q) * gain[0] + shift[0], norm(k) * gain[1] + shift[1]
    half, out = c // heads // 2, torch.zeros(n, heads, c // heads, dtype=h.dtype)
    for i in range(n):
        for j in range(n):
            for m in range(heads):
                z = torch.complex(q[i, m, :half], q[i, m, half:]) * torch.complex(k[j, m, :half], k[j, m, half:]).conj()
                turned = z * torch.polar(torch.ones(()).double(), waves[m] @ (theta[i] - theta[j]))
                out[i, m] += turned.sum().real * v[j, m] * share[j]
    h = h + out.flatten(1) @ a.out.weight.T + a.out.bias
    m = nn.functional.gelu(h @ layer.inner.weight.T + layer.inner.bias) @ layer.outer.weight.T + layer.outer.bias
    return h + (1 + by[2]) * m


@pytest.mark.parametrize("kind", ["galerkin", "fourier"])
@pytest.mark.parametrize("b", [box(5, 4), Box((4, 3), (0.0, 1.0), (2.0, 2.0), ("periodic", "wall"), (None, (1.0, 1.1, 1.3, 2.0)))])
def test_the_same_as_the_whole_kernel(kind: str, b: Box) -> None:
    f, n = small(2, 3, 4, dim=2, kind=kind, layers=1), math.prod(b.shape)
    nn.init.normal_(f.film.out.weight)
    x, e = draw(2, 2, *b.shape), draw(2, 4)
    turn = torch.tensor([2 * math.pi if kind == "periodic" else math.pi for kind in b.boundary], dtype=torch.float64)
    theta = (torch.stack(b.grid(), -1) - torch.tensor(b.lower, dtype=torch.float64)) * turn / torch.tensor(b.lengths, dtype=torch.float64)
    p = torch.cat([torch.stack([theta[..., a].sin(), theta[..., a].cos()]) for a in range(2)])
    share, by = (b.measure / b.measure.sum()).flatten(), f.film.out(nn.functional.silu(f.film.hidden(e))).view(2, 3, 8)
    for row in range(2):
        h = torch.cat([x[row], p]).flatten(1).T
        h = nn.functional.gelu(h @ f.lift_in.weight.T + f.lift_in.bias) @ f.lift_out.weight.T + f.lift_out.bias
        h = layer_by_kernel(f.blocks[0], h, theta.view(n, 2), share, lowest_waves(2, 2, 2), by[row])
        y = nn.functional.gelu(h @ f.project_in.weight.T + f.project_in.bias) @ f.project_out.weight.T + f.project_out.bias
        torch.testing.assert_close(f(x, b, e)[row], y.T.reshape(3, *b.shape))


def test_heads_as_blocks_of_one_product_or_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = draw(3, 2, 7, 12).unbind(0)
    together = integrate(q, k, v, 3)
    monkeypatch.setattr(galerkin, "DENSE", 0)
    torch.testing.assert_close(integrate(q, k, v, 3), together)


@pytest.mark.parametrize("kind", ["galerkin", "fourier"])
@pytest.mark.parametrize("shape", [(13,), (9, 8), (5, 4, 6)])
def test_without_positions_it_commutes_with_translations(shape: tuple[int, ...], kind: str) -> None:
    f, b, by, dims = small(dim=len(shape), kind=kind, positions=0), box(*shape), (3, -2, 1)[: len(shape)], tuple(range(2, 2 + len(shape)))
    x = draw(2, 2, *shape)
    torch.testing.assert_close(f(x.roll(by, dims), b), f(x, b).roll(by, dims))
    seen = small(dim=len(shape), kind=kind)
    assert (seen(x.roll(by, dims), b) - seen(x, b).roll(by, dims)).abs().max() > 1e-3


def wave(x: Tensor) -> Tensor:
    return torch.stack([torch.sin(x) + torch.cos(2 * x), torch.cos(x + 1)])[None]


@pytest.mark.parametrize("options", [{}, {"kind": "fourier"}, {"rotary": False, "positions": 2}])
def test_a_periodic_grid_converges_faster_than_any_power(options: dict) -> None:
    f = small(**options)
    fine = f(wave(box(192).coordinate(0)), box(192))
    errors = [(f(wave(box(n).coordinate(0)), box(n)) - fine[..., :: 192 // n]).abs().max().item() for n in (8, 16, 32)]
    assert errors[1] < 0.05 * errors[0] and errors[2] < 0.01 * errors[1]


@pytest.mark.parametrize("kind", ["galerkin", "fourier"])
def test_walled_and_stretched_grids_converge_at_second_order_to_the_same(kind: str) -> None:
    f, means = small(kind=kind), {}
    for n in (32, 64, 128, 1024):
        for b in (Box((n,), (0.0,), (1.0,), ("wall",)), stretched(n)):
            means[n, b.edges[0] is None] = b.average(f(wave(5 * b.coordinate(0)), b)).item()
    assert abs(means[1024, True] - means[1024, False]) < 1e-4 * abs(means[1024, True])
    for even in (True, False):
        coarse, fine = (abs(means[n, even] - means[1024, True]) for n in (64, 128))
        assert 3 < coarse / fine < 5


def cloud(n: int, seed: int = 0, **options) -> Mesh:
    g = torch.Generator().manual_seed(seed)
    measure = 0.1 + torch.rand(n, generator=g, dtype=torch.float64)
    return Mesh.from_nearest(torch.rand(n, 2, generator=g, dtype=torch.float64), 3, measure, **options)


def test_a_box_is_a_mesh_of_its_points() -> None:
    b = Box((6, 5), (0.0, 0.0), (1.0, 2.0), ("periodic", "periodic"))
    mesh = Mesh.from_nearest(torch.stack(b.grid(), -1).reshape(-1, 2), 4, b.measure.flatten(), periods=(1.0, 2.0))
    f, x = small(dim=2), draw(2, 2, 6, 5)
    torch.testing.assert_close(f(x.flatten(2), mesh), f(x, b).flatten(2))


def test_the_order_of_nodes_has_no_say() -> None:
    mesh, order = cloud(12), torch.randperm(12, generator=torch.Generator().manual_seed(2))
    f, x = small(dim=2), draw(2, 2, 12)
    again = Mesh.from_nearest(mesh.points[order], 3, mesh.measure[order])
    torch.testing.assert_close(f(x[..., order], again), f(x, mesh)[..., order])


@pytest.mark.parametrize("sizes", [(12, 7, 9), (6, 6, 6), (1, 4, 2)])
@pytest.mark.parametrize("rows", [1, 2])
def test_members_do_not_see_each_other(sizes: tuple[int, ...], rows: int) -> None:
    meshes = [cloud(n, seed, periods=(None, 1.0)) for seed, n in enumerate(sizes)]
    f, x, e = small(2, 3, 2, dim=2), draw(rows, 2, sum(sizes)), draw(rows * 3, 2)
    nn.init.normal_(f.film.out.weight)
    y = f(x, Mesh.batch(meshes), e)
    alone = [f(part, mesh, e[i::3]) for i, (part, mesh) in enumerate(zip(x.split(sizes, 2), meshes, strict=True))]
    torch.testing.assert_close(y, torch.cat(alone, 2))


def test_one_node_is_its_own_mean() -> None:
    mesh = Mesh(torch.zeros(1, 2), torch.zeros(2, 0, dtype=torch.long), torch.ones(1))
    assert small(dim=2)(draw(3, 2, 1), mesh).isfinite().all()


@pytest.mark.parametrize("options", [{}, {"kind": "fourier", "rotary": False}])
def test_gradients_are_those_of_finite_differences(options: dict) -> None:
    f, b = small(1, 1, 2, width=4, heads=1, layers=1, **options), stretched(5)
    x, e, w = draw(2, 1, 5).requires_grad_(), draw(2, 2).requires_grad_(), f.blocks[0].attention.qkv.weight.detach().requires_grad_()

    def y(x: Tensor, e: Tensor, w: Tensor) -> Tensor:
        return torch.func.functional_call(f, {"blocks.0.attention.qkv.weight": w}, (x, b, e))

    assert torch.autograd.gradcheck(y, (x, e, w), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    f, meshes = small(dim=2), Mesh.batch([cloud(6), cloud(4, 1)])
    x, t = draw(2, 1, 2, 10).unbind(0)
    _, derivative = torch.func.jvp(lambda x: f(x, meshes), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, meshes) - f(x - 1e-6 * t, meshes)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, b, x = small(embedding=3), box(8), draw(2, 2, 8)
    e = draw(2, 3)
    torch.testing.assert_close(f(x, b, e), f(x, b, e.flip(0)), rtol=0, atol=0)
    f(x, b, e).square().sum().backward()
    assert f.film.out.bias.grad.abs().min() > 0
    for row in range(3):
        before = f(x, b, e)
        with torch.no_grad():
            f.film.out.bias.view(2, 3, 8)[0, row] += 1
        assert (f(x, b, e) - before).abs().max() > 1e-4


def test_recomputing_changes_no_gradient() -> None:
    plain, again = small(embedding=3), small(embedding=3, checkpoint=True)
    x, e = draw(2, 2, 8), draw(2, 3)
    for f in (plain, again):
        f(x, box(8), e).square().sum().backward()
    for p, q in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize(
    ("domain", "options", "message"),
    [
        (box(6), {}, "axis x has 6 points and holds 3 waves .* turn by up to 7"),
        (Box((4,), (0.0,), (1.0,), ("wall",)), {}, "axis x has 4 points and holds 4 waves"),
        (stretched(16), {"positions": 0}, "cannot see the ends of axis x"),
        (cloud(5), {"dim": 2, "positions": (1, 0)}, "cannot see the ends of axis y"),
        (box(8, 8), {}, "2 dimensions"),
    ],
)
def test_what_does_not_fit_is_named(domain: Box | Mesh, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**{"width": 16} | options)(draw(2, 2, *domain.shape), domain)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "softmax"},
        {"dim": 4},
        {"dim": 0},
        {"width": 6},
        {"layers": 0},
        {"positions": -1},
        {"expansion": 0.01},
        {"rotary": False, "positions": 0},
    ],
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)


def test_another_geometry_is_refused() -> None:
    cloud = types.SimpleNamespace(shape=(8,), members=1, mask=None, measure=torch.ones(8), integral=abs, expand=abs)
    with pytest.raises(TypeError, match="got a SimpleNamespace"):
        small()(draw(2, 2, 8), cloud)
