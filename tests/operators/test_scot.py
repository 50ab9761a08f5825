"""ScOT: windows against loops, walls and seams, translations, the whole net by hand, derivatives and what does not fit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.operators.scot import ScOT
from surrogates.operators.swin import ConvNeXt, SwinLayer, convolve, identity_kernel
from surrogates.operators.windows import Tokens, WindowAttention, crop, fill, join_windows, split_windows, window_of


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> ScOT:
    """Every weight drawn anew: at the start its layers do nothing."""
    torch.manual_seed(0)
    f = ScOT(
        cin, cout, embedding, **{"patch": (2, 2), "width": 4, "depths": (2, 2), "heads": 1, "window": 4, "expansion": 2.0} | options
    ).double()
    return drawn(f)


def drawn(f: nn.Module) -> nn.Module:
    for p in f.parameters():
        nn.init.normal_(p, std=0.3)
    return f


def box(*shape: int, boundary: str = "periodic") -> Box:
    return Box(shape, (0.0,) * len(shape), (1.0,) * len(shape), (boundary,) * len(shape))


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_it_is_an_operator_and_counts_its_parameters() -> None:
    f = ScOT(3, 2, 5, patch=(2, 4), width=6, depths=(2, 1), heads=2, window=4, skips=2, positions=(1, 2), expansion=3.0)
    assert isinstance(f, Operator)
    p, hidden = 8, 64

    def swin(c: int, heads: int) -> int:
        attention = (3 * c * c + 3 * c) + (c * c + c) + heads + (2 * hidden + hidden) + hidden * heads
        return attention + (6 * c * c + 4 * c) + 4 * c

    def film(c: int, blocks: int) -> int:
        return (5 * 2 * c + 2 * c) + (2 * c + 1) * 3 * blocks * c

    c = 6
    skip = 49 * c + 2 * c + (6 * c * c + 4 * c) + c
    ends = (3 * p * c + c) + 2 * c + 6 * c + (c * 2 * p + 2 * p) + 4 * 25
    change = (4 * c * 2 * c + 4 * c) + (2 * c * 4 * c + 2 * c)
    total = ends + change + 4 * swin(c, 2) + swin(2 * c, 4) + 2 * skip + film(c, 6) + film(2 * c, 1)
    assert sum(q.numel() for q in f.parameters()) == total


def unit(u: Tensor) -> Tensor:
    """u/|u|, regularised."""
    return u / (u.square().sum(-1, keepdim=True) + u.shape[-1] * 1e-6).sqrt()


def by_loops(f: WindowAttention, h: Tensor, tokens: Tokens) -> Tensor:
    """Token by token: which others stand in its window, and what it takes from them."""
    wrap = tokens.periodic
    size = [window_of(n, w, p) for n, w, p in zip(tokens.shape, f.window, wrap, strict=True)]
    shift = [w // 2 if f.shifted and w < n else 0 for n, w in zip(tokens.shape, size, strict=True)]
    places = list(torch.cartesian_prod(*(torch.arange(n) for n in tokens.shape)).view(-1, len(tokens.shape)).tolist())

    def window(place: list[int]) -> tuple[int, ...]:
        """Windows begin at the shift; what lies before it belongs, on a periodic axis, to the last."""
        begin = [(v - s) // w for v, s, w in zip(place, shift, size, strict=True)]
        return tuple(b % (n // w) if p else b for b, n, w, p in zip(begin, tokens.shape, size, wrap, strict=True))

    def apart(a: list[int], b: list[int]) -> list[int]:
        out = []
        for x, y, n, w, p in zip(a, b, tokens.shape, size, wrap, strict=True):
            d = x - y
            if p:  # the image that lies in the same window; the nearest, where that is the whole axis
                d = min((d + n, d, d - n), key=lambda v: (abs(v), v)) if n == w else (d + n - w) % n - (n - w) if abs(d) >= w else d
            out.append(d)
        return out

    def bias(d: list[int]) -> Tensor:
        far = torch.tensor(
            [math.copysign(math.log2(1 + 8 * abs(v) / max(w - 1, 1)) / 3, v) for v, w in zip(d, f.window, strict=True)]
        ).double()
        return 16 * torch.sigmoid(f.bias_out.weight @ torch.relu(f.bias_in.weight @ far + f.bias_in.bias))

    out = torch.zeros_like(h)
    for row in range(len(h)):
        u = {tuple(p): f.qkv.weight @ h[(row, *p)] + f.qkv.bias for p in places}
        q, k, v = ({p: t.view(3, f.heads, -1)[i] for p, t in u.items()} for i in range(3))
        for p in places:
            seen = [o for o in places if window(o) == window(p)]
            cosine = torch.stack([unit(q[tuple(p)]).mul(unit(k[tuple(o)])).sum(-1) for o in seen], 1)
            sharpness = f.sharpness.view(-1, 1).clamp(max=math.log(100.0)).exp()
            logits = sharpness * cosine + torch.stack([bias(apart(p, o)) for o in seen], 1)
            y = torch.einsum("hn,nhd->hd", logits.softmax(1), torch.stack([v[tuple(o)] for o in seen]))
            out[(row, *p)] = f.out.weight @ y.flatten() + f.out.bias
    return out


P, W = "periodic", "wall"


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(
    ("shape", "window", "boundary"),
    [
        ((12,), (4,), (P,)),
        ((12,), (5,), (P,)),
        ((5,), (5,), (P,)),
        ((4,), (9,), (P,)),
        ((11,), (4,), (W,)),
        ((3,), (4,), (W,)),
        ((6, 7), (3, 3), (P, W)),
        ((5, 4), (4, 3), (W, P)),
        ((2, 4, 3), (2, 2, 2), (P, P, W)),
    ],
)
def test_the_same_as_token_by_token(shape: tuple[int, ...], window: tuple[int, ...], boundary: tuple[str, ...], shifted: bool) -> None:
    torch.manual_seed(0)
    f = drawn(WindowAttention(4, 2, window, shifted=shifted).double())
    tokens = Tokens(Box(shape, (0.0,) * len(shape), (1.0,) * len(shape), boundary), (1,) * len(shape))
    h = draw(1, *shape, 4)
    torch.testing.assert_close(f(h, tokens), by_loops(f, h, tokens))


def test_windows_come_back() -> None:
    u = draw(2, 6, 4, 3, 2, 5)
    windows = split_windows(u, (3, 2))
    assert windows.shape == (3, 2, 4, 2, 6, 5)
    torch.testing.assert_close(join_windows(windows[1], (3, 2), (6, 4)), u[..., 1, :, :].flatten(-2), rtol=0, atol=0)
    h = draw(1, 3, 2, 5)
    assert torch.equal(crop(fill(h, (4, 4)), (3, 2)), h) and fill(h, (4, 4)).shape == (1, 4, 4, 5)


def test_a_window_divides_what_repeats_and_holds_what_it_can_between_walls() -> None:
    assert [window_of(n, 8, periodic=True) for n in (3, 8, 16, 20, 12, 21, 18, 13, 22)] == [3, 8, 8, 5, 6, 7, 6, None, None]
    assert [window_of(n, 8, periodic=False) for n in (3, 8, 13)] == [3, 8, 8]


@pytest.mark.parametrize(
    ("shape", "by"),
    [((32,), (16,)), ((32, 16), (16, 8)), ((8, 8), (4, 4)), ((8, 16, 4), (4, 8, 4))],
)
def test_without_positions_it_commutes_with_translations_by_windows(shape: tuple[int, ...], by: tuple[int, ...]) -> None:
    """patch 2, 4 tokens a window, two levels: 16 points; 8 where one window spans the coarse level, 4 where one spans both."""
    f, b, dims = small(patch=(2,) * len(shape), positions=0), box(*shape), tuple(range(2, 2 + len(shape)))
    x = draw(1, 2, *shape)
    torch.testing.assert_close(f(x.roll(by, dims), b), f(x, b).roll(by, dims))
    assert (f(x.roll(1, 2), b) - f(x, b).roll(1, 2)).abs().max() > 1e-3
    seen = small(patch=(2,) * len(shape), positions=1)
    assert (seen(x.roll(by, dims), b) - seen(x, b).roll(by, dims)).abs().max() > 1e-3


def test_nothing_passes_a_wall() -> None:
    """One level: what changes at one end moves nothing beyond the reach of its windows at the other; through a seam it does."""
    f, x = small(patch=(2,), depths=(2,), positions=1), draw(1, 2, 32)
    changed = x.clone()
    changed[..., -1] += 1
    for boundary, reaches in ((W, False), (P, True)):
        b = box(32, boundary=boundary)
        moved = (f(changed, b) - f(x, b)).abs()
        assert (moved[..., :4].max() > 1e-6) == reaches and moved[..., -1].max() > 1e-3


def test_what_fills_up_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between walls, 13 x 9 points with patches of 2: a longer filling of the windows changes nothing."""
    b, x, f = box(13, 9, boundary=W), draw(1, 2, 13, 9), small()
    before = f(x, b)
    noisy = lambda h, grid: fill(h, grid) + (fill(torch.ones_like(h), grid) == 0) * 7.0  # noqa: E731
    monkeypatch.setattr("surrogates.operators.windows.fill", noisy)
    torch.testing.assert_close(f(x, b), before)


