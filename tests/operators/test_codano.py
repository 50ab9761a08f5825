"""Codomain attention: the dense formula by complex exponentials, variables in any order and number, other variables, resolutions."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from surrogates.domains import Box
from surrogates.operators import fourier
from surrogates.operators.codano import CoDANO, CodomainBlock, parseval
from surrogates.operators.fourier import dft_matrices

CPU, F64 = torch.device("cpu"), torch.float64


def small(cin: int = 2, cout: int = 2, embedding: int = 0, **options) -> CoDANO:
    torch.manual_seed(0)
    f = CoDANO(cin, cout, embedding, **{"width": 6, "modes": (5, 3), "layers": 2, "keys": 3, "heads": 2} | options)
    if f.film is not None:
        nn.init.normal_(f.film.out.weight)
    return f


def box(*shape: int) -> Box:
    return Box.periodic(shape, 2 * math.pi)


GRIDS = [((12,), (7,)), ((11,), (4,)), ((7, 8), (6, 5)), ((4, 5, 4), (4, 3, 3))]


def exponentials(b: Box, modes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Wave numbers (K, D), how often each counts (K, 1) and exp(i k.x) (K, N)."""
    axes = [range(-(m // 2), m - m // 2) for m in modes[:-1]] + [range(modes[-1])]
    ks = torch.tensor(list(product(*axes)), dtype=F64)
    once = (ks[:, -1:] == 0) | (2 * ks[:, -1:] == b.shape[-1])
    return ks, torch.where(once, 1.0, 2.0).to(F64), torch.exp(1j * (ks @ torch.stack(b.grid()).flatten(1)))


def dense(f: CoDANO, x: Tensor, b: Box, e: Tensor | None) -> Tensor:
    """The formulas at the top of the file for one row, a loop over tokens and heads and a full matrix of exponentials."""
    ks, w, waves = exponentials(b, f.modes)
    w1, b1, d = f.lift_out.weight, f.lift_out.bias, f.blocks[0].keys
    p = [torch.ones(b.shape, dtype=F64)]
    p += [h for n, t in zip(f.positions, b.grid(), strict=True) for i in range(1, n + 1) for h in ((i * t).sin(), (i * t).cos())]
    p = torch.stack(p, -1).flatten(0, -2)
    u = [x[t].flatten() if t < len(x) else 0 * x[0].flatten() for t in range(f.variables)]
    h = [gelu(u[t][:, None] * f.lift_in + p @ f.encodings[t]) @ w1.T + b1 for t in range(f.variables)]
    film = f.film(e[None]) if f.film is not None else ((torch.ones(1), torch.zeros(1), torch.ones(1)),) * len(f.blocks)

    def norm(t: Tensor) -> Tensor:
        return (t - t.mean()) / (t.var(correction=0) + 1e-5).sqrt()

    for block, (gain, shift, gate) in zip(f.blocks, film, strict=True):
        spectra = [waves.conj() @ norm(t).to(waves.dtype) / waves.shape[1] for t in h]
        scores = [torch.einsum("kc,kcf->kf", z, torch.complex(*block.score.chunk(2, 2))) for z in spectra]
        values = []
        for t, z in zip(h, spectra, strict=True):
            o = gain * torch.einsum("kc,kcf->kf", z, torch.complex(*block.value.chunk(2, 2))) + shift * (ks == 0).all(1)[:, None]
            values.append(block.skip(norm(t)) + ((w * o).T @ waves).real.T)
        added = []
        for q_all in scores:
            parts = []
            for head in range(block.heads):
                q = q_all[:, head * d : (head + 1) * d]
                s = [(w * q * k_all[:, (block.heads + head) * d : (block.heads + head + 1) * d].conj()).real.sum() for k_all in scores]
                a = torch.stack(s).div(d**0.5).softmax(0)
                part = [v[:, head * v.shape[1] // block.heads : (head + 1) * v.shape[1] // block.heads] for v in values]
                parts.append(sum(a[j] * part[j] for j in range(len(h))))
            added.append(torch.cat(parts, 1))
        h = [t + a for t, a in zip(h, added, strict=True)]
        h = [t + gate * block.outer(gelu(block.inner(norm(t)))) for t in h]
    return torch.stack([f.project_out(gelu(f.project_in(t)))[:, 0].view(b.shape) for t in h[: f.out_channels]])


@pytest.mark.parametrize(("cin", "cout", "embedding"), [(2, 2, 0), (3, 1, 3), (1, 3, 0)])
@pytest.mark.parametrize(("grid", "modes"), GRIDS)
def test_the_network_is_its_formula(grid: tuple[int, ...], modes: tuple[int, ...], cin: int, cout: int, embedding: int) -> None:
    """More inputs than outputs, and fewer."""
    f, b = small(cin, cout, embedding, modes=modes).double(), box(*grid)
    x, e = torch.randn(2, cin, *grid, dtype=F64), torch.randn(2, embedding, dtype=F64) if embedding else None
    expected = torch.stack([dense(f, x[i], b, None if e is None else e[i]) for i in range(2)])
    torch.testing.assert_close(f(x, b, e), expected)


@pytest.mark.parametrize("by_products", [True, False])
@pytest.mark.parametrize(("grid", "modes"), [((12,), (7,)), ((11, 8), (5, 5))])
def test_scores_are_the_mean_of_the_product_of_two_fields(grid, modes, by_products, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where q and k are real fields: with real matrices, the same for k and -k."""
    monkeypatch.setattr(fourier, "by_products", lambda *_: by_products)
    torch.manual_seed(0)
    block, b, (_, w, waves) = CodomainBlock(6, modes, 8, 1, 3).double(), box(*grid), exponentials(box(*grid), modes)
    m = torch.randn(6, 6, dtype=F64)
    block.score.data.copy_(torch.cat([m, 0 * m], 1))
    h = torch.randn(3, *grid, 6, dtype=F64)
    a, _ = block.attend(h, 3, dft_matrices(b, modes, F64, CPU), parseval(b, modes, F64, CPU), None, None)
    z = waves.conj() @ h.flatten(1, -2).to(waves.dtype) / waves.shape[1]
    low = (waves.T @ (w * z)).real  # the fields' lowest modes
    q, k = (low @ m).chunk(2, 2)
    torch.testing.assert_close(a[0, 0], (torch.einsum("inc,jnc->ij", q, k) / q.shape[1] / 3**0.5).softmax(1))


@pytest.mark.parametrize("positions", [0, 2])
def test_variables_have_no_order_but_their_encodings(positions: int) -> None:
    f, b, order = small(3, 3, positions=positions).double(), box(9, 8), [2, 0, 1]
    x = torch.randn(2, 3, 9, 8, dtype=F64)
    torch.testing.assert_close(f.adapted(3, 3, like=order)(x[:, order], b), f(x, b)[:, order])
    assert (f(x[:, order], b) - f(x, b)[:, order]).abs().max() > 1e-3
    same = f.adapted(3, 3, like=[0, 0, 0])
    torch.testing.assert_close(same(x[:, order], b), same(x, b)[:, order])


def test_every_variable_hears_the_others() -> None:
    f, b = small(3, 3).double(), box(9, 8)
    x = torch.randn(1, 3, 9, 8, dtype=F64, requires_grad=True)
    for i in range(3):
        (g,) = torch.autograd.grad(f(x, b)[:, i].sum(), x)
        assert (g.abs().amax((0, 2, 3)) > 0).all()


def test_the_first_tokens_are_read() -> None:
    f, b, x = small(4, 4).double(), box(9, 8), torch.randn(2, 4, 9, 8, dtype=F64)
    torch.testing.assert_close(f.adapted(4, 1)(x, b), f(x, b)[:, :1])
    silent = torch.cat([x[:, :2], torch.zeros_like(x[:, 2:])], 1)
    torch.testing.assert_close(f.adapted(2, 4)(x[:, :2], b), f(silent, b))


def test_it_goes_over_to_other_variables_and_learns_them() -> None:
    f, b = small(2, 2, 3), box(9, 8)
    g = f.adapted(5, 4, like=[1, None, 0, None, None])
    assert (g.in_channels, g.out_channels, g.arguments["width"], g.variables) == (5, 4, 6, 5)
    assert torch.equal(g.encodings[0], f.encodings[1]) and torch.equal(g.encodings[2], f.encodings[0])
    assert all(torch.equal(p, q) for (n, p), q in zip(g.named_parameters(), f.parameters(), strict=True) if n != "encodings")
    assert len({tuple(e.flatten().tolist()) for e in g.encodings}) == 5
    y = g(torch.randn(2, 5, 9, 8), b, torch.randn(2, 3))
    y.square().sum().backward()
    assert y.shape == (2, 4, 9, 8) and all(p.grad is not None and p.grad.abs().max() > 0 for p in g.parameters())
    assert all(p.grad is None for p in f.parameters()) and f.double().adapted(3, 3).encodings.dtype == F64
    with torch.no_grad():
        g.lift_in.zero_()
    assert f.lift_in.abs().max() > 0, "the new network shares memory with the old one"


@pytest.mark.parametrize("like", [[0], [0, 1, 2], [0, 2], [0, -1]])
def test_tokens_that_do_not_exist_are_refused(like: list[int]) -> None:
    with pytest.raises(ValueError, match=r"each of 2 tokens one of 0 to 1, or None, got"):
        small().adapted(2, 2, like)


def test_parameters_are_counted() -> None:
    f = CoDANO(3, 2, 5, width=8, modes=(6, 4), layers=3, heads=2, keys=3, positions=(1, 2))
    c, h, k, keys = 8, 16, 24, 2 * 3
    block = 2 * k * c * c + 2 * k * c * 2 * keys + (c * c + c) + (c * h + h) + (h * c + c)
    ends = h + (h * c + c) + 3 * 7 * h + (c * h + h) + (h + 1)
    film = (5 * 2 * c + 2 * c) + (2 * c + 1) * 3 * 3 * c
    assert sum(q.numel() for q in f.parameters()) == ends + 3 * block + film


def test_without_positions_it_commutes_with_translations() -> None:
    f, b = small(positions=0).double(), box(12, 9)
    x = torch.randn(2, 2, 12, 9, dtype=F64)
    torch.testing.assert_close(f(x.roll((3, -4), (2, 3)), b), f(x, b).roll((3, -4), (2, 3)))
    seen = small(positions=(0, 2)).double()
    torch.testing.assert_close(seen(x.roll(5, 2), b), seen(x, b).roll(5, 2))
    assert (seen(x.roll(5, 3), b) - seen(x, b).roll(5, 3)).abs().max() > 1e-3


def test_a_band_limited_field_has_the_same_answer_at_every_resolution() -> None:
    """Up to the aliasing of gelu, which falls with resolution."""
    f = small().double()

    def answer(n: int) -> Tensor:
        b = box(n, n)
        x, y = b.grid()
        return f(2 * torch.stack([torch.sin(x) + torch.cos(x - y), torch.cos(y + 1)])[None], b)

    fine = answer(96)
    errors = [(answer(n) - fine[..., :: 96 // n, :: 96 // n]).abs().max().item() for n in (8, 16, 32)]
    assert errors[2] < 1e-5 * fine.abs().max().item() and errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("shape", [(10,), (6, 5), (4, 5, 3)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    f = small(2, 1, 2, width=2, modes=tuple(n // 2 for n in shape), heads=1, keys=1, layers=1).double()
    x = torch.randn(2, 2, *shape, dtype=F64, requires_grad=True)
    e = torch.randn(2, 2, dtype=F64, requires_grad=True)
    names = ["encodings", "lift_in", "blocks.0.score", "blocks.0.value"]

    def g(x: Tensor, e: Tensor, *w: Tensor) -> Tensor:
        return torch.func.functional_call(f, dict(zip(names, w, strict=True)), (x, box(*shape), e))

    assert torch.autograd.gradcheck(g, (x, e, *(f.get_parameter(n) for n in names)), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    f, b = small().double(), box(12, 9)
    x, t = torch.randn(2, 2, 2, 12, 9, dtype=F64).unbind(0)
    _, derivative = torch.func.jvp(lambda x: f(x, b), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, b) - f(x - 1e-6 * t, b)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, plain, b = small(embedding=3), small(), box(8, 8)
    nn.init.zeros_(f.film.out.weight)
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    x, e = torch.randn(2, 2, 8, 8), torch.randn(2, 3)
    torch.testing.assert_close(f(x, b, e), plain(x, b), rtol=1e-5, atol=1e-6)
    for row in range(3):  # gain, shift and gate of the first block each matter
        nn.init.zeros_(f.film.out.bias)
        with torch.no_grad():
            f.film.out.bias.view(2, 3, 6)[0, row] = 1
        assert (f(x, b, e) - plain(x, b)).abs().max() > 1e-3


def test_half_precision_keeps_spectra_in_float32() -> None:
    f, b, x = small(width=16), box(12, 10), torch.randn(2, 2, 12, 10)
    with torch.autocast("cpu", torch.bfloat16):
        y = f(x, b)
    y.float().sum().backward()
    torch.testing.assert_close(y.float(), f(x, b), rtol=0.05, atol=0.03)
    torch.testing.assert_close(f.bfloat16()(x.bfloat16(), b).float(), y.float(), rtol=0.1, atol=0.06)


X = torch.zeros(2, 2, 8, 8)
WALLED = Box((8, 8), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))


@pytest.mark.parametrize(
    ("f", "arguments", "message"),
    [
        (small(), (X[:, :1], box(8, 8)), "x has 1 channels but this CoDANO was built with in_channels=2"),
        (small(), (X[..., 0], box(8)), "for 2 dimensions but the box"),
        (small(modes=(9, 3)), (X, box(8, 8)), "axis x has 8 points and holds 8 modes"),
        (small(modes=(8, 6)), (X, box(8, 8)), "axis y has 8 points and holds 5 modes"),
        (small(positions=(1, 0)), (X, WALLED), "cannot see the walls"),
        (small(embedding=3), (X, box(8, 8)), r"embedding of shape \(2, 3\).* got none"),
    ],
)
def test_what_does_not_fit_is_named(f: CoDANO, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        f(*arguments)


def test_walls_are_seen_by_positions_and_a_field_of_zeros_has_gradients() -> None:
    f = small()
    f(X, WALLED).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in f.parameters())


@pytest.mark.parametrize(
    "wrong", [{"modes": ()}, {"modes": (4, 0)}, {"width": 0}, {"layers": 0}, {"positions": -1}, {"keys": 0}, {"heads": 0}, {"heads": 4}]
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)
