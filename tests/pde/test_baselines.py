"""Persistence and climatology are Steps that know nothing but the last frame, or the mean."""

from __future__ import annotations

import pytest
import torch

from surrogates.contracts import Step
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.pde import Climatology, Persistence
from surrogates.rollout import rollout

BOX, FIELDS = Box.periodic((6, 4), 1.0), Fields.of(Field("velocity", components=("x", "y")))
PAST = torch.randn(3, 2, 2, 6, 4, generator=torch.Generator().manual_seed(0))


def test_persistence_repeats_the_last_frame(conditions) -> None:
    step, c = Persistence(FIELDS), conditions(BOX, 3, 0.1)
    assert isinstance(step, Step)
    for frame in rollout(step, PAST[:, 1:], 3, lambda n: c.after(n)):
        assert torch.equal(frame, PAST[:, -1])
    frame, state = step(step.begin(PAST, c), c)
    assert torch.equal(frame[:, 0], PAST[:, -1])
    assert int(state["step"]) == 1


@pytest.mark.parametrize("mean", [torch.tensor([1.0, -2.0], dtype=torch.float64), torch.arange(48.0).reshape(2, 6, 4)])
def test_climatology_answers_with_the_mean(conditions, mean) -> None:
    step, c = Climatology(FIELDS, mean), conditions(BOX, 3, 0.1)
    assert isinstance(step, Step)
    field = mean if mean.ndim > 1 else mean[:, None, None].expand(2, 6, 4)
    for frame in rollout(step, PAST[:, 1:], 2, lambda n: c.after(n)):
        assert frame.dtype == PAST.dtype and torch.equal(frame, field.to(PAST.dtype).expand(3, 2, 6, 4))


def test_what_does_not_fit_is_refused(conditions) -> None:
    c = conditions(BOX, 3, 0.1)
    with pytest.raises(ValueError, match="past has 1 channels but Persistence was made for"):
        Persistence(FIELDS).begin(PAST[:, :, :1], c)
    with pytest.raises(ValueError, match="the mean has 3 channels"):
        Climatology(FIELDS, torch.zeros(3))
    with pytest.raises(ValueError, match=r"field on \(3, 4\) but past lies on \(6, 4\)"):
        Climatology(FIELDS, torch.zeros(2, 3, 4)).begin(PAST, c)
