"""SphericalFNO: equality with neuraloperator, rotations, grids and resolutions, gradients, conditioning and clear errors."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from surrogates.contracts import Operator
from surrogates.domains import Box, Sphere, harmonics
from surrogates.domains.harmonics import transform
from surrogates.domains.sphere import GRIDS
from surrogates.operators.spherical_fno import DegreeFilter, SphericalFNO, harmonics_of

CPU = torch.device("cpu")


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> SphericalFNO:
    torch.manual_seed(0)
    return SphericalFNO(cin, cout, embedding, **{"width": 6, "degrees": 6, "layers": 2} | options)


def vectors(sphere: Sphere) -> Tensor:
    """The unit vector of every point: (lat, lon, 3)."""
    phi, east = torch.meshgrid(*(torch.deg2rad(sphere.coordinate(axis)) for axis in (0, 1)), indexing="ij")
    return torch.stack([phi.cos() * east.cos(), phi.cos() * east.sin(), phi.sin()], -1)


def rotation(seed: int = 0) -> Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return q * torch.linalg.det(q)


@torch.no_grad()
def copy_from_neuralop(theirs: nn.Module, ours: SphericalFNO) -> None:
    """Their parameters, in our layout: degrees first, real; their convolution's bias in our skip."""

    def copy(to: nn.Linear, source: nn.Module) -> None:
        to.weight.copy_(source.weight.reshape(to.weight.shape))
        to.bias.copy_(source.bias if source.bias is not None else 0)

    ends = (ours.lift_in, ours.lift_out, ours.project_in, ours.project_out)
    for to, source in zip(ends, (*theirs.lifting.fcs, *theirs.projection.fcs), strict=True):
        copy(to, source)
    for i, block in enumerate(ours.blocks):
        w = theirs.fno_blocks.convs[i].weight.tensor
        w.imag.zero_()  # a complex factor a degree does not commute with rotations
        block.filter.weight.copy_(w.real.permute(2, 0, 1))
        copy(block.skip, theirs.fno_blocks.fno_skips[i].conv)
        block.skip.bias.copy_(theirs.fno_blocks.convs[i].bias.flatten())
        copy(block.inner, theirs.fno_blocks.channel_mlp[i].fcs[0])
        copy(block.outer, theirs.fno_blocks.channel_mlp[i].fcs[1])
        block.gate.copy_(theirs.fno_blocks.channel_mlp_skips[i].weight.flatten())


def test_the_same_function_as_neuraloperator() -> None:
    pytest.importorskip("torch_harmonics", reason="what the peer's SFNO is built on")
    models = pytest.importorskip("neuralop.models", reason="the peer that this compares with")
    from neuralop.layers.spherical_convolution import SphericalConv

    torch.manual_seed(0)
    conv = partial(SphericalConv, sht_grids="legendre-gauss")
    theirs = models.SFNO((12, 20), 3, 2, 8, n_layers=3, positional_embedding=None, conv_module=conv)
    for skip in theirs.fno_blocks.channel_mlp_skips:
        nn.init.normal_(skip.weight)
    ours = SphericalFNO(3, 2, width=8, degrees=12, orders=10, layers=3, positions=0)
    copy_from_neuralop(theirs, ours)
    x = torch.randn(2, 3, 16, 32)
    torch.testing.assert_close(ours(x, Sphere((16, 32), "legendre-gauss")), theirs(x), atol=1e-5, rtol=1e-5)


