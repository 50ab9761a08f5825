"""Stabilised FNO: what cannot expand does not, the dense formula by complex exponentials, translations, resolutions, clear errors."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from surrogates.domains import Box
from surrogates.operators import fourier
from surrogates.operators.fourier import dft_matrices
from surrogates.operators.stabilised_fno import SMALL, StabilisedFNO, inside

CPU, F64 = torch.device("cpu"), torch.float64


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> StabilisedFNO:
    torch.manual_seed(0)
    return StabilisedFNO(cin, cout, embedding, **{"width": 6, "modes": (6, 4), "layers": 2, "expansion": 2.0} | options)


def wild(f: StabilisedFNO) -> StabilisedFNO:
    """Any parameters, large ones among them: what holds by construction holds for all."""
    with torch.no_grad():
        for p in f.parameters():
            p.normal_(0, 3)
    return f.double()


def box(*shape: int) -> Box:
    return Box.periodic(shape, 2 * math.pi)


GRIDS = [((12,), (7,)), ((11,), (4,)), ((7, 8), (6, 5)), ((4, 5, 4), (4, 3, 3))]


@pytest.mark.parametrize(("grid", "modes"), GRIDS)
def test_the_linear_spectral_part_is_a_matrix_of_norm_one_at_most(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    """On all fields of the grid at once, up to the Nyquist modes; with S orthogonal there is no slack."""
    f = wild(small(modes=modes, dynamic=False, layers=1))
    mix, matrices = torch.linalg.qr(torch.randn(6, 6, dtype=F64))[0], dft_matrices(box(*grid), modes, F64, CPU)
    every = torch.eye(math.prod(grid) * 6, dtype=F64).view(-1, *grid, 6)
    rows = f.blocks[0].spectral(every, torch.zeros_like(every), mix, matrices).flatten(1)
    assert 0.95 < torch.linalg.matrix_norm(rows, 2) <= 1


@pytest.mark.parametrize("by_products", [True, False])
@pytest.mark.parametrize(("grid", "modes"), GRIDS)
def test_the_dynamic_spectral_part_raises_no_norm(grid, modes, by_products, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fourier, "by_products", lambda *_: by_products)
    f = wild(small(modes=modes, layers=1))
    mix, matrices = f._bounded()[4][0], dft_matrices(box(*grid), modes, F64, CPU)
    u = torch.randn(64, *grid, 6, dtype=F64) * 10 ** torch.linspace(-3, 3, 64, dtype=F64).view(64, *(1,) * len(grid), 1)
    y = f.blocks[0].spectral(u, torch.zeros_like(u), mix, matrices)
    assert (y.flatten(1).norm(dim=1) <= u.flatten(1).norm(dim=1)).all() and y.abs().max() > 0


def test_every_matrix_that_mixes_channels_has_norm_one_at_most() -> None:
    for f in (small().double(), wild(small())):
        for stack in f._bounded():
            assert (torch.linalg.matrix_norm(stack, 2) <= 1 + 1e-12).all()


def dense(f: StabilisedFNO, x: Tensor, b: Box, e: Tensor | None) -> Tensor:
    """The formulas at the top of the file, with a full matrix of exponentials and complex numbers."""
    gelu, silu = nn.functional.gelu, nn.functional.silu
    axes = [range(-(m // 2), m - m // 2) for m in f.modes[:-1]] + [range(f.modes[-1])]
    half = [m // 2 for m in f.modes[:-1]] + [f.modes[-1] - 1]
    ks = torch.tensor([k for k in product(*axes) if sum((a / h) ** 2 for a, h in zip(k, half, strict=True)) <= 1 + 1e-9], dtype=F64)
    waves = torch.exp(1j * (ks @ torch.stack(b.grid()).flatten(1)))
    once = (ks[:, -1] == 0) | (2 * ks[:, -1] == b.shape[-1])
    w = torch.where(once, 1.0, 2.0).to(F64)
    points = torch.stack([g for n, t in zip(f.positions, b.grid(), strict=True) if n for g in (t.sin(), t.cos())]).expand(
        len(x), -1, *b.shape
    )
    lift, project, inner, outer, mix = (m if len(m) > 1 else m[0] for m in f._bounded())
    h = f.raised * torch.cat([x, points], 1).flatten(2).mT @ lift.T + f.lift.bias
    film = f.film(e) if f.film is not None else ((torch.ones(1), torch.zeros(1), torch.ones(1)),) * len(f.blocks)
    for block, w1, w2, s, (gain, shift, gate) in zip(f.blocks, inner, outer, mix, film, strict=True):
        v = silu(h @ w1.T + block.inner.bias) @ w2.T + block.outer.bias
        z = waves.conj() @ v.to(waves.dtype) / waves.shape[1]
        n, logit = block.filter.sense, block.filter.modulus
        if n is not None:
            size = z.abs().square().mean(-1, keepdim=True) + (2 * n.level[:, 0]).exp()
            s1 = z / size.sqrt() @ torch.complex(*n.enter.chunk(2, 1))
            r = (s1.abs() ** 2 + SMALL).sqrt()
            s2 = (s1 * gelu(r + n.threshold) / r) @ torch.complex(*n.leave.chunk(2, 1))
            logit = logit + n.weight * (s2.abs() ** 2 + SMALL).sqrt()
        o = gain[:, None] * logit.sigmoid() * torch.exp(1j * block.filter.phase) * z
        o = o + shift[:, None] * (ks == 0).all(1)[:, None]
        h = h + gate[:, None] * (((w[:, None] * o).mT @ waves).mT.real @ s.T)
    return (h @ project.T / f.raised + f.project.bias).mT.unflatten(2, b.shape)


@pytest.mark.parametrize(("dynamic", "embedding"), [(False, 0), (True, 0), (True, 3)])
@pytest.mark.parametrize(("grid", "modes"), GRIDS)
def test_the_network_is_its_formula(grid: tuple[int, ...], modes: tuple[int, ...], dynamic: bool, embedding: int) -> None:
    f = small(embedding=embedding, modes=modes, dynamic=dynamic).double()
    if f.film is not None:
        nn.init.normal_(f.film.out.weight)
    x, e = torch.randn(2, 2, *grid, dtype=F64), torch.randn(2, embedding, dtype=F64) if embedding else None
    torch.testing.assert_close(f(x, box(*grid), e), dense(f, x, box(*grid), e))


def test_modes_are_kept_inside_an_ellipse() -> None:
    assert inside((5,)) == [0, 1, 2, 3, 4]
    kept = inside((5, 3))  # k_x = -2..2 in rows, k_y = 0..2 in columns
    assert [(i // 3 - 2, i % 3) for i in kept] == [(-2, 0), (-1, 0), (-1, 1), (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
    assert inside((1, 1, 1)) == [0]


@pytest.mark.parametrize("dynamic", [False, True])
def test_parameters_are_counted(dynamic: bool) -> None:
    f = StabilisedFNO(3, 2, 5, width=8, modes=(5, 3), layers=3, expansion=2.0, dynamic=dynamic)
    c, h, p, k = 8, 16, 3 + 4, 9
    network = 2 * c * 2 * c + 2 * c + k
    block = (c * h + h) + (h * c + c) + c * c + 2 * k * c + network * dynamic
    film = (5 * 2 * c + 2 * c) + (2 * c + 1) * 3 * 3 * c
    assert sum(q.numel() for q in f.parameters()) == (p * c + c) + 3 * block + (c * 2 + 2) + film


@pytest.mark.parametrize("dynamic", [False, True])
def test_without_positions_it_commutes_with_translations(dynamic: bool) -> None:
    f, b = small(positions=0, dynamic=dynamic).double(), box(12, 9)
    x = torch.randn(2, 2, 12, 9, dtype=F64)
    torch.testing.assert_close(f(x.roll((3, -4), (2, 3)), b), f(x, b).roll((3, -4), (2, 3)))
    seen = small(positions=1, dynamic=dynamic).double()
    assert (seen(x.roll(5, 3), b) - seen(x, b).roll(5, 3)).abs().max() > 1e-4


def test_a_band_limited_field_has_the_same_answer_at_every_resolution() -> None:
    """Up to the aliasing of silu, which falls with resolution."""
    f = small(layers=3).double()

    def answer(n: int) -> Tensor:
        b = box(n, n)
        x, y = b.grid()
        return f(5 * torch.stack([torch.sin(x) + torch.cos(x - y), torch.cos(y + 1)])[None], b)

    fine = answer(96)
    errors = [(answer(n) - fine[..., :: 96 // n, :: 96 // n]).abs().max().item() for n in (8, 16, 32)]
    assert errors[2] < 1e-5 * fine.abs().max().item() and errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("shape", [(10,), (6, 5), (4, 5, 3)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    f = small(1, 1, 2, width=2, modes=tuple(n // 2 for n in shape)).double()
    nn.init.normal_(f.film.out.weight)
    x = torch.randn(2, 1, *shape, dtype=F64, requires_grad=True)
    e = torch.randn(2, 2, dtype=F64, requires_grad=True)
    names = ["blocks.0.inner.weight", "blocks.0.filter.phase", "blocks.1.filter.sense.enter", "blocks.1.filter.sense.level"]

    def g(x: Tensor, e: Tensor, *w: Tensor) -> Tensor:
        return torch.func.functional_call(f, dict(zip(names, w, strict=True)), (x, box(*shape), e))

    assert torch.autograd.gradcheck(g, (x, e, *(f.get_parameter(n) for n in names)), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    f, b = small().double(), box(12, 9)
    x, t = torch.randn(2, 2, 2, 12, 9, dtype=F64).unbind(0)
    _, derivative = torch.func.jvp(lambda x: f(x, b), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, b) - f(x - 1e-6 * t, b)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_a_field_of_zeros_has_gradients() -> None:
    f, x = small(positions=0), torch.zeros(1, 2, 8, 8, requires_grad=True)
    f(x, box(8, 8)).square().sum().backward()
    assert x.grad.isfinite().all() and all(p.grad.isfinite().all() for p in f.parameters())


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, plain, b = small(embedding=3), small(), box(8, 8)
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    x, e = torch.randn(2, 2, 8, 8), torch.randn(2, 3)
    torch.testing.assert_close(f(x, b, e), plain(x, b), rtol=1e-5, atol=1e-6)
    for row in range(3):  # gain, shift and gate of the first block each matter
        changed = small(embedding=3)
        with torch.no_grad():
            changed.film.out.bias.view(2, 3, 6)[0, row] = 1
        assert (changed(x, b, e) - f(x, b, e)).abs().max() > 1e-3


def test_half_precision_keeps_spectra_in_float32() -> None:
    f, b, x = small(width=16), box(12, 10), torch.randn(2, 2, 12, 10)
    with torch.autocast("cpu", torch.bfloat16):
        y = f(x, b)
    y.float().sum().backward()
    torch.testing.assert_close(y.float(), f(x, b), rtol=0.05, atol=0.02)
    torch.testing.assert_close(f.bfloat16()(x.bfloat16(), b).float(), y.float(), rtol=0.1, atol=0.05)


X = torch.zeros(2, 2, 8, 8)
WALLED = Box((8, 8), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))


@pytest.mark.parametrize(
    ("f", "arguments", "message"),
    [
        (small(), (X[:, :1], box(8, 8)), "x has 1 channels but this StabilisedFNO was built with in_channels=2"),
        (small(), (X[..., 0], box(8)), "for 2 dimensions but the box"),
        (small(modes=(9, 3)), (X, box(8, 8)), "axis x has 8 points and holds 8 modes"),
        (small(modes=(8, 6)), (X, box(8, 8)), "axis y has 8 points and holds 5 modes"),
        (small(positions=(1, 0)), (X, WALLED), "cannot see the walls"),
        (small(embedding=3), (X, box(8, 8)), r"embedding of shape \(2, 3\).* got none"),
    ],
)
def test_what_does_not_fit_is_named(f: StabilisedFNO, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        f(*arguments)


def test_walls_are_seen_by_positions() -> None:
    assert small()(X, WALLED).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("wrong", [{"modes": ()}, {"modes": (4, 0)}, {"width": 0}, {"layers": 0}, {"positions": -1}, {"expansion": 0.01}])
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)
