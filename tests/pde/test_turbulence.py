"""Turbulence in three dimensions: exact flows, budgets, symmetries, the plane as a special case, the order of the scheme."""

from __future__ import annotations

import itertools
from math import exp, log2, pi

import pytest
import torch

from surrogates.domains import Box
from surrogates.pde import IsotropicTurbulence, Kolmogorov, space
from surrogates.record import construct, describe
from tests.laws import step_laws

CUBE = Box.periodic((16, 16, 16), 2 * pi)
BRICK = Box.periodic((12, 16, 20), (2.0, 5.0, 3.0))
FREE = {"forcing": 0.0, "band": 2.0}


def energy(u, box=CUBE):
    return box.average(u.square()).sum(1) / 2


def curl(u, box=CUBE):
    d = [[box.derivative(u[:, i : i + 1], j) for j in range(3)] for i in range(3)]
    return torch.cat([d[2][1] - d[1][2], d[0][2] - d[2][0], d[1][0] - d[0][1]], 1)


def smooth(box: Box, u):
    """u without the modes that the solver does not carry."""
    coarse = box.with_shape((10,) * box.dim)
    return coarse.resample(box.resample(u, coarse.shape), box.shape)


def simpson(frames, dt: float):
    return dt / 3 * (frames[0] + 4 * frames[1] + frames[2])


def taylor_green(box: Box, shift=(0.0, 0.0, 0.0)):
    """A plane Taylor-Green flow in x and z, the same at every y, and its k^2."""
    (x, _, z), (k, _, m) = (c - s for c, s in zip(box.grid(), shift, strict=True)), (2 * pi / size for size in box.lengths)
    u = torch.stack([m * torch.sin(k * x) * torch.cos(m * z), 0 * x, -k * torch.cos(k * x) * torch.sin(m * z)])
    return u[None], k**2 + m**2


@pytest.mark.parametrize("box", [CUBE, BRICK])
def test_plane_taylor_green_decays_exactly(evolve, box) -> None:
    nu, t = 0.03, 0.7
    u, k2 = taylor_green(box)
    out = evolve(IsotropicTurbulence(max_dt=0.05), u, box, t, viscosity=nu, **FREE)
    torch.testing.assert_close(out, u * exp(-nu * k2 * t), rtol=0, atol=1e-13)


def test_a_mean_flow_carries_it_and_stays(evolve) -> None:
    nu, t, U = 0.03, 0.6, (0.8, -0.5, 0.3)
    u, k2 = taylor_green(CUBE)
    mean = torch.tensor(U).double().reshape(1, 3, 1, 1, 1)
    moved, _ = taylor_green(CUBE, tuple(v * t for v in U))
    out = evolve(IsotropicTurbulence(max_dt=0.02), u + mean, CUBE, t, viscosity=nu, **FREE)
    torch.testing.assert_close(out, moved * exp(-nu * k2 * t) + mean, rtol=0, atol=1e-6)


def test_the_flow_of_arnold_beltrami_and_childress_decays_exactly(evolve) -> None:
    """curl u = u: the advection is a gradient, though every component varies along two axes."""
    (x, y, z), nu, t = CUBE.grid(), 0.05, 0.8
    u = torch.stack([torch.sin(z) + 0.7 * torch.cos(y), 1.3 * torch.sin(x) + torch.cos(z), 0.7 * torch.sin(y) + 1.3 * torch.cos(x)])[None]
    out = evolve(IsotropicTurbulence(max_dt=0.1), u, CUBE, t, viscosity=nu, **FREE)
    torch.testing.assert_close(out, u * exp(-nu * t), rtol=0, atol=1e-13)


def test_a_flow_that_does_not_vary_along_z_is_that_of_the_plane(evolve) -> None:
    """Against the solver in vorticity, which shares nothing but the scheme; the third component rides along as a tracer."""
    plane = Box.periodic((16, 16), 2 * pi)
    flat = Kolmogorov(max_dt=0.02, viscosity=0.02, drag=0.0, forcing=0.0, wavenumber=1)
    u = smooth(plane, flat.initial(plane, [0], 1, peak=2.0))
    deep = torch.cat([u, u[:, :1]], 1).unsqueeze(-1).expand(-1, -1, -1, -1, 16)
    out = evolve(IsotropicTurbulence(max_dt=0.02), deep, CUBE, 0.5, viscosity=0.02, **FREE)
    torch.testing.assert_close(out[:, :2, :, :, 3], evolve(flat, u, plane, 0.5), rtol=0, atol=1e-12)
    assert (out - deep).abs().max() > 0.1 and (out - out[..., :1]).abs().max() < 1e-13


