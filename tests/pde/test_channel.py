"""Flow between walls: the laminar profile, Orr and Sommerfeld's rates, friction, the balance of energy, no slip and no divergence."""

from __future__ import annotations

import itertools
from math import log2, pi

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.pde import stokes
from surrogates.pde.channel import Channel, modes_of, points
from surrogates.record import construct, describe
from tests.laws import step_laws

BOX = Box((16, 20), (0.0, 0.0), (2 * pi, 2.0), ("periodic", "wall"))
ORSZAG = complex(0.23752649, 0.00373967)  # at Re = 10000, wave number 1


def laminar(box: Box) -> Tensor:
    y = box.grid()[1] - 1
    return torch.stack([1 - y**2, 0 * y])[None]


def test_rates_of_friction_are_those_of_stokes() -> None:
    """The mean decays as cosines do; psi at wave k with mu tan mu = -k tanh k (even) or mu cot mu = k coth k (odd), lambda = k^2 + mu^2."""
    m = stokes.modes(2, 24, 2 * pi)
    np.testing.assert_allclose(m.rate[0, :8], (np.arange(1, 9) * pi / 2) ** 2, rtol=1e-9)
    for k in (1, 2):
        mu = np.sqrt(m.rate[k, :6] - k**2)
        even, odd = np.abs(mu * np.tan(mu) + k * np.tanh(k)), np.abs(mu / np.tan(mu) - k / np.tanh(k))
        assert (np.minimum(even, odd) < 1e-6).all()
    y, w = legendre.leggauss(40)
    u, v = m.velocity(y)
    gram = torch.einsum("kqm,q,kqn->kmn", u, torch.from_numpy(w), u) + torch.einsum("kqm,q,kqn->kmn", v, torch.from_numpy(w), v)
    torch.testing.assert_close(gram, torch.eye(24, dtype=torch.float64).expand(3, -1, -1), rtol=0, atol=1e-8)
    ends = m.velocity(np.array([-1.0, 1.0]))
    assert max(float(e.abs().max()) for e in ends) < 1e-8


def test_laminar_flow_stays(evolve) -> None:
    u = laminar(BOX)
    step = Channel(max_dt=0.1, reynolds=500.0)
    torch.testing.assert_close(evolve(step, u, BOX, 2.0, 2), u, rtol=0, atol=1e-11)
    slow = evolve(Channel(max_dt=0.5, reynolds=10.0), 0 * u, BOX, 60.0)  # from rest, the same flow in the end
    torch.testing.assert_close(slow, u, rtol=0, atol=1e-5)


def test_the_rate_of_orr_and_sommerfeld(conditions) -> None:
    box, re = Box((4, 56), (0.0, 0.0), (2 * pi, 2.0), ("periodic", "wall")), 1e4
    step = Channel(max_dt=0.05, dtype="float64", reynolds=re)
    c = conditions(box, 1, 1.0)
    L, N = step.terms(box, step.parameters(c), torch.complex128, torch.device("cpu"))
    base = step.encode(laminar(box), box)
    n = box.shape[1]
    moved = torch.zeros(n, 1, 2, n, dtype=torch.complex128)
    moved[:, 0, 1] = torch.eye(n)
    J = (N(base + moved) - N(base))[:, 0, 1].T + torch.diag(L[0, 0, 1]).to(torch.complex128)  # waves 1 meet in 0 and 2 only
    values, vectors = torch.linalg.eig(J)
    lead = int(values.real.argmax())
    sigma = complex(values[lead])
    assert abs(1j * sigma - ORSZAG) < 2e-8
    small = base.clone()
    small[:, 0, 1] += 1e-7 * vectors[:, lead]
    state = {"spectrum": small, "step": torch.zeros((), dtype=torch.int64)}
    for _ in range(4):
        _, state = step(state, c)
    grown = state["spectrum"][0, 0, 1] - base[0, 0, 1]
    expected = 1e-7 * vectors[:, lead] * np.exp(4 * sigma)
    assert float((grown - expected).norm() / expected.norm()) < 1e-5


