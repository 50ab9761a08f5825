"""Each limit fires at the frame that crosses it and at none before, says why, and leaves the other rows alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast.blowup import REASONS, Limits, judge, tail
from surrogates.record import construct, describe

BOX = Box.periodic((24,), 2 * math.pi)
FIELDS = Fields.of(Field("h", "m"), Field("u", "m s-1"))
EVERYTHING = Limits(100.0, {"h": 0.0}, {"u": 3.0}, {"h": 0.1}, pile_up=10.0, share=0.01)


def frames(rows: int = 3, leads: int = 6) -> Tensor:
    (x,) = BOX.grid()
    u = torch.stack([2 + x.cos(), x.sin()]).float()
    return u.expand(rows, leads, 2, -1).clone()


def judged(limits: Limits, u: Tensor) -> list[tuple[int, str]]:
    first, code = limits.judge(u, frames(len(u), 1)[:, 0], FIELDS, BOX)
    return [(int(n), limits.reasons[int(c)]) for n, c in zip(first, code, strict=True)]


def test_a_lawful_run_is_left_alone() -> None:
    assert judged(EVERYTHING, frames()) == [(6, "none")] * 3


def test_each_limit_fires_at_its_frame_with_its_reason() -> None:
    (x,) = BOX.grid()
    u = frames(7)
    u[1, 3, 0, 5] = torch.nan
    u[2, 2:] *= 200
    u[3, 4, 0, 7] = -0.01
    u[4, 1, 1, 0] = 3.01
    u[5, 2:, 0] += 0.21
    u[6, 3, 1] += (0.2 * (10 * x).cos()).float()
    want = ["none", "not finite", "amplitude beyond 100 times the initial", "h below 0", "u above 3", "budget of h off by more than 0.1"]
    assert judged(EVERYTHING, u) == list(zip((6, 3, 2, 4, 1, 2, 3), [*want, "spectrum piles up"], strict=True))


def test_a_shift_inside_the_band_and_a_tail_within_its_allowance_pass() -> None:
    u, (x,) = frames(2), BOX.grid()
    u[0, 2:, 0] += 0.19
    u[1, 2:, 1] += (0.05 * (10 * x).cos()).float()
    assert judged(EVERYTHING, u) == [(6, "none")] * 2


def test_the_tail_is_the_share_of_the_modes_that_the_two_thirds_rule_cuts() -> None:
    (x,) = BOX.grid()
    u = 5 + 3 * (4 * x).sin() + 4 * (10 * x).cos()
    assert abs(float(tail(u[None, None, None], BOX)) - 16 / 25) < 1e-12
    plane = Box.periodic((12, 12), 2 * math.pi)
    a, b = plane.grid()
    both = (a + 2 * b).sin() + 2 * (5 * a + b).cos() + (6 * b).cos()  # the Nyquist mode has twice the variance of another
    assert abs(float(tail(both[None, None, None], plane)) - 3 / 3.5) < 1e-12


def test_the_default_is_what_it_was_before() -> None:
    assert Limits().reasons == REASONS == ("none", "not finite", "amplitude beyond 100 times the initial")
    u = frames(4)
    u[1, 2] = torch.inf
    u[2, 4] *= 1e3
    u[3, 0] = torch.nan
    scale = frames(4, 1)[:, 0].double().flatten(1).square().mean(1).sqrt()
    for one, other in zip(Limits().judge(u, frames(4, 1)[:, 0], FIELDS, BOX), judge(u, scale), strict=True):
        assert torch.equal(one, other)


def test_the_first_limit_of_the_list_is_the_reason_where_several_are_crossed() -> None:
    u = frames(1)
    u[0, 2, 0] = -1e6
    assert judged(EVERYTHING, u) == [(2, "amplitude beyond 100 times the initial")]


def test_it_is_recorded() -> None:
    again = construct(describe(EVERYTHING))
    assert again == EVERYTHING and again.reasons == EVERYTHING.reasons


def test_bad_limits_are_named() -> None:
    with pytest.raises(ValueError, match="hold nothing between"):
        Limits(minimum={"h": 1.0}, maximum={"h": 0.0})
    with pytest.raises(ValueError, match="above 1"):
        Limits(amplitude=0.5)
    with pytest.raises(ValueError, match="share lie between"):
        Limits(pile_up=1.0, share=2.0)
    with pytest.raises(KeyError, match="no field 'q'"):
        Limits(minimum={"q": 0.0}).check(FIELDS, BOX)
    with pytest.raises(ValueError, match="leave it out"):
        Limits(pile_up=2.0).check(FIELDS, Box((8,), (0.0,), (1.0,), ("wall",)))
