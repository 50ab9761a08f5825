"""What a group says of itself at the end: the largest defect of the step's law, with or without references, finite or not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surrogates.constraints import Clipped, ConservedIntegral
from surrogates.contracts import Constraint, Domain
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast import simulate
from surrogates.forecast.progress import Progress
from surrogates.interchange import to_xarray
from surrogates.surrogate import Surrogate

FIELDS = Fields.of(Field("u"))
BOX = Box.periodic((8,), 2.0)


class Adds(nn.Module):
    """An operator whose tendency is one number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        return torch.full_like(x[:, -1:], self.value)


def told(law: Constraint, value: float = 1.0) -> float | None:
    bar = Progress(shown=False)
    start = to_xarray(torch.ones(2, 1, 1, 8), FIELDS, BOX, time=[0.0], trajectories=[0, 1], attrs={"dt": 0.5})
    simulate(Surrogate(FIELDS, BOX, 0.5, operator=Adds(value), constraint=law).eval(), start, 3, progress=bar)
    return bar.tally.defect


def test_a_law_without_references_tells_its_defect_too() -> None:
    assert told(Clipped(FIELDS, "u", lower=-100.0)) == 0.0
    found = told(ConservedIntegral(FIELDS, "u"))
    assert found is not None and found < 1e-6


def test_what_is_not_finite_is_not_hidden() -> None:
    assert told(ConservedIntegral(FIELDS, "u"), float("nan")) == float("inf")
