"""Transolver: the formula point by point, order and company of points, refinement, grids as clouds, gradients, clear errors."""

from __future__ import annotations

import math
import types

import pytest
import torch
from torch import Tensor, nn

from surrogates.domains import Box
from surrogates.domains.mesh import Mesh
from surrogates.operators.transolver import SliceAttention, Transolver


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> Transolver:
    torch.manual_seed(0)
    return Transolver(cin, cout, embedding, **{"width": 8, "heads": 2, "slices": 3, "layers": 2, "positions": 1} | options).double()


def cloud(nodes: int, seed: int = 0) -> Mesh:
    torch.manual_seed(seed)
    return Mesh.from_nearest(torch.rand(nodes, 2), 3, torch.rand(nodes) + 0.1)


def line(n: int, finer: int = 1) -> Mesh:
    """[0, 1] in n equal segments, the left half of them cut into `finer` parts."""
    ends = torch.arange(n + 1, dtype=torch.float64) / n
    inner = torch.arange(n // 2 * finer, dtype=torch.float64) / (n * finer)
    x = torch.cat([inner, ends[n // 2 :]])
    return Mesh.from_cells(x[:, None], torch.stack([torch.arange(len(x) - 1), torch.arange(1, len(x))], 1))


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def by_loops(f: SliceAttention, h: Tensor, m: Tensor) -> Tensor:
    """Wu et al.'s equations 1 to 4 for one row, with measures m: a head, a slice, a point at a time."""
    size, out = len(h[0]) // f.heads, []
    for head in range(f.heads):
        part = slice(head * size, (head + 1) * size)
        sorted_by = (h @ f.sort.weight.T + f.sort.bias)[:, part]
        values = (h @ f.value.weight.T + f.value.bias)[:, part]
        w = torch.softmax((sorted_by @ f.slice.weight.T + f.slice.bias) / f.log_temperature[head].exp(), -1)
        tokens = [sum(m[i] * w[i, s] * values[i] for i in range(len(h))) / sum(m * w[:, s]) for s in range(w.shape[1])]
        wq, wk, wv = f.mix.weight.chunk(3)
        mixed = []
        for z in tokens:
            share = torch.softmax(torch.stack([(wq @ z) @ (wk @ y) / size**0.5 for y in tokens]), 0)
            mixed.append(sum(a * (wv @ y) for a, y in zip(share, tokens, strict=True)))
        out.append(w @ torch.stack(mixed))
    return torch.cat(out, 1) @ f.out.weight.T + f.out.bias


def test_the_attention_is_the_formula_with_the_measure_as_weight() -> None:
    torch.manual_seed(0)
    f, h, m = SliceAttention(8, 2, 3).double(), randn(2, 7, 8), torch.rand(2, 7, dtype=torch.float64) + 0.1
    nn.init.normal_(f.log_temperature)
    expected = torch.stack([by_loops(f, *row) for row in zip(h, m, strict=True)])
    torch.testing.assert_close(f(h, m[..., None]), expected, rtol=1e-5, atol=1e-5)  # tokens fade in slices of 1e-7 of the volume
    even = torch.stack([by_loops(f, row, torch.ones(7)) for row in h])
    torch.testing.assert_close(f(h, None), even, rtol=1e-5, atol=1e-5)


def test_an_empty_slice_leaves_numbers_finite() -> None:
    f, h = SliceAttention(8, 2, 3), torch.randn(1, 5, 8, requires_grad=True)
    with torch.no_grad():
        f.slice.bias[0] = -1e4
    y = f(h, None)
    y.sum().backward()
    assert y.isfinite().all() and h.grad.isfinite().all()


def test_the_parameters_are_counted_by_a_formula() -> None:
    c, s, h, e, x, p = 8, 3, 2, 5, 2, 2
    f = small(embedding=e, kernel=3, gradient=True)
    d = c // h
    attention = 3 * (c + 1) * c + (d + 1) * s + h + 3 * d * d
    block = 2 * 2 * c + (9 * c + 1) * c + attention + 2 * (c + 1) * c
    ends = (3 * x + 2 * p + 1) * 2 * c + (2 * c + 1) * c + 2 * c + c + 1
    film = (e + 1) * 2 * c + (2 * c + 1) * 3 * 2 * c
    assert sum(q.numel() for q in f.parameters()) == ends + 2 * block + film


def test_the_order_of_nodes_is_nothing() -> None:
    f, mesh, x, order = small(), cloud(9), randn(2, 2, 9), torch.randperm(9)
    turned = Mesh.from_nearest(mesh.points[order], 3, mesh.measure[order])
    torch.testing.assert_close(f(x[..., order], turned), f(x, mesh)[..., order])


@pytest.mark.parametrize("sizes", [(5, 9, 1), (6, 6, 6)])
def test_meshes_in_one_batch_do_not_see_each_other(sizes: tuple[int, ...]) -> None:
    f, parts = small(embedding=3), [cloud(n, seed) for seed, n in enumerate(sizes)]
    nn.init.normal_(f.film.out.weight)
    x, e = randn(2, 2, sum(sizes)), randn(2 * len(sizes), 3)
    y, begin = f(x, Mesh.batch(parts), e), 0
    for i, (part, n) in enumerate(zip(parts, sizes, strict=True)):
        nodes = slice(begin, begin + n)
        torch.testing.assert_close(y[..., nodes], f(x[..., nodes], part, e[i :: len(sizes)]))
        begin += n


def test_a_finer_half_changes_nothing_in_the_limit() -> None:
    """A quadrature of second order: the answer at shared nodes converges although nodes crowd on one side."""
    f, errors = small(1, 1, dim=1).requires_grad_(False), []
    nn.init.normal_(f.blocks[0].attention.slice.weight, std=2.0)
    for n in (16, 32, 64):
        even, uneven = line(n), line(n, 4)
        y, z = (f(torch.sin(4 * m.points.T)[None], m)[0, 0] for m in (even, uneven))
        shared = torch.cat([z[: n // 2 * 4 : 4], z[n // 2 * 4 :]])
        errors.append(float((y - shared).abs().max()))
    assert errors[0] / errors[1] > 3.5 and errors[1] / errors[2] > 3.5
    assert errors[-1] < 1e-4


@pytest.mark.parametrize("positions", [0, 2])
def test_a_grid_is_a_cloud_of_its_points(positions: int) -> None:
    f, box = small(positions=positions), Box.periodic((4, 5), (1.0, 2.0))
    mesh = Mesh.from_nearest(torch.stack(box.grid(), -1).reshape(-1, 2), 3, periods=(1.0, 2.0))
    x = randn(2, 2, 4, 5)
    torch.testing.assert_close(f(x.flatten(2), mesh), f(x, box).flatten(2))


def test_a_gradient_is_two_more_channels() -> None:
    """Of the angle that an axis is seen as: a period or twice an extent is 2 pi; a plane wave and a ramp have known ones."""
    f, plain = small(1, gradient=True), small(3)
    box = Box.periodic((8, 6), (2.0, 5.0))
    x, y = (2 * math.pi * v / length for v, length in zip(box.grid(), box.lengths, strict=True))
    u = torch.sin(x + 2 * y)[None, None]
    torch.testing.assert_close(f(u, box), plain(torch.cat([u, *(n * torch.cos(x + 2 * y)[None, None] for n in (1, 2))], 1), box))
    mesh = Mesh.batch([cloud(9), cloud(12, 1)])
    v, slopes = (3 * mesh.points[:, 0] - mesh.points[:, 1])[None, None], torch.zeros(1, 2, 21, dtype=torch.float64)
    for nodes in (slice(0, 9), slice(9, 21)):
        extent = mesh.points[nodes].amax(0) - mesh.points[nodes].amin(0)
        slopes[0, :, nodes] = (torch.tensor([3.0, -1.0]) * extent / math.pi)[:, None]
    torch.testing.assert_close(f(v, mesh), plain(torch.cat([v, slopes], 1), mesh))


@pytest.mark.parametrize("kernel", [1, 3])
def test_without_positions_it_commutes_with_translations(kernel: int) -> None:
    f, box, x = small(positions=0, kernel=kernel), Box.periodic((5, 7), 1.0), randn(2, 2, 5, 7)
    torch.testing.assert_close(f(x.roll((2, -3), (2, 3)), box), f(x, box).roll((2, -3), (2, 3)))
    seen = small(positions=(1, 0), kernel=kernel)
    torch.testing.assert_close(seen(x.roll(3, 3), box), seen(x, box).roll(3, 3))
    assert (seen(x.roll(2, 2), box) - seen(x, box).roll(2, 2)).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(6,), (4, 5), (3, 4, 3)])
def test_neighbours_are_seen_on_grids_of_every_dimension(shape: tuple[int, ...]) -> None:
    """A value at one point moves the slices of its neighbours; beyond walls lies the mirror image."""
    f = small(dim=len(shape), kernel=3, layers=1)
    with torch.no_grad():
        f.blocks[0].attention.out.weight.zero_()  # what is left is local
    box = Box(shape, (0.0,) * len(shape), (1.0,) * len(shape), ("periodic", *("wall",) * (len(shape) - 1)))
    x = randn(1, 2, *shape)
    bumped = x.clone()
    bumped[0, 0][(0,) * len(shape)] += 1
    moved = (f(bumped, box) - f(x, box))[0, 0].abs() > 1e-12
    near = torch.stack([torch.minimum(i, n - i) if a == 0 else i for a, (i, n) in enumerate(zip(indices(shape), shape, strict=True))])
    assert torch.equal(moved, near.amax(0) <= 1)


def indices(shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    return torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")


def test_gradients_are_those_of_finite_differences() -> None:
    f, mesh = small(1, 1, 2, width=4, layers=1), Mesh.batch([cloud(4), cloud(6, 1)])
    nn.init.normal_(f.film.out.weight)
    x, e = randn(1, 1, 10).requires_grad_(), randn(2, 2).requires_grad_()
    name = "blocks.0.attention.log_temperature"
    g = lambda x, e, w: torch.func.functional_call(f, {name: w}, (x, mesh, e))  # noqa: E731
    assert torch.autograd.gradcheck(g, (x, e, f.get_parameter(name)), fast_mode=True)


@pytest.mark.parametrize("domain", [Box.periodic((4, 5), 1.0), Mesh.batch([cloud(8), cloud(12, 1)])])
def test_forward_mode_agrees_with_finite_differences(domain: Box | Mesh) -> None:
    f = small(kernel=3 if isinstance(domain, Box) else 1, gradient=True)
    x, t = randn(2, 2, 2, *domain.shape).unbind(0)
    _, derivative = torch.func.jvp(lambda x: f(x, domain), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, domain) - f(x - 1e-6 * t, domain)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, plain, mesh, x, e = small(embedding=3), small(), cloud(7), randn(2, 2, 7), randn(2, 3)
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    torch.testing.assert_close(f(x, mesh, e), plain(x, mesh))
    f(x, mesh, e).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in f.film.out.parameters())
    for row in range(3):  # gain, shift and second gain each matter
        changed = small(embedding=3)
        with torch.no_grad():
            changed.film.out.bias.view(2, 3, 8)[0, row] = 1
        assert (changed(x, mesh, e) - f(x, mesh, e)).abs().max() > 1e-4


X, BOX = torch.zeros(2, 2, 4, 4, dtype=torch.float64), Box.periodic((4, 4), 1.0)
WALLED = Box((4, 4), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
STRETCHED = Box((4, 4), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"), (None, (0.0, 0.2, 0.5, 0.6, 1.0)))


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, (X[:, :1], BOX), "x has 1 channels but this Transolver"),
        ({"dim": 1}, (X, BOX), "built with dim=1 but the Box has 2 dimensions"),
        ({"dim": 3}, (X[..., 0], cloud(4)), "built with dim=3 but the Mesh has 2 dimensions"),
        ({}, (X, Box.periodic((4, 5), 1.0)), "this Box takes"),
        ({}, (X[..., 0], cloud(5)), "this Mesh takes"),
        ({"positions": 0}, (X, WALLED), "cannot see the walls"),
        ({"kernel": 3}, (X, STRETCHED), "neighbours of a Box with equal cells"),
        ({"kernel": 3}, (X[..., 0], cloud(4)), "neighbours of a Box with equal cells"),
        ({"kernel": 5}, (X, BOX), "shorter than kernel=5"),
        ({"embedding": 3}, (X, BOX), r"embedding of shape \(2, 3\).* got none"),
        ({"embedding": 3}, (X[..., 0], Mesh.batch([cloud(2), cloud(2)]), torch.zeros(2, 3)), r"embedding of shape \(4, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(options: dict, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)(*arguments)


def test_what_looks_odd_but_fits() -> None:
    assert small()(X, STRETCHED).shape == (2, 1, 4, 4)
    assert small(positions=0)(X[..., :1, 0], cloud(1)).isfinite().all()
    assert small(slices=1)(X[..., :3, 0], cloud(3)).isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"dim": 4},
        {"heads": 3},
        {"slices": 0},
        {"layers": 0},
        {"width": 0},
        {"kernel": 2},
        {"kernel": 0},
        {"positions": -1},
        {"expansion": 0.01},
    ],
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        small(**wrong)


def test_another_geometry_is_refused() -> None:
    other = types.SimpleNamespace(shape=(4, 4), members=1, mask=None, measure=torch.ones(4, 4), integral=abs, expand=abs)
    with pytest.raises(TypeError, match="points of a Box or a Mesh, got a SimpleNamespace"):
        small()(X, other)
