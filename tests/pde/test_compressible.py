"""Compressible flow: exact Riemann problems, vortices, sound that decays, what is conserved, symmetries, pressures that stay positive."""

from __future__ import annotations

import itertools
from math import exp, log2, pi

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from surrogates.domains import Box
from surrogates.pde import gas
from surrogates.pde.compressible import Compressible, lost
from surrogates.pde.riemann2d import Riemann2d
from surrogates.record import construct, describe
from tests.laws import step_laws

GAMMA = torch.full((1, 1, 1), 1.4, dtype=torch.float64)
SOD = ((1.0, 0.0, 1.0), (0.125, 0.0, 0.1))
PLANE = Box.periodic((24, 24), 1.0)


def star(left: tuple[float, float, float], right: tuple[float, float, float], gamma: float = 1.4) -> tuple[float, float]:
    """Pressure and velocity between the waves of a Riemann problem, exact: Toro, Riemann Solvers (2009), 4.2."""

    def jump(p: float, state: tuple[float, float, float]) -> float:
        rho, _, before = state
        if p > before:
            return (p - before) * (2 / ((gamma + 1) * rho) / (p + (gamma - 1) / (gamma + 1) * before)) ** 0.5
        return 2 * (gamma * before / rho) ** 0.5 / (gamma - 1) * ((p / before) ** ((gamma - 1) / (2 * gamma)) - 1)

    p = brentq(lambda p: jump(p, left) + jump(p, right) + right[1] - left[1], 1e-12, 1e4, xtol=1e-15, rtol=1e-14)
    return p, (left[1] + right[1] + jump(p, right) - jump(p, left)) / 2


def exact(s: float, left: tuple[float, float, float], right: tuple[float, float, float], gamma: float = 1.4) -> tuple[float, ...]:
    """(rho, u, p) at x/t = s."""
    p, u = star(left, right, gamma)
    if s > u:
        mirrored = [(rho, -v, q) for rho, v, q in (right, left)]
        rho, v, q = exact(-s, mirrored[0], mirrored[1], gamma)
        return rho, -v, q
    rho, v, q = left
    c = (gamma * q / rho) ** 0.5
    if p > q:
        ratio = (gamma - 1) / (gamma + 1)
        shock = v - c * ((gamma + 1) / (2 * gamma) * p / q + (gamma - 1) / (2 * gamma)) ** 0.5
        return left if s < shock else (rho * (p / q + ratio) / (ratio * p / q + 1), u, p)
    if s < v - c:
        return left
    if s > u - c * (p / q) ** ((gamma - 1) / (2 * gamma)):
        return rho * (p / q) ** (1 / gamma), u, p
    fan = 2 / (gamma + 1) + (gamma - 1) / ((gamma + 1) * c) * (v - s)
    return rho * fan ** (2 / (gamma - 1)), 2 / (gamma + 1) * (c + (gamma - 1) / 2 * v + s), q * fan ** (2 * gamma / (gamma - 1))


def tube(n: int, left: tuple[float, ...], right: tuple[float, ...]) -> tuple[Box, Tensor]:
    """A diaphragm at x = .5 between two states at rest or not."""
    box = Box((n, 3), (0.0, 0.0), (1.0, 3 / n), ("wall", "periodic"))
    rows = [torch.where(box.grid()[0] < 0.5, a, b) for a, b in zip(left, right, strict=True)]
    w = torch.stack([rows[0], rows[1], torch.zeros_like(rows[0]), rows[2]])[None].double()
    return box, gas.conserved(w, GAMMA)


def felt(q: Tensor) -> Tensor:
    return gas.primitive(q, GAMMA)


def test_the_exact_solution_is_that_of_the_books() -> None:
    p, u = star(*SOD)
    assert (round(p, 5), round(u, 5)) == (0.30313, 0.92745)
    assert round(exact(u - 1e-9, *SOD)[0], 5) == 0.42632 and round(exact(u + 1e-9, *SOD)[0], 5) == 0.26557


