"""Lyapunov exponents: exact for linear steps, known for Kuramoto-Sivashinsky; turnover times of single waves."""

from __future__ import annotations

from math import log, pi

import pytest
import torch

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.pde import Burgers, KuramotoSivashinsky, lyapunov_exponent, turnover_time

RING = Box.periodic((16,), 2 * pi)


class Linear:
    """u[t+1] = sum_h A_h u[t-h], one matrix a lag: its exponent is the logarithm of its spectral radius over dt."""

    inputs = outputs = Fields.of(Field("u"))
    bundle = 1

    def __init__(self, *lags) -> None:
        self.lags, self.history = lags, len(lags)

    def begin(self, past, conditions):
        return {"past": past}

    def __call__(self, state, conditions, noise=None):
        past = state["past"]
        out = sum(past[:, -1 - h] @ A.mT for h, A in enumerate(self.lags))
        return out.unsqueeze(1), {"past": torch.cat([past[:, 1:], out.unsqueeze(1)], 1)}


def test_a_diagonal_step_grows_by_its_largest_entry(conditions) -> None:
    A = torch.diag(torch.linspace(0.2, 1.7, 16).double())
    A[3, 3] = 1.0
    c = conditions(RING, 2, [0.5, 0.25])
    past = torch.zeros(2, 1, 1, 16).double()
    past[..., 3] = 1.0  # a fixed point
    found = lyapunov_exponent(Linear(A), past, 20, lambda n: c.after(n), discard=300)
    torch.testing.assert_close(found, torch.tensor([log(1.7) / 0.5, log(1.7) / 0.25]).double(), rtol=1e-6, atol=0)


def test_history_is_perturbed_with_the_state(conditions) -> None:
    A, B = torch.eye(16).double(), torch.eye(16).double()
    B[3, 3] = 0.0
    past = torch.zeros(1, 2, 1, 16).double()
    past[..., 3] = 1.0  # a fixed point; all else follows Fibonacci
    c = conditions(RING, 1, 1.0)
    found = lyapunov_exponent(Linear(A, B), past, 20, lambda n: c, discard=60)
    torch.testing.assert_close(found, torch.tensor([log((1 + 5**0.5) / 2)]).double(), rtol=1e-6, atol=0)


def test_a_viscous_flow_forgets_its_perturbation(conditions) -> None:
    c = conditions(RING, 1, 0.5, viscosity=0.3)
    u = torch.zeros(1, 1, 1, 16).double()
    found = lyapunov_exponent(Burgers(max_dt=0.1), u + 1, 30, lambda n: c, discard=100)
    assert abs(float(found)) < 1e-6  # the conserved mean neither grows nor decays


# The reference is .088 +- .001. The standard error of the median over rows is .0011 in 64,000 time units, .0044 in 4,000: the margins are
# three times both together. Medians, because a few trajectories in a hundred are nearly regular for long.


def kuramoto_sivashinsky(conditions, rows: int, n: int, max_dt: float, frames: int):
    box = Box.periodic((n,), 64.0)
    step, c = KuramotoSivashinsky(max_dt=max_dt), conditions(box, rows, 1.0)
    u = step.initial(box, range(rows), 3)
    burnt = c.__class__(box, c.time, 100 * c.dt, c.parameters)
    u = step(step.begin(u.unsqueeze(1), burnt), burnt)[0]
    return lyapunov_exponent(step, u, frames, lambda m: c, discard=30)


def test_kuramoto_sivashinsky_in_a_short_run(conditions) -> None:
    found = kuramoto_sivashinsky(conditions, 16, 96, 0.1, 250)
    assert abs(found.median() - 0.088) < 0.015


@pytest.mark.slow
def test_kuramoto_sivashinsky_in_a_long_run(conditions) -> None:
    found = kuramoto_sivashinsky(conditions, 32, 128, 0.05, 2000)
    assert abs(found.median() - 0.088) < 0.005


def test_settings_that_make_no_sense_are_refused(conditions) -> None:
    step, c = Burgers(max_dt=0.1, viscosity=0.1), conditions(RING, 2, 0.1)
    with pytest.raises(ValueError, match="frames must be at least 1"):
        lyapunov_exponent(step, torch.ones(2, 1, 1, 16), 0, lambda n: c)
    with pytest.raises(ValueError, match=r"past is zero or not finite in rows \[1\]"):
        lyapunov_exponent(step, torch.tensor([1.0, 0.0])[:, None, None, None].expand(2, 1, 1, 16), 1, lambda n: c)


def test_turnover_time_of_one_wave() -> None:
    box = Box.periodic((16, 24), (2.0, 3.0))
    x, y = box.grid()
    waves = [(pi * 3, 0.0, 2.0), (pi, 2 * pi * 2 / 3, 0.5)]  # kx, ky, amplitude
    u = torch.stack([torch.stack([A * torch.cos(kx * x + ky * y) + 5, 0 * x]) for kx, ky, A in waves])
    expected = [2 * pi / (kx**2 + ky**2) ** 0.5 / (A / 2**0.5) for kx, ky, A in waves]
    torch.testing.assert_close(turnover_time(u, box), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
