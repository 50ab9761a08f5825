"""Shallow water on the sphere against exact waves and steady states, its budgets, its symmetries, and what every Step owes."""

from __future__ import annotations

import pickle
from itertools import pairwise
from math import pi

import pytest
import torch

from surrogates.contracts import Conditions
from surrogates.domains import Box, Sphere
from surrogates.pde import ShallowWater, spherical
from surrogates.pde.balance import balanced
from surrogates.record import construct, describe
from tests.laws import step_laws

A, OMEGA, G, H = 6.37122e6, 7.292e-5, 9.80616, 1.0e4
HOUR, DAY = 3600.0, 86400.0


def earth(shape=(16, 32), grid="legendre-gauss", **options) -> Sphere:
    return Sphere(shape, grid, radius=A, units="m", **options)


T10, T21 = earth(), earth((32, 64))


def angles(sphere: Sphere):
    return torch.meshgrid(*(torch.deg2rad(sphere.coordinate(a)) for a in (0, 1)), indexing="ij")


def spectrum(u, sphere: Sphere):
    """Vorticity, divergence and height of a state, all degrees that its grid holds."""
    return ShallowWater(max_dt=1.0).analysed(u, sphere, sphere.with_shape([2 * n for n in sphere.shape]))


def harmonic(sphere: Sphere, degree: int, order: int, size: float):
    """A field that is one harmonic, `size` at its largest."""
    c = torch.zeros(1, 1, degree + 1, degree + 1, dtype=torch.complex128)
    c[0, 0, degree, order] = 1.0
    y = spherical.synthesise(c, spherical.tables(sphere, degree + 1, torch.float64, torch.device("cpu")))[0, 0]
    return size * y / y.abs().max()


# -- exact solutions -------------------------------------------------------------------------------------------------


def test_williamson_2_a_solid_rotation_in_balance_stays(evolve) -> None:
    phi, _ = angles(T10)
    U = 2 * pi * A / (12 * DAY)
    h = (2.94e4 - (A * OMEGA * U + U**2 / 2) * phi.sin() ** 2) / G
    u = torch.stack([h, 0 * phi, U * phi.cos()])[None]
    out = evolve(ShallowWater(max_dt=HOUR), u, T10, DAY, 5)
    assert (out - u)[:, 0].abs().max() < 1e-9 * h.max() and (out - u)[:, 1:].abs().max() < 1e-9 * U
    wrong = evolve(ShallowWater(max_dt=HOUR, rotation=2 * OMEGA), u, T10, DAY)
    assert (wrong - u)[:, 1:].abs().max() > 1.0


@pytest.mark.parametrize("degree, order", [(1, 0), (5, 3), (10, 10)])
def test_gravity_waves_have_their_exact_frequency(evolve, degree, order) -> None:
    step = ShallowWater(max_dt=HOUR, rotation=0.0)
    h = harmonic(T10, degree, order, 1e-3)
    u = torch.stack([H + h, 0 * h, 0 * h])[None]
    t = 5 * HOUR
    omega = (G * H * degree * (degree + 1)) ** 0.5 / A
    out = evolve(step, u, T10, t)
    torch.testing.assert_close(out[0, 0] - H, h * torch.cos(torch.tensor(omega * t).double()), rtol=0, atol=2e-9)
    divergence = spectrum(out, T10)[0, 1].abs().max() * A / (degree * (degree + 1)) ** 0.5  # the speed that goes with it
    assert divergence > 1e-6


def test_rossby_haurwitz_waves_of_a_deep_layer_move_unchanged_at_their_speed(evolve) -> None:
    R, omega, K, t = 4, 7.848e-6, 2e7, 2 * DAY  # deep: as good as without divergence, whose exact solutions these are
    step = ShallowWater(max_dt=HOUR / 2, depth=1e9)
    phi, lam = angles(T21)
    speed = (R * (3 + R) * omega - 2 * OMEGA) / ((1 + R) * (2 + R))

    def wave(time: float) -> torch.Tensor:
        psi = K * phi.cos() ** R * phi.sin() * (R * (lam - speed * time)).cos() - omega * A**2 * phi.sin()
        modes = spherical.analyse(psi[None, None], spherical.tables(T21, R + 2, torch.float64, torch.device("cpu")))
        degree = torch.arange(R + 2)[:, None]
        zeta = -degree * (degree + 1) / A**2 * modes
        return step.synthesised(balanced(zeta, A, step.parameters(nothing(T21))), T21, T21)

    out = evolve(step, wave(0.0), T21, t)
    torch.testing.assert_close(out[:, 1:], wave(t)[:, 1:], rtol=0, atol=2e-3)
    assert (out - wave(0.0))[:, 1:].abs().max() > 2


