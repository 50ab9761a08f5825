"""Filtered turbulence: identities that hold for every flow and both filters."""

from __future__ import annotations

from math import pi

import pytest
import torch

from surrogates.domains import Box
from surrogates.pde import FilteredTurbulence, IsotropicTurbulence, space
from surrogates.record import construct, describe
from tests.laws import step_laws

FINE, GRID, COARSE = (Box.periodic((n, n, n), 2 * pi) for n in (24, 12, 6))


@pytest.fixture(params=["sharp", "gaussian"])
def step(request):
    return FilteredTurbulence(FINE.shape, max_dt=0.05, viscosity=0.05, filter=request.param)


@pytest.fixture(scope="module")
def flow():
    u = FilteredTurbulence(max_dt=0.1).initial(FINE, [0, 1], 3, peak=3.0)
    return FINE.with_shape((16, 16, 16)).resample(FINE.resample(u, (16, 16, 16)), FINE.shape)  # what the solver carries


def parts(u):
    """Velocity, and the stress as a matrix."""
    return u[:, :3], u[:, 3:].unflatten(1, (3, 3))


def outer(u):
    return u[:, :, None] * u[:, None]


def test_mean_flows_and_coarse_flows_are_not_filtered_but_the_rest_is(step, flow) -> None:
    u, tau = parts(step.resample(flow, FINE, GRID))
    torch.testing.assert_close(tau, tau.transpose(1, 2))
    assert GRID.divergence(u).abs().max() < 1e-12
    taken = FINE.average(flow[:, :3].square()).sum(1) - GRID.average(u.square()).sum(1)
    torch.testing.assert_close(sum(GRID.average(tau[:, i, i][:, None])[:, 0] for i in range(3)), taken, rtol=1e-10, atol=0)
    assert (taken > 0).all()
    constant = 0 * flow + 0.7
    u, tau = parts(step.resample(constant, FINE, GRID))
    torch.testing.assert_close(u, torch.full_like(u, 0.7))
    assert tau.abs().max() < 1e-14


def test_the_stress_does_not_know_how_fast_the_observer_moves(step, flow) -> None:
    wind = torch.tensor([3.0, -1.0, 0.5]).double().reshape(1, 3, 1, 1, 1)
    still, moving = (parts(step.resample(u, FINE, GRID)) for u in (flow, torch.cat([flow[:, :3] + wind, flow[:, 3:]], 1)))
    torch.testing.assert_close(moving[1], still[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(moving[0], still[0] + wind, rtol=0, atol=1e-12)
    assert still[1].abs().max() > 1e-2


def test_germanos_identity(flow) -> None:
    """The stress of both filters in turn: bar(tau) plus the stress that the second finds in the first's velocity."""
    fine, test = (FilteredTurbulence(FINE.shape, max_dt=0.1) for _ in range(2))
    u, tau = parts(fine.resample(flow, FINE, GRID))
    direct = parts(test.resample(flow, FINE, COARSE))
    again = GRID.resample((tau + outer(u)).flatten(1, 2), COARSE.shape).unflatten(1, (3, 3))
    coarse = GRID.resample(u, COARSE.shape)
    torch.testing.assert_close(coarse, direct[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(again - outer(coarse), direct[1], rtol=0, atol=1e-12)


def test_gaussian_widths_add_in_squares(flow) -> None:
    """exp(-k^2 a^2/24) exp(-k^2 b^2/24): filtering a filtered flow, the second stress made of the first as Germano has it."""
    a, b = 1.5, 2.0
    one, both = (FilteredTurbulence(FINE.shape, max_dt=0.1, filter="gaussian", width=w) for w in (a, (a**2 + b**2) ** 0.5))
    u, tau = parts(one.resample(flow, FINE, GRID))
    k2 = sum(k.square() for k in GRID.wavenumbers())
    transfer = torch.exp(-k2 * (b * GRID.spacing[0]) ** 2 / 24)

    def bar(v):
        return torch.fft.irfftn(torch.fft.rfftn(v, dim=(-3, -2, -1)) * transfer, s=GRID.shape, dim=(-3, -2, -1))

    direct = parts(both.resample(flow, FINE, GRID))
    torch.testing.assert_close(bar(u), direct[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(bar(tau + outer(u)) - outer(bar(u)), direct[1], rtol=0, atol=1e-12)


def test_with_its_stress_the_filtered_flow_obeys_the_filtered_equation(step, flow, conditions) -> None:
    """-P div(bar u bar u + tau) is what the filter leaves of the solver's own nonlinear term."""
    u, tau = parts(step.resample(flow, FINE, GRID))
    div = torch.cat([GRID.divergence((tau + outer(u))[:, i]) for i in range(3)], 1)
    modes = (5, 5, 5)
    found = space.projected(space.analyse(-div, modes), space.wavenumbers(GRID, modes, u.device))
    plain = IsotropicTurbulence(max_dt=0.1)
    w = plain.encode(flow[:, :3], FINE)
    p = {name: torch.zeros(1).double() for name in ("viscosity", "forcing", "band")}
    tendency = plain.terms(FINE, p, w.dtype, w.device)[1](w)
    if step.filter == "gaussian":
        k2 = space.wavenumbers(FINE, space.carried(w), w.device).square().sum(0)
        tendency = tendency * torch.exp(-k2 * (step.width * GRID.spacing[0]) ** 2 / 24)
    torch.testing.assert_close(found, space.fit(tendency, modes), rtol=0, atol=1e-12)
    without = space.projected(
        space.analyse(-torch.cat([GRID.divergence(outer(u)[:, i]) for i in range(3)], 1), modes), space.wavenumbers(GRID, modes, u.device)
    )
    assert (without - found).abs().max() > 1e-3


def test_the_flow_behind_the_filter_is_that_of_the_plain_solver(flow, evolve, conditions) -> None:
    plain = IsotropicTurbulence(max_dt=0.05, viscosity=0.05)
    step = FilteredTurbulence(FINE.shape, max_dt=0.05, viscosity=0.05)
    c, stored = conditions(FINE, 2, 0.1), conditions(GRID, 2, 0.1)
    state = step.begin(flow[:, None], c)
    torch.testing.assert_close(step(state, c)[0][:, 0, :3], evolve(plain, flow[:, :3], FINE, 0.1), rtol=0, atol=1e-13)
    assert step(state, c)[0][:, 0, 3:].abs().max() == 0
    filtered = step(state, stored)[0][:, 0]
    torch.testing.assert_close(filtered[:, :3], FINE.resample(evolve(plain, flow[:, :3], FINE, 0.1), GRID.shape), rtol=0, atol=1e-12)


def test_a_grid_too_fine_for_the_stress_is_refused(flow) -> None:
    with pytest.raises(ValueError, match=r"needs a solver of 3/2 as many.*raise its resolution"):
        FilteredTurbulence(max_dt=0.1).resample(flow, FINE, FINE.with_shape((22, 22, 22)))
    with pytest.raises(ValueError, match="did you mean 'gaussian'"):
        FilteredTurbulence(max_dt=0.1, filter="gausian")


def test_what_every_step_owes(step, conditions) -> None:
    u = step.resample(step.initial(FINE, [0, 1], 0), FINE, GRID)
    step_laws(step, u[:, None], conditions(GRID, 2, 0.1), lambda rows: None, rounding=1e-11)
    assert describe(construct(describe(step))) == describe(step)