def test_energy_is_given_by_the_gradient_and_taken_by_friction(evolve) -> None:
    re, dt = 400.0, 0.02
    step = Channel(max_dt=0.01, reynolds=re)
    u = evolve(step, step.initial(BOX, [0], 3, peak=2, rms=0.3), BOX, 0.5)
    state = step.encode(u, BOX)
    c_frames = [state]
    one = torch.ones(1, dtype=torch.float64)
    c, s = Conditions(BOX, 0 * one, dt * one, torch.zeros(1, 0)), {"spectrum": state, "step": torch.zeros((), dtype=torch.int64)}
    for _ in range(2):
        _, s = step(s, c)
        c_frames.append(s["spectrum"])
    m, (y, w) = modes_of(BOX), legendre.leggauss(points(BOX))
    twice = torch.tensor([1.0] + [2.0] * (len(m.k) - 1), dtype=torch.float64)[:, None]
    energy, power = [], []
    for a in c_frames:
        energy.append(float((a[0, 0].abs().square() * twice).sum() / 2))
        push = float((m.velocity(y)[0][0] * torch.from_numpy(w)[:, None]).sum(0) @ a[0, 0, 0].real) * 2 / re
        power.append(push - float((a[0, 0].abs().square() * twice * torch.from_numpy(m.rate)).sum()) / re)
    assert abs(energy[2] - energy[0] - dt / 3 * (power[0] + 4 * power[1] + power[2])) < 1e-9 * energy[0]


def test_no_slip_no_divergence_and_symmetries(evolve) -> None:
    step = Channel(max_dt=0.02, reynolds=300.0)
    u = step.initial(BOX, [0], 1, rms=0.2)
    out = evolve(step, u, BOX, 0.5)
    a = step.encode(out, BOX)
    m, y = modes_of(BOX), np.linspace(-1, 1, 9)
    ik, amplitude = 1j * torch.from_numpy(m.k)[:, None, None], a[0, 0][..., None]
    divergence = (ik * m.velocity(y)[0] - 1j * torch.from_numpy(m.k)[:, None, None] * m.at(y, 1))[1:] @ amplitude[1:]
    assert float(divergence.abs().max()) < 1e-9
    torch.testing.assert_close(evolve(step, u.roll(5, 2), BOX, 0.5), out.roll(5, 2), rtol=0, atol=1e-11)
    upside = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    torch.testing.assert_close(evolve(step, upside * u.flip(3), BOX, 0.5), upside * out.flip(3), rtol=0, atol=1e-11)


def test_fourth_order_in_time_and_of_the_spline(evolve, conditions) -> None:
    u = Channel(max_dt=0.1).initial(BOX, [0], 1, rms=0.3)
    answers = [evolve(Channel(max_dt=h, reynolds=300.0), u, BOX, 1.0) for h in (0.2, 0.1, 0.05)]
    first, second = ((a - b).square().mean().sqrt() for a, b in itertools.pairwise(answers))
    assert 3.5 < log2(first / second) < 4.6
    step, errors, there = Channel(max_dt=0.1), [], BOX.with_shape((16, 24))
    for n in (20, 40):
        box = BOX.with_shape((16, n))
        moved = step.resample(step.initial(box, [0], 1, rms=0.3), box, there)
        errors.append(float((moved - step.initial(there, [0], 1, rms=0.3)).abs().max()))
    assert log2(errors[0] / errors[1]) > 3, errors


def test_what_every_step_owes(conditions) -> None:
    step = Channel(max_dt=0.05, dtype="float64")
    u = step.initial(BOX, [0, 1], 0)
    step_laws(step, u[:, None], conditions(BOX, 2, 0.1, reynolds=[200.0, 400.0]), lambda rows: None, rounding=1e-11)
    assert describe(construct(describe(step))) == describe(step)
    torch.testing.assert_close(step.initial(BOX, [1], 0)[0], u[1])
    with pytest.raises(ValueError, match="walls at y = 0 and 2"):
        step.begin(u[:, None], conditions(Box.periodic((16, 20), 2.0), 2, 0.1, reynolds=200.0))