@pytest.mark.parametrize("forcing", [0.0, 0.7])
def test_energy_goes_in_at_eps_and_out_by_dissipation(evolve, forcing) -> None:
    step, dt, p = IsotropicTurbulence(max_dt=0.005), 0.02, {"viscosity": 0.05, "forcing": forcing, "band": 2.0}
    u = evolve(step, step.initial(CUBE, [0, 1], 3), CUBE, 0.5, **p)
    frames = [u, evolve(step, u, CUBE, dt, **p), evolve(step, u, CUBE, dt, 2, **p)]
    strain = [
        [CUBE.derivative(v[:, i : i + 1], j) + CUBE.derivative(v[:, j : j + 1], i) for i in range(3) for j in range(3)] for v in frames
    ]
    loss = [0.05 / 2 * sum(CUBE.average(s.square()) for s in parts)[:, 0] for parts in strain]  # 2 nu <S:S>
    torch.testing.assert_close(loss[0], 0.05 * CUBE.average(curl(u).square()).sum(1), rtol=1e-12, atol=0)  # = 2 nu x enstrophy
    change = energy(frames[2]) - energy(frames[0])
    torch.testing.assert_close(change, 2 * dt * forcing - simpson(loss, dt), rtol=0, atol=1e-9)
    assert change.abs().min() > 1e-3


def test_only_the_band_is_driven(conditions) -> None:
    step = IsotropicTurbulence(max_dt=0.1)
    u = step.initial(CUBE, [0], 1) + 0.2
    w = step.begin(u[:, None], conditions(CUBE, 1, 0.1, viscosity=0.1))["spectrum"]
    k = space.wavenumbers(CUBE, space.carried(w), w.device).square().sum(0)

    def nonlinear(eps: float):
        p = {name: torch.full((1,), v, dtype=torch.float64) for name, v in (("viscosity", 0.1), ("forcing", eps), ("band", 2.0))}
        return step.terms(CUBE, p, w.dtype, w.device)[1](w)

    f = nonlinear(0.8) - nonlinear(0.0)
    assert f[..., (k > 4) | (k == 0)].abs().max() < 1e-15 and f.abs().sum(1)[..., (k <= 4) & (k > 0)].min() > 0
    work = 2 * (f * w.conj()).real.sum() - (f * w.conj()).real[..., 0].sum()
    torch.testing.assert_close(float(work), 0.8, rtol=1e-12, atol=0)


def test_without_viscosity_energy_and_helicity_stay(evolve) -> None:
    step = IsotropicTurbulence(max_dt=0.01)
    u = step.initial(CUBE, [0], 1, peak=2.0)
    u = smooth(CUBE, u)
    out = evolve(step, u, CUBE, 0.5, viscosity=0.0, **FREE)
    helicity = [CUBE.average(v * curl(v)).sum(1) for v in (u, out)]
    assert (out - u).abs().max() > 0.5 and helicity[0].abs().min() > 1e-3
    torch.testing.assert_close(energy(out), energy(u), rtol=1e-8, atol=0)
    torch.testing.assert_close(helicity[1], helicity[0], rtol=1e-6, atol=0)


def test_the_nonlinear_term_is_advection_less_a_gradient(conditions) -> None:
    step, fine = IsotropicTurbulence(max_dt=0.1), BRICK.with_shape((24, 32, 40))
    u = step.initial(BRICK, [0, 1], 2, peak=1.5) + torch.tensor([0.4, -0.7, 0.2]).double().reshape(1, 3, 1, 1, 1)
    w = step.begin(u[:, None], conditions(BRICK, 2, 0.1, viscosity=0.0, forcing=0.0))["spectrum"]
    v = space.synthesise(w, fine.shape)  # no product of two modes aliases here
    grad = [fine.gradient(v[:, i : i + 1]) for i in range(3)]
    advected = torch.stack([-(v * g).sum(1) for g in grad], 1)
    modes = space.carried(w)
    expected = space.projected(space.analyse(advected, modes), space.wavenumbers(fine, modes, w.device))
    p = {name: torch.zeros(1).double() for name in ("viscosity", "forcing", "band")}
    torch.testing.assert_close(step.terms(BRICK, p, w.dtype, w.device)[1](w), expected, rtol=0, atol=1e-12)


def test_divergence_is_projected_away_and_stays_away(evolve) -> None:
    step = IsotropicTurbulence(max_dt=0.05, viscosity=0.05)
    u = step.initial(CUBE, [0], 2)
    x, y, z = CUBE.grid()
    other = u + CUBE.gradient((torch.sin(x) * torch.cos(y + 2 * z))[None, None])
    assert CUBE.divergence(u).abs().max() < 1e-12 < CUBE.divergence(other).abs().max()
    out = evolve(step, other, CUBE, 0.3)
    assert CUBE.divergence(out).abs().max() < 1e-12
    torch.testing.assert_close(out, evolve(step, u, CUBE, 0.3), rtol=0, atol=1e-13)


