"""Cross-fitted guesses: no residual comes from an operator that saw its trajectory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from surrogates.domains import Box
from surrogates.refine import FlowMatching
from surrogates.train import Settings, Training, train
from surrogates.train.guesses import Assigned, CrossFitted

BOX = Box.periodic((4,), 1.0)


class Constant(nn.Module):
    """An operator that says its number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor, domain: Box, embedding: Tensor | None = None) -> Tensor:
        extra = 0 if embedding is None else embedding[:, :, None]
        return x[:, :1] * 0 + self.value + extra


def test_each_row_gets_its_operator_in_its_place() -> None:
    guess = Assigned([Constant(10.0), Constant(20.0), Constant(30.0)], torch.tensor([2, 0, 2, 1]))
    embedding = torch.arange(4.0)[:, None]
    out = guess(torch.zeros(4, 3, 4), BOX, embedding)
    assert out[:, 0, 0].tolist() == [30.0, 11.0, 32.0, 23.0]


@pytest.mark.parametrize("count", [2, 3])
def test_nobody_guesses_a_trajectory_that_it_saw(count: int) -> None:
    crossed = CrossFitted([Constant(float(k)) for k in range(count)], [(k, count) for k in range(count)])
    trajectories = torch.arange(12)
    who = crossed.of(trajectories)(torch.zeros(12, 1, 4), BOX)[:, 0, 0]
    assert not (who == trajectories % count).any()


def test_operators_of_one_fold_or_of_two_partitions_are_refused() -> None:
    for folds in ([(0, 2), (0, 2)], [(0, 2), (1, 3)], [(0, 2)]):
        with pytest.raises(ValueError, match="different folds of one partition"):
            CrossFitted([Constant(0.0) for _ in folds], folds)


def test_a_refiner_learns_from_strangers_residuals(training: Callable[..., Training], settings: Settings, tmp_path: Path) -> None:
    """Two operators that memorise their fold: the fitted scale is that of the error on the other fold, not of their own."""
    for k in (0, 1):
        train(training(data={"fold": (k, 2)}), steps=30, out=tmp_path / f"fold{k}", settings=settings)
    train(training(), steps=30, out=tmp_path / "guess", settings=settings)
    second = training(guess=tmp_path / "guess", cross=[tmp_path / "fold0", tmp_path / "fold1"], refiner=partial(FlowMatching, steps=1))
    windows = second.data.windows("train")
    batch = windows.batch([0, windows.per_trajectory, 2 * windows.per_trajectory])  # trajectories 0, 1, 2
    guess = second.guess(batch)
    assert isinstance(guess, Assigned) and guess.which.tolist() == [1, 0, 1]
    assert not any(p.requires_grad for p in guess.operators[0].parameters())
    names = {n for n, _ in second.named_parameters()}
    assert all(n.startswith("surrogate.") for n in names)  # what is lent is neither trained nor stored
    own, lent = (second.surrogate.prepare(batch.past, batch.conditions, g)[2] for g in (None, guess))
    assert own is not None and lent is not None and not torch.equal(own, lent)
    run = train(second, steps=4, settings=settings)
    assert torch.equal(run.surrogate.operator.lift_out.weight, second.surrogate.operator.lift_out.weight)  # type: ignore[union-attr]


def test_a_surrogate_that_saw_everything_is_refused(training: Callable[..., Training], settings: Settings, tmp_path: Path) -> None:
    train(training(), steps=2, out=tmp_path / "guess", settings=settings)
    with pytest.raises(ValueError, match=r"saw all training trajectories; train it with `data: \{fold: \[0, 2\]\}`"):
        training(guess=tmp_path / "guess", cross=[tmp_path / "guess"], refiner=FlowMatching)
    with pytest.raises(ValueError, match="give its folder as `guess` too"):
        training(cross=[tmp_path / "guess"], refiner=FlowMatching)


def test_a_fold_holds_its_trajectories_and_shares_the_statistics(training: Callable[..., Training]) -> None:
    whole, fold = training().data, training(data={"fold": (1, 3)}).data
    seen = set()
    loader = fold.train_dataloader()
    for _ in range(3):
        for batch in loader:
            seen |= set(fold.trajectories_of(batch.windows).tolist())
    assert seen == {1, 4, 7}  # of the nine that train
    assert torch.equal(whole.normaliser.state_std, fold.normaliser.state_std)
    with pytest.raises(ValueError, match=r"fold is \[2, 2\]"):
        training(data={"fold": (2, 2)})
