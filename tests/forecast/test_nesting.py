"""A nested area gets its boundary from the outer model: exact for polynomials, of the stated order, right in time, without an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from forecast.steps import U
from torch import Tensor

from surrogates.constraints import LateralBoundaries
from surrogates.contracts import Conditions, Noise
from surrogates.domains import Box
from surrogates.forecast.nesting import Interpolation, Nested, OneWay
from surrogates.forecast.surroundings import Given
from surrogates.interchange import to_xarray
from surrogates.noise import SeededNoise
from surrogates.rollout import rollout

INNER = Box((12,), (1.0,), (3.0,), ("wall",))


def outer(n: int = 32) -> Box:
    return Box.periodic((n,), 2 * math.pi)


class Wave:
    """u(x, t) = sin(x - t), exactly, on whatever box: `inner` of it forgets the wave away from what the boundary brings."""

    inputs = outputs = U
    history = bundle = 1

    def __init__(self, exact: bool) -> None:
        self.exact = exact

    def begin(self, past: Tensor, conditions: Conditions) -> Mapping[str, Tensor]:
        return {"u": past[:, -1]}

    def __call__(self, state: Mapping[str, Tensor], conditions: Conditions, noise: Noise | None = None) -> tuple[Tensor, Any]:
        box, then = conditions.domain, conditions.time + conditions.dt
        assert isinstance(box, Box)
        if self.exact:
            u = (box.grid()[0] - then[:, None]).sin()[:, None].to(state["u"])
        else:
            law, later = LateralBoundaries(U, width=4), conditions.after(1)
            u = law(state["u"], law.reference(state["u"], later), later)
        return u[:, None], {"u": u}


def conditions(rows: int, box: Box, dt: float) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(box, 0 * ones, dt * ones, torch.zeros(rows, 0))


def test_interpolation_is_exact_for_polynomials_and_of_its_order_for_waves() -> None:
    box = Box((9, 7), (0.0, -1.0), (2.0, 1.0), ("wall", "wall"))
    inner = Box((5, 4), (0.5, -0.5), (1.5, 0.3), ("wall", "wall"))
    x, y = box.grid()
    a, b = inner.grid()
    u = (1 + x**3 - x * y**2 + y**3)[None, None]
    torch.testing.assert_close(Interpolation(box, inner)(u)[0, 0], 1 + a**3 - a * b**2 + b**3, rtol=1e-12, atol=1e-12)
    assert float((Interpolation(box, inner, 2)(u)[0, 0] - (1 + a**3 - a * b**2 + b**3)).abs().max()) > 1e-3
    for order in (2, 4, 6):
        made = [Interpolation(outer(n), INNER, order)(outer(n).grid()[0].sin()[None, None]) for n in (16, 32)]
        errors = [float((u - INNER.grid()[0].sin()).abs().max()) for u in made]
        assert math.log2(errors[0] / errors[1]) > order - 0.6


def test_a_periodic_axis_is_read_across_its_seam() -> None:
    seam = Box((6,), (5.0,), (8.0,), ("wall",))
    u = Interpolation(outer(64), seam)(outer(64).grid()[0].sin()[None, None])
    assert float((u - seam.grid()[0].sin()).abs().max()) < 1e-4


def stored(n: int, dt: float, frames: int) -> Any:
    (x,) = outer(n).grid()
    t = dt * torch.arange(frames, dtype=torch.float64)
    u = torch.stack([(x - (t[:, None] + shift)).sin() for shift in (0.0, 1.0)]).float()[:, :, None]
    return to_xarray(u, U, outer(n), time=t.tolist(), trajectories=[10, 11])


def test_a_stored_forecast_gives_each_row_its_own_boundary() -> None:
    given = Given(boundary=Nested(stored(64, 0.1, 11), U, INNER))
    c = given.begin(conditions(2, INNER, 0.05), SeededNoise(0, [11, 10], [0, 0]))
    at = given.at(c, 7)
    assert at.boundary is not None
    want = torch.stack([(INNER.grid()[0] - (0.35 + shift)).sin() for shift in (1.0, 0.0)])[:, None]
    torch.testing.assert_close(at.boundary(at.time), want.float(), rtol=0, atol=2e-3)  # dt^2/8 of linear time
    assert torch.equal(at.rows(torch.tensor([1])).boundary(at.time[:1]), at.boundary(at.time)[1:])  # type: ignore[misc]


def test_a_nested_area_follows_the_outer_wave_at_its_edge_whether_it_is_stored_or_run_along() -> None:
    start = INNER.grid()[0].sin().float()[None, None, None]
    given = Given(boundary=Nested(stored(64, 0.1, 6), U, INNER))
    c = given.begin(conditions(1, INNER, 0.05), SeededNoise(0, [10], [0]))
    one = torch.stack(list(rollout(Wave(False), start, 10, lambda n: given.at(c, n))), 1)
    past = outer(64).grid()[0].sin().float()[None, None, None]
    both = OneWay(Wave(True), Wave(False), past, outer(64), INNER, ratio=2)
    other = torch.stack(list(rollout(both, start, 10, conditions(1, INNER, 0.05).after)), 1)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    t = 0.05 * torch.arange(1.0, 11)
    for point in (0, 11):
        x = float(INNER.grid()[0][point])
        torch.testing.assert_close(other[0, :, 0, point], torch.sin(x - t), rtol=0, atol=2e-3)
    free = start[0, 0, 0, 6].expand(10)
    torch.testing.assert_close(other[0, :, 0, 6], free)  # beyond the zone this inner step stands still


def test_a_run_along_outer_model_is_carried_in_the_state() -> None:
    past = outer(64).grid()[0].sin().float()[None, None, None]
    both, c = OneWay(Wave(True), Wave(False), past, outer(64), INNER, ratio=2), conditions(1, INNER, 0.05)
    start = INNER.grid()[0].sin().float()[None, None, None]
    whole = torch.stack(list(rollout(both, start, 6, c.after)), 1)
    state: Any = both.begin(start, c)
    for n in range(3):
        _, state = both(state, c.after(n))
    fresh = OneWay(Wave(True), Wave(False), past, outer(64), INNER, ratio=2)
    for n in range(3, 6):
        frame, state = fresh({k: v.clone() for k, v in state.items()}, c.after(n))
        assert torch.equal(frame[:, 0], whole[:, n])


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="beyond the outer points"):
        Interpolation(Box((8,), (1.5,), (4.0,), ("wall",)), INNER)
    with pytest.raises(ValueError, match="order is 3 but must be even"):
        Interpolation(outer(), INNER, 3)
    with pytest.raises(ValueError, match=r"isel\(member=0\)"):
        Nested(stored(16, 0.1, 3).expand_dims(member=2), U, INNER)
    with pytest.raises(ValueError, match="has 2; store a forecast"):
        OneWay(Wave(True), Wave(False), torch.zeros(2, 1, 1, 32), outer(), INNER)
    with pytest.raises(ValueError, match="known from time 0 to 0.2"):
        Nested(stored(16, 0.1, 3), U, INNER).of([10])(torch.tensor([0.3], dtype=torch.float64))