def test_sods_tube_has_the_exact_plateaus_and_converges_at_first_order(evolve) -> None:
    errors = []
    for n in (40, 80, 160):
        box, q = tube(n, *SOD)
        w = felt(evolve(Compressible(max_dt=1.0), q, box, 0.2))[0, :, :, 0]
        x = box.coordinate(0)
        truth = torch.tensor([exact((float(s) - 0.5) / 0.2, *SOD) for s in x], dtype=torch.float64).T
        errors.append(float((w[[0, 1, 3]] - truth).abs().mean(1).sum()))
    for place, rho in ((0.62, 0.42632), (0.75, 0.26557)):
        found = w[[0, 1, 3], round(place * n)]
        torch.testing.assert_close(found, torch.tensor([rho, 0.92745, 0.30313], dtype=torch.float64), rtol=1e-3, atol=0)
    for a, b in itertools.pairwise(errors):
        assert log2(a / b) > 0.75
    assert errors[-1] < 0.015


def test_a_contact_at_rest_stays_sharp_and_walls_reflect(evolve) -> None:
    box, q = tube(20, (1.0, 0.0, 1.0), (0.1, 0.0, 1.0))
    torch.testing.assert_close(evolve(Compressible(max_dt=1.0), q, box, 0.5), q, rtol=0, atol=1e-12)
    closed = Compressible(max_dt=1.0, sides="reflecting")
    _, q = tube(20, *SOD)
    total = box.integral(q)
    out = evolve(closed, q, box, 0.6)
    torch.testing.assert_close(box.integral(out)[:, [0, 3]], total[:, [0, 3]], rtol=1e-13, atol=0)
    doubled = Box.periodic((40, 3), (2.0, 3 / 20))  # a wall is the plane of symmetry of a tube and its mirror image
    mirror = q.flip(2) * torch.tensor([1.0, -1, 1, 1]).reshape(1, 4, 1, 1)
    whole = evolve(Compressible(max_dt=1.0), torch.cat([q, mirror], 2), doubled, 0.6)
    torch.testing.assert_close(out, whole[:, :, :20], rtol=0, atol=1e-12)


def vortex(box: Box, time: float) -> Tensor:
    """The isentropic vortex of strength 5, carried along (1, 1): Shu (1998), section 4; averages by 4 x 4 points of Gauss."""
    points, weights = torch.tensor([0.3399810435848563, 0.8611363115940526]), torch.tensor([0.6521451548625461, 0.3478548451374538])
    at, w = (torch.cat([f * v.flip(0), v]).double() / 2 for f, v in ((-1, points), (1, weights)))
    out = torch.zeros(1, 4, *box.shape, dtype=torch.float64)
    for (i, a), (j, b) in itertools.product(enumerate(at), enumerate(at)):
        x, y = ((c + off * h - time - 5 + 5) % 10 - 5 for c, off, h in zip(box.grid(), (a, b), box.spacing, strict=True))
        r2 = x**2 + y**2
        swirl = 5 / (2 * pi) * torch.exp((1 - r2) / 2)
        temperature = 1 - 0.4 * 25 / (8 * 1.4 * pi**2) * torch.exp(1 - r2)
        rho = temperature**2.5
        out += w[i] * w[j] * gas.conserved(torch.stack([rho, 1 - swirl * y, 1 + swirl * x, rho * temperature])[None], GAMMA)
    return out


@pytest.mark.slow
def test_the_isentropic_vortex_at_second_order(evolve) -> None:
    errors = []
    for n in (24, 48, 96):
        box = Box.periodic((n, n), 10.0)
        out = evolve(Compressible(max_dt=10.0), vortex(box, 0.0), box, 2.0)
        errors.append(float((out - vortex(box, 2.0))[:, 0].abs().mean()))
    assert log2(errors[0] / errors[1]) > 1.9 and log2(errors[1] / errors[2]) > 1.9, errors


def test_waves_of_density_in_a_uniform_stream_at_fifth_order(evolve) -> None:
    """Flux and average commute, so that nothing is lost at the middle of a face."""

    def wave(box: Box, time: float) -> Tensor:
        k, h = 2 * pi, box.spacing
        x, y = box.grid()
        mean = torch.sinc(torch.tensor(h[0])) * torch.sinc(torch.tensor(h[1]))
        rho = 1 + 0.2 * mean * torch.sin(k * (x + y - 1.5 * time))
        return gas.conserved(torch.stack([rho, 1 + 0 * x, 0.5 + 0 * x, 1 + 0 * x])[None], GAMMA)

    errors = []
    for n in (12, 24):
        box = Box.periodic((n, n), 1.0)
        out = evolve(Compressible(max_dt=0.2 / n ** (5 / 3)), wave(box, 0.0), box, 0.05)
        errors.append(float((out - wave(box, 0.05)).abs().max()))
    assert log2(errors[0] / errors[1]) > 4.6, errors


