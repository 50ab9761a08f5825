"""Guidance without training: moment matching is exact for Gaussians, the others are biased as is said, and what it all costs."""

import itertools

import pytest
import torch
from torch import nn

from surrogates.contracts import Refiner
from surrogates.domains import Box
from surrogates.noise import AtStep, SeededNoise
from surrogates.record import construct, describe
from surrogates.refine import (
    Exponential,
    FlowMatching,
    GaussianVelocity,
    Langevin,
    PDERefiner,
    Steps,
    VarianceExploding,
    VariancePreserving,
    ab2,
    euler,
    heun,
)
from surrogates.refine.colour import Spectral
from surrogates.refine.features import time_of
from surrogates.refine.guidance import EndPoint, Guided, PosteriorSampling
from surrogates.refine.moment_matching import MomentMatching
from surrogates.refine.noise_levels import Karras
from surrogates.refine.path import Linear
from surrogates.refine.source import GaussianSource

F64 = {"dtype": torch.float64}
METHODS = [MomentMatching(2), PosteriorSampling(), EndPoint(2)]
A, ERROR, Y = torch.tensor([[1.0, 0.5]], **F64), 0.2, torch.tensor([1.5], **F64)


def misfit(x):
    """One number observed at each point on its own: a row of points is a row of observations."""
    return ((Y - torch.einsum("ij,bj...->bi...", A, x)) / ERROR).flatten(1)


def posterior(gaussian, a=A, error=ERROR, y=Y):
    """The mean and the covariance after y = a x + error, and the operator whose flow carries noise there."""
    m, cov = (torch.tensor(v, **F64) for v in gaussian)
    gain = cov @ a.T @ torch.linalg.inv(a @ cov @ a.T + error**2 * torch.eye(len(a), **F64))
    left = cov - gain @ a @ cov
    return GaussianVelocity((m + gain @ (y - a @ m)).tolist(), ((left + left.T) / 2).tolist())


def guided(gaussian, guidance, steps, path=Linear(), sampler=heun, floor=1e-4, prior=None, **kwargs):  # noqa: B008
    refiner = FlowMatching(prior or GaussianVelocity(*gaussian, path), channels=2, path=path, sampler=sampler, steps=steps, **kwargs)
    return Guided(refiner, misfit, guidance, floor=floor)


def run(refiner, noise, rows=4, n=1):
    """(samples, source draws)"""
    x = refiner(None, torch.zeros(rows, 0, n, **F64), None, Box.periodic((n,), 2.5), noise)
    return x, noise(torch.empty(rows, 2, n, **F64), draw=0)


# -- exactness -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "sampler", "order"),
    [(Linear(), euler, 1), (Linear(), heun, 2), (Linear(), ab2, 2), (VariancePreserving(), heun, 2)],
    ids=["euler", "heun", "ab2", "preserving"],
)
def test_moment_matching_carries_noise_to_the_exact_posterior_at_the_sampler_s_order(path, sampler, order, gaussian, plain):
    errors = []
    for steps in (10, 20, 40):
        x, e = run(guided(gaussian, MomentMatching(1), steps, path, sampler), plain())
        errors.append((x - posterior(gaussian).flow(e)).abs().max().item())
    orders = [torch.tensor(a / b).log2().item() for a, b in itertools.pairwise(errors)]
    assert abs(orders[-1] - order) < 0.25 and errors[-1] < 0.03, (errors, orders)


def test_mean_and_covariance_of_the_samples(gaussian, plain):
    x, _ = run(guided(gaussian, MomentMatching(1), 32), plain(), rows=40_000)
    exact = posterior(gaussian)
    covariance = exact.basis @ exact.variances.diag() @ exact.basis.T
    torch.testing.assert_close(x[..., 0].mean(0), exact.mean, rtol=0, atol=0.006)
    torch.testing.assert_close(x[..., 0].T.cov(), covariance, rtol=0, atol=0.003)