def swin_by_formula(f: SwinLayer, h: Tensor, tokens: Tokens, gamma: Tensor, beta: Tensor, second: Tensor) -> Tensor:
    c = h.shape[-1]
    h = h + (f.gains[0] + gamma) * layer_norm(f.attention(h, tokens), (c,)) + f.shifts[0] + beta
    m = f.outer(nn.functional.gelu(f.inner(h)))
    return h + (f.gains[1] + second) * layer_norm(m, (c,)) + f.shifts[1]


def convnext_by_formula(f: ConvNeXt, h: Tensor, gamma: Tensor, beta: Tensor, gate: Tensor) -> Tensor:
    """On a periodic line."""
    n = h.shape[1]
    d = sum(h[:, (torch.arange(n) + j - 3) % n] * f.depthwise[:, 0, 0, j] for j in range(7))
    v = (layer_norm(d, d.shape[-1:], f.norm.weight, f.norm.bias)) * (1 + gamma) + beta
    return h + (f.gate + gate) * f.outer(nn.functional.gelu(f.inner(v)))


def test_the_whole_net_put_together_by_hand() -> None:
    """A periodic line, two levels, an embedding."""
    f, b, x, e = small(2, 3, 4, patch=(2,), depths=(2, 1), positions=0), box(32), draw(2, 2, 32), draw(2, 4)
    fine, coarse = Tokens(b, (2,)), Tokens(b, (4,))
    by = [(q.out(nn.functional.silu(q.hidden(e)))).view(2, -1, 3, q.widths[0])[:, :, :, None] for q in f.film]
    h = f.embed_norm(x.mT.reshape(2, 16, 4) @ f.embed.weight.T + f.embed.bias)
    for i in range(2):
        h = swin_by_formula(f.down[0][i], h, fine, *by[0][:, i].unbind(1))
    low = f.merge[0].norm(h.reshape(2, 8, 8) @ f.merge[0].linear.weight.T)
    low = swin_by_formula(f.down[1][0], low, coarse, *by[1][:, 0].unbind(1))
    skip = convnext_by_formula(f.skips[0][0], h, *by[0][:, 2].unbind(1))
    h = f.expand[0].norm((low @ f.expand[0].linear.weight.T).reshape(2, 16, 4)) + skip
    for i in range(2):
        h = swin_by_formula(f.up[0][i], h, fine, *by[0][:, 3 + i].unbind(1))
    y = (h @ f.project.weight.T + f.project.bias).reshape(2, 32, 3)
    y = sum(y[:, (torch.arange(32) + j - 2) % 32] @ f.smooth[:, :, 0, j].T for j in range(5))
    torch.testing.assert_close(f(x, b, e), y.mT)


