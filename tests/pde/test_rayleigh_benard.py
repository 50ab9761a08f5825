"""Convection between free-slip walls: the onset Rayleigh computed, the budgets of heat and energy, the walls, and what every Step owes."""

from __future__ import annotations

import itertools
from math import log2, pi, sqrt

import pytest
import torch

from surrogates.domains import Box
from surrogates.domains.box import PERIODIC, WALL
from surrogates.pde import RayleighBenard, layer
from surrogates.pde.rayleigh_benard import conduction, nusselt
from surrogates.record import construct, describe
from tests.laws import step_laws

CRITICAL = 27 * pi**4 / 4


def cell(n: int, m: int, length: float = 2 * sqrt(2)) -> Box:
    return Box((n, m), (0.0, 0.0), (length, 1.0), (PERIODIC, WALL))


BOX = cell(24, 16)


def growth(rayleigh: float, prandtl: float, kx: float, n: int) -> float:
    """The larger root of (sigma + nu K^2)(sigma + kappa K^2) = kx^2/K^2, K^2 = kx^2 + (n pi)^2: what linear theory says."""
    nu, kappa, k2 = sqrt(prandtl / rayleigh), 1 / sqrt(prandtl * rayleigh), kx**2 + (n * pi) ** 2
    b, c = (nu + kappa) * k2, nu * kappa * k2**2 - kx**2 / k2
    return (-b + sqrt(b**2 - 4 * c)) / 2


@pytest.mark.parametrize(
    ("rayleigh", "prandtl", "waves", "n"), [(500.0, 1.0, 1, 1), (CRITICAL, 1.0, 1, 1), (900.0, 7.0, 1, 1), (2e4, 0.7, 3, 2)]
)
def test_small_waves_grow_as_linear_theory_says_and_at_the_critical_number_not_at_all(rayleigh, prandtl, waves, n, conditions) -> None:
    (x, y), kx, small = BOX.grid(), 2 * pi * waves / BOX.lengths[0], 1e-7
    u = torch.stack([1 - y + small * torch.cos(kx * x) * torch.sin(n * pi * y), 0 * x, 0 * x])[None]
    step, c = RayleighBenard(max_dt=0.05), conditions(BOX, 1, 12.0, rayleigh=rayleigh, prandtl=prandtl)
    state, size = step.begin(u[:, None], c), []
    for _ in range(2):
        out, state = step(state, c)
        size.append((out[0, 0, 0] - conduction(BOX)).norm())
    sigma = growth(rayleigh, prandtl, kx, n)
    assert abs(float((size[1] / size[0]).log()) / 12 - sigma) < 1e-6
    assert abs(sigma) < 1e-12 or (sigma > 0) == (rayleigh > CRITICAL)


def test_rest_stays_and_conducts(evolve) -> None:
    rest = torch.zeros(1, 3, *BOX.shape).double()
    rest[:, 0] = conduction(BOX)
    out = evolve(RayleighBenard(max_dt=0.1), rest, BOX, 2.0, rayleigh=1e5)
    assert (out - rest).abs().max() < 1e-13
    p = {"rayleigh": torch.tensor([1e5]).double(), "prandtl": torch.tensor([1.0]).double()}
    torch.testing.assert_close(nusselt(rest, BOX, p), torch.ones(1, 2).double())


@pytest.fixture
def moving(evolve):
    """Two convecting states, and a shear that the walls leave."""
    step = RayleighBenard(max_dt=0.05, rayleigh=5e3, prandtl=0.7)
    u = step.initial(BOX, [0, 1], 1, peak=1.5, rms=0.1)
    u[:, 1] += 0.1 * torch.cos(pi * BOX.grid()[1]) + 0.2
    return evolve(step, u, BOX, 3.0)