def nothing(sphere: Sphere) -> Conditions:
    one = torch.ones(1, dtype=torch.float64)
    return Conditions(sphere, 0 * one, one, torch.zeros(1, 0, dtype=torch.float64))


# -- budgets ---------------------------------------------------------------------------------------------------------


def budgets(u, sphere: Sphere):
    """Mass, energy, potential enstrophy."""
    h, v = u[:, :1], u[:, 1:]
    zeta = spectrum(u, sphere)[:, :1, : sphere.shape[0], : sphere.shape[0]]
    vorticity = spherical.synthesise(zeta, spherical.tables(sphere, sphere.shape[0], torch.float64, u.device))
    f = 2 * OMEGA * angles(sphere)[0].sin()
    kinetic = sphere.integral(h * v.square().sum(1, keepdim=True) / 2)
    return sphere.integral(h), kinetic + sphere.integral(G * h * h / 2), sphere.integral((vorticity + f) ** 2 / h), kinetic


def test_mass_energy_and_potential_enstrophy(evolve) -> None:
    step = ShallowWater(max_dt=HOUR / 3)
    u = step.initial(T21, [0], 3, peak=4)
    out = evolve(step, u, T21, DAY)
    assert (out - u)[:, 1:].abs().max() > 10
    (mass, energy, enstrophy, kinetic), (mass1, energy1, enstrophy1, _) = budgets(u, T21), budgets(out, T21)
    torch.testing.assert_close(mass1, mass, rtol=1e-13, atol=0)
    assert (energy1 - energy).abs() < 1e-5 * kinetic
    torch.testing.assert_close(enstrophy1, enstrophy, rtol=2e-6, atol=0)
    damped = evolve(step, u, T21, DAY, damping=1e-4, damped=4)
    mass2, energy2, *_ = budgets(damped, T21)
    torch.testing.assert_close(mass2, mass, rtol=1e-13, atol=0)
    assert (energy2 - energy).item() < -1e-3 * kinetic.item()


def test_damping_takes_each_degree_at_its_rate(evolve) -> None:
    phi, _ = angles(T10)
    wind = 1e-6 * phi.cos() * phi.sin()  # degree 2 of the vorticity; slow, so that it meets no other
    u = torch.stack([H + 0 * phi, 0 * phi, wind])[None]
    out = evolve(ShallowWater(max_dt=HOUR, rotation=0.0, damping=1e-5, damped=2), u, T10, DAY)
    torch.testing.assert_close(out[0, 2], wind * torch.exp(torch.tensor(-1e-5 * DAY)), rtol=1e-6, atol=1e-12)


def test_balanced_states_start_without_divergence_growing(evolve) -> None:
    step = ShallowWater(max_dt=10.0)
    u = step.initial(T21, [0], 1, peak=3)
    flat = u.clone()
    flat[:, 0] = H
    still, moving = (spectrum(evolve(step, v, T21, 60.0), T21)[:, 1].abs().max() for v in (u, flat))
    assert still < 1e-3 * moving


# -- order, resolution -----------------------------------------------------------------------------------------------


def test_order_four_in_time(evolve) -> None:
    u = ShallowWater(max_dt=HOUR).initial(T10, [0], 2, peak=3, rms=40)
    exact = evolve(ShallowWater(max_dt=HOUR / 16), u, T10, DAY / 4)
    errors = [(evolve(ShallowWater(max_dt=h), u, T10, DAY / 4) - exact)[:, 1:].abs().max() for h in (HOUR, HOUR / 2, HOUR / 4)]
    assert all(12 < a / b < 20 for a, b in pairwise(errors)), errors


def test_a_finer_solver_agrees_where_the_flow_is_smooth(evolve) -> None:
    u = ShallowWater(max_dt=HOUR).initial(T21, [0], 2, peak=1.5)
    coarse, fine = (evolve(ShallowWater(shape, max_dt=HOUR / 2), u, T21, DAY / 2) for shape in (None, (48, 96)))
    assert (coarse - fine)[:, 1:].abs().max() < 2e-3 * u[:, 1:].abs().max()


