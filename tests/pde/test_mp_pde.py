"""E1 to E3: shocks and solitons, orders in space and time, the force, and the figures that are published for their WENO solver."""

from __future__ import annotations

import itertools
from math import log2, pi

import pytest
import torch

from surrogates.domains import Box
from surrogates.pde import Burgers, KdV, MessagePassingPDE, weno
from surrogates.pde.mp_pde import Force, drawn
from surrogates.record import construct, describe
from tests.laws import step_laws

LINE = Box.periodic((100,), 16.0)
QUIET = 1234567.0


def averages(box: Box, primitive):
    """Averages over the cells around the points of a line of a function that has this primitive."""
    (h,), x = box.spacing, box.coordinate(0)
    return ((primitive(x + h / 2) - primitive(x - h / 2)) / h)[None, None]


@pytest.fixture
def unforced(monkeypatch):
    """The equation without its force."""
    monkeypatch.setattr(Force, "__call__", lambda self, time: torch.zeros_like(self.amplitude)[:, :1, None])
    return MessagePassingPDE(max_dt=0.01, forcing_key=QUIET)


def test_reconstruction_is_of_fifth_order_at_faces() -> None:
    errors = []
    for n in (32, 64, 128):
        box = Box.periodic((n,), 2 * pi)
        left, right = weno.sides(averages(box, lambda x: -torch.cos(x) + torch.sin(2 * x) / 2))
        face = box.coordinate(0) + box.spacing[0] / 2
        exact = torch.sin(face) + torch.cos(2 * face)
        errors.append(max(float((side - exact).abs().mean()) for side in (left, right)))
    assert all(log2(a / b) > 4.6 for a, b in itertools.pairwise(errors))


def test_no_new_extremes_at_a_jump() -> None:
    u = torch.zeros(1, 1, 40).double()
    u[..., 10:25] = 1.0
    for side in weno.sides(u):
        assert side.min() > -1e-3 and side.max() < 1 + 1e-3


@pytest.mark.parametrize(
    ("left", "right", "flux"), [(1.0, 0.0, 0.5), (0.0, -1.0, 0.5), (-1.0, 1.0, 0.0), (2.0, -1.0, 2.0), (1.0, 2.0, 0.5), (-2.0, -1.0, 0.5)]
)
def test_godunovs_flux_is_that_of_the_riemann_problem(left, right, flux) -> None:
    assert float(weno.godunov(torch.tensor(left), torch.tensor(right))) == flux


def test_a_shock_moves_at_the_mean_of_its_sides_and_a_rarefaction_opens(unforced, evolve) -> None:
    box, t = Box.periodic((400,), 16.0), 3.0
    x = box.coordinate(0)
    u = ((x >= 4) & (x < 8)).double()[None, None]
    out = evolve(unforced, u, box, t)[0, 0]
    fan = ((x - 4) / t).clamp(0, 1)
    exact = torch.where(x < 8 + t / 2, fan, 0.0)
    assert (out - exact).abs().mean() < 4e-3 and out.min() > -1e-3 and out.max() < 1.001
    torch.testing.assert_close(out.mean(), u.mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.2), (1.5, 0.4)])
def test_with_diffusion_it_is_burgers_equation(unforced, evolve, alpha, beta) -> None:
    """Against the spectral solver: alpha u solves Burgers' equation."""
    box = Box.periodic((200,), 16.0)
    x = box.coordinate(0)
    u = averages(box, lambda x: -torch.cos(2 * pi * x / 16) * 16 / (2 * pi))
    out = evolve(unforced, u, box, 2.0, alpha=alpha, beta=beta)
    point = evolve(Burgers(400, max_dt=0.01, viscosity=beta), alpha * torch.sin(2 * pi * x / 16)[None, None], box, 2.0) / alpha
    symbol = torch.sinc(torch.arange(101) / 200.0)
    torch.testing.assert_close(out, torch.fft.irfft(torch.fft.rfft(point) * symbol, n=200), rtol=0, atol=2e-5)


def test_with_dispersion_it_is_kdv_with_its_solitons(unforced, evolve) -> None:
    """alpha = 6: u = 2 kappa^2 gamma sech^2(kappa (x - 4 gamma kappa^2 t))."""
    box, kappa, gamma, t = Box.periodic((256,), 16.0), 1.0, 0.5, 1.0

    def soliton(time: float):
        return averages(box, lambda x: 2 * kappa * gamma * torch.tanh(kappa * (x - 6 - 4 * gamma * kappa**2 * time)))

    step = MessagePassingPDE(max_dt=0.002, forcing_key=QUIET)
    out = evolve(step, soliton(0.0), box, t, alpha=6.0, gamma=gamma)
    assert (out - soliton(t)).abs().max() < 2e-3
    spectral = evolve(KdV(max_dt=0.002, dispersion=gamma), soliton(0.0), box, t)
    torch.testing.assert_close(out, spectral, rtol=0, atol=2e-3)


