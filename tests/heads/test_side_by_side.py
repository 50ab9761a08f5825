"""Heads side by side make what each makes alone, in any order."""

from __future__ import annotations

import pytest
import torch
from heads_shared import BOXES, around, draw, fields_of, head_laws, statistics

from surrogates.heads import FluxForm, SideBySide, StreamFunction


def test_each_makes_its_own_and_the_order_does_not_matter() -> None:
    box = BOXES["channel"]
    fields, where = fields_of(box), around(box)
    flow, tracer = StreamFunction(fields, mean_flow=True), FluxForm(fields, "q")
    past, y = draw(2, 1, 4, *box.shape), draw(2, 4, *box.shape, seed=1)
    both = SideBySide((flow, tracer))
    u = head_laws(both, y, past, where, made=(1, 2, 3), rounding=1e-13)
    assert torch.equal(u[:, 1:3], flow(y[:, :2], past, where)[:, 1:3]) and torch.equal(u[:, 3], tracer(y[:, 2:], past, where)[:, 3])
    assert torch.equal(SideBySide((tracer, flow))(torch.cat([y[:, 2:], y[:, :2]], 1), past, where), u)
    stats = statistics(fields, 2)
    assert both.outputs(box) == 4 and both.made == (1, 2, 3)
    torch.testing.assert_close(both.sizes(stats, box, 0.1), torch.cat([h.sizes(stats, box, 0.1) for h in (flow, tracer)]))


def test_what_it_cannot_do_is_named() -> None:
    fields = fields_of(BOXES["periodic"])
    with pytest.raises(ValueError, match="needs at least one head"):
        SideBySide(())
    with pytest.raises(ValueError, match=r"channels \[1, 2\] are made by two heads"):
        SideBySide((StreamFunction(fields), FluxForm(fields, "velocity")))