@pytest.mark.parametrize("shape", [(5,), (4, 6), (3, 4, 5)])
def test_the_last_convolution_starts_as_the_identity(shape: tuple[int, ...]) -> None:
    u = draw(2, 3, *shape)
    torch.testing.assert_close(convolve(u, identity_kernel(3, 5, len(shape)).double(), (True,) * len(shape)), u)
    assert len({tuple(k.shape) for k in (ScOT(3, 3, patch=(2,) * len(shape)).smooth, identity_kernel(3, 5, len(shape)))}) == 1


@pytest.mark.parametrize("b", [box(8), box(5, 3, boundary=W), box(4, 4, 4)])
def test_gradients_are_those_of_finite_differences(b: Box) -> None:
    f = small(1, 1, 2, patch=(2,) * b.dim, depths=(1, 1), window=2, width=2)
    x, e, w = (
        draw(2, 1, *b.shape).requires_grad_(),
        draw(2, 2).requires_grad_(),
        f.down[0][0].attention.bias_in.weight.detach().requires_grad_(),
    )

    def y(x: Tensor, e: Tensor, w: Tensor) -> Tensor:
        return torch.func.functional_call(f, {"down.0.0.attention.bias_in.weight": w}, (x, b, e))

    assert torch.autograd.gradcheck(y, (x, e, w), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    f, b = small(), Box((8, 7), (0.0, 0.0), (1.0, 1.0), (P, W))
    x, t = draw(2, 1, 2, 8, 7).unbind(0)
    _, derivative = torch.func.jvp(lambda x: f(x, b), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, b) - f(x - 1e-6 * t, b)) / 2e-6, rtol=1e-5, atol=1e-7)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    torch.manual_seed(0)
    f, b, x = ScOT(2, 1, 3, patch=(2, 2), width=4, depths=(1, 1), heads=1, window=2), box(8, 8), torch.randn(2, 2, 8, 8)
    e = torch.randn(2, 3)
    torch.testing.assert_close(f(x, b, e), f(x, b, e.flip(0)), rtol=0, atol=0)
    f(x, b, e).square().sum().backward()
    swin = f.film[0].out.bias.grad.view(3, 3, 4)[[0, 2]]
    assert swin.abs().min() > 0 and f.film[1].out.bias.grad.abs().min() > 0
    assert f.film[0].out.bias.grad.view(3, 3, 4)[1, 2].abs().min() > 0  # a ConvNeXt block's gate; its norm follows


