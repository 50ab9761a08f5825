"""PDE-Refiner against the operator that knows the Gaussian answer to both of its questions."""

import json
from functools import partial

import pytest
import torch
from torch import nn

from surrogates.contracts import Refiner
from surrogates.noise import AtStep, SeededNoise
from surrogates.record import construct, describe
from surrogates.refine import FEATURES, Exponential, FlowMatching, GaussianVelocity, PDERefiner
from surrogates.refine.features import time_of

F64 = {"dtype": torch.float64}
MEAN, VARIANCE, SCHEDULE = 0.7, 0.25, Exponential(3, sigma_min=0.05)


class Denoiser(nn.Module):
    """For y ~ N(MEAN, VARIANCE): E[y] at s = 1, and E[eps | z] = sigma (z - MEAN)/(VARIANCE + sigma^2) below."""

    def __init__(self, mean=MEAN, of_guess=False):
        super().__init__()
        self.mean, self.of_guess = mean, of_guess

    def forward(self, x, domain, embedding=None):
        s = time_of(embedding)[:, None, None]
        mean = x[:, -1:] if self.of_guess else self.mean
        sigma = SCHEDULE.sigma(s)
        eps = sigma * (x[:, :1] - mean) / (VARIANCE + sigma**2)
        return torch.where(s > 1 - 1e-9, torch.full_like(eps, self.mean) if not self.of_guess else mean, eps)


class Linear(nn.Module):
    """A random linear operator at each point, computed row by row."""

    def __init__(self, channels_in):
        super().__init__()
        g = torch.Generator().manual_seed(1)
        self.w, self.t = nn.Parameter(torch.randn(channels_in, generator=g)), nn.Parameter(torch.randn(FEATURES, generator=g))

    def forward(self, x, domain, embedding=None):
        w, t = self.w.to(x), self.t.to(x)
        return (sum(x[:, i] * w[i] for i in range(len(w))) + sum(embedding[:, i] * t[i] for i in range(FEATURES))[:, None])[:, None]


def empty(rows, n):
    return torch.zeros(rows, 0, n, **F64)


def variance_after(start, levels):
    """var <- (l/(l + sigma^2))^2 (var + sigma^2): one round of the exact denoiser."""
    for s in levels:
        sigma2 = SCHEDULE.sigma(s) ** 2
        start = (VARIANCE / (VARIANCE + sigma2)) ** 2 * (start + sigma2)
    return start


def test_the_exact_operator_attains_the_bayes_loss_and_others_do_not(points, plain):
    rows, domain = 50_000, points(4)
    truth = MEAN + VARIANCE**0.5 * plain(9)(empty(rows, 4).new_empty(rows, 1, 4), draw=0)

    def loss(operator):
        return PDERefiner(operator, channels=1, schedule=SCHEDULE).loss(truth, None, empty(rows, 4), None, domain, plain()).mean().item()

    residual = [VARIANCE] + [VARIANCE / (VARIANCE + SCHEDULE.sigma(s) ** 2) for s in SCHEDULE.levels(3)[1:]]
    best = loss(Denoiser())
    assert abs(best / (sum(residual) / 4) - 1) < 0.01
    assert loss(Denoiser(MEAN + 0.2)) > best + 0.01
    assert loss(Denoiser(MEAN - 0.2)) > best + 0.01


def test_the_first_prediction_is_trained_and_made_from_zeros(points, plain):
    seen = []

    class Watcher(Denoiser):
        def forward(self, x, domain, embedding=None):
            seen.append(x[time_of(embedding) > 1 - 1e-9, :1])
            return super().forward(x, domain, embedding)

    refiner, context = PDERefiner(Watcher(), channels=1, schedule=SCHEDULE), empty(50, 4)
    refiner.loss(torch.ones(50, 1, 4, **F64), None, context, None, points(4), plain())
    refiner(None, context, None, points(4), plain())
    assert 0 < len(seen[0]) < 50 == len(seen[1])
    assert all((z == 0).all() for z in seen)


def test_samples_have_the_mean_and_the_variance_of_the_rounds(points, plain):
    x = PDERefiner(Denoiser(), channels=1, schedule=SCHEDULE)(None, empty(50_000, 4), None, points(4), plain())
    assert abs(x.mean().item() - MEAN) < 0.003
    assert abs(x.var().item() / variance_after(0.0, SCHEDULE.levels(3)[1:]) - 1) < 0.02


