"""The residual of two frames: it vanishes with dt^2 on true frames, has the equation's units and symmetries, and can be learned from."""

import itertools
from math import log2, pi

import pytest
import torch

from surrogates.domains import Box
from surrogates.pde import Burgers, KdV, Kolmogorov, KuramotoSivashinsky, PassiveScalar
from surrogates.pde.residual import midpoint, residual, residual_loss, residuals, trapezoidal

F64 = {"dtype": torch.float64}
RING, PLANE = Box.periodic((64,), 22.0), Box.periodic((32, 32), 2 * pi)
EQUATIONS = {
    "burgers": (Burgers(max_dt=0.01), RING, {"viscosity": 0.3}, 1.0),
    "kdv": (KdV(max_dt=0.005), RING, {"dispersion": 1.0}, 0.1),
    "kuramoto_sivashinsky": (KuramotoSivashinsky(max_dt=0.02), RING, {"viscosity": 1.0}, 0.25),
    "kolmogorov": (Kolmogorov(max_dt=0.01, drag=0.1, wavenumber=2), PLANE, {"viscosity": 0.05}, 0.2),
    "passive_scalar": (PassiveScalar(max_dt=0.01, wavenumber=2), PLANE, {"viscosity": 0.05, "diffusivity": 0.03}, 0.2),
}


def start(solver, box, evolve, parameters, rows=2):
    """Frames a little into a run, which the solver itself has made."""
    u = solver.initial(box, range(rows), 0, peak=2.0, rms=0.7)
    return evolve(solver, u, box, 0.1, **parameters)


@pytest.mark.parametrize("rule", [trapezoidal, midpoint])
@pytest.mark.parametrize("name", EQUATIONS)
def test_it_vanishes_with_the_square_of_dt_on_true_frames(name, rule, evolve, conditions):
    solver, box, parameters, dt = EQUATIONS[name]
    u, sizes = start(solver, box, evolve, parameters), []
    for h in (dt / 2, dt / 4, dt / 8):
        r = residual(solver, u, evolve(solver, u, box, h, **parameters), conditions(box, len(u), h, **parameters), rule)
        sizes.append(r.square().mean().sqrt().item())
    orders = [log2(a / b) for a, b in itertools.pairwise(sizes)]
    tendency = (evolve(solver, u, box, dt / 8, **parameters) - u).square().mean().sqrt() * 8 / dt
    assert r.shape == u.shape and abs(orders[-1] - 2) < 0.2 and sizes[-1] < 0.05 * tendency, (sizes, orders, tendency)


@pytest.mark.parametrize("name", EQUATIONS)
def test_a_state_that_stands_still_has_minus_its_tendency(name, evolve, conditions):
    """residual(u, u) = -F(u), in units of u per unit of time: twice the numbers where time is counted in halves."""
    solver, box, parameters, _ = EQUATIONS[name]
    u, h = start(solver, box, evolve, parameters), 1e-4
    ahead = evolve(solver, u, box, h, **parameters)
    still = residual(solver, u, u, conditions(box, len(u), 1.0, **parameters))
    torch.testing.assert_close(-still, (ahead - u) / h, rtol=0, atol=2e-3 * float(still.abs().max()))


def test_a_laminar_flow_has_none(conditions):
    """u = A sin(k y)/(nu k^2 + mu) stands still."""
    nu, mu, k = 0.05, 0.1, 2
    y = PLANE.grid()[1]
    u = torch.stack([torch.sin(k * y) / (nu * k**2 + mu), 0 * y])[None]
    r = residual(Kolmogorov(max_dt=0.1, drag=mu, wavenumber=k), u, u, conditions(PLANE, 1, 0.5, viscosity=nu))
    assert r.abs().max() < 1e-13


def test_a_wrong_coefficient_shows_as_the_term_it_belongs_to(evolve, conditions):
    solver, box, parameters, _ = EQUATIONS["burgers"]
    u, h = start(solver, box, evolve, parameters), 0.01
    ahead = evolve(solver, u, box, h, **parameters)
    wrong = residual(solver, u, ahead, conditions(box, 2, h, viscosity=0.35))
    right = residual(solver, u, ahead, conditions(box, 2, h, viscosity=0.3))
    mean = box.laplacian((u + ahead) / 2)
    torch.testing.assert_close(wrong - right, -0.05 * mean, rtol=0, atol=1e-12)


def test_rows_have_their_own_parameters_and_dt(evolve, conditions):
    solver, box, _, _ = EQUATIONS["kuramoto_sivashinsky"]
    u = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(0), **F64)
    v = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(1), **F64)
    nu, dt = torch.tensor([0.8, 1.2], **F64), torch.tensor([0.1, 0.3], **F64)
    both = residual(solver, u, v, conditions(box, 2, dt, viscosity=nu))
    for row in (0, 1):
        rows = slice(row, row + 1)
        alone = residual(solver, u[rows], v[rows], conditions(box, 1, dt[rows], viscosity=nu[rows]))
        torch.testing.assert_close(alone, both[rows], rtol=1e-12, atol=1e-11)


