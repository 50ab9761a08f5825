"""Each limit fires at the frame that crosses it and at none before, says why, and leaves the other rows alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast.blowup import Limits, tail
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


def test_the_default_judges_finiteness_and_amplitude() -> None:
    assert Limits().reasons == ("none", "not finite", "amplitude beyond 100 times the initial")
    u = frames(5)
    u[1, 2] = torch.inf
    u[2, 4] *= 1e3
    u[3, 0] = torch.nan
    u[4, 5, 1, 3] = torch.nan
    none, broken, large = Limits().reasons
    assert judged(Limits(), u) == [(6, none), (2, broken), (4, large), (0, broken), (5, broken)]


def test_each_field_is_held_to_its_own_amplitude_whatever_the_units_of_the_others() -> None:
    u, (x,) = frames(2), BOX.grid()
    start = torch.stack([1e4 + 0 * x, 20 * x.sin()]).float().expand(2, 2, -1)
    u = start[:, None].repeat(1, 6, 1, 1)
    u[1, 3:, 1] *= 150
    first, code = Limits().judge(u, start, FIELDS, BOX)
    assert first.tolist() == [6, 3] and code.tolist() == [0, 2]
    wind = Fields.of(Field("wind", "m s-1", components=("u", "v")))  # one field: its channels are judged together
    first, code = Limits().judge(u[:, :, 1:].repeat(1, 1, 2, 1) * torch.tensor([1.0, 0.001])[:, None], start, wind, BOX)
    assert first.tolist() == [6, 6]


def test_a_field_that_starts_from_rest_is_not_stopped_for_moving() -> None:
    u, start = frames(2), frames(2, 1)[:, 0]
    start[:, 1] = 0
    u[1, 2:, 0] *= 1e3
    first, code = Limits().judge(u, start, FIELDS, BOX)
    assert first.tolist() == [6, 2] and code.tolist() == [0, 2]
    first, code = Limits(maximum={"u": 0.5}).judge(u[:1], start[:1], FIELDS, BOX)
    assert first.tolist() == [0] and code.tolist() == [3]


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
