"""Energies of flows that are known by hand; the mean never moves; budgets against Taylor-Green vortices and our own solver."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surrogates.constraints import EnergyBand, EnergyBudget
from surrogates.constraints.quadratic import Quadratic
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.pde import Kolmogorov
from surrogates.rollout import rollout

VELOCITY = Fields.of(Field("velocity", "m s-1", ("x", "y")))
VORTICITY = Fields.of(Field("vorticity", "s-1"))
TORUS = Box.periodic((16, 12), (2 * math.pi, 2 * math.pi))
NU, MU = 0.05, 0.1


def at(domain: Domain, time: float = 0.0, dt: float = 0.1, rows: int = 1, forcing: object = None) -> Conditions:
    one = torch.ones(rows, dtype=torch.float64)
    values = torch.tensor([[NU, MU]], dtype=torch.float64).expand(rows, 2)
    return Conditions(domain, time * one, dt * one, values, ("viscosity", "drag"), source_term=forcing)  # type: ignore[arg-type]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vortices(amplitude: float = 1.0) -> tuple[Tensor, Tensor]:
    """Taylor-Green: u = a (cos 2x sin 3y/2 .. ) with k = (2, 3): velocity and vorticity, |k|^2 = 13."""
    x, y = TORUS.grid()
    u = amplitude * torch.stack([3 * torch.cos(2 * x) * torch.sin(3 * y), -2 * torch.sin(2 * x) * torch.cos(3 * y)])
    return u[None], (-13 * amplitude * torch.cos(2 * x) * torch.cos(3 * y))[None, None]


def test_energy_and_enstrophy_of_taylor_green_from_velocity_and_vorticity() -> None:
    """<u^2 + v^2>/2 = (9 + 4)/8 and <w^2>/2 = 169/8, by either field."""
    u, w = vortices()
    for order, value in ((0, 13 / 8), (1, 169 / 8)):
        assert Quadratic(order)(u, TORUS).item() == pytest.approx(value)
        assert Quadratic(order - 1)(w, TORUS).item() == pytest.approx(value)
    assert Quadratic(1)(w, TORUS).item() == pytest.approx(13 * 169 / 8)


@pytest.mark.parametrize(
    "domain", [TORUS, Box((4, 3), (0.0, 0.0), (1.0, 2.0), ("wall", "wall"), ((0.0, 0.1, 0.4, 0.5, 1.0), None)), Sphere((4, 6))]
)
def test_the_mean_is_never_scaled(domain: Box | Sphere) -> None:
    u = random(0, 2, 2, *domain.shape) + torch.tensor([3.0, -1.0])[:, None, None]
    law = EnergyBand(VELOCITY, upper=0.95, relative=True)
    own = law.reference(u, at(domain, rows=2))
    held = law(u, own, at(domain, rows=2))
    torch.testing.assert_close(Quadratic(0)(held, domain), 0.95 * own)
    torch.testing.assert_close(domain.integral(held), domain.integral(u))
    if isinstance(domain, Sphere):  # nor the mean of any circle of latitude
        torch.testing.assert_close(held.mean(-1), u.mean(-1))


def test_the_scaled_field_is_the_nearest_of_its_mean_and_energy() -> None:
    u, empty = random(0, 1, 2, 16, 12), torch.zeros(1, 0, dtype=torch.float64)
    law = EnergyBand(VELOCITY, lower=0.3, upper=0.3)
    held, shortest = law(u, empty, at(TORUS)), None
    shortest = TORUS.integral((held - u).square()).sum()
    for seed in range(1, 6):
        other = random(seed, 1, 2, 16, 12) * 0.1 + held
        other = law(other + (u - other).mean((2, 3), keepdim=True), empty, at(TORUS))  # the same mean and energy
        assert Quadratic(0)(other, TORUS).item() == pytest.approx(0.3)
        assert TORUS.integral((other - u).square()).sum() > shortest


def test_within_the_band_nothing_moves_and_outside_the_nearer_bound_is_reached() -> None:
    u, empty = vortices()[0], torch.zeros(1, 0, dtype=torch.float64)
    for lower, upper, value in ((1.0, 2.0, 13 / 8), (2.0, 3.0, 2.0), (0.5, 1.0, 1.0)):
        law = EnergyBand(VELOCITY, lower=lower, upper=upper)
        held = law(u, empty, at(TORUS))
        assert Quadratic(0)(held, TORUS).item() == pytest.approx(value, rel=1e-14)
        assert torch.equal(held, u) == (value == 13 / 8) == (law.defect(u, empty, at(TORUS)).item() == 0)


def test_bounds_relative_to_the_initial_state() -> None:
    law, u = EnergyBand(VELOCITY, upper=1.0, relative=True), random(0, 2, 2, 16, 12)
    reference = law.reference(u, at(TORUS, rows=2))
    assert torch.equal(law(0.9 * u, reference, at(TORUS, rows=2)), 0.9 * u)
    torch.testing.assert_close(Quadratic(0)(law(1.1 * u, reference, at(TORUS, rows=2)), TORUS), reference)


def test_what_scaling_cannot_reach_is_left_and_reported() -> None:
    empty = torch.zeros(1, 0, dtype=torch.float64)
    fast = vortices()[0] + 10  # the mean alone has 100
    low, high = EnergyBand(VELOCITY, upper=50.0), EnergyBand(VELOCITY, lower=200.0)
    held = low(fast, empty, at(TORUS))
    torch.testing.assert_close(held, torch.full_like(fast, 10.0))
    assert low.defect(held, empty, at(TORUS)).item() == pytest.approx((100 - 50) / 150)
    flat = torch.full_like(fast, 10.0).requires_grad_()
    assert torch.equal(high(flat, empty, at(TORUS)), flat) and high.defect(flat, empty, at(TORUS)).item() == pytest.approx(-1 / 3)
    (gradient,) = torch.autograd.grad(high(flat, empty, at(TORUS)).sum() + low(flat, empty, at(TORUS)).sum(), flat)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("field", "order"), [("velocity", 0), ("velocity", 1), ("vorticity", -1), ("vorticity", 0)])
def test_decaying_vortices_keep_their_budget_exactly(field: str, order: int) -> None:
    """Amplitudes decay as exp(-(13 nu + mu) t), every quadratic quantity at twice the rate: in two steps as in one."""
    fields, which = (VELOCITY, 0) if field == "velocity" else (VORTICITY, 1)
    law, end = EnergyBudget(fields, field, order=order, viscosity="viscosity", drag="drag"), 3.0
    exact = Quadratic(order)(vortices(math.exp(-(13 * NU + MU) * end))[which], TORUS).item()
    for steps in (1, 2):
        dt = end / steps
        reference = law.reference(vortices()[which], at(TORUS, dt=dt))
        for n in range(steps):
            frame = vortices(math.exp(-(13 * NU + MU) * (n + 1) * dt))[which]
            reference = law.advance(reference, frame, at(TORUS, n * dt, dt))
        assert reference[0, 0].item() == pytest.approx(exact, rel=1e-12)


def test_drag_alone_is_exact_and_without_anything_energy_stays() -> None:
    u = random(0, 1, 2, 16, 12)
    law, still = EnergyBudget(VELOCITY, drag="drag"), EnergyBudget(VELOCITY)
    reference = law.reference(u, at(TORUS))
    torch.testing.assert_close(law.advance(reference, u, at(TORUS, dt=2.0))[:, 0], reference[:, 0] * math.exp(-2 * MU * 2.0))
    assert torch.equal(still.advance(still.reference(u, at(TORUS)), u, at(TORUS)), still.reference(u, at(TORUS)))


def test_the_laminar_kolmogorov_flow_keeps_its_energy_by_input_and_dissipation() -> None:
    """u = A sin(ky)/(nu k^2 + mu) is steady: dE/dt = <f . u> - 2 nu Z - 2 mu E = 0."""
    y = TORUS.grid()[1]
    f = torch.stack([torch.sin(4 * y), 0 * y])[None]
    u = f / (NU * 16 + MU)
    law = EnergyBudget(VELOCITY, viscosity="viscosity", drag="drag", forced=True)
    here = at(TORUS, dt=2.0, forcing=lambda t: f)
    reference = law.reference(u, here)
    moved = law.advance(reference, u, here)
    assert reference[0, 2].item() == pytest.approx(2 * MU + 2 * NU * 16)
    torch.testing.assert_close(moved, reference, rtol=1e-12, atol=0)
    pushed = EnergyBudget(VELOCITY, viscosity="viscosity", drag="drag")
    assert pushed.advance(pushed.reference(u, here), u, here)[0, 0] < reference[0, 0] * 0.1


@pytest.mark.parametrize("order", [0, 1])
def test_our_own_solver_keeps_the_budget_at_order_two(order: int) -> None:
    """Forced Kolmogorov turbulence: the budget that reads frames dt apart ends at the energy (enstrophy) that the solver has."""
    box, y = Box.periodic((16, 16), 2 * math.pi), Box.periodic((16, 16), 2 * math.pi).grid()[1]
    force = torch.stack([torch.sin(2 * y), 0 * y])[None]
    law = EnergyBudget(VELOCITY, order=order, viscosity="viscosity", drag="drag", forced=True)
    solver = Kolmogorov(max_dt=0.05, dtype="float64", wavenumber=2, forcing=1.0)
    stream = box.with_shape((5, 5))
    psi = stream.resample(random(0, 1, 1, 5, 5), (16, 16))
    start, errors = torch.cat([box.derivative(psi, 1), -box.derivative(psi, 0)], 1), []
    for dt in (0.2, 0.1):
        here = at(box, dt=dt, forcing=lambda t: force)
        reference = law.reference(start, here)
        for n, frame in enumerate(rollout(solver, start[:, None], round(1.0 / dt), here.after)):
            reference = law.advance(reference, frame, here.after(n))
        errors.append((reference[:, :1] / law.value(frame, here) - 1).abs().item())
    assert errors[1] < 2e-3 and math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.3)
    assert (law.value(frame, here) / law.value(start, here) - 1).abs() > 0.1, "nothing happened: this tests nothing"


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="order must be -1, 0 or 1"):
        EnergyBand(VELOCITY, order=2, upper=1.0)
    with pytest.raises(ValueError, match="needs a bound"):
        EnergyBand(VELOCITY)
    with pytest.raises(ValueError, match="0 <= lower <= upper"):
        EnergyBand(VELOCITY, lower=2.0, upper=1.0)
    walled = Box((4, 4), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
    mesh = Mesh.from_nearest(torch.rand(16, 2, generator=torch.Generator().manual_seed(0)), 3)
    for domain in (walled, mesh):
        with pytest.raises(ValueError, match="needs a periodic Box"):
            EnergyBudget(VELOCITY, viscosity="viscosity").reference(random(0, 1, 2, *domain.shape), at(domain))