def test_fresh_noise_on_the_way_leaves_the_posterior(gaussian, plain):
    x, _ = run(guided(gaussian, MomentMatching(1), 64, sampler=Langevin(1.0)), plain(), rows=20_000)
    exact = posterior(gaussian)
    covariance = exact.basis @ exact.variances.diag() @ exact.basis.T
    torch.testing.assert_close(x[..., 0].mean(0), exact.mean, rtol=0, atol=0.02)
    torch.testing.assert_close(x[..., 0].T.cov(), covariance, rtol=0, atol=0.006)


def test_one_euler_step_gives_the_posterior_mean_without_spread(gaussian, plain):
    x, _ = run(guided(gaussian, MomentMatching(1), 1, sampler=euler), plain())
    torch.testing.assert_close(x[..., 0], posterior(gaussian).mean.expand(4, 2), rtol=0, atol=1e-5)


def test_an_exploding_path_and_preconditioning_lead_there_too(gaussian, plain):
    path = VarianceExploding()
    x, e = run(guided(gaussian, MomentMatching(1), 32, path, heun, 0.02, schedule=Karras()), plain())
    torch.testing.assert_close(x, posterior(gaussian).flow(e), rtol=0, atol=0.02)


def test_a_tight_error_is_no_harder(gaussian, plain):
    """S = I + G V G^T stays of one size along the flow, whatever the error: no step is stiff."""

    def tight(x):
        return (1.5 - x[:, 0]) / 1e-4

    refiner = guided(gaussian, MomentMatching(1), 16)
    refiner.misfit = tight
    x, _ = run(refiner, plain())
    assert (x[:, 0] - 1.5).abs().max() < 3e-3


def test_the_source_s_colour_is_in_the_covariance():
    """Data and source of one covariance P, two points observed: x = mean + L e with L L^T the posterior's covariance."""
    n, box, y = 8, Box.periodic((8,), 2.5), torch.tensor([0.7, -1.0], **F64)
    colour = Spectral(0.4, 2.0)
    refiner = FlowMatching(Shrink(), channels=1, source=GaussianSource(colour), sampler=heun, steps=32)
    unit = torch.cat([torch.eye(n, **F64), torch.zeros(1, n, **F64)])[:, None]  # the columns of L, and the mean
    flow = Guided(refiner, lambda x: (y - x[:, 0, [1, 4]]) / 0.3, MomentMatching(2), floor=1e-4)
    x = flow(None, torch.zeros(n + 1, 0, n, **F64), None, box, lambda like, draw: unit)[:, 0]
    root = colour(torch.eye(n, **F64)[:, None], box)[:, 0]
    prior, a = root @ root.T, torch.eye(n, **F64)[[1, 4]]
    gain = prior @ a.T @ torch.linalg.inv(a @ prior @ a.T + 0.09 * torch.eye(2, **F64))
    torch.testing.assert_close(x[n], gain @ y, rtol=0, atol=5e-3)
    L = (x[:n] - x[n]).T
    torch.testing.assert_close(L @ L.T, prior - gain @ a @ prior, rtol=0, atol=1e-2)


class Shrink(nn.Module):
    """The exact velocity on the linear path where data and source have one covariance and no mean."""

    def forward(self, x, domain, embedding=None):
        s = time_of(embedding)[:, None, None]
        return x * (2 * s - 1) / ((1 - s) ** 2 + s**2)


def test_a_deterministic_guess_is_the_frame_of_the_update(gaussian, plain):
    """What is generated are residuals of a guess in fitted units; the misfit speaks of the sum."""
    refiner = FlowMatching(GaussianVelocity(*gaussian), channels=2, sampler=heun, steps=48).double()
    refiner.scale.copy_(torch.tensor([0.5, 2.0], **F64))
    guess = torch.tensor([0.3, -0.2], **F64)[None, :, None]
    x = Guided(refiner, misfit, MomentMatching(1), floor=1e-4)(guess, torch.zeros(1, 0, 1, **F64), None, Box.periodic((1,), 1.0), plain())
    unit = refiner.scale.double()
    exact = posterior(gaussian, A * unit, y=Y - A @ guess[0, :, 0])
    expected = guess + unit[:, None] * exact.flow(plain()(x, draw=0))
    torch.testing.assert_close(x, expected, rtol=0, atol=4e-3)


