"""Plane Navier-Stokes against its exact solutions, its budgets and its symmetries."""

from __future__ import annotations

from math import exp, pi

import pytest
import torch

from surrogates.domains import Box
from surrogates.pde import Kolmogorov
from surrogates.pde.kolmogorov import vorticity

TORUS = Box.periodic((32, 32), 2 * pi)
OBLONG = Box.periodic((24, 40), (2.0, 5.0))
STILL = {"drag": 0.0, "forcing": 0.0, "wavenumber": 1}


def energy(u):
    return TORUS.average(u.square()).sum(1) / 2


def smooth(box: Box, u, shape):
    """u without the modes that `shape` does not carry."""
    return box.with_shape(shape).resample(box.resample(u, shape), box.shape)


def simpson(frames, dt: float):
    """Integral of a series over its three last times."""
    return dt / 3 * (frames[0] + 4 * frames[1] + frames[2])


def test_the_laminar_flow_stays(evolve) -> None:
    nu, mu, A, waves = 0.05, 0.1, 1.3, 3
    y, k = OBLONG.grid()[1], 2 * pi * waves / 5.0
    u = torch.stack([A * torch.sin(k * y) / (nu * k**2 + mu), 0 * y])[None]
    out = evolve(Kolmogorov(max_dt=0.05), u, OBLONG, 1.0, 2, viscosity=nu, drag=mu, forcing=A, wavenumber=waves)
    assert (out - u).abs().max() < 1e-12


def test_the_flow_at_rest_approaches_the_laminar_one(evolve) -> None:
    nu, mu, A = 0.2, 0.3, 0.7
    y = TORUS.grid()[1]
    out = evolve(Kolmogorov(max_dt=0.1), torch.zeros(1, 2, 32, 32).double(), TORUS, 2.0, viscosity=nu, drag=mu, forcing=A, wavenumber=2)
    rate = nu * 4 + mu
    torch.testing.assert_close(out[0, 0], A * torch.sin(2 * y) * (1 - exp(-2.0 * rate)) / rate, rtol=0, atol=1e-12)


def taylor_green(box: Box, m: int, n: int, shift=(0.0, 0.0)):
    """psi = sin(kx x) sin(ky y), moved by `shift`, and kx^2 + ky^2."""
    (x, y), (kx, ky) = box.grid(), (2 * pi * w / size for w, size in zip((m, n), box.lengths, strict=True))
    x, y = x - shift[0], y - shift[1]
    u = torch.stack([ky * torch.sin(kx * x) * torch.cos(ky * y), -kx * torch.cos(kx * x) * torch.sin(ky * y)])
    return u[None], kx**2 + ky**2


@pytest.mark.parametrize("box", [TORUS, OBLONG])
def test_taylor_green_decays_exactly(evolve, box) -> None:
    nu, mu, t = 0.03, 0.2, 0.7
    u, k2 = taylor_green(box, 2, 1)
    out = evolve(Kolmogorov(max_dt=0.05), u, box, t, viscosity=nu, **STILL | {"drag": mu})
    torch.testing.assert_close(out, u * exp(-(nu * k2 + mu) * t), rtol=0, atol=1e-13)


def test_a_mean_flow_carries_taylor_green_and_decays_by_drag_alone(evolve) -> None:
    nu, mu, t, U = 0.03, 0.4, 1.0, (0.8, -0.5)
    u, k2 = taylor_green(TORUS, 1, 2)
    mean = torch.tensor(U).double().reshape(1, 2, 1, 1)
    path = (1 - exp(-mu * t)) / mu
    moved, _ = taylor_green(TORUS, 1, 2, (U[0] * path, U[1] * path))
    out = evolve(Kolmogorov(max_dt=0.01), u + mean, TORUS, t, viscosity=nu, **STILL | {"drag": mu})
    torch.testing.assert_close(out, moved * exp(-(nu * k2 + mu) * t) + mean * exp(-mu * t), rtol=0, atol=1e-7)


def test_the_mean_flow_of_turbulence_obeys_its_equation(evolve) -> None:
    step = Kolmogorov(max_dt=0.02)
    u = step.initial(TORUS, [0], 0) + 0.3
    out = evolve(step, u, TORUS, 0.5, 2, viscosity=0.01, drag=0.2, forcing=1.0, wavenumber=2)
    torch.testing.assert_close(TORUS.average(out), TORUS.average(u) * exp(-0.2), rtol=0, atol=1e-13)


