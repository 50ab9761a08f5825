"""FactFormer: its formula written densely, translations, walls, resolutions, gradients, frames, conditioning and clear errors."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.operators import factorized_attention
from surrogates.operators.factformer import FactFormer
from surrogates.operators.factorized_attention import integrate, standardise

SIZES = {"width": 6, "layers": 2, "heads": 2, "head": 3, "rank": 6, "harmonics": 2}


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> FactFormer:
    torch.manual_seed(0)
    return FactFormer(cin, cout, embedding, **SIZES | options).double()


def box(*shape: int) -> Box:
    return Box.periodic(shape, 2 * math.pi)


def field(*shape: int, rows: int = 2) -> Tensor:
    return torch.randn(rows, 2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


MIXED = Box((7, 6), (0.0, -1.0), (2.0, 3.0), ("periodic", "wall"), (None, (-1.0, -0.8, -0.4, 0.4, 1.2, 2.0, 3.0)))
SPACE = Box((5, 4, 6), (0.0, 1.0, 0.0), (1.0, 3.0, 1.0), ("periodic", "wall", "periodic"))


def kernel_matrix(f, axis: int, layer, w: Tensor, b: Box) -> Tensor:
    """(B, heads, n, n): the quadrature of the kernel, written as a sum over pairs of features of |q||k| cos(m (theta - theta') + phase)."""
    share = [b.widths(a) / b.lengths[a] for a in range(b.dim)]
    letters = "xyz"[: b.dim]
    others = [a for a in range(b.dim) if a != axis]
    means = (
        torch.einsum(f"b{letters}c,{','.join(letters[a] for a in others)}->b{letters[axis]}c", w, *(share[a] for a in others))
        if others
        else w
    )
    own = layer.kernels.axes[axis]
    g = layer_norm(linear(means, own.reduce.weight), (w.shape[-1],), own.norm.weight, own.norm.bias)
    left, right = own.gated(g).tensor_split(2, dim=-1)
    q, k = (t.unflatten(-1, (f.heads, f.rank)) for t in own.queries_keys(own.mix(gelu(left) * right)).tensor_split(2, dim=-1))
    pairs = f.rank // 2
    angle = (2 if b.boundary[axis] == "periodic" else 1) * math.pi * (b.coordinate(axis) - b.lower[axis]) / b.lengths[axis]
    matrix = torch.zeros(len(w), f.heads, b.shape[axis], b.shape[axis], dtype=w.dtype)
    for head in range(f.heads):
        for pair in range(pairs):
            m = (pair * f.heads + head) * (f.harmonics[axis] + 1) // (pairs * f.heads)
            zq = torch.complex(q[:, :, head, pair], q[:, :, head, pair + pairs]) * torch.exp(1j * m * angle)
            zk = torch.complex(k[:, :, head, pair], k[:, :, head, pair + pairs]) * torch.exp(1j * m * angle)
            matrix[:, head] += (zq[:, :, None] * zk.conj()[:, None, :]).real
    return matrix * share[axis] / math.sqrt(f.rank)


def dense(f: FactFormer, x: Tensor, b: Box) -> Tensor:
    """The formulas of the docstring with full matrices, one einsum for all axes."""
    letters = "xyz"[: b.dim]
    primed = letters.upper()
    share = b.measure / b.volume
    theta = [
        (2 if kind == "periodic" else 1) * math.pi * (g - lo) / le
        for g, lo, le, kind in zip(b.grid(), b.lower, b.lengths, b.boundary, strict=True)
    ]
    p = torch.stack([t for a in range(b.dim) for t in (theta[a].sin(), theta[a].cos())], -1)
    h = linear(x.movedim(1, -1), f.lift.weight, f.lift.bias)
    for layer in f.blocks:
        h = h + linear(p, layer.place.weight)
        w = layer_norm(h, (h.shape[-1],), layer.norm.weight, layer.norm.bias)
        v = linear(w, layer.value.weight).unflatten(-1, (f.heads, -1))
        matrices = [kernel_matrix(f, a, layer, w, b) for a in range(b.dim)]
        each = ",".join(f"bh{i}{j}" for i, j in zip(letters, primed, strict=True))
        z = torch.einsum(f"{each},b{primed}hc->b{letters}hc", *matrices, v)
        mean = torch.einsum(f"b{letters}hc,{letters}->bh", z, share) / z.shape[-1]
        z = z - mean.view(len(x), *(1,) * b.dim, f.heads, 1)
        variance = torch.einsum(f"b{letters}hc,{letters}->bh", z * z, share) / z.shape[-1]
        z = z / variance.sqrt().view(len(x), *(1,) * b.dim, f.heads, 1)
        h = h + linear(gelu(linear(z.flatten(-2), layer.inner.weight)), layer.outer.weight)
    latent, frames = linear(h, f.expand.weight), []
    for time in f.times:
        latent = latent + time
        latent = latent + f.step.outer(gelu(f.step.inner(f.step.norm(latent))))
        frames.append(f.project_out(gelu(f.project_in(latent))).movedim(-1, 1))
    return torch.cat(frames, 1)


@pytest.mark.parametrize("b", [box(9), box(6, 5), MIXED, SPACE], ids=["1d", "2d", "stretched", "3d"])
def test_it_is_its_formula_written_densely(b: Box) -> None:
    f = small(cout=2, dim=b.dim, frames=2, latent=2.0)
    x = field(*b.shape)
    torch.testing.assert_close(f(x, b), dense(f, x, b), rtol=1e-7, atol=1e-8)


def test_low_rank_and_dense_products_agree_in_float32_too() -> None:
    """Axes of more than twice the rank contract the keys first."""
    b, x = box(24, 4), field(24, 4)
    f = small(cout=2)
    torch.testing.assert_close(f(x, b), dense(small(cout=2), x, b)[:, :2], rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(f.float()(x.float(), b).double(), dense(small(cout=2), x, b), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_it_is_an_operator_and_counts_its_parameters(dim: int) -> None:
    f = FactFormer(3, 4, 5, dim=dim, width=8, layers=3, heads=2, head=5, rank=4, harmonics=2, positions=2, latent=1.5, frames=2)
    assert isinstance(f, Operator) and f.frames == 2
    c, v, r, ell, places = 8, 10, 8, 12, 4 * dim
    axis = c * c + 2 * c + (2 * c * c + 2 * c) + (c * c + c) + 2 * r * c
    block = places * c + 2 * c + c * v + dim * axis + v * c + c * c
    ends = (3 * c + c) + c * ell + 2 * ell + (2 * ell + ell * c + c + c * ell + ell) + (ell * c + c) + (c * 2 + 2)
    film = (5 * 2 * c + 2 * c) + (2 * c + 1) * 3 * 3 * c
    assert sum(q.numel() for q in f.parameters()) == ends + 3 * block + film


def test_without_positions_it_commutes_with_translations() -> None:
    f, b, x = small(positions=0), box(8, 6), field(8, 6)
    torch.testing.assert_close(f(x.roll((3, -2), (2, 3)), b), f(x, b).roll((3, -2), (2, 3)), rtol=1e-9, atol=1e-11)
    seen = small(positions=(0, 1))
    torch.testing.assert_close(seen(x.roll(3, 2), b), seen(x, b).roll(3, 2), rtol=1e-9, atol=1e-11)
    assert (seen(x.roll(3, 3), b) - seen(x, b).roll(3, 3)).abs().max() > 1e-3


def wave(b: Box) -> Tensor:
    x, y = b.grid()
    return torch.stack([torch.sin(x) + torch.cos(x - y), torch.cos(y + 1)])[None]


def test_a_band_limited_field_has_the_same_answer_at_every_resolution() -> None:
    f = small()
    fine = f(wave(box(64, 64)), box(64, 64))
    errors = [(f(wave(box(n, n)), box(n, n)) - fine[..., :: 64 // n, :: 64 // n]).abs().max().item() for n in (8, 16, 32)]
    assert errors[2] < 1e-6 * fine.abs().max().item() and errors[0] > errors[1] > errors[2]


def stretched(n: int) -> Box:
    """Cells of widths up to 7:1 between the walls of the second axis."""
    s = torch.linspace(-1, 1, n + 1, dtype=torch.float64)
    edges = (1 + torch.tanh(1.6 * s) / math.tanh(1.6)).tolist()
    return Box((8, n), (0.0, 0.0), (2 * math.pi, 2.0), ("periodic", "wall"), (None, (0.0, *edges[1:-1], 2.0)))


def equal(n: int) -> Box:
    return Box((8, n), (0.0, 0.0), (2 * math.pi, 2.0), ("periodic", "wall"))


def test_stretched_cells_give_the_answer_of_equal_ones_to_second_order() -> None:
    """Cell widths are the quadrature's weights; without them the kernels would lean towards the walls. Compared at the middle cell."""
    f = small()

    def middle(b: Box) -> Tensor:
        x, y = b.grid()
        u = torch.stack([torch.sin(x) * torch.cos(y), y * y])[None]
        return f(u, b)[..., b.shape[1] // 2]  # y = 1 exactly: odd counts, symmetric edges

    exact = middle(equal(1025))
    errors = [(middle(stretched(n)) - exact).abs().max().item() for n in (33, 67, 135)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert errors[-1] < 1e-3 and all(1.8 < order < 2.2 for order in orders), (errors, orders)


def test_walls_are_not_wrapped() -> None:
    """A shift along a walled axis is not a shift of the answer, though the positions' weights are zero."""
    f = small()
    for layer in f.blocks:
        torch.nn.init.zeros_(layer.place.weight)
    x, b = field(8, 6), Box((8, 6), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
    torch.testing.assert_close(f(x.roll(3, 2), b), f(x, b).roll(3, 2), rtol=1e-9, atol=1e-11)
    assert (f(x.roll(3, 3), b) - f(x, b).roll(3, 3)).abs().max() > 1e-3


def test_constant_queries_and_keys_are_a_convolution() -> None:
    """The reduction to a Fourier multiplier: sin(m x) is turned and scaled as its harmonic is, and nothing else."""
    n, m, rank = 16, 2, 6
    b = box(n)
    ((cos, sin, _),) = factorized_attention.geometry(b, (2,), 1, rank, torch.float64, torch.device("cpu"))
    own = factorized_attention.AxisKernel(4, 1, rank).double()
    torch.nn.init.zeros_(own.mix.weight)  # features do not see the field
    q, k = own(field(n).movedim(1, -1).repeat(1, 1, 2), cos, sin)
    theta = b.coordinate(0)
    out = integrate((q, k), torch.sin(m * theta).expand(2, 1, n)[..., None], 0)[0, 0, :, 0]
    spectrum = torch.fft.rfft(out)
    assert spectrum.abs().argmax() == m
    spectrum[m] = 0
    assert spectrum.abs().max() < 1e-12 * n


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_standardised_fields_have_mean_0_and_variance_1_in_their_measure(groups: int) -> None:
    share = (MIXED.measure / MIXED.volume).flatten()
    z = standardise(3 + 2 * torch.randn(2, 7, 6, 6, dtype=torch.float64), share, groups).view(2, 42, groups, -1)
    torch.testing.assert_close(torch.einsum("bngc,n->bgc", z, share).mean(-1), torch.zeros(2, groups).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(torch.einsum("bngc,n->bgc", z * z, share).mean(-1), torch.ones(2, groups).double())


def test_a_large_mean_does_not_swamp_the_variance_of_half_precision() -> None:
    share, z = torch.full((64,), 1 / 64), torch.randn(2, 64, 6) + 20
    with torch.autocast("cpu", torch.bfloat16):
        half = standardise(z.bfloat16(), share, 6)
    torch.testing.assert_close(half.float(), standardise(z, share, 6), rtol=0.05, atol=0.2)
    constants = torch.rand(1, 1, 200).expand(1, 100, 200)  # what rounding leaves of their variances is not to be blown up to 1
    assert standardise(constants, torch.full((100,), 0.01), 200).abs().max() < 0.05


@pytest.mark.parametrize("shape", [(7,), (5, 4), (3, 5, 4)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    f = small(2, 1, 2, dim=len(shape), layers=1, harmonics=1)
    torch.nn.init.normal_(f.film.out.weight)
    name = "blocks.0.kernels.axes.0.queries_keys.weight"
    x, e = field(*shape).requires_grad_(), torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def functional(x: Tensor, e: Tensor, w: Tensor) -> Tensor:
        return torch.func.functional_call(f, {name: w}, (x, box(*shape), e))

    assert torch.autograd.gradcheck(functional, (x, e, f.get_parameter(name)), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    f = small()
    x, t = field(7, 6), field(7, 6).flip(2)
    _, derivative = torch.func.jvp(lambda x: f(x, MIXED), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, MIXED) - f(x - 1e-6 * t, MIXED)) / 2e-6, rtol=1e-6, atol=1e-7)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, b, x, e = small(embedding=3), box(8, 6), field(8, 6), torch.randn(2, 3, dtype=torch.float64)
    plain = small()
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    torch.testing.assert_close(f(x, b, e), plain(x, b))
    for row in range(3):  # gain, shift and gate of the first block each matter
        changed = small(embedding=3)
        with torch.no_grad():
            changed.film.out.bias.view(2, 3, 6)[0, row, :3] = 1
        assert (changed(x, b, e) - f(x, b, e)).abs().max() > 1e-4


def test_later_frames_are_further_steps_of_the_same_latent_state() -> None:
    two, one = small(cout=4, frames=2), small(cout=2)
    one.load_state_dict({k: v[:1] if k == "times" else v for k, v in two.state_dict().items()})
    x, b = field(8, 6), box(8, 6)
    torch.testing.assert_close(two(x, b)[:, :2], one(x, b))
    assert (two(x, b)[:, 2:] - one(x, b)).abs().max() > 1e-3


def test_it_runs_in_bfloat16() -> None:
    f, x, b = small().float(), field(8, 6).float(), box(8, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = f(x, b)
    y.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in f.parameters())
    torch.testing.assert_close(y.float(), f(x, b), rtol=0.1, atol=0.05)


X = torch.zeros(2, 2, 8, 8, dtype=torch.float64)
WALLED = Box((8, 8), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, (X[:, :1], box(8, 8)), "x has 1 channels but this FactFormer was built with in_channels=2"),
        ({}, (X[..., 0], box(8)), "is for 2 dimensions but the box"),
        ({"harmonics": (4, 5)}, (X, box(8, 8)), "axis y has 8 points and holds harmonics up to 4"),
        ({"harmonics": (4, 8)}, (X, WALLED), "axis y has 8 points and holds harmonics up to 7"),
        ({"positions": (1, 0)}, (X, WALLED), "cannot see the walls of axis y; build it with positions=1"),
        ({"embedding": 3}, (X, box(8, 8)), r"embedding of shape \(2, 3\).* got none"),
    ],
)
def test_what_does_not_fit_is_named(options: dict, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)(*arguments)
    assert small(harmonics=(4, 7))(X, WALLED).shape == (2, 1, 8, 8)


def test_a_field_without_structure_and_a_single_point_are_finite() -> None:
    f = small(dim=1, harmonics=0)
    for shape in ((1,), (2,), (3,)):
        x = torch.zeros(2, 2, *shape, dtype=torch.float64, requires_grad=True)
        y = f(x, box(*shape))
        (g,) = torch.autograd.grad(y.sum(), x)
        assert y.isfinite().all() and g.isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 3},
        {"rank": 0},
        {"dim": 4},
        {"heads": 0},
        {"harmonics": -1},
        {"positions": (1,)},
        {"latent": 0.01},
        {"frames": 2, "cout": 3},
    ],
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)