@pytest.mark.slow
def test_rounding_in_the_driven_modes_does_not_grow(evolve) -> None:
    """What is not real, or has divergence, is not driven: over 60 time units it would have grown by exp(.3 x 60)."""
    step = IsotropicTurbulence(max_dt=0.1, viscosity=0.1, dtype="float32")
    box = CUBE.with_shape((12, 12, 12))
    out = evolve(step, step.initial(box, [0], 2).float(), box, 1.0, 60)
    assert box.divergence(out).abs().max() < 2e-5 * out.abs().max()


def test_symmetries(evolve) -> None:
    """Translations, turns by a right angle and the mirror: the solution moves with its start."""
    step = IsotropicTurbulence(max_dt=0.05, viscosity=0.05)
    u = step.initial(CUBE, [0], 2)
    out = evolve(step, u, CUBE, 0.4)

    def turned(v):  # (x, y, z) -> (-y, x, z)
        return torch.stack([-v[:, 1], v[:, 0], v[:, 2]], 1).transpose(2, 3).flip(2).roll(1, 2)

    def mirrored(v):
        return (v * torch.tensor([1.0, 1.0, -1.0]).reshape(1, 3, 1, 1, 1)).flip(4).roll(1, 4)

    for move in (lambda v: v.roll((3, 5, 7), (2, 3, 4)), turned, mirrored, lambda v: v[:, [2, 0, 1]].permute(0, 1, 4, 2, 3)):
        torch.testing.assert_close(evolve(step, move(u), CUBE, 0.4), move(out), rtol=0, atol=1e-12)


def test_fourth_order_in_time(evolve) -> None:
    step = IsotropicTurbulence(max_dt=0.1)
    u = evolve(step, step.initial(CUBE, [0], 4), CUBE, 0.5, viscosity=0.03)
    answers = [evolve(IsotropicTurbulence(max_dt=0.2 / n), u, CUBE, 0.2, viscosity=0.03) for n in (2, 4, 8)]
    first, second = ((a - b).square().mean().sqrt() for a, b in itertools.pairwise(answers))
    assert 3.6 < log2(first / second) < 4.4


def test_initial_states_belong_to_a_trajectory_and_peak_where_they_are_told() -> None:
    step, box = IsotropicTurbulence(max_dt=0.1), CUBE.with_shape((24, 24, 24))
    both, alone = step.initial(box, [3, 7], 5), step.initial(box, [7], 5)
    torch.testing.assert_close(alone[0], both[1], rtol=0, atol=1e-14)
    torch.testing.assert_close(2 * energy(both, box), torch.ones(2).double())
    w = space.analyse(step.initial(box, range(8), 0, peak=4.0), (11, 11, 11))
    k = space.wavenumbers(box, (11, 11, 11), w.device).square().sum(0).sqrt().round().long()
    spectrum = torch.zeros(20).double().index_add(0, k.flatten(), w.abs().square().sum((0, 1)).flatten())
    assert int(spectrum.argmax()) in (3, 4, 5)


def test_what_every_step_owes(conditions) -> None:
    step = IsotropicTurbulence(max_dt=0.05)
    u = step.initial(CUBE, [0, 1], 0)
    step_laws(step, u[:, None], conditions(CUBE, 2, 0.1, viscosity=[0.05, 0.08]), lambda rows: None, rounding=1e-12)
    assert describe(construct(describe(step))) == describe(step)
    leaf = u.clone().requires_grad_()
    c = conditions(CUBE, 2, 0.1, viscosity=0.05)
    (g,) = torch.autograd.grad(step(step.begin(leaf[:, None], c), c)[0].square().sum(), leaf)
    assert bool(g.isfinite().all()) and g.abs().max() > 0


@pytest.mark.slow
def test_forced_turbulence_becomes_stationary_at_the_dissipation_it_was_given(evolve) -> None:
    box, step = Box.periodic((24, 24, 24), 2 * pi), IsotropicTurbulence(max_dt=0.04, viscosity=0.12, dtype="float32")
    u, found = step.initial(box, [0, 1], 0, rms=2.0).float(), []
    for _ in range(60):
        u = evolve(step, u, box, 0.4)
        found.append(0.12 * box.average(curl(u, box).square()).sum(1))
    assert abs(torch.stack(found[25:]).mean() - 1) < 0.1
    kmax = (24 - 1) // 3
    assert kmax * 0.12**0.75 > 1.4
