"""Laws as a loss: the formula, hard and soft at once, what of a refiner is judged, and how much at which noise."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from surrogates.constraints import ConservedIntegral, Soft
from surrogates.constraints.soft import penalty
from surrogates.contracts import Conditions, Domain, Draws
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.noise import AtStep, SeededNoise
from surrogates.record import construct, describe
from surrogates.refine import FlowMatching, GaussianAverage, GaussianVelocity, MeanFlow, VariancePreserving
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute

FIELDS = Fields.of(Field("u"), Field("v"))
BOX = Box.periodic((8,), 2.0)
MASS, OTHER = ConservedIntegral(FIELDS, "u"), ConservedIntegral(FIELDS, "v", decay="rate")
RATE = 0.3


def at(rows: int = 3) -> Conditions:
    one = torch.ones(rows, dtype=torch.float64)
    return Conditions(BOX, 0 * one, 0.5 * one, RATE * one[:, None], ("rate",))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def draws(rows: int = 3) -> Draws:
    return AtStep(SeededNoise(1, list(range(rows)), [0] * rows), 0)


class Scale(nn.Module):
    """An operator that multiplies the last frame of its context."""

    def __init__(self, factor: float = 1.2) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        return self.factor * x[:, -2:]


def test_the_penalty_is_the_weighted_mean_square_of_the_defects_along_the_budgets() -> None:
    last, future = random(3, 2, 8), random(3, 4, 2, 8, seed=1)
    expected = torch.zeros(3, dtype=torch.float64)
    for j in range(4):
        here = at().after(j + 1)
        expected += 2.0 * MASS.defect(future[:, j], MASS.reference(last, at()), here)[:, 0].square() / 4
        decayed = OTHER.reference(last, at()) * torch.exp(torch.tensor(-RATE * 0.5 * (j + 1), dtype=torch.float64))
        expected += 0.5 * OTHER.defect(future[:, j], decayed, here)[:, 0].square() / 4
    torch.testing.assert_close(penalty((Soft(MASS, 2.0), Soft(OTHER, 0.5)), future, last, at()), expected)
    assert expected.min() > 1e-3


def test_it_is_added_to_the_loss_of_what_was_made_before_the_projection() -> None:
    """Hard and soft at once: the projection would leave nothing to learn from."""
    past, future = random(3, 1, 2, 8), random(3, 1, 2, 8, seed=1)
    parts = {"operator": Scale(), "target": Absolute(), "constraint": MASS}
    plain, soft = Surrogate(FIELDS, BOX, 0.5, **parts), Surrogate(FIELDS, BOX, 0.5, soft=(Soft(MASS, 3.0),), **parts)  # type: ignore[arg-type]
    added = soft.loss(past, future, at(), draws()) - plain.loss(past, future, at(), draws())
    torch.testing.assert_close(added, penalty(soft.soft, 1.2 * past, past[:, 0], at()))
    made, _ = soft(soft.begin(past, at()), at())
    assert MASS.defect(made[:, 0], MASS.reference(past[:, 0], at()), at()).abs().max() < 1e-15 < 1e-3 < added.min()


def test_training_on_it_alone_leads_to_the_law() -> None:
    past = random(3, 1, 2, 8)
    surrogate = Surrogate(FIELDS, BOX, 0.5, operator=Scale(1.5), target=Absolute(), soft=(Soft(MASS, 1e3),))
    optimiser = torch.optim.SGD(surrogate.parameters(), lr=1e-3)
    for _ in range(60):
        optimiser.zero_grad()
        surrogate.loss(past, past, at(), draws()).mean().backward()
        optimiser.step()
    assert abs(float(surrogate.operator.factor.detach()) - 1) < 1e-3  # type: ignore[union-attr, operator]


def test_a_flow_is_judged_by_its_end_point_as_far_as_it_is_known() -> None:
    seen: list[Tensor] = []

    def judge(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.ones(len(x), dtype=torch.float64)

    mean, nothing = [0.3, -0.7], [[0.0, 0.0], [0.0, 0.0]]
    truth = torch.tensor(mean, dtype=torch.float64)[None, :, None].expand(3, 2, 8).clone()
    given = (truth, None, torch.zeros(3, 0, 8, dtype=torch.float64), None, BOX, draws())
    path = VariancePreserving()
    for flow in (
        FlowMatching(GaussianVelocity(mean, nothing), channels=2).double(),
        FlowMatching(GaussianVelocity(mean, nothing, path), channels=2, path=path).double(),
        MeanFlow(GaussianAverage(mean, nothing), channels=2).double(),
    ):
        added = flow.loss(*given, judge=judge) - flow.loss(*given)
        torch.testing.assert_close(seen[-1], truth, rtol=0, atol=1e-9)
        assert ((added > 0) & (added <= 1)).all() and added.std() > 1e-3
    s = FlowMatching(GaussianVelocity(mean, nothing), channels=2).schedule.draw(draws(), truth.new_empty(3, 1), draw=1).flatten()
    flow = FlowMatching(GaussianVelocity(mean, nothing), channels=2).double()
    torch.testing.assert_close(flow.loss(*given, judge=judge) - flow.loss(*given), (1 - s) ** 2 / ((1 - s) ** 2 + s**2), rtol=0, atol=1e-6)


class Draw(nn.Module):
    """A refiner that returns its draw, and whose loss knows no judge."""

    evaluations = 1

    def forward(
        self, guess: Tensor | None, context: Tensor, embedding: object, domain: Domain, noise: Draws, correct: object = None
    ) -> Tensor:
        return noise(context[:, :2], draw=0)

    def loss(self, truth: Tensor, guess: Tensor | None, context: Tensor, embedding: object, domain: Domain, noise: Draws) -> Tensor:
        return truth.new_zeros(len(truth))


def test_a_refiner_that_tells_no_end_point_is_judged_by_a_sample() -> None:
    past = random(3, 1, 2, 8)
    surrogate = Surrogate(FIELDS, BOX, 0.5, refiner=Draw(), target=Absolute(), soft=(Soft(MASS, 3.0),))
    sample = draws()(past[:, 0], draw=0)[:, None]
    torch.testing.assert_close(surrogate.loss(past, past, at(), draws()), penalty(surrogate.soft, sample, past[:, 0], at()))


def test_it_is_written_down() -> None:
    soft = Soft(OTHER, 0.25)
    again = construct(json.loads(json.dumps(describe(soft))))
    assert again.weight == 0.25 and describe(again) == describe(soft)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_positive(weight: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Soft(MASS, weight)