# -- bias, said and seen ---------------------------------------------------------------------------------------------


def test_dps_is_too_narrow_and_leans_too_far(gaussian, plain):
    x, _ = run(guided(gaussian, PosteriorSampling(), 48), plain(), rows=2_000)
    exact = posterior(gaussian)
    seen, truth = A @ x[..., 0].mean(0), A @ exact.mean
    narrow = (A @ x[..., 0].T.cov() @ A.T) / (A @ exact.basis @ exact.variances.diag() @ exact.basis.T @ A.T)
    assert seen > truth + 0.05 and narrow < 0.2, (seen, truth, narrow)


def test_dps_with_a_large_error_is_as_good(gaussian, plain):
    """Where G V G^T is small beside the error, nothing is missing from S."""

    def vague(x):
        return ((Y - torch.einsum("ij,bj...->bi...", A, x)) / 8.0).flatten(1)

    results = []
    for guidance in (PosteriorSampling(), MomentMatching(1)):
        refiner = guided(gaussian, guidance, 12)
        refiner.misfit = vague
        results.append(run(refiner, plain())[0])
    free, _ = run(refiner.refiner, plain())
    assert (results[0] - results[1]).abs().max() < 0.05 * (results[1] - free).abs().max()


def test_the_end_point_alone_is_exact_for_white_data_of_unit_variance(plain):
    white = ((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)))
    x, e = run(guided(white, EndPoint(1), 32), plain())
    torch.testing.assert_close(x, posterior(white).flow(e), rtol=0, atol=1e-2)


# -- reductions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", METHODS, ids=lambda g: type(g).__name__)
def test_evidence_of_no_weight_leaves_the_flow(guidance, gaussian, plain):
    refiner = guided(gaussian, guidance, 8, floor=0.1)
    refiner.misfit = lambda x: 0 * x.flatten(1)
    free, _ = run(refiner.refiner, plain())
    torch.testing.assert_close(run(refiner, plain())[0], free, rtol=0, atol=1e-12)


@pytest.mark.parametrize("guidance", METHODS, ids=lambda g: type(g).__name__)
def test_rows_do_not_see_each_other(guidance, gaussian):
    refiner, box = guided(gaussian, guidance, 4, floor=0.1), Box.periodic((3,), 1.0)

    def of(rows):
        return refiner(None, torch.zeros(len(rows), 0, 3, **F64), None, box, AtStep(SeededNoise(0, rows, rows), 0))

    torch.testing.assert_close(of([9]), of([7, 8, 9])[2:], rtol=1e-12, atol=1e-12)


def test_a_law_still_holds_exactly(gaussian, plain):
    box = Box.periodic((6,), 1.0)

    def law(u):
        return u - u.mean(-1, keepdim=True) + 2

    x = guided(gaussian, MomentMatching(2), 8, floor=0.1)(None, torch.zeros(2, 0, 6, **F64), None, box, plain(), law)
    torch.testing.assert_close(x.mean(-1), torch.full((2, 2), 2.0, **F64), rtol=0, atol=1e-14)


@pytest.mark.parametrize("guidance", METHODS, ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_samples_where_gradients_are_off(mode, guidance, gaussian, plain):
    refiner = guided(gaussian, guidance, 3, floor=0.1)
    before, _ = run(refiner, plain())
    with mode():
        after, _ = run(refiner, plain())
    assert torch.equal(before, after) and not after.requires_grad


@pytest.mark.parametrize("guidance", METHODS, ids=lambda g: type(g).__name__)
def test_the_precision_is_the_state_s(guidance, gaussian):
    refiner, box = guided(gaussian, guidance, 4, floor=0.1), Box.periodic((3,), 1.0)
    refiner.misfit = lambda x: 1 - x[:, 0]
    noise = AtStep(SeededNoise(0, [0, 1], [0, 0]), 0)
    single, double = (refiner(None, torch.zeros(2, 0, 3, dtype=d), None, box, noise) for d in (torch.float32, torch.float64))
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-5)


