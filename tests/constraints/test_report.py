"""The report follows a rollout: budgets that depend on the field are those of the frames that were returned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from surrogates.constraints import ConservedIntegral, InOrder, Law, OpenIntegral, StraightThrough
from surrogates.constraints.compose import over_bundle
from surrogates.constraints.report import defects
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray

FIELDS = Fields.of(Field("q"), Field("velocity", "m s-1", ("x",)))
LINE = Box((20,), (0.0,), (2.0,), ("wall",))
OPEN = OpenIntegral(FIELDS, "q")
DT = 0.1


@pytest.mark.parametrize("law", [OPEN, InOrder((StraightThrough(OPEN),))])
def test_budgets_that_read_the_field_are_those_of_the_frames_returned(law: Law) -> None:
    """q grows threefold under v = x: what flows out of the frame returned is a third of what the raw one says."""
    x, one = LINE.grid()[0], torch.ones(1, dtype=torch.float64)
    here = Conditions(LINE, 0 * one, DT * one, torch.zeros(1, 0))
    start = torch.stack([1 + x, x])[None]
    raw = start[:, None].repeat(1, 6, 1, 1)
    raw[:, :, 0] *= 3
    first, middle = over_bundle(law, raw[:, :4], law.reference(start, here), here)
    rest, kept = over_bundle(law, raw[:, 4:], middle, here.after(4))
    frames = torch.cat([first, rest], 1)
    assert torch.equal(kept[:, 1:], OPEN.inflow(frames[:, -1], LINE))
    assert float(law.defect(frames[:, -1], kept, here.after(6)).abs()) < 1e-5
    forecast = to_xarray(frames, FIELDS, LINE, time=[DT * n for n in range(1, 7)], trajectories=[0], attrs={"dt": DT})
    initial = to_xarray(start[:, None], FIELDS, LINE, time=[0.0], trajectories=[0], attrs={"dt": DT})
    assert float(defects(forecast, law, initial)["OpenIntegral-q"].max()) < 1e-5
    with pytest.raises(ValueError, match="depends on every frame"):
        defects(forecast.isel(time=[1, 3]), law, initial)


def test_laws_that_read_a_forcing_take_it_from_the_surroundings() -> None:
    """q grows by the integral of t, t^2/2, and so do its budgets."""

    def forcing(t: Tensor) -> Tensor:
        return t[:, None, None].expand(-1, 2, 20)

    times = torch.arange(1, 5, dtype=torch.float64) * DT
    frames = (1 + times.square() / 2)[None, :, None, None].expand(1, 4, 2, 20)
    forecast = to_xarray(frames, FIELDS, LINE, time=times.tolist(), trajectories=[0], attrs={"dt": DT})
    initial = to_xarray(torch.ones(1, 1, 2, 20, dtype=torch.float64), FIELDS, LINE, time=[0.0], trajectories=[0], attrs={"dt": DT})
    law = ConservedIntegral(FIELDS, "q", forced=True)
    left = defects(forecast, law, initial, surroundings=lambda start, n: replace(start.after(n), source_term=forcing))
    assert float(left["ConservedIntegral-q"].max()) < 2e-7
    with pytest.raises(ValueError, match="no source term"):
        defects(forecast, law, initial)
