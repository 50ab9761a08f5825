"""Parts by name, curves on disk, and what validation measures."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from surrogates.catalog import share
from surrogates.operators import FNO
from surrogates.refine import Exponential, FlowMatching, PDERefiner, VariancePreserving, heun
from surrogates.surrogate import Surrogate
from surrogates.train import Rollouts, Training
from surrogates.train.cli import parts_of
from surrogates.train.log import TRAIN, Log, read
from surrogates.train.part import part
from surrogates.train.validation import ensemble, score_curves, trial

OPERATORS, REFINE = "surrogates.operators", "surrogates.refine"


def test_a_part_is_its_class_called_with_the_rest() -> None:
    made = part({"class": "FNO", "width": 4, "modes": [3]}, "k", OPERATORS, given=3)(2, 1, 0)
    assert isinstance(made, FNO) and made.arguments == FNO(2, 1, 0, width=4, modes=[3]).arguments  # type: ignore[comparison-overlap]


def test_parts_hold_parts_and_functions_by_name() -> None:
    entry = {"class": "FlowMatching", "path": {"class": "VariancePreserving"}, "sampler": "heun", "steps": 3}
    made = part(entry, "k", REFINE, given=1, named=("channels",))(FNO(2, 1, 32, width=4, modes=(3,)), channels=1)
    assert isinstance(made, FlowMatching) and isinstance(made.path, VariancePreserving) and made.sampler is heun and made.steps == 3
    entry = {"class": "PDERefiner", "schedule": {"class": "Exponential", "steps": 2, "first": 1}}
    other = part(entry, "k", REFINE, given=1, named=("channels",))(FNO(2, 1, 32, width=4, modes=(3,)), channels=1)
    assert isinstance(other, PDERefiner) and other.schedule == Exponential(steps=2, first=1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"class": "FNO", "modes": "many"}, r"k\.modes: 'many' does not fit"),
        ({"class": "FNO", "in_channels": 3}, r"k\.in_channels: FNO has no such hyperparameter"),
        ({"width": 3}, "expected a mapping with the key 'class'"),
        ({"class": "surrogates.nowhere.Net"}, "cannot be imported"),
        ({"class": "PDERefiner"}, "among"),
    ],
)
def test_what_does_not_fit_is_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        part(entry, "k", OPERATORS, given=3)


def test_a_part_that_lacks_an_argument_says_so() -> None:
    with pytest.raises(ValueError, match="PDERefiner needs schedule; add `schedule: ...`"):
        part("PDERefiner", "k", REFINE, given=1, named=("channels",))


def test_the_shipped_configurations_name_parts_that_exist() -> None:
    files = [f for f in sorted((share("benchmarks")).glob("*/*.yaml")) if "model" in (yaml.safe_load(f.read_text()) or {})]
    assert len(files) >= 2
    for file in files:
        model = yaml.safe_load(file.read_text())["model"]
        parts_of(**{k: model.get(k) for k in ("operator", "refiner", "laws", "target")}, strategy=model.get("strategy", "OneStep"))


def test_a_log_resumes_without_the_rows_after_its_step_and_a_line_cut_by_a_kill(tmp_path: Path) -> None:
    whole, cut = Log(tmp_path / "a", tensorboard=False), Log(tmp_path / "b", tensorboard=False)
    for log in (whole, cut):
        log.folder.mkdir()  # type: ignore[union-attr]
        log.start(0)
        for step in (1, 2, 3):
            log.add(TRAIN, step, {"loss": 1 / step, "lr": 1e-3})
    with (tmp_path / "b" / "train.csv").open("a") as f:
        f.write("4,0.2")
    again = Log(tmp_path / "b", tensorboard=False)
    again.start(2)
    assert [r["step"] for r in again.rows[TRAIN]] == [1, 2]
    again.add(TRAIN, 3, {"loss": 1 / 3, "lr": 1e-3})
    assert (tmp_path / "a" / "train.csv").read_bytes() == (tmp_path / "b" / "train.csv").read_bytes()
    assert read(tmp_path / "b" / "train.csv")[2]["loss"] == 1 / 3  # exactly


def test_tensorboard_gets_the_same_rows(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is optional")
    log = Log(tmp_path)
    log.start(0)
    log.add(TRAIN, 5, {"loss": 0.5})
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")
    assert [(e.step, e.value) for e in events] == [(5, 0.5)]


class Shift(torch.nn.Module):
    """The exact step of a wave that goes one point a step, as a normalised tendency."""

    def forward(self, x: torch.Tensor, domain: Any, embedding: Any = None) -> torch.Tensor:
        return x.roll(1, -1) - x


def test_an_exact_step_has_no_error_and_leads_beyond_the_data_are_left_out(training: Callable[..., Training]) -> None:
    data = training().data
    points, box = data.domain.shape[0], data.domain
    k = 2 * math.pi / points
    x = torch.arange(points)
    truth = data.truth("valid").isel(time=slice(0, 4))
    u = torch.stack([torch.cos(k * (x - n)) for n in range(4)])
    truth["u"].values[:] = u.numpy()
    made = Surrogate(data.fields, box, data.dt, operator=Shift())
    scores = Rollouts(leads=(1, 3, 50)).scores(made, truth)
    assert set(scores) == {"nrmse_1", "nrmse_3", "correlation_1", "correlation_3"}
    assert scores["nrmse_3"] < 1e-5 and scores["correlation_3"] == pytest.approx(1.0)
    assert Rollouts(leads=(50,)).scores(made, truth) == {}


def test_starts_are_spread_over_the_trajectory_and_keep_their_own_noise(training: Callable[..., Training]) -> None:
    made = training(refiner=FlowMatching).surrogate
    truth = training().data.truth("train").isel(trajectory=slice(2))
    rows = trial(truth, made, frames=3, starts=3)
    assert rows.past.shape[0] == 6 and len(set(rows.trajectories)) == 6
    assert torch.equal(rows.past[:2, 0], torch.from_numpy(truth["u"].values[:, 0])[:, None])
    assert torch.equal(rows.truth[-2:, -1], torch.from_numpy(truth["u"].values[:, -1])[:, None])
    assert rows.conditions.time[:2].tolist() == [0.0, 0.0] and rows.conditions.time[-1] > 0
    members = ensemble(made, rows, 3, 2, seed=0)
    assert members.shape[:3] == (6, 2, 3) and torch.equal(members, ensemble(made, rows, 3, 2, seed=0))
    assert {"nrmse", "correlation", "spread_skill"} == set(score_curves(members, rows, made))
