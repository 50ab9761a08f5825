"""Schedules of sigma: EDM's levels, what is trained, and what the network hears of a time."""

import math

import pytest
import torch

from surrogates.record import construct, describe
from surrogates.refine import FlowMatching, Given, Karras, KarrasLogNormal, LogitNormal, Uniform, VarianceExploding
from surrogates.refine.features import features, time_of


def test_the_levels_of_edm():
    levels = Karras(80.0, 0.002, 7.0).levels(18)
    assert len(levels) == 19 and levels[0] == 1 and levels[-1] == 0
    sigma = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert [80 * s for s in levels[:-1]] == pytest.approx(sigma)
    assert Karras().levels(1) == (1.0, 0.0)


@pytest.mark.parametrize("schedule", [Karras(), KarrasLogNormal()], ids=str)
def test_what_is_visited_is_trained(schedule, plain):
    s = schedule.draw(plain(), torch.empty(4000, 1, dtype=torch.float64), draw=1)
    assert schedule.sigma_min / 80 * (1 - 1e-9) <= s.min() and s.max() <= 1
    assert all(schedule.trains(v) for v in schedule.levels(20)[:-1]) and not schedule.trains(1e-5)


def test_what_is_drawn_has_the_stated_law(plain):
    like = torch.empty(40_000, 1, dtype=torch.float64)
    sigma = 80 * Karras().draw(plain(), like, draw=1)
    low, high = 0.02 ** (1 / 7), 80 ** (1 / 7)
    u = (sigma ** (1 / 7) - low) / (high - low)
    assert abs(u.mean() - 1 / 2) < 0.01 and abs(u.var() - 1 / 12) < 0.002
    log = torch.log(80 * KarrasLogNormal(sigma_min=1e-6, sigma_max=80.0).draw(plain(), like, draw=1))
    assert abs(log.mean() + 1.2) < 0.02 and abs(log.std() - 1.2) < 0.02
    logit = torch.logit(LogitNormal(-0.4, 1.0).draw(plain(), like, draw=1))
    assert abs(logit.mean() + 0.4) < 0.02 and abs(logit.std() - 1) < 0.02


def test_a_network_hears_the_logarithm_of_sigma():
    path = VarianceExploding(80.0, 0.02)
    s = torch.tensor([0.02 / 80, 0.01, 1.0], dtype=torch.float64)
    told = path.told(s)
    assert told[0] == pytest.approx(0) and told[2] == pytest.approx(1)
    assert told[1] == pytest.approx(math.log(0.8 / 0.02) / math.log(4000))
    torch.testing.assert_close(path.heard(time_of(features(told))), s, rtol=1e-9, atol=0)
    assert path.told(0.01) == pytest.approx(float(told[1]))


def test_given_levels_must_be_trained(plain):
    given = Given((1.0, 0.7, 0.1, 0.0), Uniform())
    assert given.levels(3) == (1.0, 0.7, 0.1, 0.0) and construct(describe(given)) == given
    like = torch.empty(5, 1)
    torch.testing.assert_close(given.draw(plain(), like, draw=1), Uniform().draw(plain(), like, draw=1))
    with pytest.raises(ValueError, match="fall from 1 to 0"):
        Given((1.0, 0.2, 0.5, 0.0), Uniform())
    with pytest.raises(ValueError, match="not trained"):
        Given((1.0, 1e-5, 0.0), Karras())
    with pytest.raises(ValueError, match="steps=3, not 4"):
        given.levels(4)


def test_bounds_are_checked():
    for make in (lambda: Karras(1.0, 2.0), lambda: VarianceExploding(1.0, 2.0), lambda: Karras(rho=0.0)):
        with pytest.raises(ValueError, match="sigma_min"):
            make()


@pytest.mark.parametrize("schedule", [Uniform(), LogitNormal(), Karras(20.0), Karras(80.0, 1e-3), Given((1.0, 0.5, 0.0), Uniform())])
def test_an_exploding_path_takes_levels_of_its_own_sigmas_only(schedule):
    with pytest.raises(ValueError, match="write `schedule: .class: Karras, sigma_max: 80, sigma_min: 0.02"):
        FlowMatching(torch.nn.Identity(), channels=1, path=VarianceExploding(80.0, 0.02), schedule=schedule, steps=2)
    FlowMatching(torch.nn.Identity(), channels=1, path=VarianceExploding(80.0, 0.02), schedule=Given((1.0, 0.5, 0.0), Karras()), steps=2)
