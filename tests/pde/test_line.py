"""Burgers, KdV and Kuramoto-Sivashinsky against exact solutions, invariants, symmetries and the order of the scheme."""

from __future__ import annotations

import itertools
from math import exp, log2, pi

import pytest
import torch
from scipy.special import ive

from surrogates.domains import Box
from surrogates.pde import Burgers, KdV, KuramotoSivashinsky

RING = Box.periodic((256,), 2 * pi)
X = RING.coordinate(0)


def field(u):
    return u[None, None]


# -- Burgers ----------------------------------------------------------------------------------------------------------


def test_burgers_against_cole_hopf_for_one_mode(evolve) -> None:
    nu, a, t = 0.07, 0.9, 1.3

    def exact(t: float):
        decay = a * exp(-nu * t)
        return field(2 * nu * decay * torch.sin(X) / (1 + decay * torch.cos(X)))

    out = evolve(Burgers(max_dt=0.01), exact(0.0), RING, t, viscosity=nu)
    torch.testing.assert_close(out, exact(t), rtol=0, atol=2e-11)


def test_burgers_against_cole_hopf_through_a_shock(evolve) -> None:
    """u(0) = sin x breaks at t = 1; phi = I_0(z) + 2 sum (-1)^n I_n(z) exp(-nu n^2 t) cos(n x), z = 1/(2 nu), up to a sign of cos."""
    nu, t = 0.08, 1.6
    n = torch.arange(1, 120, dtype=torch.float64)
    weights = 2 * torch.from_numpy(ive(n.numpy(), 1 / (2 * nu))) * torch.exp(-nu * n**2 * t)
    phi = ive(0, 1 / (2 * nu)) + (weights * torch.cos(X[:, None] * n)).sum(1)
    phi_x = -(weights * n * torch.sin(X[:, None] * n)).sum(1)
    out = evolve(Burgers(max_dt=0.005), field(torch.sin(X)), RING, t, viscosity=nu)
    torch.testing.assert_close(out, field(-2 * nu * phi_x / phi), rtol=0, atol=1e-8)


def test_inviscid_burgers_along_characteristics_until_it_breaks(evolve) -> None:
    t, start = 0.5, X.clone()
    for _ in range(60):
        start = start - (start + t * torch.sin(start) - X) / (1 + t * torch.cos(start))  # where the characteristic through X began
    step = Burgers(max_dt=0.005, viscosity=0.0)
    out = evolve(step, field(torch.sin(X)), RING, t)
    torch.testing.assert_close(out, field(torch.sin(start)), rtol=0, atol=1e-9)
    slope = RING.derivative(out, 0).min()
    assert abs(slope + 1 / (1 - t)) < 1e-6  # steepens as -1/(1 - t)


def test_a_shock_moves_with_the_mean_of_its_sides(evolve) -> None:
    c, t = 0.75, 2.0
    step = Burgers(max_dt=0.005, viscosity=0.08)
    moved = evolve(step, field(c + torch.sin(X + c * t)), RING, t)
    torch.testing.assert_close(moved, c + evolve(step, field(torch.sin(X)), RING, t), rtol=0, atol=1e-7)


# -- KdV --------------------------------------------------------------------------------------------------------------

CHANNEL = Box.periodic((384,), 40.0)


def soliton(kappa: float, delta: float, t: float, start: float = 20.0):
    x = CHANNEL.coordinate(0) - start - 4 * delta * kappa**2 * t
    x = (x + 20) % 40 - 20
    return field(2 * delta * kappa**2 / torch.cosh(kappa * x) ** 2)


@pytest.mark.parametrize("delta", [1.0, 0.5])
def test_kdv_soliton_keeps_speed_and_shape(evolve, delta) -> None:
    t = 2.0
    out = evolve(KdV(max_dt=0.002), soliton(0.9, delta, 0.0), CHANNEL, t, dispersion=delta)
    torch.testing.assert_close(out, soliton(0.9, delta, t), rtol=0, atol=1e-6)


