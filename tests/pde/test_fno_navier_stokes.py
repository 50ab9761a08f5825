"""The Fourier neural operator's Navier-Stokes: its exact flow, the solver it is made of, a peer, its random initial states."""

from __future__ import annotations

import itertools
from math import exp, log2, pi

import pytest
import torch

from surrogates.domains import Box
from surrogates.pde import FnoNavierStokes, Kolmogorov
from surrogates.record import construct, describe
from tests.laws import step_laws

UNIT = Box.periodic((32, 32), 1.0)


def diagonal(box: Box):
    x, y = box.grid()
    return torch.sin(2 * pi * (x + y)) + torch.cos(2 * pi * (x + y))


def test_from_rest_the_force_makes_a_flow_that_does_not_advect_itself(evolve) -> None:
    nu, t = 1e-3, 20.0
    out = evolve(FnoNavierStokes(max_dt=0.5), torch.zeros(1, 1, 32, 32).double(), UNIT, t, viscosity=nu)
    rate = 8 * pi**2 * nu
    torch.testing.assert_close(out[0, 0], 0.1 * diagonal(UNIT) * (1 - exp(-rate * t)) / rate, rtol=0, atol=5e-11)


def test_without_force_it_is_the_flow_of_the_velocity_solver(evolve) -> None:
    free = Kolmogorov(max_dt=0.02, viscosity=1e-3, drag=0.0, forcing=0.0, wavenumber=1)
    u = UNIT.resample(free.initial(UNIT, [0, 1], 1, peak=2.0), (20, 20))
    u = UNIT.with_shape((20, 20)).resample(u, (32, 32))
    ours = evolve(FnoNavierStokes(max_dt=0.02, viscosity=1e-3, forcing=0.0), UNIT.vorticity(u), UNIT, 0.3)
    torch.testing.assert_close(ours, UNIT.vorticity(evolve(free, u, UNIT, 0.3)), rtol=0, atol=1e-11)
    assert (ours - UNIT.vorticity(u)).abs().max() > 1


def test_budgets_of_enstrophy(evolve) -> None:
    step, dt, nu = FnoNavierStokes(max_dt=0.02, viscosity=2e-3), 0.1, 2e-3
    u = evolve(step, step.initial(UNIT, [0], 3, variance=686.0), UNIT, 2.0)
    frames = [u, evolve(step, u, UNIT, dt), evolve(step, u, UNIT, dt, 2)]
    rate = torch.stack(
        [UNIT.average(0.1 * diagonal(UNIT) * w) - nu * UNIT.average(UNIT.gradient(w).square()).sum(1, keepdim=True) for w in frames]
    )
    change = (UNIT.average(frames[2].square()) - UNIT.average(u.square())) / 2
    torch.testing.assert_close(change, dt / 3 * (rate[0] + 4 * rate[1] + rate[2]), rtol=0, atol=1e-9)
    assert change.abs().max() > 1e-4


def test_fourth_order_in_time(evolve) -> None:
    u = FnoNavierStokes(max_dt=1.0).initial(UNIT, [0], 0, variance=6860.0)
    answers = [evolve(FnoNavierStokes(max_dt=2.0 / n, viscosity=1e-3), u, UNIT, 2.0) for n in (8, 16, 32)]
    first, second = ((a - b).square().mean().sqrt() for a, b in itertools.pairwise(answers))
    assert 3.6 < log2(first / second) < 4.4


def test_torch_cfd_goes_the_same_way(evolve) -> None:
    spectral = pytest.importorskip("torch_cfd.spectral", reason="torch-cfd is a peer for tests: pip install --no-deps torch-cfd")
    from torch_cfd.grids import Grid

    n, dt, steps, nu = 64, 0.01, 40, 1e-3
    box, grid = Box.periodic((n, n), 1.0), Grid((n, n), domain=((0, 1), (0, 1)))
    step = FnoNavierStokes(max_dt=dt, viscosity=nu, forcing=0.0)
    u = step.initial(box, [0], 0, variance=6860.0)
    u = box.with_shape((40, 40)).resample(box.resample(u, (40, 40)), (n, n))
    peer = spectral.NavierStokes2DSpectral(nu, grid, drag=0.0, forcing_fn=None, step_fn=spectral.RK4CrankNicolsonStepper()).double()
    theirs = torch.fft.irfft2(peer(torch.fft.rfft2(u[:, 0]), dt, steps)[0])
    ours = evolve(step, u, box, dt * steps)[:, 0]
    assert (ours - u[:, 0]).abs().max() > 0.05
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)  # their grid is made in float32


def test_initial_states_have_the_covariance_of_the_paper() -> None:
    """The variance of each Fourier coefficient is 7^(3/2) (4 pi^2 k^2 + 49)^(-5/2)."""
    u = FnoNavierStokes(max_dt=1.0).initial(Box.periodic((16, 16), 1.0), range(600), 0)
    w = torch.fft.fft2(u[:, 0], norm="forward").abs().square().mean(0)
    assert w[0, 0] < 1e-30
    for kx, ky in ((1, 0), (0, 1), (1, 1), (2, 1), (3, 4)):
        expected = 7**1.5 * (4 * pi**2 * (kx**2 + ky**2) + 49) ** -2.5
        assert abs(float((w[kx, ky] + w[-kx, ky] if kx else 2 * w[kx, ky]) / 2 / expected) - 1) < 0.2


def test_initial_states_are_the_same_in_any_batch_and_at_any_resolution() -> None:
    step = FnoNavierStokes(max_dt=1.0)
    both, fine = step.initial(UNIT, [3, 7], 5), step.initial(UNIT.with_shape((64, 64)), [7], 5)
    torch.testing.assert_close(UNIT.with_shape((64, 64)).resample(fine, (32, 32))[0], both[1], rtol=0, atol=1e-14)


def test_what_every_step_owes(conditions) -> None:
    step = FnoNavierStokes((48, 48), max_dt=0.05)
    u = step.initial(UNIT, [0, 1], 0, variance=686.0)
    step_laws(step, u[:, None], conditions(UNIT, 2, 0.2, viscosity=[1e-3, 1e-4]), lambda rows: None, rounding=1e-12)
    assert describe(construct(describe(step))) == describe(step)
    assert (step.turnover_time(u, UNIT) > 0).all()
