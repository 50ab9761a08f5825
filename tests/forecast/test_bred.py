"""Breeding a linear map finds its leading eigenvector at the rate of its eigenvalues; lagged members are runs from earlier frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from forecast.steps import U, Walk
from torch import Tensor

from surrogates.contracts import Conditions, Noise
from surrogates.domains import Box
from surrogates.forecast.bred import Bred, Lagged
from surrogates.forecast.perturbations import Members
from surrogates.noise import SeededNoise

BOX = Box.periodic((8,), 1.0)
Q = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
RATES = torch.tensor([1.6, 0.8, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1], dtype=torch.float64)
A = Q @ torch.diag(RATES) @ Q.T


class Linear:
    """u <- A u + time: of two runs the time falls out of the difference."""

    inputs = outputs = U
    history = bundle = 1

    def begin(self, past: Tensor, conditions: Conditions) -> Mapping[str, Tensor]:
        return {"u": past[:, -1]}

    def __call__(self, state: Mapping[str, Tensor], conditions: Conditions, noise: Noise | None = None) -> tuple[Tensor, Any]:
        u = state["u"] @ A.to(state["u"]) + conditions.time.to(state["u"])[:, None, None]
        return u[:, None], {"u": u}


def conditions(rows: int, now: float = 5.0) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(BOX, now * ones, ones, torch.zeros(rows, 0))


def past(frames: int, rows: int = 3) -> Tensor:
    u = torch.randn(1, frames, 1, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return u.expand(rows, -1, -1, -1)


def test_bred_vectors_turn_to_the_leading_eigenvector_at_the_rate_of_the_spectrum() -> None:
    u, errors = past(4), []
    for cycles in (4, 8, 12):
        out = Bred(Linear(), {"u": 0.01}, U, cycles=cycles)(u, conditions(3), SeededNoise(0, [1, 1, 1], [0, 1, 2]))
        assert torch.equal(out[0], u[0]) and torch.equal(out[:, :-1], u[:, :-1])
        e = (out - u)[1:, -1, 0]
        torch.testing.assert_close(e.square().mean(-1).sqrt(), torch.full((2,), 0.01, dtype=torch.float64), rtol=1e-9, atol=0)
        along = (e @ Q[:, 0]).abs() / e.norm(dim=-1)
        errors.append((1 - along.square()).clamp_min(0).sqrt().max())
    rate = (errors[0] / errors[2]).log() / 8
    assert abs(float(rate) - float((RATES[0] / RATES[1]).log())) < 0.1


def test_two_frames_a_cycle_are_two_cycles_of_one_for_a_linear_step() -> None:
    noise = SeededNoise(0, [1, 1, 1], [0, 1, 2])
    one, two = (Bred(Linear(), 0.1, cycles=c, frames=f)(past(9), conditions(3), noise) for c, f in ((6, 1), (3, 2)))
    torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def test_a_step_with_noise_breeds_from_twins_of_the_same_draws() -> None:
    """cos u stays near 1 here, so e keeps its shape; draws of their own would swamp it."""
    u, noise = 1e-3 * past(1, 2).float(), SeededNoise(0, [1, 1], [1, 2])
    one, ten = ((Bred(Walk(), {"u": 1e-4}, U, cycles=c)(u, conditions(2), noise) - u)[:, -1, 0] for c in (1, 10))
    along = (one * ten).sum(-1) / (one.norm(dim=-1) * ten.norm(dim=-1))
    assert float(along.min()) > 0.95


def test_lagged_members_are_runs_from_earlier_frames() -> None:
    u, c = past(5), conditions(3)
    out = Lagged(Linear(), every=2)(u, c, SeededNoise(0, [1, 1, 1], [0, 1, 2]))
    want = [u[0, -1]]
    for lag in (2, 4):
        v = u[0, -1 - lag]
        for n in range(lag):
            v = v @ A + (5.0 - lag + n)
        want.append(v)
    torch.testing.assert_close(out[:, -1], torch.stack(want), rtol=1e-12, atol=1e-12)


def test_scaled_lagged_pairs_cancel_and_have_the_size_of_one_lag() -> None:
    u, c = past(5, 5), conditions(5)
    noise = SeededNoise(0, [1] * 5, [0, 1, 2, 3, 4])
    e = Lagged(Linear(), scaled=True, members=Members(paired=True))(u, c, noise) - u
    torch.testing.assert_close(e[1], -e[2])
    plain = Lagged(Linear())(u[:3], conditions(3), SeededNoise(0, [1] * 3, [0, 1, 2])) - u[:3]
    torch.testing.assert_close(e[3], plain[2] / 2)


def test_what_is_asked_too_much_is_named() -> None:
    with pytest.raises(ValueError, match="give it 4, or fewer members"):
        Lagged(Linear(), every=3)(past(3, 2), conditions(2), SeededNoise(0, [1, 1], [0, 1]))
    with pytest.raises(ValueError, match="scaled=True"):
        Lagged(Linear(), members=Members(paired=True))
    with pytest.raises(ValueError, match="cycles=0"):
        Bred(Linear(), 0.1, cycles=0)
