"""Samplers that go to the end and back, under a linear law on Gaussian data, whose conditional law is known.

All are affine in their draws, so a batch of unit draws tells the mean and the covariance of what they make without sampling error.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surrogates.domains import Box
from surrogates.refine import (
    ECI,
    PCFM,
    FlowMatching,
    GaussianAverage,
    GaussianVelocity,
    GuessSource,
    Linear,
    MeanFlow,
    Shortcut,
    euler,
    sample,
)
from surrogates.refine.reinterpolate import end_point
from surrogates.train.part import part

F64 = {"dtype": torch.float64}
MEAN, COVARIANCE = torch.tensor([0.5, -1.0], **F64), torch.tensor([[1.0, 0.3], [0.3, 0.25]], **F64)
A, B = torch.tensor([1.0, 0.5], **F64), 1.5  # the law: A . x = B
GAIN = COVARIANCE @ A / (A @ COVARIANCE @ A)
WANTED, LEFT = MEAN + GAIN * (B - A @ MEAN), COVARIANCE - GAIN[:, None] * (A @ COVARIANCE)
FREE = torch.tensor([-0.5, 1.0], **F64) / 1.25**0.5


class Units:
    """Draw d is the pair of unit vectors 2 d and 2 d + 1 of the batch of points, whose first is zero."""

    def __call__(self, like: Tensor, *, draw: int) -> Tensor:
        out = torch.zeros_like(like)
        for c in range(2):
            if (n := 1 + 2 * draw + c) < like.shape[2]:
                out[0, c, n] = 1.0
        return out


def correct(x: Tensor) -> Tensor:
    """The nearest point of the law, all directions alike."""
    short = torch.einsum("c,bc...->b...", A, x) - B
    return x - torch.einsum("c,b...->bc...", A / (A @ A), short)


def made(refiner: torch.nn.Module, draws: int, lawful: bool = True) -> tuple[Tensor, Tensor]:
    """The mean and the covariance of the samples."""
    n = 1 + 2 * draws
    x = refiner(None, torch.zeros(1, 0, n, **F64), None, Box.periodic((n,), 1.0), Units(), correct if lawful else None)[0]
    spread = x[:, 1:] - x[:, :1]
    return x[:, 0], spread @ spread.T


def errors(refiner: torch.nn.Module, draws: int) -> tuple[float, float]:
    """Along the law: how far the mean is off, and the deviation over the right one."""
    mean, covariance = made(refiner, draws)
    assert abs(float(A @ mean) - B) < 1e-14 and float(A @ covariance @ A) < 1e-14, "a sample misses the law"
    return abs(float(FREE @ (mean - WANTED))), float((FREE @ covariance @ FREE) / (FREE @ LEFT @ FREE)) ** 0.5


def flow(sampler: object, steps: int) -> torch.nn.Module:
    return FlowMatching(GaussianVelocity(MEAN.tolist(), COVARIANCE.tolist()), channels=2, sampler=sampler, steps=steps).double()  # type: ignore[arg-type]


def jumps(sampler: PCFM | ECI | None, steps: int) -> torch.nn.Module:
    return MeanFlow(GaussianAverage(MEAN.tolist(), COVARIANCE.tolist()), channels=2, sampler=sampler, steps=steps).double()


def test_fresh_noise_keeps_the_law_of_the_data_where_end_points_are_samples() -> None:
    mean, covariance = made(jumps(ECI(loops=2), 3), 8, lawful=False)
    torch.testing.assert_close(mean, MEAN, rtol=0, atol=1e-12)
    torch.testing.assert_close(covariance, COVARIANCE, rtol=0, atol=1e-12)


def test_fresh_noise_and_end_points_that_are_samples_meet_the_conditional_law() -> None:
    """The error of the mean falls like 1/steps; what is projected afterwards has it whatever the steps."""
    few, many = errors(jumps(ECI(), 8), 11), errors(jumps(ECI(), 32), 35)
    assert many[0] < few[0] / 2 and many[0] < 0.015 and abs(many[1] - 1) < 0.004
    looped = errors(jumps(ECI(loops=4), 8), 35)
    assert looped[0] < few[0] / 2 and abs(looped[1] - 1) < 0.004
    mean, _ = made(jumps(None, 4), 1, lawful=False)
    after = correct(mean[None, :, None])[0, :, 0]
    assert abs(float(FREE @ (after - WANTED))) > 10 * many[0]


def after(steps: int) -> tuple[float, float]:
    """Euler's samples, projected when they are done."""
    mean, covariance = made(flow(euler, steps), 1, lawful=False)
    ratio = float((FREE @ covariance @ FREE) / (FREE @ LEFT @ FREE)) ** 0.5
    return abs(float(FREE @ (correct(mean[None, :, None])[0, :, 0] - WANTED))), ratio


