"""Forced Burgers: the Ornstein-Uhlenbeck limit, Ito's energy balance, strong order along one Brownian path, and the contract."""

from __future__ import annotations

import itertools
from math import log2, pi

import pytest
import torch
from laws import step_laws

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.noise import SeededNoise
from surrogates.pde import Burgers, ForcedBurgers, etdrk2
from surrogates.pde.etd import phi
from surrogates.pde.forced_burgers import coarsened, convolutions

RING = Box.periodic((64,), 2 * pi)
WAVES = 3


def conditions(rows: int, dt: float, viscosity: float, forcing: float) -> Conditions:
    one = torch.ones(rows, dtype=torch.float64)
    values = torch.tensor([[viscosity, forcing]], dtype=torch.float64).expand(rows, 2)
    return Conditions(RING, 0 * one, dt * one, values, ("viscosity", "forcing"))


def run(step, u, frames: int, dt: float, viscosity: float, forcing: float, seed: int = 0, members=None):
    """The frames after u (B, 1, x); row b is member b of trajectory 0 unless members are given."""
    c, noise = conditions(len(u), dt, viscosity, forcing), SeededNoise(seed, [0] * len(u), range(len(u)) if members is None else members)
    state, out = step.begin(u[:, None], c), []
    for _ in range(frames):
        frame, state = step(state, c, noise)
        out.append(frame[:, 0])
    return torch.stack(out, 1)


def modes(u):
    return torch.fft.rfft(u, norm="forward")


def energy(u):
    return u.square().mean((-2, -1)) / 2


# -- the law of the forcing -------------------------------------------------------------------------------------------


def covariance(xi_to, n: int):
    """E z z* of linear functions z (., F) of 2 n standard normal numbers a wave, exactly: their matrix times its transpose."""
    basis = torch.eye(2 * n, dtype=torch.complex128).reshape(2 * n, n, 2, 1).expand(-1, -1, -1, WAVES)
    parts = [v[:, -1] for v in xi_to(basis)]  # (2n, F) each
    return torch.stack([torch.stack([(a * b.conj()).sum(0).real for b in parts]) for a in parts])


@pytest.mark.parametrize("decay", [0.0, 1e-9, 0.3, 40.0])
def test_convolution_and_its_mean_have_their_exact_covariance(decay: float) -> None:
    """Against a sum over 20000 midpoints of the Ito integrals' kernels, exp(-decay r) and (1 - exp(-decay r)) / (decay h)."""
    h, q = 0.7, 0.4
    L = torch.full((1, WAVES), -decay, dtype=torch.float64)
    found = covariance(lambda xi: convolutions(xi, L, torch.tensor([[q]]).double(), torch.tensor([[h]]).double()), 1)
    r = (torch.arange(20_000, dtype=torch.float64) + 0.5) * h / 20_000
    kernels = torch.stack([torch.exp(-decay * r), -torch.expm1(-decay * r) / (decay * h) if decay else r / h])
    exact = q * (kernels[:, None] * kernels).mean(-1) * h
    torch.testing.assert_close(found[..., 0], exact, rtol=1e-5, atol=1e-12)


def test_joined_steps_have_the_law_of_long_ones() -> None:
    n, h, q = 8, torch.tensor([[0.1]]).double(), torch.tensor([[0.4]]).double()
    L = -torch.tensor([[0.5, 2.0, 4.5]]).double()
    joined = covariance(lambda xi: coarsened(*convolutions(xi, L, q, h), L, h, 1), n)
    torch.testing.assert_close(joined, covariance(lambda xi: convolutions(xi, L, q, n * h), 1), rtol=1e-12, atol=1e-14)


