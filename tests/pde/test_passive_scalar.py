"""A tracer in a plane flow: diffusion, translation, shear and budgets."""

from __future__ import annotations

from math import exp, pi

import torch

from surrogates.domains import Box
from surrogates.pde import Kolmogorov, PassiveScalar

TORUS = Box.periodic((32, 32), 2 * pi)
X, Y = TORUS.grid()
STILL = {"viscosity": 0.0, "drag": 0.0, "forcing": 0.0, "wavenumber": 1}


def state(u, v, c):
    return torch.stack([u + 0 * X, v + 0 * X, c + 0 * X])[None]


def test_at_rest_it_diffuses(evolve) -> None:
    c = 2 + torch.sin(2 * X) * torch.cos(Y)
    out = evolve(PassiveScalar(max_dt=0.1), state(0 * X, 0 * X, c), TORUS, 0.5, diffusivity=0.1, **STILL)
    torch.testing.assert_close(out, state(0 * X, 0 * X, 2 + (c - 2) * exp(-0.1 * 5 * 0.5)), rtol=0, atol=1e-13)


def test_a_uniform_flow_translates_it(evolve) -> None:
    u, v, t, kappa = 0.7, -1.1, 0.8, 0.05
    out = evolve(PassiveScalar(max_dt=0.005), state(u + 0 * X, v, torch.sin(X + 2 * Y)), TORUS, t, diffusivity=kappa, **STILL)
    expected = exp(-5 * kappa * t) * torch.sin(X - u * t + 2 * (Y - v * t))
    torch.testing.assert_close(out, state(u + 0 * X, v, expected), rtol=0, atol=1e-9)


def test_a_steady_shear_winds_it_up(evolve) -> None:
    nu, mu, A, t = 0.1, 0.1, 0.5, 0.9
    u = A * torch.sin(2 * Y) / (nu * 4 + mu)
    p = {"viscosity": nu, "drag": mu, "forcing": A, "wavenumber": 2}
    box = TORUS.with_shape((64, 64))
    out = evolve(PassiveScalar((64, 64), max_dt=0.01), state(u, 0 * X, torch.cos(X)), TORUS, t, diffusivity=0.0, **p)
    x, y = box.grid()
    exact = box.resample(torch.cos(x - A * torch.sin(2 * y) / (nu * 4 + mu) * t)[None, None], TORUS.shape)
    torch.testing.assert_close(out, torch.cat([state(u, 0 * X, 0 * X)[:, :2], exact], 1), rtol=0, atol=1e-7)


def test_the_flow_does_not_feel_it(evolve) -> None:
    step = PassiveScalar(max_dt=0.02)
    u = step.initial(TORUS, [0, 1], 0)
    p = {"viscosity": 0.02, "drag": 0.1, "forcing": 1.0, "wavenumber": 2}
    out = evolve(step, u, TORUS, 0.4, diffusivity=0.03, **p)
    torch.testing.assert_close(out[:, :2], evolve(Kolmogorov(max_dt=0.02), u[:, :2], TORUS, 0.4, **p), rtol=0, atol=1e-13)


def test_mean_and_variance_budget(evolve) -> None:
    kappa, dt = 0.03, 0.01
    step = PassiveScalar(max_dt=0.0025)
    p = {"viscosity": 0.05, "drag": 0.1, "forcing": 1.0, "wavenumber": 2, "diffusivity": kappa}
    u = evolve(step, step.initial(TORUS, [0], 4, peak=2.0) + 0.5, TORUS, 0.3, **p)
    frames = [u, evolve(step, u, TORUS, dt, **p), evolve(step, u, TORUS, dt, 2, **p)]
    tracers = [f[:, 2:] for f in frames]
    torch.testing.assert_close(TORUS.average(tracers[2]), torch.full((1, 1), 0.5).double(), rtol=0, atol=1e-13)
    sinks = [-2 * kappa * TORUS.average(TORUS.gradient(c).square()).sum(1) for c in tracers]
    change = (TORUS.average(tracers[2].square()) - TORUS.average(tracers[0].square()))[:, 0]
    torch.testing.assert_close(change, dt / 3 * (sinks[0] + 4 * sinks[1] + sinks[2]), rtol=0, atol=1e-9)
    assert change.abs() > 1e-3
