"""Paths of T steps: the published variances at the steps, and a smooth angle between them."""

import itertools
import math

import pytest
import torch

from surrogates.record import construct, describe
from surrogates.refine import ExponentialBetas, LinearBetas, Steps, VarianceExploding

PATHS = [LinearBetas(), LinearBetas(100), ExponentialBetas(), ExponentialBetas(8, 1e-3)]


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_abar_is_the_product_at_every_step(path):
    kept = list(itertools.accumulate((1 - b for b in path.betas), lambda x, y: x * y))
    for k, abar in enumerate(kept, 1):
        a, b = path.ends(k / path.steps)
        assert a * a == pytest.approx(abar, abs=1e-12) and b * b == pytest.approx(1 - abar, abs=1e-12)


def test_the_published_variances():
    betas = LinearBetas(20).betas
    assert betas[0] == pytest.approx(2.5e-3) and betas[-1] == pytest.approx(0.5) and len(betas) == 20
    refiner = ExponentialBetas(4, 4e-7).betas  # K = 3: sigma_min^(k/K), k = K..0
    assert refiner == pytest.approx([4e-7 ** (k / 3) for k in (3, 2, 1, 0)])
    assert ExponentialBetas().ends(1.0) == pytest.approx((0.0, 1.0))  # sampling starts from pure noise


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_numbers_and_tensors_agree_and_the_derivative_is_one(path):
    times = [0.03, 0.3, 0.55, 0.93]
    s = torch.tensor(times, dtype=torch.float64, requires_grad=True)
    a, b, da, db = path.coefficients(s)
    for i, t in enumerate(times):
        torch.testing.assert_close(torch.stack([a[i], b[i], da[i], db[i]]), torch.tensor(path.coefficients(t), dtype=torch.float64))
    torch.testing.assert_close(torch.autograd.grad(a.sum(), s, retain_graph=True)[0], da)
    torch.testing.assert_close(torch.autograd.grad(b.sum(), s)[0], db)


@pytest.mark.parametrize("path", [*PATHS, VarianceExploding()], ids=str)
@pytest.mark.parametrize("s", [0.02, 0.37, 0.9])
def test_the_time_of_a_ratio(path, s):
    a, b = path.ends(s)
    assert path.at(b / a) == pytest.approx(s)


def test_steps_are_trained_and_visited_alike(plain):
    schedule = Steps(20)
    assert schedule.levels(20)[:2] == (1.0, 0.95) and schedule.levels(5) == pytest.approx((1, 0.8, 0.6, 0.4, 0.2, 0))
    drawn = schedule.draw(plain(), torch.empty(5000, 1), draw=1)
    assert {round(20 * float(s), 4) for s in drawn} == set(range(1, 21))
    assert all(schedule.trains(s) for s in schedule.levels(10)[:-1]) and not schedule.trains(0.0) and not schedule.trains(0.51)
    with pytest.raises(ValueError, match="do not divide the 20"):
        schedule.levels(3)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_path_writes_itself_down(path):
    assert construct(describe(path)) == path


def test_variances_must_be_possible():
    with pytest.raises(ValueError, match="from 11 steps on"):
        LinearBetas(10)
    with pytest.raises(ValueError, match="at least 2 steps"):
        ExponentialBetas(1)
    assert math.isclose(LinearBetas(11).betas[-1], 0.02 * 500 / 11)