def test_small_waves_are_an_ornstein_uhlenbeck_process() -> None:
    """Amplitudes of 1e-5 leave u u_x out: each driven mode is Gaussian with mean e^(Lt) u_k and variance q (1 - e^(2Lt)) / (-2L)."""
    rows, nu, eps, dt, frames = 4000, 0.3, 1e-10, 0.5, 2
    start = 1e-5 * torch.cos(RING.coordinate(0))[None, None] * torch.ones(rows, 1, 1, dtype=torch.float64)
    w = modes(run(ForcedBurgers(max_dt=0.25), start, frames, dt, nu, eps))[:, -1, 0]
    k = torch.arange(1, WAVES + 1).double()
    variance = eps / WAVES * -torch.expm1(-2 * nu * k**2 * dt * frames) / (2 * nu * k**2)
    mean = modes(start)[0, 0, 1 : WAVES + 1] * torch.exp(-nu * k**2 * dt * frames)
    driven = w[:, 1 : WAVES + 1]
    error = (driven.mean(0) - mean).abs()
    assert (error < 4 * (variance / rows).sqrt()).all()
    spread = (driven - mean).abs().square().mean(0)
    assert ((spread / variance - 1).abs() < 4 / rows**0.5).all()
    assert (driven.real.var(0) / driven.imag.var(0) - 1).abs().max() < 0.15  # isotropic: the law does not know where x = 0 is
    assert w[:, WAVES + 1 :].abs().max() < 1e-9 and w[:, 0].abs().max() < 1e-18


def test_without_viscosity_the_noise_puts_in_exactly_eps() -> None:
    """Ito: E of the energy grows by eps dt, and u u_x keeps it. 2000 members; the standard error is that of the sample."""
    rows, eps, dt = 2000, 0.8, 0.25
    u = ForcedBurgers(max_dt=0.05).initial(RING, [0], 1).expand(rows, -1, -1)
    gain = energy(run(ForcedBurgers(max_dt=dt / 16), u, 1, dt, 0.0, eps)[:, 0]) - energy(u)
    assert abs(gain.mean() - eps * dt) < 4 * gain.std() / rows**0.5
    assert gain.std() / rows**0.5 < 0.1 * eps * dt


def test_in_the_mean_dissipation_balances_the_input() -> None:
    rows, eps, nu = 48, 0.5, 0.2
    step = ForcedBurgers(96, max_dt=0.25 / 16)
    u = step.initial(RING, range(rows), 3)
    late = run(step, u, 48, 0.25, nu, eps)[:, 16:]
    gradient = RING.derivative(late.flatten(0, 1), 0).square().mean((1, 2)).reshape(rows, -1)
    balance = nu * gradient.mean(1) + (energy(late[:, -1]) - energy(late[:, 0])) / (0.25 * (late.shape[1] - 1)) - eps
    assert abs(balance.mean()) < 4 * balance.std() / rows**0.5
    assert balance.std() / rows**0.5 < 0.1 * eps


# -- one Brownian path ------------------------------------------------------------------------------------------------


def test_strong_order_three_halves_along_one_path() -> None:
    u = run(ForcedBurgers(max_dt=1 / 64), ForcedBurgers(max_dt=1.0).initial(RING, range(8), 1), 4, 0.25, 0.3, 0.5, seed=5)[:, -1]
    solve = {n: run(ForcedBurgers(max_dt=0.5 / n, path=256), u, 2, 0.5, 0.3, 0.5)[:, -1] for n in (16, 32, 64, 256)}
    errors = [(solve[n] - solve[256]).square().mean().sqrt() for n in (16, 32, 64)]
    assert all(1.4 < log2(a / b) < 2.6 for a, b in itertools.pairwise(errors))
    assert errors[-1] < 2e-4


def test_the_path_does_not_depend_on_scheme_or_resolution() -> None:
    u = ForcedBurgers(max_dt=1.0).initial(RING, range(3), 1)
    one = run(ForcedBurgers(max_dt=0.25 / 32), u, 4, 0.25, 0.3, 0.5)
    for other in (ForcedBurgers(128, max_dt=0.25 / 32), ForcedBurgers(max_dt=0.25 / 32, scheme=etdrk2)):
        torch.testing.assert_close(run(other, u, 4, 0.25, 0.3, 0.5), one, rtol=0, atol=2e-3)