def test_the_budgets_of_kinetic_energy_and_of_buoyancy(evolve, conditions, moving) -> None:
    """d<|u|^2>/2 = <v s> - nu <w^2> and d<s^2>/2 = <v s> - kappa <|grad s|^2>: so both Nusselt numbers agree in the mean over time."""
    step, dt, fine = RayleighBenard(max_dt=0.005, rayleigh=5e3, prandtl=0.7), 0.02, cell(48, 32)
    frames = [moving, evolve(step, moving, BOX, dt), evolve(step, moving, BOX, dt, 2)]
    p = step.parameters(conditions(BOX, 1, 1.0))
    nu, kappa = sqrt(0.7 / 5e3), 1 / sqrt(0.7 * 5e3)
    kx, _ = layer.wavenumbers(BOX, layer.cutoff(BOX), moving.device)

    def averages(u):
        v = step.resample(u, BOX, fine)  # where no product of two modes aliases
        s = v[:, :1] - conduction(fine)
        w = step.encode(u, BOX)[:, :1].clone()
        w[..., 0, 0] = 0
        square = (w.abs().square() * torch.where(kx > 0, 2, 1)).flatten(1).sum(1) / 2
        lift, heat = nusselt(v, fine, p).unbind(1)
        return torch.stack(
            [
                fine.average(v[:, 1:].square()).sum(1) / 2,
                fine.average(s.square())[:, 0] / 2,
                kappa * (lift - 1),
                nu * square,
                kappa * (heat - 1),
            ]
        )

    a, b, c = (averages(u) for u in frames)
    integral = dt / 3 * (a + 4 * b + c)
    change = c - a
    torch.testing.assert_close(change[0], integral[2] - integral[3], rtol=0, atol=1e-9)
    torch.testing.assert_close(change[1], integral[2] - integral[4], rtol=0, atol=1e-9)
    assert change[:2].abs().min() > 1e-5


def test_the_nonlinear_terms_are_advection(conditions, moving) -> None:
    """On the doubled, mirrored and therefore periodic box, with derivatives of its own."""
    step, fine = RayleighBenard(max_dt=0.1), cell(48, 32)
    v = step.resample(moving, BOX, fine)
    both = Box.periodic((48, 64), (2 * sqrt(2), 2.0))
    mirror = torch.tensor([-1.0, 1.0, -1.0]).double().reshape(1, 3, 1, 1)
    s = v - torch.stack([conduction(fine).expand(48, -1), *torch.zeros(2, 48, 32).double()])
    s = torch.cat([s, mirror * s.flip(3)], 3)
    w = both.vorticity(s[:, 1:])
    advected = [-(s[:, 1:] * both.gradient(f)).sum(1, keepdim=True) for f in (w, s[:, :1])]
    expected = [advected[0] + both.derivative(s[:, :1], 0), advected[1] + s[:, 2:]]
    spectrum, p = step.encode(moving, BOX), {name: torch.ones(1).double() for name in ("rayleigh", "prandtl")}
    found = step.terms(BOX, p, spectrum.dtype, spectrum.device)[1](spectrum)
    for n, e in enumerate(expected):
        e = layer.analyse(e[..., :32], layer.cutoff(BOX), odd=True)
        torch.testing.assert_close(found[:, n : n + 1, :, 1:], e[..., 1:], rtol=0, atol=1e-12)


def test_walls_divergence_and_the_mean_of_u(evolve, moving) -> None:
    step = RayleighBenard(max_dt=0.05, rayleigh=5e3, prandtl=0.7)
    out = evolve(step, moving, BOX, 0.5)
    torch.testing.assert_close(BOX.average(out[:, 1:2]), BOX.average(moving[:, 1:2]), rtol=0, atol=1e-14)
    assert BOX.average(moving[:, 1:2]).abs().min() > 0.1
    (kx, ky), modes = layer.wavenumbers(BOX, (11, 15), out.device), (11, 15)
    along, up = layer.analyse(out[:, 1:2], modes, odd=False), layer.analyse(out[:, 2:], modes, odd=True)
    assert (1j * kx * along + ky * up).abs().max() < 1e-12  # div u, in cosines
    b = layer.analyse(out[:, :1] - conduction(BOX), modes, odd=True)
    b[..., 0] = 0
    torch.testing.assert_close(
        layer.synthesise(b, BOX.shape, odd=True) + conduction(BOX), out[:, :1], rtol=0, atol=1e-6
    )  # sines: zero at both walls


