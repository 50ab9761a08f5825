"""What a plan asks of its parts, and how often."""

from __future__ import annotations

from forecast.steps import Walk, initial
from torch import Tensor

from surrogates import simulate
from surrogates.contracts import Conditions
from surrogates.forecast.surroundings import Given
from surrogates.noise import SeededNoise


def test_the_clock_is_read_without_perturbing_again() -> None:
    perturbed: list[int] = []

    def perturb(past: Tensor, conditions: Conditions, noise: SeededNoise) -> Tensor:
        perturbed.append(len(past))
        return past

    simulate(Walk(), initial(2), 3, members=2, surroundings=Given(dt=[0.5, 0.25, 0.5]), perturb=perturb)
    assert perturbed == [1, 4], "once where the plan is checked, once where the forecast begins"