def test_mass_momentum_and_energy_stay_through_shocks_and_friction(evolve) -> None:
    step = Riemann2d(max_dt=0.1, viscosity=1e-3)
    q = step.initial(PLANE, [0, 1], 3)
    out = evolve(step, q, PLANE, 0.15)
    assert (out - q).abs().max() > 0.1
    torch.testing.assert_close(PLANE.integral(out), PLANE.integral(q), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("viscosity", [0.0, 2e-3])
def test_mirrors_and_quarter_turns(evolve, viscosity: float) -> None:
    step = Riemann2d(max_dt=0.1, viscosity=viscosity)
    q = step.initial(PLANE, [0], 5)
    out = evolve(step, q, PLANE, 0.1)

    def mirror(v: Tensor) -> Tensor:
        return v.flip(2) * torch.tensor([1.0, -1, 1, 1]).reshape(1, 4, 1, 1)

    def turn(v: Tensor) -> Tensor:
        v = v.mT.flip(2)
        return torch.stack([v[:, 0], -v[:, 2], v[:, 1], v[:, 3]], 1)

    for move in (mirror, turn, lambda v: v.roll((3, -5), (2, 3))):
        torch.testing.assert_close(evolve(step, move(q), PLANE, 0.1), move(out), rtol=0, atol=1e-11)


def test_sound_decays_as_friction_and_conduction_make_it(evolve, conditions) -> None:
    """Kirchhoff: exp(-k^2/2 (4/3 nu + (gamma - 1) nu/Pr) t) where k nu << c. Shear waves decay with exp(-nu k^2 t)."""
    box, nu, pr, small, t = Box.periodic((32, 3), (1.0, 3 / 32)), 4e-3, 0.7, 1e-5, 0.5
    k, (x, _) = 2 * pi, box.grid()
    step = Compressible(max_dt=1.0, viscosity=nu, prandtl=pr)
    c = 1.4**0.5
    p = small * torch.sin(k * x)
    w = torch.stack([1 + p / c**2, p / c, small * torch.sin(k * x), 1 + p])[None]
    out = (felt(evolve(step, gas.conserved(w, GAMMA), box, t)) - felt(gas.conserved(torch.ones_like(w) * w.mean((2, 3), True), GAMMA)))[0]
    size = [float(torch.fft.fft(out[i, :, 0])[1].abs() * 2 / 32 / small) for i in (3, 2)]
    rates = [(4 / 3 * nu + 0.4 * nu / pr) / 2, nu]
    for found, rate in zip(size, rates, strict=True):
        assert abs(found / exp(-rate * k**2 * t) - 1) < 4e-3


def test_a_strong_blast_and_a_vacuum_keep_density_and_pressure(evolve) -> None:
    box = Box.periodic((24, 24), 1.0)
    x, y = box.grid()
    p = torch.where((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.02, 1e3, 1e-3)
    blast = gas.conserved(torch.stack([1 + 0 * x, 0 * x, 0 * x, p])[None].double(), GAMMA)
    out = evolve(Compressible(max_dt=1.0), blast, box, 0.01)
    assert (felt(out)[:, [0, 3]] > 0).all() and (out - blast).abs().max() > 10
    torch.testing.assert_close(box.integral(out), box.integral(blast), rtol=1e-12, atol=1e-10)
    line, apart = tube(40, (1.0, -2.0, 0.4), (1.0, 2.0, 0.4))  # Toro's second test: two rarefactions, almost nothing between
    w = felt(evolve(Compressible(max_dt=1.0), apart, line, 0.15))
    assert (w[:, [0, 3]] > 0).all() and w[:, 0].min() < 0.1


def test_falling_back_is_needed_and_conserves(conditions) -> None:
    """Random states cell by cell, densities over four decades, pressures over eight, up to Mach 3: a plain step loses cells, ours none."""
    step, box = Compressible(max_dt=1.0), Box.periodic((12, 12), 1.0)
    r = torch.rand(2, 4, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rho, p = 10 ** (-4 * r[:, 0]), 10 ** (2 - 8 * r[:, 3])
    c = (1.4 * p / rho).sqrt()
    q = gas.conserved(torch.stack([rho, 3 * (2 * r[:, 1] - 1) * c, 3 * (2 * r[:, 2] - 1) * c, p], 1), GAMMA)
    P = step.parameters(conditions(box, 2, 1.0))
    h = step.longest(q, box, P).reshape(-1, 1, 1, 1)
    out = step.stage(q, h, box, P)
    assert lost(q + h * step.slope(q, box, P), GAMMA).flatten(1).any(1).all() and not lost(out, GAMMA).any()
    torch.testing.assert_close(box.integral(out), box.integral(q), rtol=1e-13, atol=1e-13)


def test_coarse_frames_hold_the_same_mass_and_fine_ones_give_them_back(conditions) -> None:
    for boundary in ("periodic", "wall"):
        box = Box((12, 8), (0.0, 0.0), (1.0, 1.0), (boundary, "wall"))
        q = Riemann2d(max_dt=1.0).initial(box, [0, 1], 2)
        for shape in ((4, 4), (6, 2), (24, 24)):
            other = box.with_shape(shape)
            moved = Riemann2d(max_dt=1.0).resample(q, box, other)
            torch.testing.assert_close(other.integral(moved), box.integral(q), rtol=1e-13, atol=1e-14)
            expected = Riemann2d(max_dt=1.0).initial(other, [0, 1], 2)
            if shape[0] < 12:  # exact averages of exact averages
                torch.testing.assert_close(moved, expected, rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="do not divide"):
        Riemann2d(max_dt=1.0).resample(q, box, box.with_shape((5, 8)))


def test_what_every_step_owes(conditions) -> None:
    step = Riemann2d((24, 24), max_dt=0.02, dtype="float64")
    box = PLANE.with_shape((12, 12))
    q = step.initial(box, [0, 1], 0)
    step_laws(step, q[:, None], conditions(box, 2, 0.03, gamma=[1.4, 1.3], viscosity=[0.0, 1e-3]), lambda rows: None, rounding=1e-12)
    assert describe(construct(describe(step))) == describe(step)
    torch.testing.assert_close(step.initial(box, [1], 0)[0], q[1])


def test_gradients_pass(conditions) -> None:
    step, box = Compressible(max_dt=0.02, viscosity=1e-3), PLANE.with_shape((8, 8))
    q = Riemann2d(max_dt=1.0).initial(box, [0], 1).requires_grad_()
    out = step(step.begin(q[:, None], conditions(box, 1, 0.02)), conditions(box, 1, 0.02))[0]
    (g,) = torch.autograd.grad(out[:, 0, 0].square().sum(), q)
    e = torch.zeros_like(q)
    e[0, 0, 3, 4] = 1e-6
    with torch.no_grad():
        ends = [step(step.begin((q + s * e)[:, None], conditions(box, 1, 0.02)), conditions(box, 1, 0.02))[0] for s in (1, -1)]
    numeric = float((ends[0][:, 0, 0].square().sum() - ends[1][:, 0, 0].square().sum()) / 2e-6)
    assert abs(float(g[0, 0, 3, 4]) - numeric) < 1e-4 * max(1.0, abs(numeric))


def test_bad_input_is_named(conditions) -> None:
    for wrong, words in (({"sides": "open"}, "sides"), ({"courant": 0.9}, "courant"), ({"resolution": (8, 8, 8)}, "resolution")):
        with pytest.raises(ValueError, match=words):
            Compressible(**{"max_dt": 1.0, **wrong})
    q = Riemann2d(max_dt=1.0).initial(PLANE, [0], 1)
    with pytest.raises(ValueError, match="positive everywhere"):
        Compressible(max_dt=1.0).begin(-q[:, None], conditions(PLANE, 1, 0.1))
    with pytest.raises(ValueError, match="gamma"):
        Compressible(max_dt=1.0, gamma=0.9).begin(q[:, None], conditions(PLANE, 1, 0.1))
    with pytest.raises(ValueError, match="channels"):
        Compressible(max_dt=1.0).begin(q[:, None, :3], conditions(PLANE, 1, 0.1))
