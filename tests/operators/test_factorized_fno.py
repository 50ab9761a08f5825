"""Factorized FNO: the dense formula by FFT, its reduction to a 1-D FNO layer, translations, resolutions, gradients, clear errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from surrogates.domains import Box
from surrogates.operators.factorized_fno import FactorizedFNO, LineConv, line_matrices
from surrogates.operators.fourier import dft_matrices
from surrogates.operators.spectral_conv import SpectralConv

CPU, F64 = torch.device("cpu"), torch.float64


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> FactorizedFNO:
    torch.manual_seed(0)
    return FactorizedFNO(cin, cout, embedding, **{"width": 6, "modes": (4, 3), "layers": 2} | options)


def box(*shape: int) -> Box:
    return Box.periodic(shape, 2 * math.pi)


def dense(conv: LineConv, u: Tensor) -> Tensor:
    """The definition, one complex FFT an axis and one mode at a time: u (B, *X, C)."""
    total = torch.zeros_like(u)
    for axis, weight in enumerate(conv.weights, start=1):
        m, c = weight.shape[:2]
        w = torch.complex(weight[:, :, :c], weight[:, :, c:])
        z = torch.fft.rfft(u, dim=axis).movedim(axis, 0)
        o = torch.zeros_like(z)
        for k in range(m):
            o[k] = z[k] @ w[k]
        total = total + torch.fft.irfft(o.movedim(0, axis), n=u.shape[axis], dim=axis)
    return total


GRIDS = [((11,), (4,)), ((10,), (6,)), ((8, 7), (5, 4)), ((6, 5, 4), (3, 2, 3))]


@pytest.mark.parametrize(("grid", "modes"), GRIDS)
def test_lines_are_convolved_as_the_definition_says(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    """Odd, even and prime axes, up to all the modes they hold."""
    conv, u = LineConv(3, modes).double(), torch.randn(2, *grid, 3, dtype=F64)
    torch.testing.assert_close(conv(u, line_matrices(box(*grid), modes, F64, CPU)), dense(conv, u))


def test_on_a_line_it_is_the_layer_of_an_fno() -> None:
    ours, theirs, b = LineConv(3, (5,)).double(), SpectralConv(3, (5,)).double(), box(12)
    theirs.weight.data.copy_(ours.weights[0].data)
    u = torch.randn(2, 12, 3, dtype=F64)
    expected = theirs(u, torch.zeros_like(u), dft_matrices(b, (5,), F64, CPU))
    torch.testing.assert_close(ours(u, line_matrices(b, (5,), F64, CPU)), expected)


def test_the_network_is_its_formula() -> None:
    f, b, x, e = small(embedding=3).double(), box(9, 8), torch.randn(2, 2, 9, 8, dtype=F64), torch.randn(2, 3, dtype=F64)
    nn.init.normal_(f.film.out.weight)
    gelu, grids = nn.functional.gelu, b.grid()
    p = torch.stack([g for t in grids for g in (t.sin(), t.cos())])
    h = f.lift(torch.cat([x, p.expand(2, -1, -1, -1)], 1).permute(0, 2, 3, 1))
    for conv, block, (gain, shift, gate) in zip(f.spectral, f.blocks, f.film(e), strict=True):
        v = gain[:, None, None] * dense(conv, h) + shift[:, None, None]
        h = h + gate[:, None, None] * block.outer(gelu(block.inner(v)))
    torch.testing.assert_close(f(x, b, e), f.project_out(gelu(f.project_in(h))).permute(0, 3, 1, 2))


def test_the_energy_of_white_modes_passes_at_first() -> None:
    torch.manual_seed(0)
    conv, u = LineConv(32, (9, 9)), torch.randn(4, 16, 16, 32)
    y = conv(u, line_matrices(box(16, 16), (9, 9), torch.float32, CPU))
    assert 0.85 < y.square().mean() / u.square().mean() < 1.1  # own conjugates lose their imaginary half


@pytest.mark.parametrize("shared", [False, True])
def test_parameters_are_counted(shared: bool) -> None:
    f = FactorizedFNO(3, 2, 5, width=8, modes=(6, 4), layers=3, shared=shared)
    c, h, p = 8, 16, 3 + 4
    block = (c * h + h) + (h * c + c)
    ends = (p * c + c) + (c * h + h) + (h * 2 + 2)
    film = (5 * 2 * c + 2 * c) + (2 * c + 1) * 3 * 3 * c
    spectral = 2 * c * c * (6 + 4) * (1 if shared else 3)
    assert sum(q.numel() for q in f.parameters()) == ends + 3 * block + spectral + film


def test_without_positions_it_commutes_with_translations() -> None:
    f, b = small(positions=0).double(), box(12, 9)
    x = torch.randn(2, 2, 12, 9, dtype=F64)
    torch.testing.assert_close(f(x.roll((3, -4), (2, 3)), b), f(x, b).roll((3, -4), (2, 3)))
    seen = small(positions=(0, 2)).double()
    torch.testing.assert_close(seen(x.roll(5, 2), b), seen(x, b).roll(5, 2))
    assert (seen(x.roll(5, 3), b) - seen(x, b).roll(5, 3)).abs().max() > 1e-3


@pytest.mark.parametrize("positions", [0, 2])
def test_a_band_limited_field_has_the_same_answer_at_every_resolution(positions: int) -> None:
    """Up to the aliasing of gelu, which falls with resolution."""
    f = small(positions=positions, layers=3).double()

    def answer(n: int) -> Tensor:
        b = box(n, n)
        x, y = b.grid()
        return f(5 * torch.stack([torch.sin(x) + torch.cos(x - y), torch.cos(y + 1)])[None], b)

    fine = answer(96)
    errors = [(answer(n) - fine[..., :: 96 // n, :: 96 // n]).abs().max().item() for n in (8, 16, 32)]
    assert errors[2] < 1e-9 * fine.abs().max().item() and errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("shape", [(10,), (6, 5), (4, 5, 3)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    f = small(1, 1, 2, width=2, modes=tuple(n // 2 for n in shape)).double()
    nn.init.normal_(f.film.out.weight)
    x = torch.randn(2, 1, *shape, dtype=F64, requires_grad=True)
    e = torch.randn(2, 2, dtype=F64, requires_grad=True)

    def g(x: Tensor, e: Tensor, w: Tensor) -> Tensor:
        return torch.func.functional_call(f, {"spectral.0.weights.0": w}, (x, box(*shape), e))

    assert torch.autograd.gradcheck(g, (x, e, f.spectral[0].weights[0]), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    f, b = small().double(), box(12, 9)
    x, t = torch.randn(2, 2, 2, 12, 9, dtype=F64).unbind(0)
    _, derivative = torch.func.jvp(lambda x: f(x, b), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, b) - f(x - 1e-6 * t, b)) / 2e-6, rtol=1e-6, atol=1e-8)


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
    assert f.spectral[0].weights[0].grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), f(x, b), rtol=0.05, atol=0.02)


X = torch.zeros(2, 2, 8, 8)
WALLED = Box((8, 8), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))


@pytest.mark.parametrize(
    ("f", "arguments", "message"),
    [
        (small(), (X[:, :1], box(8, 8)), "x has 1 channels but this FactorizedFNO was built with in_channels=2"),
        (small(), (X[..., 0], box(8)), "is for 2 dimensions but the box"),
        (small(modes=(6, 3)), (X, box(8, 8)), "axis x has 8 points and holds 5 modes, counted from 0"),
        (small(modes=(5, 6)), (X, box(8, 8)), "build it with at most 5 there"),
        (small(positions=(1, 0)), (X, WALLED), "cannot see the walls"),
        (small(embedding=3), (X, box(8, 8)), r"embedding of shape \(2, 3\).* got none"),
    ],
)
def test_what_does_not_fit_is_named(f: FactorizedFNO, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        f(*arguments)


def test_walls_are_seen_by_positions() -> None:
    assert small()(X, WALLED).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("wrong", [{"modes": ()}, {"modes": (4, 0)}, {"width": 0}, {"layers": 0}, {"positions": -1}, {"expansion": 0.01}])
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)