@pytest.mark.parametrize("forcing", [0.0, 1.5])
def test_energy_budget(evolve, forcing) -> None:
    nu, mu, dt = 0.02, 0.15, 0.01
    step = Kolmogorov(max_dt=0.0025)
    p = {"viscosity": nu, "drag": mu, "forcing": forcing, "wavenumber": 2}
    u = evolve(step, step.initial(TORUS, [0, 1], 3) + 0.2, TORUS, 1.0, **p)
    frames = [u, evolve(step, u, TORUS, dt, **p), evolve(step, u, TORUS, dt, 2, **p)]
    f = forcing * torch.sin(2 * TORUS.grid()[1])
    gain = [TORUS.average(f * v[:, :1])[:, 0] for v in frames]
    loss = [nu * TORUS.average(TORUS.vorticity(v).square())[:, 0] + 2 * mu * energy(v) for v in frames]  # 2 nu Z, Z = <w^2>/2
    change = energy(frames[2]) - energy(frames[0])
    torch.testing.assert_close(change, simpson(gain, dt) - simpson(loss, dt), rtol=0, atol=1e-9)
    assert change.abs().min() > 1e-3


def test_without_viscosity_drag_and_forcing_energy_and_enstrophy_stay(evolve) -> None:
    step = Kolmogorov(max_dt=0.005)
    u = step.initial(TORUS, [0], 1, peak=2.0)
    u = smooth(TORUS, u, (20, 20))  # what the solver carries
    out = evolve(step, u, TORUS, 0.5, viscosity=0.0, **STILL)
    assert (out - u).abs().max() > 0.3
    torch.testing.assert_close(energy(out), energy(u), rtol=1e-9, atol=0)
    torch.testing.assert_close(TORUS.average(TORUS.vorticity(out) ** 2), TORUS.average(TORUS.vorticity(u) ** 2), rtol=1e-8, atol=0)


def test_the_nonlinear_term_is_advection(conditions) -> None:
    step = Kolmogorov(max_dt=0.1)
    fine = OBLONG.with_shape((48, 80))
    u = step.initial(OBLONG, [0, 1], 2, peak=2.0) + torch.tensor([0.4, -0.7]).double().reshape(1, 2, 1, 1)
    u = smooth(OBLONG, u, (14, 26))
    c = conditions(OBLONG, 2, 0.1, viscosity=0.0, **STILL)
    w = step.begin(u.unsqueeze(1), c)["spectrum"]
    (plan,) = step.plan(c, OBLONG, w)
    v = OBLONG.resample(u, fine.shape)  # no product of two modes of u aliases here
    expected = -(v * fine.gradient(fine.vorticity(v))).sum(1, keepdim=True)
    flow = torch.cat([fine.derivative(-inverse_laplacian(fine, expected), 1), fine.derivative(inverse_laplacian(fine, expected), 0)], 1)
    torch.testing.assert_close(plan.nonlinear(w), vorticity(flow, OBLONG), rtol=0, atol=1e-10)


def inverse_laplacian(box: Box, w):
    k2 = sum(k**2 for k in box.wavenumbers())
    spectrum = torch.fft.rfftn(w, dim=(2, 3)) / -torch.where(k2 > 0, k2, torch.inf)
    return torch.fft.irfftn(spectrum, s=box.shape, dim=(2, 3))


def test_velocity_is_free_of_divergence_and_divergence_is_projected_away(evolve) -> None:
    step = Kolmogorov(max_dt=0.05, viscosity=0.02)
    u = step.initial(OBLONG, [0], 2)
    assert OBLONG.divergence(u).abs().max() < 1e-11
    phi = torch.sin(2 * pi * OBLONG.grid()[0] / 2.0) * torch.cos(2 * pi * OBLONG.grid()[1] / 5.0)
    out = evolve(step, u + OBLONG.gradient(phi[None, None]), OBLONG, 0.3)
    assert OBLONG.divergence(out).abs().max() < 1e-11
    torch.testing.assert_close(out, evolve(step, u, OBLONG, 0.3), rtol=0, atol=1e-12)


def test_symmetries_of_the_forced_flow(evolve) -> None:
    step = Kolmogorov(max_dt=0.05, viscosity=0.02, wavenumber=2)
    u = step.initial(TORUS, [0], 2)
    out = evolve(step, u, TORUS, 0.5)
    for shift in ((5, 0), (0, 16), (3, -16)):  # any way along x, one forcing wave along y
        torch.testing.assert_close(evolve(step, u.roll(shift, (2, 3)), TORUS, 0.5), out.roll(shift, (2, 3)), rtol=0, atol=1e-12)
    mirror = -u.flip((2, 3)).roll((1, 1), (2, 3))  # (x, y, u) -> -(x, y, u)
    torch.testing.assert_close(evolve(step, mirror, TORUS, 0.5), -out.flip((2, 3)).roll((1, 1), (2, 3)), rtol=0, atol=1e-12)


def test_a_forcing_the_grid_cannot_carry_is_refused(conditions) -> None:
    step, u = Kolmogorov(max_dt=0.1, viscosity=0.1), torch.zeros(1, 1, 2, 32, 32)
    for waves in (11, 0, 2.5):
        c = conditions(TORUS, 1, 0.1, wavenumber=waves)
        with pytest.raises(ValueError, match=r"must be whole waves from 1 to 10.*raise the solver's resolution"):
            step(step.begin(u, c), c)
