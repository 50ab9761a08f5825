"""Flow matching: the minimiser of the loss, the reductions between sources, calibration, two modes, independence of batching."""

import json
import math

import pytest
import torch
from torch import nn

from surrogates.contracts import Refiner
from surrogates.domains import Box
from surrogates.noise import AtStep, SeededNoise
from surrogates.record import construct, describe
from surrogates.refine import (
    FEATURES,
    FlowMatching,
    GaussianSource,
    GaussianVelocity,
    GuessSource,
    Linear,
    PreviousSource,
    VariancePreserving,
    ab2,
    euler,
    heun,
)
from surrogates.refine.features import time_of

F64 = {"dtype": torch.float64}


class Pointwise(nn.Module):
    """A small network at each point: tanh, elementwise over rows, so that batching cannot change a bit."""

    def __init__(self, channels_in, channels_out, embedding=FEATURES):
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.inward = nn.Parameter(torch.randn(channels_in, channels_out, generator=g, **F64))
        self.outward = nn.Parameter(torch.randn(embedding, channels_out, generator=g, **F64))

    def forward(self, x, domain, embedding=None):
        w, t = self.inward.to(x), self.outward.to(x)
        mixed = sum(x[:, i, None] * w[i, :, None] for i in range(len(w)))
        return torch.tanh(mixed + sum(embedding[:, i, None] * t[i] for i in range(len(t)))[..., None])


class Seen(nn.Module):
    """What `inner` predicts when the first channels are seen as (z - c)/unit, with c some later channels of the input."""

    def __init__(self, inner, channels, at, unit):
        super().__init__()
        self.inner, self.channels, self.at, self.unit = inner, channels, at, unit

    def forward(self, x, domain, embedding=None):
        c = self.channels
        z = (x[:, :c] - x[:, self.at : self.at + c]) / self.unit
        return self.inner(torch.cat([z, x[:, c:]], 1), domain, embedding)


class Shifted(nn.Module):
    """An operator with a constant added to its prediction."""

    def __init__(self, inner, by):
        super().__init__()
        self.inner, self.by = inner, by

    def forward(self, x, domain, embedding=None):
        return self.inner(x, domain, embedding) + self.by


class TwoModes(nn.Module):
    """The exact velocity, on the linear path, for x = weight-mixed N(-1, std^2) and N(1, std^2), one channel."""

    def __init__(self, weight=0.5, std=0.1):
        super().__init__()
        self.weight, self.std = weight, std

    def forward(self, x, domain, embedding=None):
        z, s = x[:, :1], time_of(embedding)[:, None, None]
        a, variance = 1 - s, ((1 - s) * self.std) ** 2 + s**2
        log_odds = 2 * a * z / variance + math.log(self.weight / (1 - self.weight))
        up = torch.sigmoid(log_odds)
        gain = a * self.std**2 / variance
        mean = up * (1 + gain * (z - a)) + (1 - up) * (-1 + gain * (z + a))
        return (z - mean) / s


def empty(rows, n, channels=0):
    return torch.zeros(rows, channels, n, **F64)


