"""ProbConserv against the information form of Bayes' rule, its three covariances against each other, and its limits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surrogates.constraints import Observable, WeightedFunctionals, Within
from surrogates.constraints.weighted import Covariance, Dense, correct, diagonal, log_likelihood, low_rank, matrix, of_members
from surrogates.contracts import Conditions
from surrogates.domains import Box, Mesh
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("mass"))
TRAP = Box((3,), (0.0,), (12.0,), ("wall",), ((0.0, 1.0, 2.0, 12.0),))


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OWN, FACTORS, MEAN, G = random(0, 2, 7).square() + 0.1, random(1, 2, 7, 2), random(2, 2, 7), random(3, 3, 7)
DENSE = torch.diag_embed(OWN) + FACTORS @ FACTORS.mT
B = random(4, 2, 3)


def test_the_trap_of_unequal_cells() -> None:
    """Cells 1, 1, 10, short of 12: with S = 1/measure all rise by one; with S = 1 the large cell takes ten times the share."""
    g, u = TRAP.measure[None], torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    target = (u @ g.T) + 12
    plain, _ = correct(u, diagonal(1 / TRAP.measure[None]), g, target)
    torch.testing.assert_close(plain, u + 1)
    alike, _ = correct(u, diagonal(torch.ones(1, 3)), g, target)
    torch.testing.assert_close(alike - u, torch.tensor([[12.0, 12.0, 120.0]], dtype=torch.float64) / 102)


@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_it_agrees_with_the_information_form_of_bayes_rule(noise: float) -> None:
    """S' = (S^-1 + G^T G/sigma^2)^-1, mu' = S' (S^-1 mu + G^T b/sigma^2)."""
    inverse = torch.linalg.inv(DENSE)
    posterior = torch.linalg.inv(inverse + G.T @ G / noise**2)
    expected = (posterior @ (inverse @ MEAN[:, :, None] + G.T @ B[:, :, None] / noise**2))[:, :, 0]
    mean, covariance = correct(MEAN, Dense(DENSE), G, B, noise)
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(covariance.times(torch.eye(7, dtype=torch.float64).expand(2, 7, 7)), posterior)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_low_rank_and_dense_are_one(noise: float) -> None:
    (mean, sparse), (same, dense) = (correct(MEAN, c, G, B, noise) for c in (low_rank(OWN, FACTORS), Dense(DENSE)))
    assert isinstance(dense, Dense)
    torch.testing.assert_close(mean, same)
    torch.testing.assert_close(sparse.times(torch.eye(7, dtype=torch.float64).expand(2, 7, 7)), dense.matrix)
    torch.testing.assert_close(sparse.variance, dense.variance)
    truth = random(9, 2, 7)
    torch.testing.assert_close(log_likelihood(truth, mean, sparse), log_likelihood(truth, same, dense))


def test_diagonal_is_low_rank_without_factors() -> None:
    (mean, a), (same, b) = (correct(MEAN, c, G, B) for c in (diagonal(OWN), Dense(torch.diag_embed(OWN))))
    torch.testing.assert_close(mean, same)
    torch.testing.assert_close(a.variance, b.variance)


@pytest.mark.parametrize("covariance", [low_rank(OWN, FACTORS), Dense(DENSE)], ids=["low-rank", "dense"])
def test_one_after_the_other_is_all_at_once(covariance: Covariance) -> None:
    """What the first correction leaves uncertain is what the second may move: the posterior is a prior again."""
    mean, after = correct(*correct(MEAN, covariance, G[:1], B[:, :1]), G[1:], B[:, 1:])
    torch.testing.assert_close((mean, after.variance), ((once := correct(MEAN, covariance, G, B))[0], once[1].variance))


def test_without_noise_the_functionals_hold_and_are_certain() -> None:
    mean, covariance = correct(MEAN, low_rank(OWN, FACTORS), G, B)
    torch.testing.assert_close(mean @ G.T, B)
    assert covariance.times(G.T.expand(2, 7, 3).contiguous()).abs().max() < 1e-13
    assert (covariance.variance <= low_rank(OWN, FACTORS).variance).all() and (covariance.variance > 0).all()