def test_kdv_small_waves_run_left_at_delta_k2(evolve) -> None:
    k, t, small = 2 * pi * 3 / 40.0, 5.0, 1e-7
    x = CHANNEL.coordinate(0)
    out = evolve(KdV(max_dt=0.01), field(small * torch.cos(k * x)), CHANNEL, t, dispersion=2.0)
    torch.testing.assert_close(out, field(small * torch.cos(k * (x + 2.0 * k**2 * t))), rtol=0, atol=1e-3 * small)


def test_kdv_conserves_mass_momentum_and_energy(evolve) -> None:
    step = KdV(max_dt=0.002)
    u = step.initial(CHANNEL, [0, 1], 0) * 0.5 + 0.1
    out = evolve(step, u, CHANNEL, 1.0, dispersion=1.0)
    assert (out - u).abs().max() > 0.5
    laws = (lambda v: v, lambda v: v**2, lambda v: CHANNEL.derivative(v, 0) ** 2 / 2 - v**3)
    for law, tolerance in zip(laws, (1e-13, 1e-8, 1e-7), strict=True):
        torch.testing.assert_close(CHANNEL.average(law(out)), CHANNEL.average(law(u)), rtol=0, atol=tolerance)


# -- Kuramoto-Sivashinsky ---------------------------------------------------------------------------------------------

LONG = Box.periodic((128,), 64.0)


@pytest.fixture(scope="module")
def attractor():
    """Four states on the attractor of L = 64, nu = 1."""
    from surrogates.contracts import Conditions

    ones = torch.ones(4, dtype=torch.float64)
    step, c = KuramotoSivashinsky(max_dt=0.05), Conditions(LONG, 0 * ones, 80 * ones, torch.zeros(4, 0).double())
    u = step.initial(LONG, range(4), 7)
    return step(step.begin(u.unsqueeze(1), c), c)[0][:, 0]


def test_ks_shows_fourth_order(evolve, attractor) -> None:
    answers = [evolve(KuramotoSivashinsky(max_dt=h), attractor, LONG, 10.0) for h in (0.025, 0.0125, 0.00625)]
    first, second = ((a - b).square().mean().sqrt() for a, b in itertools.pairwise(answers))
    assert 3.6 <= log2(first / second) < 4.4


def test_ks_conserves_the_mean_and_feels_it_as_a_moving_frame(evolve, attractor) -> None:
    step, n, t = KuramotoSivashinsky(max_dt=0.01), 5, 4.0
    c = 64.0 / 128 * n / t
    out = evolve(step, attractor, LONG, t)
    assert (LONG.average(out) - LONG.average(attractor)).abs().max() < 1e-13
    torch.testing.assert_close(evolve(step, attractor + c, LONG, t) - c, out.roll(n, 2), rtol=0, atol=1e-6)


def test_ks_symmetries(evolve, attractor) -> None:
    step = KuramotoSivashinsky(max_dt=0.05)
    out = evolve(step, attractor, LONG, 5.0)
    torch.testing.assert_close(evolve(step, attractor.roll(11, 2), LONG, 5.0), out.roll(11, 2), rtol=0, atol=1e-11)
    torch.testing.assert_close(evolve(step, -attractor.flip(2), LONG, 5.0), -out.flip(2), rtol=0, atol=1e-11)


def test_ks_linear_growth(evolve) -> None:
    k, small, nu = 2 * pi * 7 / 64.0, 1e-9, 0.6
    wave = field(small * torch.cos(k * LONG.coordinate(0)))
    out = evolve(KuramotoSivashinsky(max_dt=0.1), wave, LONG, 3.0, viscosity=nu)
    torch.testing.assert_close(out, wave * exp((k**2 - nu * k**4) * 3), rtol=1e-6, atol=1e-6 * small)


def test_ks_spectrum_falls_exponentially(attractor) -> None:
    amplitude = torch.fft.rfft(attractor, norm="forward").abs().mean((0, 1))
    k = LONG.wavenumbers()[0]
    tail = (k > 1.5) & (k < 3.5)
    x, y = k[tail], amplitude[tail].log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    residual = y - y.mean() - slope * (x - x.mean())
    assert slope < -3 and residual.square().mean() < 0.05 * y.var()
    assert amplitude[40:43].max() < 2e-4 * amplitude.max()  # resolved