def test_a_shifted_pair_has_a_shifted_residual(conditions):
    box, parameters = PLANE, {"viscosity": 0.05, "diffusivity": 0.03}
    solver = PassiveScalar(max_dt=0.1, forcing=0.0)
    u, v = (solver.initial(box, [k], 0) for k in (0, 1))
    c = conditions(box, 1, 0.1, **parameters)
    torch.testing.assert_close(residual(solver, u.roll(5, 2), v.roll(5, 2), c), residual(solver, u, v, c).roll(5, 2), rtol=0, atol=1e-10)


def test_only_a_finer_solver_sees_the_finest_modes(conditions):
    c, u = conditions(RING, 1, 0.1, viscosity=1.0), torch.zeros(1, 1, 64, **F64)
    v = torch.cos(2 * pi * 28 / 22.0 * RING.coordinate(0))[None, None]  # of 31 modes on the grid, 21 below the cutoff
    assert residual(KuramotoSivashinsky(max_dt=0.1), u, v, c).abs().max() < 1e-11
    assert residual(KuramotoSivashinsky(97, max_dt=0.1), u, v, c).abs().max() > 10


def test_bundles_are_frame_after_frame(conditions):
    solver, box, _, _ = EQUATIONS["burgers"]
    u = torch.randn(2, 4, 1, 64, generator=torch.Generator().manual_seed(0), **F64)
    c = conditions(box, 2, 0.1, viscosity=torch.tensor([0.1, 0.4], **F64))
    r = residuals(solver, u[:, 0], u[:, 1:], c)
    for j in range(3):
        torch.testing.assert_close(r[:, j], residual(solver, u[:, j], u[:, j + 1], c))


def test_the_loss_is_a_mean_square_in_units_of_its_scale_and_teaches_the_next_frame(evolve, conditions):
    solver, box, parameters, _ = EQUATIONS["burgers"]
    u = start(solver, box, evolve, parameters)
    c = conditions(box, 2, 0.05, **parameters)
    r = residuals(solver, u, u[:, None], c)
    torch.testing.assert_close(residual_loss(solver, u, u[:, None], c, 0.5), 4 * r.square().flatten(1).mean(1))
    guess = u.clone()[:, None].requires_grad_()
    optimiser = torch.optim.LBFGS([guess], max_iter=60, history_size=20)

    def closure():
        optimiser.zero_grad()
        loss = residual_loss(solver, u, guess, c).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    truth = evolve(solver, u, box, 0.05, **parameters)
    error, change = (guess.detach()[:, 0] - truth).square().mean().sqrt(), (truth - u).square().mean().sqrt()
    assert error < 0.02 * change


def test_it_has_true_derivatives(conditions):
    box = Box.periodic((12, 10), 2 * pi)
    solver = PassiveScalar(max_dt=0.1, wavenumber=2, viscosity=0.1, diffusivity=0.2)
    u = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(0), **F64)
    v = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(1), **F64).requires_grad_()
    d = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(2), **F64)
    c = conditions(box, 1, 0.1)
    (g,) = torch.autograd.grad(residual(solver, u, v, c).square().sum(), v)
    ends = [residual(solver, u, (v + e * d).detach(), c).square().sum() for e in (1e-5, -1e-5)]
    torch.testing.assert_close((g * d).sum(), (ends[0] - ends[1]) / 2e-5, rtol=1e-7, atol=0)


def test_the_precision_is_the_data_s(conditions):
    solver, box, parameters, _ = EQUATIONS["burgers"]
    u, v = (torch.sin(2 * pi / 22 * RING.coordinate(0) + p)[None, None] for p in (0.0, 0.1))
    c = conditions(box, 1, 0.1, **parameters)
    single = residual(solver, u.float(), v.float(), c)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), residual(solver, u, v, c), rtol=0, atol=1e-5)


def test_what_is_refused(conditions):
    u = torch.zeros(1, 2, 64, **F64)
    c = conditions(RING, 1, 0.1, viscosity=0.1)
    with pytest.raises(ValueError, match="before has 2 channels but Burgers speaks of 1"):
        residual(Burgers(max_dt=0.1), u, u, c)
    walled = Box((64,), (0.0,), (1.0,), ("wall",))
    with pytest.raises(ValueError, match="needs a periodic Box"):
        residual(Burgers(max_dt=0.1), u[:, :1], u[:, :1], conditions(walled, 1, 0.1, viscosity=0.1))
    with pytest.raises(KeyError, match="needs 'viscosity'"):
        residual(Burgers(max_dt=0.1), u[:, :1], u[:, :1], conditions(RING, 1, 0.1))
    with pytest.raises(ValueError, match="scale is 0.0 but it divides"):
        residual_loss(Burgers(max_dt=0.1), u[:, :1], u[:, None, :1], c, 0.0)