# -- levels and costs ------------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """An operator that counts calls and products with its transposed Jacobian, and keeps the times it was told."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls, self.pulled, self.times = inner, 0, 0, []

    def forward(self, x, domain, embedding=None):
        self.calls += 1
        self.times.append(time_of(embedding)[0].item())
        y = self.inner(x, domain, embedding)
        if y.requires_grad:
            y.register_hook(self.count)
        return y

    def count(self, gradient):
        self.pulled += 1


@pytest.mark.parametrize("guidance", [MomentMatching(3), *METHODS], ids=lambda g: f"{type(g).__name__}{g.pullbacks}")
@pytest.mark.parametrize("sampler", [euler, heun, ab2])
@pytest.mark.parametrize("floor", [0.1, 0.5])
def test_evaluations_and_pullbacks_are_counted_right(floor, sampler, guidance, gaussian, plain):
    operator = Counting(GaussianVelocity(*gaussian))
    refiner = guided(gaussian, guidance, 5, sampler=sampler, floor=floor, prior=operator)
    run(refiner, plain(), n=2)
    assert (operator.calls, operator.pulled) == (refiner.evaluations, refiner.pullbacks)
    low = {0.1: 1, 0.5: 2}[floor] if guidance.pullbacks else 0  # s = 1; and s = .8, where a/b = .25
    assert refiner.evaluations == refiner.refiner.evaluations + (low if sampler is not heun or low < 2 else 3)


def test_every_level_visited_is_a_level_trained(gaussian, plain):
    operator, schedule = Counting(GaussianVelocity(*gaussian)), Steps(8)
    refiner = guided(gaussian, MomentMatching(1), 8, sampler=euler, floor=0.1, prior=operator, schedule=schedule)
    run(refiner, plain())
    assert all(schedule.trains(s) for s in operator.times) and len(operator.times) == 9
    assert sorted({round(8 * s) for s in operator.times}) == list(range(1, 9))


def test_moment_matching_is_exact_in_as_many_iterations_as_eigenvalues(gaussian, plain):
    """Two points with observations of different errors: two eigenvalues, two iterations."""

    def uneven(x):
        return (1.5 - x[:, 0]) / torch.tensor([0.1, 1.0], **F64)

    results = []
    for iterations in (1, 2, 3):
        refiner = guided(gaussian, MomentMatching(iterations), 16)
        refiner.misfit = uneven
        results.append(run(refiner, plain(), n=2)[0])
    torch.testing.assert_close(results[1], results[2], rtol=0, atol=1e-9)
    assert (results[0] - results[2]).abs().max() > 1e-3


# -- records and refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", METHODS, ids=lambda g: type(g).__name__)
def test_a_guidance_writes_itself_down(guidance, gaussian, plain):
    again = construct(describe(guidance))
    assert torch.equal(run(guided(gaussian, again, 3), plain())[0], run(guided(gaussian, guidance, 3), plain())[0])
    assert isinstance(guided(gaussian, guidance, 3), Refiner)


def test_what_is_refused(gaussian, plain):
    with pytest.raises(TypeError, match="PDERefiner has none; weigh its samples instead"):
        Guided(PDERefiner(nn.Identity(), channels=1, schedule=Exponential()), misfit, EndPoint())
    with pytest.raises(ValueError, match="floor is 0.0"):
        guided(gaussian, EndPoint(), 2, floor=0.0)
    with pytest.raises(ValueError, match="scale is -1.0"):
        PosteriorSampling(-1.0)
    for method in (EndPoint, MomentMatching):
        with pytest.raises(ValueError, match="iterations is 0"):
            method(0)
    constant = guided(gaussian, EndPoint(), 2)
    constant.misfit = lambda x: torch.ones(len(x), 3, **F64)
    with pytest.raises(ValueError, match="does not depend on the state"):
        run(constant, plain())
    with pytest.raises(TypeError, match="train the refiner that it guides"):
        constant.loss(None)
    with pytest.raises(ValueError, match="guess has 3 channels"):
        guided(gaussian, EndPoint(), 2)(torch.zeros(1, 3, 1, **F64), torch.zeros(1, 0, 1, **F64), None, Box.periodic((1,), 1.0), plain())