def test_a_guess_stands_for_the_first_prediction(points, plain):
    """With E[y] for its guess, the sample is the one that learns E[y] itself; and it takes one evaluation less."""
    schedule = Exponential(3, sigma_min=0.05, first=1)
    alone = PDERefiner(Denoiser(), channels=1, schedule=SCHEDULE)
    guided = PDERefiner(Denoiser(of_guess=True), channels=1, schedule=schedule)
    guess, domain = torch.full((5, 1, 4), MEAN, **F64), points(4)
    torch.testing.assert_close(guided(guess, empty(5, 4), None, domain, plain()), alone(None, empty(5, 4), None, domain, plain()))
    assert (alone.evaluations, guided.evaluations) == (4, 3)
    assert guided.loss(guess, guess, empty(5, 4), None, domain, plain()).shape == (5,)


def test_inflation_stretches_about_the_first_prediction(points, plain):
    refiner = PDERefiner(Denoiser(), channels=1, schedule=SCHEDULE)
    arguments = (None, empty(50, 4), None, points(4), plain())
    before = refiner(*arguments)
    refiner.inflation.fill_(1.5)
    torch.testing.assert_close(refiner(*arguments) - MEAN, 1.5 * (before - MEAN))


def test_every_estimate_is_corrected(points, plain):
    refiner, seen = PDERefiner(Linear(3), channels=1, schedule=SCHEDULE), []
    context = plain(4)(torch.empty(2, 2, 8, **F64), draw=0)
    x = refiner(None, context, None, points(8), plain(), lambda x: seen.append(0) or x - x.mean(-1, keepdim=True) + 3)
    assert len(seen) == refiner.evaluations + 1
    torch.testing.assert_close(x.mean(-1), torch.full((2, 1), 3.0, **F64), rtol=0, atol=1e-13)


def test_the_same_draws_on_any_batch_split(points):
    refiner, domain = PDERefiner(Linear(3), channels=1, schedule=SCHEDULE), points(8)
    context = torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(0))

    def run(rows):
        noise = AtStep(SeededNoise(2, rows, [0] * len(rows)), 1)
        return refiner(None, context[rows], None, domain, noise), refiner.loss(context[rows, :1], None, context[rows], None, domain, noise)

    whole, loss = run([0, 1, 2, 3])
    for rows in ([0, 1], [3, 2], [1]):
        x, part = run(rows)
        assert torch.equal(x, whole[rows])
        torch.testing.assert_close(part, loss[rows], rtol=1e-12, atol=0)


def test_a_sample_is_differentiable(points, plain):
    refiner = PDERefiner(Linear(4), channels=1, schedule=Exponential(2, 0.1, first=1))
    guess, context = torch.randn(1, 1, 3, **F64, requires_grad=True), torch.randn(1, 2, 3, **F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g, c: refiner(g, c, None, points(3), plain()), (guess, context))


@pytest.mark.parametrize("kind", [FlowMatching, partial(PDERefiner, schedule=SCHEDULE)])
def test_a_network_in_half_precision_leaves_the_state_its_own(kind, points, plain):
    class Half(Linear):
        def forward(self, x, domain, embedding=None):
            return super().forward(x, domain, embedding).bfloat16()

    context = torch.ones(2, 2, 4)
    refiner = kind(Half(3), channels=1)
    assert refiner(None, context, None, points(4), plain()).dtype == torch.float32
    assert refiner.loss(context[:, :1], None, context, None, points(4), plain()).isfinite().all()


def test_a_refiner_writes_itself_down(gaussian):
    refiner = PDERefiner(GaussianVelocity(*gaussian), channels=2, schedule=Exponential(4, 0.01))
    assert isinstance(refiner, Refiner)
    again = construct(json.loads(json.dumps(describe(refiner))))
    assert describe(again) == describe(refiner)
    again.load_state_dict(refiner.state_dict())


def test_guess_and_schedule_must_agree(points, plain):
    refiner, u = PDERefiner(Linear(2), channels=1, schedule=SCHEDULE), torch.zeros(1, 1, 4)
    with pytest.raises(ValueError, match=r"guess is given; write Exponential\(first=1\)"):
        refiner(u, u, None, points(4), plain())
    guided = PDERefiner(Linear(2), channels=1, schedule=Exponential(3, first=1))
    with pytest.raises(ValueError, match="first=1 but guess is None"):
        guided.loss(u, None, u, None, points(4), plain())


def test_other_channels_are_refused(points, plain):
    with pytest.raises(ValueError, match="truth has 2 channels but this refiner generates 1"):
        u = torch.zeros(1, 2, 4)
        PDERefiner(Linear(2), channels=1, schedule=SCHEDULE).loss(u, None, u, None, points(4), plain())