def test_a_gradient_in_the_input_is_projected_away(evolve, moving) -> None:
    step = RayleighBenard(max_dt=0.05, rayleigh=5e3, prandtl=0.7)
    (x, y), k = BOX.grid(), 2 * pi / BOX.lengths[0]
    push = torch.stack([0 * x, -k * torch.sin(k * x) * torch.cos(2 * pi * y), -2 * pi * torch.cos(k * x) * torch.sin(2 * pi * y)])
    torch.testing.assert_close(evolve(step, moving + push, BOX, 0.3), evolve(step, moving, BOX, 0.3), rtol=0, atol=1e-12)


def test_symmetries(evolve, moving) -> None:
    """Along the layer, mirrored in x, and upside down with hot and cold exchanged."""
    step = RayleighBenard(max_dt=0.05, rayleigh=5e3, prandtl=0.7)
    out = evolve(step, moving, BOX, 0.5)

    def mirrored(u):
        return (u * torch.tensor([1.0, -1.0, 1.0]).reshape(1, 3, 1, 1)).flip(2).roll(1, 2)

    def upside_down(u):
        u = torch.cat([u[:, :1] - conduction(BOX), u[:, 1:]], 1).flip(3) * torch.tensor([-1.0, 1.0, -1.0]).reshape(1, 3, 1, 1)
        return torch.cat([u[:, :1] + conduction(BOX), u[:, 1:]], 1)

    for move in (lambda u: u.roll(5, 2), mirrored, upside_down):
        torch.testing.assert_close(evolve(step, move(moving), BOX, 0.5), move(out), rtol=0, atol=1e-12)


def test_fourth_order_in_time(evolve, moving) -> None:
    answers = [evolve(RayleighBenard(max_dt=0.5 / n, rayleigh=5e3, prandtl=0.7), moving, BOX, 0.5) for n in (2, 4, 8)]
    first, second = ((a - b).square().mean().sqrt() for a, b in itertools.pairwise(answers))
    assert 3.6 < log2(first / second) < 4.4


def test_initial_states_are_the_same_at_any_resolution() -> None:
    step, fine = RayleighBenard(max_dt=0.1), cell(48, 40)
    u, v = step.initial(BOX, [3, 7], 5, peak=1.0), step.initial(fine, [7], 5, peak=1.0)
    torch.testing.assert_close(step.resample(v, fine, BOX)[0], u[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        BOX.average((u[:, :1] - conduction(BOX)).square()).sqrt(), torch.full((2, 1), 0.01).double(), rtol=1e-6, atol=0
    )


def test_other_domains_and_parameters_are_refused(conditions) -> None:
    step, u = RayleighBenard(max_dt=0.1), torch.zeros(1, 1, 3, 8, 8)
    for box in (Box.periodic((8, 8), 1.0), Box((8, 8), (0.0, 0.0), (1.0, 2.0), (PERIODIC, WALL))):
        with pytest.raises(ValueError, match="walls at y = 0 and 1"):
            step.begin(u, conditions(box, 1, 0.1, rayleigh=1e4))
    c = conditions(cell(8, 8), 1, 0.1, rayleigh=0.0)
    with pytest.raises(ValueError, match="rayleigh must be positive"):
        step(step.begin(u, c), c)


def test_what_every_step_owes(conditions, moving) -> None:
    step = RayleighBenard((36, 20), max_dt=0.05)
    step_laws(step, moving[:, None], conditions(BOX, 2, 0.1, rayleigh=[5e3, 8e3]), lambda rows: None, rounding=1e-11)
    assert describe(construct(describe(step))) == describe(step)


@pytest.mark.slow
def test_the_routes_to_the_nusselt_number_agree_over_a_long_time(conditions) -> None:
    step = RayleighBenard((36, 20), max_dt=0.05, rayleigh=1e4, prandtl=1.0)
    c = conditions(BOX, 2, 1.0)
    state, found = step.begin(step.initial(BOX, [0, 1], 1, rms=0.1)[:, None], c), []
    for n in range(200):
        out, state = step(state, c)
        if n >= 100:
            found.append(nusselt(out[:, 0], BOX, step.parameters(c)))
    mean = torch.stack(found).mean(0)
    torch.testing.assert_close(mean[:, 0], mean[:, 1], rtol=5e-3, atol=0)
    assert (mean > 3).all()