@pytest.mark.parametrize("coefficients", [{"alpha": 1.0}, {"alpha": 2.0, "beta": 0.3, "gamma": 0.2}])
def test_third_order_in_time(evolve, coefficients) -> None:
    p = {"beta": 0.0, "gamma": 0.0, "forcing_key": 7.0} | coefficients
    u = MessagePassingPDE(max_dt=1.0, forcing_key=7.0).initial(LINE, [0], 0)
    answers = [evolve(MessagePassingPDE(max_dt=h), u, LINE, 0.4, **p) for h in (0.04, 0.02, 0.01)]
    first, second = ((a - b).square().mean().sqrt() for a, b in itertools.pairwise(answers))
    assert 2.6 < log2(first / second) < 3.6


def test_the_force_is_the_cell_average_of_delta_and_belongs_to_a_key() -> None:
    keys = torch.tensor([3.0, 8.0, 3.0]).double()
    A, omega, waves, phi = drawn(keys)
    like, time = torch.empty(3, 1, 100).double(), torch.tensor([0.0, 1.5, 1.5]).double()
    found = Force(keys, LINE, like)(time)
    k = 2 * pi * waves[..., None] / 16

    def primitive(x):
        return -(A[..., None] / k * torch.cos(k * x + omega[..., None] * time[:, None, None] + phi[..., None])).sum(1, keepdim=True)

    (h,), x = LINE.spacing, LINE.coordinate(0)
    torch.testing.assert_close(found, (primitive(x + h / 2) - primitive(x - h / 2)) / h, rtol=0, atol=1e-12)
    assert torch.equal(A[0], A[2]) and not torch.equal(A[0], A[1])
    assert A.abs().max() <= 0.5 and omega.abs().max() <= 0.4 and set(drawn(torch.arange(50.0))[2].unique().tolist()) == {1.0, 2.0, 3.0}
    with pytest.raises(ValueError, match=r"whole number below 2\^24"):
        drawn(torch.tensor([0.5]))


@pytest.mark.parametrize(("fine", "coarse"), [(200, 100), (300, 100), (200, 50), (200, 40)])
def test_coarser_cells_hold_the_averages(fine, coarse) -> None:
    step, here, there = MessagePassingPDE(max_dt=1.0), Box.periodic((fine,), 16.0), Box.periodic((coarse,), 16.0)
    found = step.resample(averages(here, lambda x: -torch.cos(2 * pi * x / 16)), here, there)
    tolerance = 1e-13 if fine // coarse % 2 else 2e-4  # cells cut in half are taken as uniform
    torch.testing.assert_close(found, averages(there, lambda x: -torch.cos(2 * pi * x / 16)), rtol=0, atol=tolerance)
    u = torch.randn(1, 1, fine, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(step.resample(u, here, there).mean(), u.mean(), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="no multiple"):
        step.resample(u, here, Box.periodic((fine // 2 + 3,), 16.0))


def test_the_mean_stays_and_space_is_uniform_but_for_the_force(evolve) -> None:
    u = MessagePassingPDE(max_dt=1.0, forcing_key=5.0).initial(LINE, [0], 0) + 0.3
    out = evolve(MessagePassingPDE(max_dt=0.02), u, LINE, 1.0, forcing_key=5.0, beta=0.1)
    torch.testing.assert_close(out.mean(), u.mean(), rtol=1e-12, atol=0)


def test_what_every_step_owes(conditions) -> None:
    step = MessagePassingPDE(200, max_dt=0.01)
    c = conditions(LINE, 2, 0.02, forcing_key=[1.0, 2.0], alpha=[1.0, 2.0], beta=[0.1, 0.0], gamma=[0.0, 0.2])
    u = step.initial(LINE, [0, 1], 0, conditions=c)
    step_laws(step, u[:, None], c, lambda rows: None, rounding=1e-12)
    assert describe(construct(describe(step))) == describe(step)
    with pytest.raises(ValueError, match="pass conditions with forcing_key"):
        step.initial(LINE, [0], 0)


@pytest.mark.slow
def test_shifting_the_force_in_time_is_starting_later(conditions) -> None:
    """The time is the state's own: two frames from t = 0 are one and then another from where it ended."""
    step = MessagePassingPDE(max_dt=0.02)
    c = conditions(LINE, 1, 0.4, forcing_key=9.0, beta=0.1)
    state = step.begin(step.initial(LINE, [0], 0, conditions=c)[:, None], c)
    first, state = step(state, c)
    second, _ = step(state, c)
    later = c.after(1)
    torch.testing.assert_close(step(step.begin(first, later), later)[0], second, rtol=0, atol=1e-13)