def test_recomputing_changes_no_gradient() -> None:
    plain, again = small(embedding=3), small(embedding=3, checkpoint=True)
    x, e = draw(2, 2, 8, 8), draw(2, 3)
    for f in (plain, again):
        f(x, box(8, 8), e).square().sum().backward()
    for p, q in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize("shape", [(1,), (3,), (17,), (1, 9), (13, 2)])
def test_between_walls_any_size_will_do(shape: tuple[int, ...]) -> None:
    f = small(patch=(4,) * len(shape), depths=(1, 1, 1))
    assert f(draw(2, 2, *shape), box(*shape, boundary=W)).isfinite().all()


STRETCHED = Box((8, 4), (0.0, 0.0), (1.0, 1.0), (P, W), (None, (0.0, 0.1, 0.2, 0.4, 1.0)))


@pytest.mark.parametrize(
    ("b", "options", "message"),
    [
        (
            box(13, 8),
            {},
            "axis x is periodic and its 13 points are no whole patches of 2 on 2 levels, in windows of 2 to 4 tokens; 8, 12, 16 points are",
        ),
        (box(8, 2), {}, "axis y .* 4, 8, 12 points are"),
        (box(8, 52), {"window": 8}, "axis y .* 48, 56, 60 points are"),
        (box(8), {}, "for 2 dimensions but the box"),
        (box(8, 8, boundary=W), {"positions": (1, 0)}, "cannot see the walls"),
        (STRETCHED, {}, "is stretched"),
    ],
)
def test_what_does_not_fit_is_named(b: Box, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)(draw(2, 2, *b.shape), b)
    for n in (48, 56, 60):
        assert small(window=8)(draw(1, 2, 8, n), box(8, n)).shape == (1, 1, 8, n)


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch": (2, 0)},
        {"width": 5, "heads": 2},
        {"depths": ()},
        {"depths": (1, 0)},
        {"heads": 0},
        {"window": 0},
        {"skips": -1},
        {"positions": -1},
    ],
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)