def state(rows, channels, n, seed=0, dtype=torch.float64):
    return torch.randn(rows, channels, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# -- the loss ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "factor"), [(Linear(), 1), (VariancePreserving(), math.pi / 2)], ids=str)
def test_the_exact_velocity_attains_the_bayes_loss_and_others_do_not(path, factor, gaussian, points, plain):
    oracle = GaussianVelocity(*gaussian, path)
    domain, rows = points(4), 50_000
    truth = oracle.flow(state(rows, 2, 4, seed=5))

    def loss(operator):
        return FlowMatching(operator, channels=2, path=path).loss(truth, None, empty(rows, 4), None, domain, plain()).mean().item()

    # the average over s of W^2 l/(a^2 l + b^2) is W sqrt(l) pi/2 on both paths; W is 1 and pi/2
    bayes = factor * oracle.variances.sqrt().mean().item() * math.pi / 2
    best = loss(oracle)
    assert abs(best / bayes - 1) < 0.01
    for by in (0.1, -0.1):
        assert abs(loss(Shifted(oracle, by)) - best - 0.01) < 0.004


def test_the_bayes_loss_of_each_time(gaussian, points, plain):
    oracle = GaussianVelocity(*gaussian)

    class At:
        """A schedule that trains one time."""

        def levels(self, steps):
            return (1.0, 0.0)

        def draw(self, noise, like, *, draw):
            return torch.full_like(like, 0.3)

        def trains(self, s):
            return True

    truth = oracle.flow(state(50_000, 2, 2, seed=5))
    loss = FlowMatching(oracle, channels=2, schedule=At(), steps=1).loss(truth, None, empty(50_000, 2), None, points(2), plain())
    assert abs(loss.mean().item() / oracle.bayes_loss(0.3) - 1) < 0.015


def test_the_loss_is_one_number_a_member_with_gradients(points, plain):
    operator = Pointwise(1 + 2 + 1, 1)
    refiner = FlowMatching(operator, channels=1)
    u = state(3, 1, 5)
    loss = refiner.loss(u, u, state(3, 2, 5), None, points(5), plain())
    assert loss.shape == (3,)
    loss.mean().backward()
    assert all(p.grad.abs().min() > 0 for p in operator.parameters())


def test_two_modes_are_both_found(points, plain):
    torch.manual_seed(0)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(1 + FEATURES, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1))

        def forward(self, x, domain, embedding=None):
            return self.net(torch.cat([x[..., 0], embedding], 1))[..., None]

    refiner = FlowMatching(Network(), channels=1, sampler=heun, steps=16)
    optimiser, domain = torch.optim.Adam(refiner.parameters(), 4e-3), points(1)
    for i in range(600):
        truth = torch.randint(0, 4, (256, 1, 1)).clamp(max=1) * 2.0 - 1 + 0.1 * torch.randn(256, 1, 1)  # 3/4 of them at +1
        loss = refiner.loss(truth, None, torch.zeros(256, 0, 1), None, domain, plain(i)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        x = refiner(None, torch.zeros(4000, 0, 1), None, domain, plain(-1)).flatten()
    near = (x.abs() - 1).abs() < 0.35
    assert near.double().mean() > 0.9
    assert abs((x > 0).double().mean() - 0.75) < 0.06


# -- sources -------------------------------------------------------------------------------------------------------


def pair(source, at, dtype, path=Linear(), **kwargs):  # noqa: B008
    """(a flow in scaled residual coordinates, the flow from `source` in the units of the state) with one network."""
    inner, unit = Pointwise(2 + 4 + (2 if source == GuessSource else 0), 2), torch.tensor([0.3, 2.0]).to(dtype)
    residual = FlowMatching(inner, channels=2, path=path, **kwargs)
    direct = FlowMatching(Seen(inner, 2, at, unit[:, None]), channels=2, path=path, source=source(), **kwargs)
    for refiner in (residual, direct):
        refiner.to(dtype).scale.copy_(unit)
    return residual, direct


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("sampler", [euler, heun, ab2])
def test_from_the_previous_state_plus_noise_is_noise_to_tendency(dtype, tolerance, sampler, points, plain):
    tendency, direct = pair(PreviousSource, at=4, dtype=dtype, sampler=sampler)
    context, truth, domain = state(3, 4, 8, 1, dtype), state(3, 2, 8, 2, dtype), points(8)
    previous = context[:, -2:]
    expected = previous + tendency(None, context, None, domain, plain())
    torch.testing.assert_close(direct(None, context, None, domain, plain()), expected, rtol=tolerance, atol=4 * tolerance)
    losses = [
        direct.loss(truth, None, context, None, domain, plain()),
        tendency.loss(truth - previous, None, context, None, domain, plain()),
    ]
    torch.testing.assert_close(*losses, rtol=10 * tolerance, atol=tolerance)


def test_that_reduction_needs_the_linear_path(points, plain):
    """With a + b != 1 the previous state does not drop out of what is regressed."""
    tendency, direct = pair(PreviousSource, at=4, dtype=torch.float64, path=VariancePreserving())
    context, truth, domain = state(3, 4, 8, 1), state(3, 2, 8, 2), points(8)
    here = direct.loss(truth, None, context, None, domain, plain())
    there = tendency.loss(truth - context[:, -2:], None, context, None, domain, plain())
    assert (here / there - 1).abs().min() > 0.1


def test_from_the_guess_plus_noise_is_noise_to_residual(points, plain):
    residual, direct = pair(GuessSource, at=6, dtype=torch.float64)
    guess, context, truth, domain = state(3, 2, 8, 3), state(3, 4, 8, 1), state(3, 2, 8, 2), points(8)
    arguments = (guess, context, None, domain, plain())
    torch.testing.assert_close(direct(*arguments), residual(*arguments), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(direct.loss(truth, *arguments), residual.loss(truth, *arguments), rtol=1e-11, atol=1e-12)


def test_a_source_without_noise_starts_from_the_state_itself(points, plain):
    refiner = FlowMatching(Shifted(GaussianVelocity((0.0,), ((1.0,),)), 0.0), channels=1, source=PreviousSource(std=0.0), steps=1)
    context = state(2, 3, 4)
    frame = refiner.frame(None, context)
    torch.testing.assert_close(frame.mean + frame.std * plain()(context[:, -1:], draw=0), context[:, -1:])


def test_the_residual_of_a_guess_is_what_is_generated(gaussian, points, plain):
    """guess + scale (m + S^(1/2) e), for an operator that knows the law of the scaled residual."""
    oracle = GaussianVelocity(*gaussian)
    refiner = FlowMatching(oracle, channels=2, sampler=heun, steps=400).double()
    residuals = oracle.flow(state(2000, 2, 8, 9)) * torch.tensor([0.1, 3.0], **F64)[:, None]
    refiner.fit_scale(residuals)
    second_moments = torch.tensor(gaussian[1], **F64).diag() + torch.tensor(gaussian[0], **F64) ** 2
    torch.testing.assert_close(refiner.scale, torch.tensor([0.1, 3.0], **F64) * second_moments.sqrt(), rtol=0.02, atol=0)
    guess = state(3, 2, 8, 4)
    x = refiner(guess, empty(3, 8), None, points(8), plain())
    expected = guess + refiner.scale[:, None] * oracle.flow(plain()(guess, draw=0))
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-4)


# -- calibration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [euler, heun, ab2])
@pytest.mark.parametrize("path", [Linear(), VariancePreserving()], ids=str)
def test_for_a_gaussian_stretching_is_inflating_the_source(sampler, path, gaussian, points, plain):
    refiner = FlowMatching(GaussianVelocity(*gaussian, path), channels=2, path=path, sampler=sampler, steps=400).double()
    context, domain = empty(3, 8), points(8)
    loud = refiner(None, context, None, domain, lambda like, draw: 1.4 * plain()(like, draw=draw))
    refiner.inflation.fill_(1.4)
    tolerance = 1e-12 if path == Linear() else 3e-3  # exact once the sampler is: Euler's steps follow a curved mean
    torch.testing.assert_close(refiner(None, context, None, domain, plain()), loud, rtol=0, atol=tolerance)


def test_stretching_keeps_the_mean_and_scales_the_variance_of_any_law(points, plain):
    refiner = FlowMatching(TwoModes(weight=0.75), channels=1, sampler=heun, steps=64).double()
    context, domain = empty(20_000, 1), points(1)
    before = refiner(None, context, None, domain, plain())
    loud = refiner(None, context, None, domain, lambda like, draw: 1.5 * plain()(like, draw=draw))
    refiner.inflation.fill_(1.5)
    after = refiner(None, context, None, domain, plain())
    assert abs(before.mean().item() - 0.5) < 0.02  # the conditional mean of this law
    torch.testing.assert_close(after.mean(), before.mean(), rtol=0, atol=0.01)
    torch.testing.assert_close(after.var(), 2.25 * before.var(), rtol=1e-9, atol=0)
    assert abs(loud.mean() - before.mean()) > 0.05 and loud.var() < 1.5 * before.var()  # what inflating the source would do


def test_without_inflation_nothing_is_touched(points, plain):
    refiner = FlowMatching(Pointwise(2, 1), channels=1)
    assert refiner.inflation == 1
    x = refiner(None, state(2, 1, 8), None, points(8), plain())
    refiner.inflation.fill_(1 + 1e-3)
    y = refiner(None, state(2, 1, 8), None, points(8), plain())
    assert 1e-6 < (x - y).abs().max() < 1e-2


def test_an_inflated_sample_still_satisfies_the_law(points, plain):
    refiner = FlowMatching(Pointwise(4, 1), channels=1, source=GuessSource())
    refiner.inflation.fill_(1.7)
    refiner.scale.fill_(0.2)
    guess = state(2, 1, 8, 1)
    x = refiner(guess, state(2, 2, 8), None, points(8), plain(), lambda x: x - x.mean(-1, keepdim=True) + 5)
    torch.testing.assert_close(x.mean(-1), torch.full((2, 1), 5.0, **F64), rtol=0, atol=1e-14)


# -- the contract --------------------------------------------------------------------------------------------------


def test_corrections_are_asked_in_the_units_of_the_truth(points, plain):
    refiner = FlowMatching(Pointwise(4, 1), channels=1, steps=3)
    refiner.scale.fill_(1e-3)
    guess, seen = state(2, 1, 8, 1) + 100, []
    refiner(guess, state(2, 2, 8), None, points(8), plain(), lambda x: seen.append(x.mean().item()) or x)
    assert len(seen) == 3 + 2 and all(abs(m - 100) < 1 for m in seen)


def test_the_same_draws_on_any_batch_split(points):
    refiner = FlowMatching(Pointwise(4, 1, embedding=2 + FEATURES), channels=1, steps=3).float()
    guess, context, embedding = state(5, 1, 8, 1).float(), state(5, 2, 8, 2).float(), torch.randn(5, 2)
    trajectories, members, domain = [7, 7, 8, 9, 9], [0, 1, 0, 0, 3], points(8)

    def run(rows):
        noise = AtStep(SeededNoise(11, [trajectories[r] for r in rows], [members[r] for r in rows]), 4)
        arguments = (guess[rows], context[rows], embedding[rows], domain, noise)
        return refiner(*arguments), refiner.loss(guess[rows] + 1, *arguments)

    whole, loss = run([0, 1, 2, 3, 4])
    for rows in ([0, 1], [4, 2], [3]):
        x, part = run(rows)
        assert torch.equal(x, whole[rows])
        torch.testing.assert_close(part, loss[rows], rtol=1e-12, atol=0)
    assert not torch.equal(whole[0], whole[1])


def test_sampling_draws_only_the_source(points):
    drawn = []

    def noise(like, *, draw):
        drawn.append((draw, tuple(like.shape)))
        return torch.zeros_like(like)

    FlowMatching(Pointwise(2, 1), channels=1)(None, state(2, 1, 8), None, points(8), noise)
    assert drawn == [(0, (2, 1, 8))]


def test_a_sample_is_differentiable_in_guess_and_context(points, plain):
    refiner = FlowMatching(Pointwise(4, 1), channels=1, steps=2, sampler=heun)
    guess, context = state(1, 1, 3, 1).requires_grad_(), state(1, 2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda g, c: refiner(g, c, None, points(3), plain()), (guess, context))


def test_planes_are_refined_as_lines_are(gaussian, plain):
    box = Box.periodic((4, 6), 2.5)
    refiner = FlowMatching(GaussianVelocity(*gaussian), channels=2, sampler=heun, steps=50)
    context = torch.zeros(3, 0, 4, 6, **F64)
    x = refiner(None, context, None, box, plain())
    exact = refiner.operator.flow(plain()(x, draw=0))
    torch.testing.assert_close(x, exact, rtol=0, atol=1e-3)
    assert refiner.loss(x, None, context, None, box, plain()).shape == (3,)


def test_a_refiner_writes_itself_down(gaussian, points, plain):
    refiner = FlowMatching(GaussianVelocity(*gaussian, VariancePreserving()), channels=2, path=VariancePreserving(), sampler=ab2, steps=5)
    refiner.scale.fill_(0.3)
    assert isinstance(refiner, Refiner)
    again = construct(json.loads(json.dumps(describe(refiner))))
    again.load_state_dict(refiner.state_dict())
    arguments = (None, empty(2, 4), None, points(4), plain())
    assert torch.equal(again(*arguments), refiner(*arguments))
    assert {"scale", "inflation"} <= set(refiner.state_dict())


@pytest.mark.parametrize("source", [GaussianSource(), GuessSource(0.5), PreviousSource(0.1)])
def test_a_source_writes_itself_down(source):
    assert construct(describe(source)) == source


# -- bad input -----------------------------------------------------------------------------------------------------


def test_steps_below_one_are_refused(gaussian):
    with pytest.raises(ValueError, match="steps is 0 but a sampler needs at least one"):
        FlowMatching(GaussianVelocity(*gaussian), channels=2, steps=0)


def test_a_truth_of_other_channels_is_named(points, plain):
    with pytest.raises(ValueError, match="truth has 3 channels but this refiner generates 2"):
        FlowMatching(Pointwise(5, 2), channels=2).loss(state(1, 3, 4), None, state(1, 1, 4), None, points(4), plain())


def test_a_guess_of_other_channels_is_refused_when_sampling(points, plain):
    with pytest.raises(ValueError, match="guess has 3 channels but this refiner generates 2"):
        FlowMatching(Pointwise(5, 2), channels=2)(state(1, 3, 4), state(1, 1, 4), None, points(4), plain())


def test_a_missing_previous_state_or_guess_is_told(points, plain):
    for source, message in ((PreviousSource(), "the context has fewer channels"), (GuessSource(), "guess is None")):
        refiner = FlowMatching(Pointwise(3, 2), channels=2, source=source)
        with pytest.raises(ValueError, match=message):
            refiner(None, state(1, 1, 4), None, points(4), plain())


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_a_scale_that_cannot_divide_is_refused(bad, gaussian):
    residuals = state(5, 2, 4)
    residuals[:, 1] = bad
    with pytest.raises(ValueError, match="every channel must be finite and not exactly zero"):
        FlowMatching(GaussianVelocity(*gaussian), channels=2).fit_scale(residuals)


def test_residuals_of_other_channels_are_refused(gaussian):
    with pytest.raises(ValueError, match="residuals has 3 channels"):
        FlowMatching(GaussianVelocity(*gaussian), channels=2).fit_scale(state(5, 3, 4))


def test_the_oracle_refuses_what_is_no_covariance(points):
    with pytest.raises(ValueError, match="symmetric 2 x 2"):
        GaussianVelocity((0.0, 0.0), ((1.0, 0.2), (0.1, 1.0)))
    with pytest.raises(ValueError, match="negative eigenvalue"):
        GaussianVelocity((0.0, 0.0), ((1.0, 2.0), (2.0, 1.0)))
    with pytest.raises(ValueError, match="features of s"):
        GaussianVelocity((0.0,), ((1.0,),))(state(1, 1, 4), points(4))