def test_it_is_an_operator_and_counts_its_parameters() -> None:
    f = SphericalFNO(3, 2, 5, width=8, degrees=7, layers=3, positions=(3, 1))
    assert isinstance(f, Operator)
    c, h, p, degrees = 8, 16, 3 + 3 * 3, 7  # three orders for each degree from 1 to 3
    block = degrees * c * c + (c * c + c) + (c * c // 2 + c // 2) + (c * c // 2 + c) + c
    ends = (p * h + h) + (h * c + c) + (c * h + h) + (h * 2 + 2)
    film = (5 * 2 * c + 2 * c) + (2 * c + 1) * 3 * 3 * c
    assert sum(q.numel() for q in f.parameters()) == ends + 3 * block + film


@pytest.mark.parametrize("grid", GRIDS)
def test_a_zonal_field_about_any_axis_is_an_eigenfunction_of_the_filter(grid: str) -> None:
    """P_l(a.r) of degree l about a: multiplied by W_l, and so the filter commutes with every rotation. Lower degrees stay out."""
    sphere, filter = Sphere((12, 24), grid, west=40.0), DegreeFilter(2, 9).double()
    t = transform(sphere, 9, 9, torch.float64, CPU)
    axes = rotation()
    for degree in (0, 1, 4, 8):
        field = torch.special.legendre_polynomial_p(vectors(sphere) @ axes.T[:, :2], degree)[:, :, None]  # one axis a channel
        expected = field @ filter.weight[degree]
        torch.testing.assert_close(filter(field, t), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_filter_commutes_with_a_rotation_about_another_axis(grid: str) -> None:
    """A cubic of the unit vector, with all orders, before and after; the answer is known at rotated points by its own coefficients."""
    sphere, turn = Sphere((12, 24), grid), rotation(1)
    t, filter = transform(sphere, 8, 8, torch.float64, CPU), DegreeFilter(1, 8).double()
    gain = filter.weight[:, 0, 0]

    def cubic(r: Tensor) -> Tensor:  # degrees 0 to 3, degree by degree: 1, x, xy, (5z^2 - 1)x
        return torch.stack([torch.ones_like(r[..., 0]), r[..., 0], r[..., 0] * r[..., 1], (5 * r[..., 2] ** 2 - 1) * r[..., 0]], -1)

    turned = cubic(vectors(sphere) @ turn)
    answer = filter(turned.sum(-1)[:, :, None, None], t)[:, :, 0, 0]
    torch.testing.assert_close(answer, turned @ gain[:4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(8, 16), (9, 13)])
@pytest.mark.parametrize("positions", [0, (2, 0)])
def test_turning_the_sphere_about_its_poles_turns_the_answer(shape: tuple[int, int], positions) -> None:
    f, s = small(positions=positions).double(), Sphere(shape, "poles")
    x = torch.randn(2, 2, *shape, dtype=torch.float64)
    torch.testing.assert_close(f(x.roll(5, 3), s), f(x, s).roll(5, 3), rtol=1e-10, atol=1e-12)
    seen = small(positions=1).double()
    assert (seen(x.roll(5, 3), s) - seen(x, s).roll(5, 3)).abs().max() > 1e-3


@torch.no_grad()
def test_the_network_commutes_with_rotations_up_to_aliasing() -> None:
    """A field that depends on z alone, and the same of x: the answer down a meridian is the other's answer along the equator."""

    def error(f: SphericalFNO, n: int) -> float:
        s = Sphere((n + 1, 2 * n), "poles")  # latitudes and longitudes of the same spacing
        about_x, _, about_z = ((2 * r - r.square() + r**3)[None, None] for r in vectors(s).unbind(-1))
        return float((f(about_z, s)[0, 0, :, 0] - f(about_x, s)[0, 0, n // 2, : n + 1]).abs().max())

    f = small(1, positions=0).double()
    errors = [error(f, n) for n in (8, 16, 32)]
    assert errors[2] < 1e-6 and errors[0] > errors[1] > errors[2]
    assert error(small(1, positions=1).double(), 32) > 1e-3


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape", [(8, 16), (9, 15)])
def test_either_way_up_and_any_first_meridian_are_the_same_function(grid: str, shape: tuple[int, int]) -> None:
    f = small(positions=(3, 2)).double()
    step, x = 360 / shape[1], torch.randn(2, 2, *shape, dtype=torch.float64)
    y = f(x, Sphere(shape, grid))
    torch.testing.assert_close(f(x.flip(2), Sphere(shape, grid, north_first=False)), y.flip(2))
    torch.testing.assert_close(f(x.roll(-4, 3), Sphere(shape, grid, west=4 * step)), y.roll(-4, 3))
    torch.testing.assert_close(f(x.roll(-4, 3), Sphere(shape, grid, west=4 * step - 360, radius=6e6)), y.roll(-4, 3))


@torch.no_grad()
@pytest.mark.parametrize("positions", [0, 2])
def test_a_smooth_field_has_the_same_answer_on_every_grid_and_resolution(positions: int) -> None:
    """Up to the aliasing of gelu, which falls with resolution; seen in the mean and the mean square, which need no common points."""
    f = small(1, positions=positions).double()

    def mean_and_square(s: Sphere) -> Tensor:
        x, y, z = vectors(s).unbind(-1)
        answer = f((x * y + 0.7 * z - x)[None, None], s)[0, 0]
        return torch.stack([answer.mean(1) @ s.quadrature, answer.square().mean(1) @ s.quadrature]) / 2

    exact = mean_and_square(Sphere((64, 128), "legendre-gauss"))
    for grid in GRIDS:
        errors = [(mean_and_square(Sphere((n + 1, 2 * n), grid)) - exact).abs().max().item() for n in (8, 16, 32)]
        assert errors[2] < 1e-8 and errors[0] > errors[1] > errors[2]
    odd = mean_and_square(Sphere((31, 61), "cells", north_first=False, west=17.0))
    torch.testing.assert_close(odd, exact, rtol=0, atol=1e-8)


def test_a_stack_of_filters_agrees_between_gauss_and_equiangular_points() -> None:
    """What is linear is exact: the same coefficients, so the same values at points that both grids have (the equator)."""
    filter, r = DegreeFilter(3, 7).double(), Sphere((9, 20), "poles")
    answers = []
    for s in (r, Sphere((9, 20), "legendre-gauss"), Sphere((13, 20), "cells")):
        u = torch.stack([vectors(s)[..., 0] ** 3, vectors(s)[..., 1] * vectors(s)[..., 2] ** 4, vectors(s)[..., 2]], -1)
        t = transform(s, 7, 7, torch.float64, CPU)
        answers.append(filter(filter(u[:, :, None], t), t)[s.shape[0] // 2])
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(answers[2], answers[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 7), (5, 8)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, int]) -> None:
    f, s = small(1, 1, 2, width=2, degrees=4).double(), Sphere(shape, "legendre-gauss")
    nn.init.normal_(f.film.out.weight)
    x = torch.randn(2, 1, *shape, dtype=torch.float64, requires_grad=True)
    e = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def functional(x: Tensor, e: Tensor, w: Tensor) -> Tensor:
        return torch.func.functional_call(f, {"blocks.0.filter.weight": w}, (x, s, e))

    assert torch.autograd.gradcheck(functional, (x, e, f.blocks[0].filter.weight), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    f, s = small(embedding=2).double(), Sphere((8, 16))
    nn.init.normal_(f.film.out.weight)
    x, d = torch.randn(2, 2, 2, 8, 16, dtype=torch.float64).unbind(0)
    e = torch.randn(2, 2, dtype=torch.float64)
    _, slope = torch.func.jvp(lambda x: f(x, s, e), (x,), (d,))
    torch.testing.assert_close(slope, (f(x + 1e-6 * d, s, e) - f(x - 1e-6 * d, s, e)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_all_routes_and_bands_give_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    f, s = small(embedding=3).double(), Sphere((8, 16))
    nn.init.normal_(f.film.out.weight)
    x, e = torch.randn(2, 2, 8, 16, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    answers = []
    for products in (True, False):
        for band in (1, 100):
            monkeypatch.setattr(harmonics, "by_products", lambda *_, products=products: products)
            monkeypatch.setattr(harmonics, "BAND", {"cpu": band})
            harmonics._transform.cache_clear()
            answers.append(f(x, s, e))
    harmonics._transform.cache_clear()
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0])


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, plain, s = small(embedding=3), small(), Sphere((8, 16))
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    x, e = torch.randn(2, 2, 8, 16), torch.randn(2, 3)
    torch.testing.assert_close(f(x, s, e), plain(x, s), rtol=1e-5, atol=1e-6)
    f(x, s, e).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in f.film.out.parameters())
    for row in range(3):  # gain, shift and second gain of the first block each matter
        changed = small(embedding=3)
        with torch.no_grad():
            changed.film.out.bias.view(2, 3, 6)[0, row] = 1
        assert (changed(x, s, e) - f(x, s, e)).abs().max() > 1e-3


def test_the_shift_of_the_filter_is_a_constant_field() -> None:
    t, filter = transform(Sphere((8, 16)), 6, 6, torch.float64, CPU), DegreeFilter(3, 6).double()
    h, gain, shift = torch.randn(8, 16, 2, 3).double(), torch.randn(2, 3).double(), torch.randn(2, 3).double()
    torch.testing.assert_close(filter(h, t, gain, shift), filter(h, t) * gain + shift)


def test_positions_are_harmonics_of_unit_mean_square() -> None:
    s = Sphere((12, 24), west=15.0)
    p = harmonics_of(s, 1, 1, torch.float64, CPU) / math.sqrt(3)
    z, x, y = (v.abs() for v in p.unbind(-1))
    torch.testing.assert_close(torch.stack([x, y, z], -1), vectors(s).abs())
    p = harmonics_of(Sphere((12, 24), "legendre-gauss"), 3, 2, torch.float64, CPU)
    assert p.shape == (12, 24, 3 + 5 + 5)
    square = Sphere((12, 24), "legendre-gauss").average(p.square().permute(2, 0, 1)[None])
    torch.testing.assert_close(square, torch.ones_like(square))


def test_half_precision_keeps_spectra_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    from surrogates.operators import spherical_fno

    f, s, x = small(width=16), Sphere((8, 16)), torch.randn(2, 2, 8, 16)
    seen, analyse = [], spherical_fno.analyse
    monkeypatch.setattr(spherical_fno, "analyse", lambda u, *a: seen.append(u.dtype) or analyse(u, *a))
    with torch.autocast("cpu", torch.bfloat16):
        y = f(x, s)
    y.float().sum().backward()
    assert set(seen) == {torch.float32} and f.blocks[0].filter.weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), f(x, s), rtol=0.05, atol=0.02)
    torch.testing.assert_close(f.bfloat16()(x.bfloat16(), s).float(), y.float(), rtol=0.1, atol=0.05)


X = torch.zeros(2, 2, 8, 16)


@pytest.mark.parametrize(
    ("f", "arguments", "error", "message"),
    [
        (small(), (X, Box.periodic((8, 16), 1.0)), TypeError, "works on a Sphere, got a Box"),
        (small(), (X[:, :1], Sphere((8, 16))), ValueError, "x has 1 channels but this SphericalFNO was built with in_channels=2"),
        (small(), (X, Sphere((16, 8))), ValueError, r"this Sphere takes \(B, C, 16, 8\)"),
        (small(degrees=9), (X, Sphere((8, 16))), ValueError, "has 9 degrees and 9 orders but a grid 'cells' of .* holds 8 and 8"),
        (small(degrees=8), (X, Sphere((8, 16), "poles")), ValueError, "holds 7 and 8"),
        (small(degrees=8, orders=4), (X[..., :6], Sphere((8, 6))), ValueError, "holds 8 and 3"),
        (small(embedding=3), (X, Sphere((8, 16))), ValueError, r"embedding of shape \(2, 3\).* got none"),
        (small(), (X, Sphere((8, 16)), torch.zeros(2, 4)), ValueError, r"embedding of shape \(2, 0\)"),
    ],
)
def test_what_does_not_fit_is_named(f: SphericalFNO, arguments: tuple, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        f(*arguments)


@pytest.mark.parametrize(
    "wrong",
    [
        {"degrees": 0},
        {"orders": 0},
        {"orders": 7},
        {"width": 0},
        {"layers": 0},
        {"positions": -1},
        {"positions": (1,)},
        {"expansion": 0.01},
    ],
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)
