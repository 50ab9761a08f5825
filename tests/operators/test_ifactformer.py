"""IFactFormer: its formula written densely, one block for all iterations, symmetries, resolutions, gradients and clear errors."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.operators.ifactformer import IFactFormer

SIZES = {"width": 6, "iterations": 3, "heads": 2, "head": 3, "rank": 6, "harmonics": 2}


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> IFactFormer:
    torch.manual_seed(0)
    return IFactFormer(cin, cout, embedding, **SIZES | options).double()


def box(*shape: int) -> Box:
    return Box.periodic(shape, 2 * math.pi)


def field(*shape: int) -> Tensor:
    return torch.randn(2, 2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


MIXED = Box((7, 6), (0.0, -1.0), (2.0, 3.0), ("periodic", "wall"), (None, (-1.0, -0.8, -0.4, 0.4, 1.2, 2.0, 3.0)))
SPACE = Box((5, 4, 6), (0.0, 1.0, 0.0), (1.0, 3.0, 1.0), ("periodic", "wall", "periodic"))


def rotation(b: Box, axis: int, f: IFactFormer, head: int) -> Tensor:
    """(n, rank, rank): the matrices that turn a head's features at each point."""
    pairs, theta = f.rank // 2, (b.coordinate(axis) - b.lower[axis]) / b.lengths[axis] * math.pi * (1 + (b.boundary[axis] == "periodic"))
    out = torch.zeros(b.shape[axis], f.rank, f.rank, dtype=torch.float64)
    for pair in range(pairs):
        angle = theta * ((pair * f.heads + head) * (f.harmonics[axis] + 1) // (pairs * f.heads))
        i, j = pair, pair + pairs
        out[:, i, i], out[:, i, j], out[:, j, i], out[:, j, j] = angle.cos(), -angle.sin(), angle.sin(), angle.cos()
    return out


def dense(f: IFactFormer, x: Tensor, b: Box) -> Tensor:
    """Written with loops over axes, heads and iterations, and full matrices."""
    block, letters = f.block, "xyz"[: b.dim]
    theta = [
        (2 if kind == "periodic" else 1) * math.pi * (g - lo) / le
        for g, lo, le, kind in zip(b.grid(), b.lower, b.lengths, b.boundary, strict=True)
    ]
    p = torch.stack([t for a in range(b.dim) for t in (theta[a].sin(), theta[a].cos())], -1)
    h = linear(gelu(f.lift_in(x.movedim(1, -1))), f.lift_out.weight) + f.place(p)
    for _ in range(f.iterations):
        w = layer_norm(h, (h.shape[-1],), block.norm.weight, block.norm.bias)
        v = linear(w, block.value.weight).unflatten(-1, (f.heads, -1))
        parts = []
        for a, own in enumerate(block.kernels.axes):
            rest = tuple(1 + other for other in range(b.dim) if other != a)
            weight = b.measure / b.widths(a).view(-1, *(1,) * (b.dim - 1 - a))
            mean = (w * weight[..., None]).sum(rest) / (b.volume / b.lengths[a]) if rest else w
            g = own.norm(own.reduce(mean))
            left, right = own.gated(g).chunk(2, -1)
            q, k = (t.unflatten(-1, (f.heads, f.rank)) for t in own.queries_keys(own.mix(gelu(left) * right)).chunk(2, -1))
            for head in range(f.heads):
                turn = rotation(b, a, f, head)
                matrix = torch.einsum("nij,bnj,mil,bml,m->bnm", turn, q[:, :, head], turn, k[:, :, head], b.widths(a))
                source = letters.replace(letters[a], "m")
                scale = b.lengths[a] * math.sqrt(f.rank)
                parts.append(torch.einsum(f"b{letters[a]}m,b{source}c->b{letters}c", matrix / scale, v[..., head, :]))
        z, share = torch.cat(parts, -1), (b.measure / b.volume)[None, ..., None]
        dims = tuple(range(1, 1 + b.dim))
        z = z - (z * share).sum(dims, keepdim=True)
        z = z / (z * z * share).sum(dims, keepdim=True).sqrt()
        h = h + linear(gelu(linear(z, block.inner.weight)), block.outer.weight) / f.iterations
    return f.project_out(gelu(linear(h, f.project_in.weight))).movedim(-1, 1)


@pytest.mark.parametrize("b", [box(14), box(6, 5), MIXED, SPACE], ids=["1d", "2d", "stretched", "3d"])
def test_it_is_its_formula_written_densely(b: Box) -> None:
    f, x = small(dim=b.dim), field(*b.shape)
    torch.testing.assert_close(f(x, b), dense(f, x, b), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_it_is_an_operator_and_counts_its_parameters(dim: int) -> None:
    """As many parameters for 1 iteration as for 7."""
    for iterations in (1, 7):
        f = IFactFormer(3, 4, 5, dim=dim, width=8, iterations=iterations, heads=2, head=5, rank=4, harmonics=2, positions=2)
        assert isinstance(f, Operator)
        c, v, r, places = 8, 10, 8, 4 * dim
        axis = c * c + 2 * c + (2 * c * c + 2 * c) + (c * c + c) + 2 * r * c
        block = 2 * c + c * v + dim * axis + dim * v * c + c * c
        ends = (3 * 4 + 4) + 4 * c + (places * c + c) + 4 * c + (4 * 4 + 4)
        film = (5 * 2 * c + 2 * c) + (2 * c + 1) * 3 * c
        assert sum(q.numel() for q in f.parameters()) == ends + block + film


def test_iterations_are_steps_of_one_flow() -> None:
    """Euler's scheme: with n steps the answer nears its limit as 1/n, so halving the step halves the difference."""
    f, x, b = small(), field(8, 6), box(8, 6)
    answers = []
    for f.iterations in (8, 16, 32, 64):
        answers.append(f(x, b))
    steps = [(a - c).norm().item() for a, c in pairwise(answers)]
    assert all(1.7 < a / c < 2.3 for a, c in pairwise(steps)), steps


def test_without_positions_it_commutes_with_translations() -> None:
    f, b, x = small(positions=0), box(8, 6), field(8, 6)
    torch.testing.assert_close(f(x.roll((3, -2), (2, 3)), b), f(x, b).roll((3, -2), (2, 3)), rtol=1e-9, atol=1e-11)
    seen = small()
    assert (seen(x.roll(3, 3), b) - seen(x, b).roll(3, 3)).abs().max() > 1e-3


def test_no_order_of_axes_is_preferred() -> None:
    """Swapping the axes of the field and their kernels swaps the answer: the attentions act in parallel."""
    f, b, x = small(positions=0), Box.periodic((8, 6), (1.0, 2.0)), field(8, 6)
    swapped = small(positions=0)
    state = f.state_dict()
    for key in list(state):
        if ".axes.0." in key:
            other = key.replace(".axes.0.", ".axes.1.")
            state[key], state[other] = state[other], state[key]
    weight = state["block.inner.weight"]
    state["block.inner.weight"] = torch.cat(weight.chunk(2, 1)[::-1], 1)
    swapped.load_state_dict(state)
    turned = swapped(x.mT.contiguous(), Box.periodic((6, 8), (2.0, 1.0)))
    torch.testing.assert_close(turned.mT, f(x, b))


def test_a_band_limited_field_has_the_same_answer_at_every_resolution() -> None:
    f = small()

    def wave(n: int) -> tuple[Tensor, Box]:
        x, y = box(n, n).grid()
        return torch.stack([torch.sin(x) + torch.cos(x - y), torch.cos(y + 1)])[None], box(n, n)

    fine = f(*wave(64))
    errors = [(f(*wave(n)) - fine[..., :: 64 // n, :: 64 // n]).abs().max().item() for n in (8, 16, 32)]
    assert errors[2] < 1e-5 * fine.abs().max().item() and errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("shape", [(7,), (5, 4), (3, 5, 4)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    f = small(2, 1, 2, dim=len(shape), iterations=2, harmonics=1)
    torch.nn.init.normal_(f.film.out.weight)
    name = "block.kernels.axes.0.queries_keys.weight"
    x, e = field(*shape).requires_grad_(), torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def functional(x: Tensor, e: Tensor, w: Tensor) -> Tensor:
        return torch.func.functional_call(f, {name: w}, (x, box(*shape), e))

    assert torch.autograd.gradcheck(functional, (x, e, f.get_parameter(name)), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    f, x, t = small(), field(7, 6), field(7, 6).flip(2)
    _, derivative = torch.func.jvp(lambda x: f(x, MIXED), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, MIXED) - f(x - 1e-6 * t, MIXED)) / 2e-6, rtol=1e-6, atol=1e-7)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, b, x, e = small(embedding=3), box(8, 6), field(8, 6), torch.randn(2, 3, dtype=torch.float64)
    plain = small()
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    torch.testing.assert_close(f(x, b, e), plain(x, b))
    for row in range(3):
        changed = small(embedding=3)
        with torch.no_grad():
            changed.film.out.bias.view(1, 3, 6)[0, row, :3] = 1
        assert (changed(x, b, e) - f(x, b, e)).abs().max() > 1e-4


X = torch.zeros(2, 2, 8, 8, dtype=torch.float64)
WALLED = Box((8, 8), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, (X[:, :1], box(8, 8)), "x has 1 channels but this IFactFormer was built with in_channels=2"),
        ({"harmonics": 5}, (X, box(8, 8)), "axis x has 8 points and holds harmonics up to 4 but this IFactFormer"),
        ({"positions": (1, 0)}, (X, WALLED), "cannot see the walls of axis y; build it with positions=1"),
    ],
)
def test_what_does_not_fit_is_named(options: dict, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)(*arguments)


@pytest.mark.parametrize("wrong", [{"rank": 3}, {"dim": 0}, {"iterations": 0}, {"head": 0}, {"harmonics": (1, 2, 3)}])
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)
