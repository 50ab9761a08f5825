"""What a plan asks of its parts, and how often."""

from __future__ import annotations

from pathlib import Path

import pytest
from forecast.steps import Walk, initial
from torch import Tensor

from surrogates import simulate
from surrogates.contracts import Conditions, Noise
from surrogates.forecast.surroundings import Given
from surrogates.noise import SeededNoise


def test_the_clock_is_read_without_perturbing_again() -> None:
    perturbed: list[int] = []

    def perturb(past: Tensor, conditions: Conditions, noise: SeededNoise) -> Tensor:
        perturbed.append(len(past))
        return past

    simulate(Walk(), initial(2), 3, members=2, surroundings=Given(dt=[0.5, 0.25, 0.5]), perturb=perturb)
    assert perturbed == [1, 4], "once where the plan is checked, once where the forecast begins"


def test_two_runs_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    class Again(Walk):
        def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
            with pytest.raises(FileExistsError, match="is being written by another process"):
                simulate(Walk(), initial(), 2, out=tmp_path / "f")
            return u

    simulate(Again(), initial(), 1, out=tmp_path / "f")
    assert [f.name for f in tmp_path.iterdir()] == ["f"]