@pytest.mark.parametrize(
    "there", [earth((22, 44), "cells"), earth((23, 44), "poles", north_first=False), earth((24, 48), west=-30.0)], ids=lambda s: s.grid
)
def test_data_on_any_grid_meet_the_same_solver(evolve, there: Sphere) -> None:
    step = ShallowWater(T10.shape, max_dt=HOUR / 2)
    u = step.resample(step.initial(T10, [0], 2, peak=2.0), T10, T10.with_shape((11, 22)))  # what T10 carries and no more
    u = step.resample(u, T10.with_shape((11, 22)), T10)
    expected = step.resample(evolve(step, u, T10, DAY / 4), T10, there)
    torch.testing.assert_close(evolve(step, step.resample(u, T10, there), there, DAY / 4), expected, rtol=0, atol=1e-7)


# -- symmetries ------------------------------------------------------------------------------------------------------


def test_turning_the_globe_and_mirroring_it_at_the_equator(evolve) -> None:
    step = ShallowWater(max_dt=HOUR / 2)
    u = step.initial(T10, [0], 2, peak=3)
    out = evolve(step, u, T10, DAY)
    for shift in (1, 13):
        torch.testing.assert_close(evolve(step, u.roll(shift, 3), T10, DAY), out.roll(shift, 3), rtol=0, atol=1e-7)
    sign = torch.tensor([1.0, -1.0, 1.0]).reshape(3, 1, 1)
    torch.testing.assert_close(evolve(step, sign * u.flip(2), T10, DAY), sign * out.flip(2), rtol=0, atol=1e-7)
    assert (evolve(step, u.flip(2), T10, DAY) - out.flip(2)).abs().max() > 1  # a vector is not three scalars


# -- initial states ----------------------------------------------------------------------------------------------------


def test_initial_states_belong_to_their_trajectory_and_to_every_resolution() -> None:
    step = ShallowWater(max_dt=HOUR)
    u = step.initial(T21, [4, 9], 1, peak=2, rms=15)
    assert u.dtype == torch.float64
    torch.testing.assert_close(u[1:], step.initial(T21, [9], 1, peak=2, rms=15), rtol=1e-13, atol=1e-9)
    assert (u[0] - u[1]).abs().max() > 1 and (u - step.initial(T21, [4, 9], 2, peak=2, rms=15)).abs().max() > 1
    torch.testing.assert_close(T21.average(u[:, 1:].square()).sum(1), torch.full((2,), 225.0).double(), rtol=1e-10, atol=0)
    torch.testing.assert_close(T21.average(u[:, :1]), torch.full((2, 1), H).double(), rtol=1e-13, atol=0)
    fine = earth((40, 80))
    torch.testing.assert_close(step.resample(step.initial(fine, [4, 9], 1, peak=2, rms=15), fine, T21), u, rtol=0, atol=1e-8)
    with pytest.raises(ValueError, match="peak must be a degree of 1 or more"):
        step.initial(T21, [0], 0, peak=0)


def test_the_height_balances_the_flow_under_the_parameters_of_the_conditions(conditions) -> None:
    step = ShallowWater(max_dt=HOUR)
    both = step.initial(T10, [3, 3], 1, peak=2, conditions=conditions(T10, 2, HOUR, depth=[5e3, H], rotation=[OMEGA, 2 * OMEGA]))
    torch.testing.assert_close(both[0, 1:], both[1, 1:], rtol=0, atol=1e-12)
    torch.testing.assert_close(both[:1], step.initial(T10, [3], 1, peak=2) - torch.tensor([5e3, 0, 0]).reshape(3, 1, 1), rtol=0, atol=1e-8)
    torch.testing.assert_close(both[1:], ShallowWater(max_dt=HOUR, rotation=2 * OMEGA).initial(T10, [3], 1, peak=2), rtol=0, atol=1e-8)


def test_turnover_time_of_one_degree() -> None:
    step, (phi, lam) = ShallowWater(max_dt=HOUR), angles(T10)
    psi = spherical.analyse((phi.cos() ** 3 * (3 * lam).cos())[None, None], spherical.tables(T10, 8, torch.float64, torch.device("cpu")))
    flow = spherical.flow(psi, 0 * psi, spherical.tables(T10, 8, torch.float64, torch.device("cpu")))
    u = torch.cat([torch.full_like(flow[:, :1], H), flow], 1)
    speed = T10.average(flow.square()).sum(1).sqrt()
    torch.testing.assert_close(step.turnover_time(u, T10), 2 * pi * A / 12**0.5 / speed, rtol=1e-10, atol=0)


# -- what every Step owes ----------------------------------------------------------------------------------------------


def test_is_a_step(conditions) -> None:
    step = ShallowWater(max_dt=HOUR)
    step_laws(step, step.initial(T10, [0, 1], 0, peak=3)[:, None], conditions(T10, 2, 2 * HOUR), lambda rows: None, rounding=1e-11)


