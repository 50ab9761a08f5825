"""True frames pass a monitor, frames of another equation do not; a guarded step is the fallback from where it is handed over."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from forecast.steps import Walk, initial
from torch import Tensor

from surrogates import simulate
from surrogates.contracts import Conditions, Noise
from surrogates.domains import Box
from surrogates.forecast.monitor import Guarded, ResidualMonitor, SpreadMonitor
from surrogates.forecast.surroundings import Given
from surrogates.interchange import to_xarray
from surrogates.noise import SeededNoise
from surrogates.pde import Burgers
from surrogates.record import construct, describe
from surrogates.rollout import rollout

BOX = Box.periodic((32,), 2 * math.pi)


def conditions(rows: int) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(BOX, 0 * ones, 0.02 * ones, torch.full((rows, 1), 0.1, dtype=torch.float64), ("viscosity",))


def start(rows: int) -> Tensor:
    (x,) = BOX.grid()
    return torch.stack([(x + b).sin() + 0.3 for b in range(rows)])[:, None, None]


TRUE = Burgers(48, max_dt=0.02)  # a grid of 3/2 the data's carries all of their modes


class Drifts(Burgers):
    """Burgers whose frames of row 1 are 1 % too large from the third call on."""

    def __call__(self, state: Any, conditions: Conditions, noise: Any = None) -> Any:
        future, new = super().__call__(state, conditions, noise)
        wrong = torch.tensor([1.0, 1.01 if int(state["step"]) >= 2 else 1.0]).reshape(2, 1, 1, 1)
        return future * wrong.to(future), new


def frames(step: Any, count: int = 6, noise: Any = None) -> Tensor:
    return torch.stack(list(rollout(step, start(2), count, conditions(2).after, noise)), 1)


def test_the_residual_of_true_frames_is_small_and_of_second_order_in_dt() -> None:
    u, monitor = frames(TRUE), ResidualMonitor(TRUE, 0.01)
    share = monitor.shares(start(2)[:, 0], u, conditions(2))
    assert float(share.max()) < 1e-3 and not monitor.judge(start(2)[:, 0], u, conditions(2)).any()
    twice = Conditions(BOX, conditions(2).time, 2 * conditions(2).dt, conditions(2).parameters, ("viscosity",))
    coarse = monitor.shares(start(2)[:, 0], u[:, 1::2], twice)
    assert 3.5 < float(coarse[0, 0] / share[0, 0]) < 4.5


def test_a_residual_monitor_flags_the_frame_that_breaks_the_equation_and_what_is_not_finite() -> None:
    u = frames(Drifts(48, max_dt=0.02))
    bad = ResidualMonitor(TRUE, 0.05).judge(start(2)[:, 0], u, conditions(2))
    assert bad[:, :4].tolist() == [[False] * 4, [False, False, True, False]]  # 1 % at once; afterwards it moves as it should
    u[0, 5] = torch.nan
    assert bool(ResidualMonitor(TRUE, 0.05).judge(start(2)[:, 0], u, conditions(2))[0, 5])


def test_a_guarded_step_is_its_step_until_it_is_handed_over_and_the_fallback_from_there() -> None:
    drifting = Drifts(48, max_dt=0.02)
    guarded = Guarded(drifting, ResidualMonitor(TRUE, 0.05), TRUE)
    out, truth, wrong = frames(guarded), frames(TRUE), frames(drifting)
    assert torch.equal(out[0], wrong[0]) and torch.equal(out[:, :2], wrong[:, :2])
    torch.testing.assert_close(out[1], truth[1], rtol=1e-10, atol=1e-10)
    assert float((wrong[1] - truth[1]).abs().max()) > 1e-3
    state = guarded.begin(start(2), conditions(2))
    for n in range(4):
        _, state = guarded(state, conditions(2).after(n), None)
    assert state["handed"].tolist() == [-1, 2]


def test_spread_is_judged_by_trajectory_against_the_climate() -> None:
    """Members +-a have a deviation of a sqrt 2 with M - 1."""
    a = torch.tensor([0.1, 0.3, 0.4])
    u = torch.cat([a, -a, a / 10, -a / 10]).reshape(4, 3, 1, 1).expand(4, 3, 1, 32)
    bad = SpreadMonitor([1.0], 0.5).judge(u[:, 0], u, conditions(4), [7, 7, 8, 8])
    assert bad.tolist() == [[False, False, True]] * 2 + [[False] * 3] * 2
    assert not SpreadMonitor([2.0], 0.5).judge(u[:, 0], u, conditions(4), [7, 7, 8, 8]).any()
    with pytest.raises(ValueError, match="has one member"):
        SpreadMonitor([1.0]).judge(u[:, 0], u, conditions(4), [7, 7, 8, 9])


def test_a_spread_monitor_hands_over_all_members_of_its_trajectory() -> None:
    guarded = Guarded(Drifts(48, max_dt=0.02), SpreadMonitor([1.0], 1e-6), TRUE)
    noise = SeededNoise(0, [3, 3], [0, 1])
    state = guarded.begin(start(1).expand(2, -1, -1, -1), conditions(2))
    for n in range(3):
        future, state = guarded(state, conditions(2).after(n), noise)
    assert state["handed"].tolist() == [2, 2] and torch.equal(future[0], future[1])
    with pytest.raises(TypeError, match="only SeededNoise tells"):
        guarded(state, conditions(2), None)


def test_monitors_are_recorded_and_bad_ones_named() -> None:
    monitor = construct(describe(ResidualMonitor(TRUE, 0.05)))
    assert monitor.limit == 0.05 and monitor.reason == "residual beyond 0.05 of the change"
    assert construct(describe(SpreadMonitor([1.0, 2.0]))).climate == (1.0, 2.0)
    with pytest.raises(ValueError, match="must be positive"):
        ResidualMonitor(TRUE, 0.0)
    with pytest.raises(ValueError, match="must be positive"):
        SpreadMonitor([0.0])
    with pytest.raises(ValueError, match="give one deviation a channel"):
        SpreadMonitor([1.0, 1.0]).judge(start(2)[:, 0], frames(TRUE, 1), conditions(2), [0, 0])


class Apart(Walk):
    """Every frame is a draw of its own, the second member of the first trajectory not a number from the third frame on."""

    lost = False

    def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
        assert noise is not None
        out = u + noise(u, step=n, draw=0) / 10
        gone = self.lost and n >= 2
        key = [gone and pair == (10, 1) for pair in zip(noise.trajectories, noise.members, strict=True)]  # type: ignore[attr-defined]
        return out.masked_fill(torch.tensor(key)[:, None, None], torch.nan)


class Lost(Apart):
    lost = True


@pytest.mark.parametrize("guarded", [False, True])
def test_the_padding_of_a_group_has_no_say_in_a_spread(guarded: bool) -> None:
    def stopped(group: int) -> Any:
        monitor = SpreadMonitor([1.0], 0.25)
        step: Any = Guarded(Apart(), monitor, Walk()) if guarded else Apart()
        return simulate(step, initial(5), 12, members=3, group=group, monitor=None if guarded else monitor)

    one, other = stopped(3), stopped(6)
    assert one["u"].equals(other["u"]) and one["failed_step"].equals(other["failed_step"])


@pytest.mark.parametrize("members", [2, 3])
def test_a_member_that_blows_up_does_not_stop_its_neighbours(members: int) -> None:
    out = simulate(Lost(), initial(2), 6, members=members, monitor=SpreadMonitor([1.0], 5.0))
    assert out["failed_step"].values[0].tolist() == [-1, 2, -1][:members] and (out["failed_step"].values[1] == -1).all()
    assert int(out["failed_reason"].values[0, 1]) == 1, "it is not the monitor that stopped it"


def test_a_step_of_another_length_is_judged_by_its_own() -> None:
    dt = [0.02] * 3 + [0.1] * 3
    start = to_xarray(torch.stack([BOX.grid()[0].sin()])[:, None, None], TRUE.inputs, BOX, time=[0.0], trajectories=[0],
                      parameters={"viscosity": [0.1]}, attrs={"dt": 0.02})  # fmt: skip
    for chunk in (1, 6):
        out = simulate(TRUE, start, 6, surroundings=Given(dt=dt), monitor=ResidualMonitor(TRUE, 0.05), chunk=chunk)
        assert out["failed_step"].item() == -1
