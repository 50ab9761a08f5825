"""DiT: against its formulas token by token, translations by patches, derivatives, conditioning and what does not fit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.operators.attention import attention
from surrogates.operators.dit import DiT, Layer, _turns
from surrogates.operators.patches import from_patches, to_patches
from surrogates.operators.rotary import axial_waves, lowest_waves, rotate, turns


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> DiT:
    """Every weight drawn anew: at the start its layers do nothing."""
    torch.manual_seed(0)
    f = DiT(cin, cout, embedding, **{"patch": (3, 4), "width": 8, "layers": 2, "heads": 2, "expansion": 2.0} | options).double()
    for p in f.parameters():
        nn.init.normal_(p, std=0.4)
    return f


def box(*shape: int) -> Box:
    return Box.periodic(shape, 2 * math.pi)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_it_is_an_operator_and_counts_its_parameters() -> None:
    f = DiT(3, 2, 5, patch=(2, 4), width=8, layers=3, heads=2, positions=(1, 2), expansion=2.0)
    assert isinstance(f, Operator)
    c, h, p = 8, 16, 8
    layer = (3 * c * c + 3 * c) + (c * c + c) + c + (c * h + h) + (h * c + c) + 2 * c
    ends = (3 * p * c + c) + 6 * c + (c * 2 * p + 2 * p)
    film = (5 * 2 * c + 2 * c) + (2 * c + 1) * 6 * 3 * c
    assert sum(q.numel() for q in f.parameters()) == ends + 3 * layer + film


def norm(u: Tensor) -> Tensor:
    return (u - u.mean()) / (u.var(correction=0) + 1e-5).sqrt()


def loops(layer: Layer, h: Tensor, theta: Tensor, waves: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """One layer on the tokens (n, C) of one row as the formulas say it; first, second: (gamma, beta, alpha's change)."""
    n, c = h.shape
    d = c // layer.heads

    def branch(h: Tensor, by: Tensor, gate: Tensor, f) -> Tensor:
        return h + (gate + by[2]) * torch.stack([f(i) for i in range(n)])

    def normed(t: Tensor, by: Tensor) -> Tensor:
        return norm(t) * (1 + by[0]) + by[1]

    qkv = torch.stack([layer.qkv.weight @ normed(t, first) + layer.qkv.bias for t in h]).view(n, 3, layer.heads, d)
    q, k = (u / (u.square().mean(-1, keepdim=True) + 1e-6).sqrt() for u in qkv[:, :2].unbind(1))
    z_q, z_k = (torch.complex(u[..., : d // 2], u[..., d // 2 :]) for u in (q * layer.sharpness, k))

    def attend(i: int) -> Tensor:
        out = []
        for head in range(layer.heads):
            turn = torch.polar(torch.ones(()).double(), (theta[i] - theta) @ waves.T)  # (n, pairs), of x - x' alone
            logits = (z_q[i, head] * turn * z_k[:, head].conj()).sum(-1).real / math.sqrt(d)
            out.append(logits.softmax(0) @ qkv[:, 2, head])
        return layer.out.weight @ torch.cat(out) + layer.out.bias

    h = branch(h, first, layer.gates[0], attend)
    m = [layer.inner.weight @ normed(t, second) + layer.inner.bias for t in h]
    gelu = [0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))) for u in m]
    return branch(h, second, layer.gates[1], lambda i: layer.outer.weight @ gelu[i] + layer.outer.bias)


@pytest.mark.parametrize("boundary", [("periodic", "periodic"), ("wall", "periodic")])
def test_the_same_as_its_formulas_token_by_token(boundary: tuple[str, str]) -> None:
    f, x, e = small(2, 3, 4), draw(2, 2, 6, 12), draw(2, 4)
    b = Box((6, 12), (0.0, 0.0), (1.0, 3.0), boundary)
    place = torch.cartesian_prod(torch.arange(2).double() / 2, torch.arange(3).double() / 3)
    turn = torch.tensor([math.pi if kind == "wall" else 2 * math.pi for kind in boundary], dtype=torch.float64)
    theta = place * turn
    seen = theta + turn * torch.tensor([0.25 if boundary[0] == "wall" else 0.0, 0.0])  # between walls tokens stand at their patch's centre
    p = torch.stack([seen[:, 0].sin(), seen[:, 0].cos(), seen[:, 1].sin(), seen[:, 1].cos()], -1)
    modulations = f.film.out(nn.functional.silu(f.film.hidden(e))).view(2, 4, 3, 8)
    for row in range(2):
        tokens = [x[row, :, 3 * i : 3 * i + 3, 4 * j : 4 * j + 4].permute(1, 2, 0).flatten() for i in range(2) for j in range(3)]
        h = torch.stack([f.embed.weight @ t + f.embed.bias for t in tokens]) + p @ f.place.weight.T
        for i, layer in enumerate(f.blocks):
            h = loops(layer, h, theta, axial_waves(2, 2)[0], modulations[row, 2 * i], modulations[row, 2 * i + 1])
        out = [(f.project.weight @ norm(t) + f.project.bias).view(3, 4, 3).permute(2, 0, 1) for t in h]
        y = torch.cat([torch.cat(out[3 * i : 3 * i + 3], 2) for i in range(2)], 1)
        torch.testing.assert_close(f(x, b, e)[row], y)


def test_patches_come_back() -> None:
    for shape, size in (((12,), (3,)), ((4, 6), (2, 3)), ((4, 6, 2), (2, 3, 1))):
        u = draw(2, *shape, 5)
        t = to_patches(u, size)
        assert t.shape[1:-1] == tuple(n // p for n, p in zip(shape, size, strict=True))
        assert torch.equal(from_patches(t, size), u)


@pytest.mark.parametrize("shape", [(24,), (6, 12), (3, 8, 4)])
def test_without_positions_it_commutes_with_translations_by_patches(shape: tuple[int, ...]) -> None:
    patch = (3, 4, 2)[: len(shape)]
    f, b, x, dims = small(patch=patch, positions=0), box(*shape), draw(2, 2, *shape), tuple(range(2, 2 + len(shape)))
    torch.testing.assert_close(f(x.roll(patch, dims), b), f(x, b).roll(patch, dims))
    one = (1,) * len(shape)
    assert (f(x.roll(one, dims), b) - f(x, b).roll(one, dims)).abs().max() > 1e-3
    seen = small(patch=patch)
    assert (seen(x.roll(patch, dims), b) - seen(x, b).roll(patch, dims)).abs().max() > 1e-3


def test_waves_are_whole_and_the_lowest() -> None:
    assert axial_waves(2, 5)[0].tolist() == [[1, 0], [2, 0], [0, 1], [0, 2], [0, 0]]
    for dim, reach in ((1, 8), (2, 4), (3, 3)):
        waves = lowest_waves(dim, 2, 8).reshape(-1, dim)
        seen = {tuple(k) for k in waves.int().tolist()}
        assert len(seen) == 16 and not any(tuple(-v for v in k) in seen for k in seen if any(k))
        everything = torch.cartesian_prod(*(torch.arange(-reach, reach + 1),) * dim).reshape(-1, dim).square().sum(1)
        longest = int(waves.square().sum(1).max())
        assert int((everything < longest).sum()) <= 2 * 16 - 1  # each wave but 0 stands for two


def test_turned_products_depend_on_distances_around_the_circle() -> None:
    theta = 2 * math.pi * torch.arange(7).double()[:, None] / 7
    by = turns(theta, axial_waves(1, 3))
    q, k = draw(1, 1, 6), draw(1, 1, 6)
    logits = (rotate(q.expand(7, 1, 6), by) @ rotate(k.expand(7, 1, 6), by).permute(1, 2, 0)).squeeze()
    for i in range(7):
        torch.testing.assert_close(logits[i], logits[0].roll(i))
    assert _turns(box(7), (1,), 3, torch.float64, torch.device("cpu"))[0].shape == (7, 1, 6)


@pytest.mark.parametrize("shape", [(6,), (3, 8), (3, 4, 2)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    patch, b = (3, 4, 1)[: len(shape)], box(*shape)
    f = small(1, 1, 2, patch=patch, width=4, heads=1)
    x, e, w = draw(2, 1, *shape).requires_grad_(), draw(2, 2).requires_grad_(), f.blocks[0].qkv.weight.detach().clone().requires_grad_()

    def y(x: Tensor, e: Tensor, w: Tensor) -> Tensor:
        return torch.func.functional_call(f, {"blocks.0.qkv.weight": w}, (x, b, e))

    assert torch.autograd.gradcheck(y, (x, e, w), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    f, b, x, t = small(), box(6, 8), draw(1, 2, 6, 8), draw(2, 2, 6, 8)[1:]
    y, derivative = torch.func.jvp(lambda x: f(x, b), (x,), (t,))
    torch.testing.assert_close(y, f(x, b))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, b) - f(x - 1e-6 * t, b)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_attention_is_written_out_where_it_is_differentiated_forwards() -> None:
    q, k, v, t = draw(4, 2, 3, 5, 4).unbind(0)
    y, _ = torch.func.jvp(lambda q: attention(q, k, v), (q,), (t,))
    torch.testing.assert_close(y, attention(q, k, v))


def test_every_layer_starts_as_the_identity() -> None:
    torch.manual_seed(0)
    f, x, b = DiT(2, 1, patch=(3, 4), width=8, heads=2), torch.randn(2, 2, 6, 8), box(6, 8)
    before = f(x, b)
    f.blocks = f.blocks[:0]
    torch.testing.assert_close(f(x, b), before, rtol=0, atol=0)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    torch.manual_seed(0)
    f, b, x = DiT(2, 1, 3, patch=(3, 4), width=8, heads=2, layers=2), box(6, 8), torch.randn(2, 2, 6, 8)
    torch.testing.assert_close(f(x, b, torch.randn(2, 3)), f(x, b, torch.randn(2, 3)), rtol=0, atol=0)
    f(x, b, torch.randn(2, 3)).square().sum().backward()
    assert f.film.out.bias.grad.view(2, 2, 3, 8)[:, :, 2].abs().min() > 0
    nn.init.constant_(f.blocks[0].gates, 0.5)
    e = torch.randn(2, 3)
    for block in range(2):
        for row in range(3):
            before = f(x, b, e)
            with torch.no_grad():
                f.film.out.bias.view(4, 3, 8)[block, row, ::2] += 1
            assert (f(x, b, e) - before).abs().max() > 1e-4


def test_recomputing_changes_no_gradient() -> None:
    plain, again = small(embedding=3), small(embedding=3, checkpoint=True)
    x, e = draw(2, 2, 6, 8), draw(2, 3)
    for f in (plain, again):
        f(x, box(6, 8), e).square().sum().backward()
    for p, q in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


WALLED = Box((6, 8), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
STRETCHED = Box((6, 4), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"), (None, (0.0, 0.1, 0.2, 0.4, 1.0)))


@pytest.mark.parametrize(
    ("b", "options", "message"),
    [
        (box(6, 13), {}, "axis y has 13 points, which patches of 4 do not fill; use 12 or 16"),
        (box(2, 8), {}, "axis x has 2 points, which patches of 3 do not fill; use 3 points"),
        (box(12), {}, "for 2 dimensions but the box"),
        (WALLED, {"positions": (1, 0)}, "cannot see the walls"),
        (STRETCHED, {}, "is stretched"),
    ],
)
def test_what_does_not_fit_is_named(b: Box, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)(draw(2, 2, *b.shape), b)
    assert small(positions=(0, 1))(draw(2, 2, 6, 8), WALLED).shape == (2, 1, 6, 8)


@pytest.mark.parametrize("wrong", [{"patch": ()}, {"patch": (2, 0)}, {"width": 6}, {"layers": 0}, {"heads": 0}, {"expansion": 0.01}])
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)