def test_members_part_and_other_noise_gives_another_answer() -> None:
    u = ForcedBurgers(max_dt=1.0).initial(RING, [0], 1).expand(3, -1, -1)
    out = run(ForcedBurgers(max_dt=1 / 64), u, 1, 0.25, 0.3, 0.5, members=[0, 1, 0])
    torch.testing.assert_close(out[0], out[2], rtol=0, atol=1e-12)
    assert (out[0] - out[1]).square().mean().sqrt() > 0.1


# -- the contract -----------------------------------------------------------------------------------------------------


def test_the_laws_of_a_step() -> None:
    step, c = ForcedBurgers(max_dt=1 / 32, dtype="float64"), conditions(3, 0.25, 0.3, 0.5)
    u = step.initial(RING, range(3), 1)[:, None]
    step_laws(step, u, c, lambda rows: SeededNoise(7, rows.tolist(), [0] * len(rows)), rounding=1e-10)


def test_without_forcing_it_is_burgers_bit_for_bit() -> None:
    u = Burgers(max_dt=1.0).initial(RING, range(2), 1)
    c = conditions(2, 0.25, 0.3, 0.0)
    for noise in (None, SeededNoise(0, [0, 1], [0, 0])):
        step, plain = ForcedBurgers(max_dt=1 / 64), Burgers(max_dt=1 / 64)
        ours, theirs = (s(s.begin(u[:, None], c), c, noise)[0] for s in (step, plain))
        assert torch.equal(ours, theirs)


def test_a_frame_of_all_modes_is_the_whole_state() -> None:
    """64 points hold the 31 modes that 96 carry, so that a stored frame is all that the future depends on."""
    step, c = ForcedBurgers(96, max_dt=1 / 32), conditions(2, 0.25, 0.3, 0.5)
    state = step.begin(step.initial(RING, range(2), 1)[:, None], c)
    frame, later = step(state, c, SeededNoise(0, [0, 1], [0, 0]))
    torch.testing.assert_close(step.begin(frame, c)["spectrum"], later["spectrum"], rtol=0, atol=1e-15)


def test_rows_with_other_steps_see_their_own_noise() -> None:
    c = conditions(2, 0.25, 0.3, 0.5)
    mixed = Conditions(RING, c.time, torch.tensor([0.25, 0.5], dtype=torch.float64), c.parameters, c.names)
    step, u = ForcedBurgers(max_dt=1 / 32), ForcedBurgers(max_dt=1.0).initial(RING, range(2), 1)
    both = step(step.begin(u[:, None], mixed), mixed, SeededNoise(0, [4, 5], [0, 0]))[0]
    last = torch.tensor([1])
    alone = step(step.begin(u[1:, None], mixed.rows(last)), mixed.rows(last), SeededNoise(0, [5], [0]))[0]
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-12)


def test_it_says_what_it_needs() -> None:
    step, c = ForcedBurgers(max_dt=1 / 32), conditions(1, 0.25, 0.3, 0.5)
    state = step.begin(step.initial(RING, [0], 1)[:, None], c)
    with pytest.raises(ValueError, match="no answer without noise"):
        step(state, c)
    noise = SeededNoise(0, [0], [0])
    coarse = ForcedBurgers(8, max_dt=1 / 32)
    with pytest.raises(ValueError, match="carries 2 waves but the forcing drives 3"):
        coarse(coarse.begin(step.initial(RING, [0], 1)[:, None], c), c, noise)
    with pytest.raises(ValueError, match="takes 250 steps of max_dt but path is 128"):
        ForcedBurgers(max_dt=0.001)(state, c, noise)
    with pytest.raises(ValueError, match="power of two"):
        ForcedBurgers(max_dt=0.1, path=12)


def test_phi_is_what_the_covariance_uses() -> None:
    """The three combinations vanish into 1, 1/2 and 1/3 as hL -> 0: Brownian motion and its mean."""
    _, two, three = phi(torch.zeros(1, dtype=torch.float64))
    assert float(2 * two - two) == pytest.approx(1 / 2) and float(4 * three - 2 * three) == pytest.approx(1 / 3)