@pytest.mark.parametrize(
    ("found", "mean", "spread"),
    [
        (lambda: after(16), 0.39, 0.94),
        (lambda: errors(flow(euler, 16), 1), 0.15, 0.91),
        (lambda: errors(flow(PCFM(), 16), 1), 0.04, 1.45),
        (lambda: errors(flow(ECI(), 16), 19), 0.04, 0.64),
        (lambda: errors(jumps(ECI(), 16), 19), 0.05, 1.004),
        (lambda: errors(jumps(ECI(loops=4), 16), 67), 0.02, 1.001),
    ],
    ids=["after", "corrected", "PCFM", "ECI", "ECI-MeanFlow", "ECI-loops-MeanFlow"],
)
def test_the_table_that_the_module_gives(found, mean: float, spread: float) -> None:  # type: ignore[no-untyped-def]
    off, ratio = found()
    assert off / float(FREE @ LEFT @ FREE) ** 0.5 == pytest.approx(mean, abs=0.006)
    assert ratio == pytest.approx(spread, abs=0.006 if spread in (0.94, 0.91, 1.45, 0.64) else 0.0006)


def test_fresh_noise_and_end_points_that_are_means_lose_spread() -> None:
    assert errors(flow(ECI(), 32), 35)[1] < 0.75
    assert 0.9 < errors(flow(ECI(inner=8), 16), 19)[1] < 1, "inner steps make samples of them"


def test_the_noise_of_the_start_spreads_too_far_where_the_flow_is_curved() -> None:
    spreads = [errors(flow(PCFM(), steps), 1)[1] for steps in (8, 32)]
    assert 1 < spreads[0] < spreads[1] and spreads[1] > 1.7


def test_the_noise_of_the_start_is_right_where_the_flow_is_straight() -> None:
    """x = m + k e and z = (1 - s) x + s e: one evaluation knows the end, and going back is going on."""
    m, k = 0.3, 0.7

    def velocity(z: Tensor, s: float) -> Tensor:
        return (1 - k) * (z - (1 - s) * m) / ((1 - s) * k + s) - m

    e = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(0), **F64)
    levels = [1.0, 0.6, 0.25, 0.0]
    for sampler in (PCFM(), PCFM(inner=3)):
        torch.testing.assert_close(sample(sampler, velocity, e, levels), m + k * e, rtol=0, atol=1e-14)
    torch.testing.assert_close(end_point(velocity, e, velocity(e, 1.0), 1.0, Linear(), 4), m + k * e, rtol=0, atol=1e-14)


def test_one_step_is_that_of_every_sampler() -> None:
    whole = made(flow(euler, 1), 1)
    for sampler in (PCFM(), ECI()):
        torch.testing.assert_close(made(flow(sampler, 1), 3), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(made(jumps(ECI(), 1), 3), made(jumps(None, 1), 3), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("sampler", "count"), [(PCFM(), 4), (PCFM(inner=3), 12), (ECI(loops=2), 8), (ECI(loops=2, inner=2), 16)])
def test_evaluations_are_counted(sampler: PCFM | ECI, count: int) -> None:
    assert flow(sampler, 4).evaluations == jumps(sampler, 4).evaluations == count


def test_noise_is_drawn_as_often_as_is_said() -> None:
    drawn: list[int] = []

    def fresh(like: Tensor, k: int) -> Tensor:
        drawn.append(k)
        return torch.ones_like(like)

    ECI(loops=2, every=3)(lambda z, s: z, torch.ones(1, 1, 1), [1.0, 0.75, 0.5, 0.25, 0.0], Linear(), fresh)
    assert drawn == [2, 5], "turns 3 and 6 of 8; the last turn needs none"


def test_a_shortcut_goes_by_steps_that_were_trained() -> None:
    class Called(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor, domain: Box, embedding: Tensor) -> Tensor:
            self.calls += 1
            return x[:, :1]

    operator = Called()
    shortcut = Shortcut(operator, channels=1, steps=4, sampler=PCFM())
    assert [shortcut.stairs(s) for s in (1.0, 0.75, 0.625)] == [(1.0, 0.0), (0.75, 0.5, 0.0), (0.625, 0.5, 0.0)]
    shortcut(None, torch.zeros(1, 0, 5), None, Box.periodic((5,), 1.0), lambda like, *, draw: torch.ones_like(like))
    assert operator.calls == shortcut.evaluations == 5


def test_files_name_them() -> None:
    entry = {"class": "MeanFlow", "steps": 4, "sampler": {"class": "ECI", "loops": 2}}
    built = part(entry, "k", "surrogates.refine", given=1, named=("channels",))(torch.nn.Identity(), channels=2)
    assert built.sampler == ECI(loops=2)
    entry = {"class": "FlowMatching", "sampler": {"class": "PCFM"}}
    assert part(entry, "k", "surrogates.refine", given=1, named=("channels",))(torch.nn.Identity(), channels=2).sampler == PCFM()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="loops is 0"):
        ECI(loops=0)
    with pytest.raises(ValueError, match="inner is 0"):
        PCFM(inner=0)
    with pytest.raises(ValueError, match="ECI draws fresh noise"):
        ECI()(lambda z, s: z, torch.ones(1, 1, 1), [1.0, 0.0])
    with pytest.raises(ValueError, match="not from a GuessSource"):
        FlowMatching(torch.nn.Identity(), channels=2, sampler=ECI(), source=GuessSource())