def test_the_larger_the_noise_the_less_it_moves() -> None:
    moves = [(correct(MEAN, diagonal(OWN), G, B, noise)[0] - MEAN).norm() for noise in (0.0, 1.0, 10.0, 1e6)]
    assert moves == sorted(moves, reverse=True) and moves[-1] < 1e-9


def test_what_is_certain_stays() -> None:
    own = OWN.clone()
    own[:, 2:4] = 0
    assert torch.equal(correct(MEAN, diagonal(own), G, B)[0][:, 2:4], MEAN[:, 2:4])


def test_the_log_likelihood_is_that_of_each_value_by_itself() -> None:
    truth = random(9, 2, 7)
    expected = torch.distributions.Normal(MEAN, OWN.sqrt()).log_prob(truth).mean(1)
    torch.testing.assert_close(log_likelihood(truth, MEAN, diagonal(OWN)), expected)


def test_the_truths_own_integral_raises_its_expected_likelihood() -> None:
    """u ~ N(mu, S), told b = G u: the squared error has the expectation S'_ii, so calibration stays and the likelihood rises."""
    truth = MEAN[:1] + random(5, 4000, 7) @ torch.linalg.cholesky(DENSE[0]).T
    prior, mean = Dense(DENSE[:1].expand(4000, 7, 7)), MEAN[:1].expand(4000, 7)
    corrected, posterior = correct(mean, prior, G, truth @ G.T)
    ratio = (corrected - truth).square().mean(0) / posterior.variance[0]
    assert (ratio - 1).abs().max() < 5 * (2 / 4000) ** 0.5
    assert log_likelihood(truth, corrected, posterior).mean() > log_likelihood(truth, mean, prior).mean() + 0.1


def test_an_ensemble_gives_its_own_covariance() -> None:
    members = random(6, 2, 5, 7).float()
    mean, covariance = of_members(members)
    torch.testing.assert_close(covariance.variance, members.double().var(1))
    held, _ = correct(mean, covariance, G, B)
    torch.testing.assert_close(held @ G.T, B)


def test_the_law_is_the_function() -> None:
    variance, pattern = OWN[0], FACTORS[0, :, 0]
    box = Box((7,), (0.0,), (1.0,), ("wall",), ((0.0, 0.1, 0.15, 0.3, 0.5, 0.8, 0.9, 1.0),))
    regions = (Within("mass", (0.0,), (0.4,)), Within("mass", (0.2,), (1.0,)))
    law = WeightedFunctionals(FIELDS, regions, variance=(Observable("mass", variance),), factors=(Observable("mass", pattern),))
    ones = torch.ones(2, dtype=torch.float64)
    at = Conditions(box, ones, ones, torch.zeros(2, 0))
    expected, _ = correct(MEAN, low_rank(variance.expand(2, 7), pattern[:, None].expand(2, 7, 1)), matrix(law, box), B[:, :2])
    torch.testing.assert_close(law(MEAN[:, None], B[:, :2], at)[:, 0], expected)


def test_what_has_no_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="singular in row 1"):
        correct(MEAN, diagonal(OWN * torch.tensor([[1.0], [0.0]])), G, B)
    with pytest.raises(ValueError, match="singular"):
        correct(MEAN, diagonal(OWN), torch.cat([G, G[:1] * 0]), torch.cat([B, B[:, :1]], 1))
    law = WeightedFunctionals(FIELDS, (Within("mass", (0.0,), (12.0,)),), variance=(Observable("mass", (1.0, 1.0, -1.0)),))
    with pytest.raises(ValueError, match="non-negative"):
        law.reference(torch.zeros(1, 1, 3), Conditions(TRAP, B[:1, 0], B[:1, 0], torch.zeros(1, 0)))
    line = Mesh.from_cells([[0.0], [1.0]], [[0, 1]])
    with pytest.raises(ValueError, match="take them apart"):
        matrix(law, Mesh.batch([line, line]))