def test_rolling_on_from_a_frame_is_rolling_on(evolve) -> None:
    step = ShallowWater(max_dt=HOUR)
    u = evolve(step, step.initial(T10, [0], 5, peak=3), T10, HOUR)  # on the modes that the solver carries
    whole = evolve(step, u, T10, 2 * HOUR, 5)
    torch.testing.assert_close(evolve(step, evolve(step, u, T10, 2 * HOUR, 2), T10, 2 * HOUR, 3), whole, rtol=0, atol=1e-8)
    torch.testing.assert_close(evolve(step, u, T10, 10 * HOUR), whole, rtol=0, atol=1e-8)  # however often frames are taken


def test_rows_with_parameters_and_steps_of_their_own_equal_separate_runs(evolve) -> None:
    step = ShallowWater(max_dt=HOUR)
    u = step.initial(T10, [0, 1, 2], 5, peak=3)
    p = {"rotation": [OMEGA, 0.0, 2 * OMEGA], "depth": [H, H / 2, 2 * H], "gravity": [G, 5.0, G], "damping": [0.0, 1e-6, 1e-5]}
    dts = [2 * HOUR, 0.7 * HOUR, 1.9 * HOUR]
    together = evolve(step, u, T10, dts, 2, **p)
    for row in range(3):
        alone = evolve(ShallowWater(max_dt=HOUR), u[row : row + 1], T10, dts[row], 2, **{n: v[row] for n, v in p.items()})
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-8)


def test_the_reference_depth_is_no_physics(evolve) -> None:
    u = ShallowWater(max_dt=HOUR).initial(T10, [0], 5, peak=3)
    one, other = (evolve(ShallowWater(max_dt=HOUR / 4, depth=d), u, T10, DAY / 4) for d in (H, 0.9 * H))
    torch.testing.assert_close(other, one, rtol=0, atol=1e-3)


def test_single_precision_agrees_to_its_rounding(evolve) -> None:
    u = ShallowWater(max_dt=HOUR).initial(T10, [0, 1], 5, peak=3)
    double, single = (evolve(ShallowWater(max_dt=HOUR, dtype=d), u, T10, 2 * HOUR, 2) for d in ("float64", torch.float32))
    assert single.dtype == torch.float32 and evolve(ShallowWater(max_dt=HOUR), u.float(), T10, HOUR).dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=2e-2)


def test_gradients_are_those_of_finite_differences(evolve) -> None:
    step = ShallowWater(max_dt=HOUR)
    u, v, target = step.initial(T10, [0, 1, 2], 5, peak=3).unsqueeze(1)
    v = v - torch.tensor([H, 0, 0]).reshape(3, 1, 1)
    u.requires_grad_(True)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (evolve(step, x, T10, 2 * HOUR)[:, 1:] * target[:, 1:]).mean()

    (gradient,) = torch.autograd.grad(loss(u), u)
    numeric = (loss(u + 1e-4 * v) - loss(u - 1e-4 * v)) / 2e-4
    torch.testing.assert_close((gradient * v).sum(), numeric.detach(), rtol=1e-6, atol=1e-8)


def test_writes_itself_down_travels_and_is_built_again(evolve) -> None:
    step = ShallowWater((16, 32), max_dt=HOUR, rotation=OMEGA / 2, dtype="float64")
    u = step.initial(T10, [0], 5, peak=3)
    out = evolve(step, u, T10, HOUR)
    for again in (construct(describe(step)), pickle.loads(pickle.dumps(step))):
        assert torch.equal(evolve(again, u, T10, HOUR), out)


# -- bad input -----------------------------------------------------------------------------------------------------------


def test_domains_and_parameters_that_make_no_sense_are_refused(conditions) -> None:
    step, u = ShallowWater(max_dt=HOUR), torch.zeros(1, 1, 3, 16, 32)
    with pytest.raises(ValueError, match=r"ShallowWater needs a Sphere.*write Sphere"):
        step.begin(u, conditions(Box.periodic((16, 32), 1.0), 1, HOUR))
    with pytest.raises(ValueError, match="carries no wave"):
        step.begin(u[..., :1, :4], conditions(earth((1, 4)), 1, HOUR))
    with pytest.raises(ValueError, match="channels but ShallowWater takes 3"):
        step.begin(u[:, :, :2], conditions(T10, 1, HOUR))
    for name, value in (("depth", 0.0), ("gravity", 0.0), ("damped", 0.0)):
        c = conditions(T10, 1, HOUR, **{name: value})
        with pytest.raises(ValueError, match=f"{name} must be positive"):
            step(step.begin(u, c), c)
