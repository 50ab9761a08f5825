"""ACDM: what it is without a context, the recursion that a Gaussian pair follows, how far that is from the law, levels and draws."""

import json
import math

import pytest
import torch
from networks import cloud
from torch import nn

from surrogates.contracts import Refiner
from surrogates.domains import Box, Mesh
from surrogates.noise import AtStep, SeededNoise
from surrogates.operators import ConvNet
from surrogates.record import construct, describe
from surrogates.refine import FEATURES, FlowMatching, GaussianVelocity, LinearBetas, SourcePrediction, Steps, VariancePreserving, ddim, ddpm
from surrogates.refine.acdm import ACDM
from surrogates.refine.features import time_of

F64 = {"dtype": torch.float64}


def pair(variance, correlation):
    """The exact noise prediction for (x, k), each of `variance`."""
    c = correlation * variance
    return GaussianVelocity((0.0, 0.0), ((variance, c), (c, variance)), LinearBetas(), SourcePrediction())


def one_by_one(like, *, draw):
    """Draw k is one at point k + 1 alone, so that point 0 has no noise."""
    out = torch.zeros_like(like)
    out[..., draw + 1] = 1.0
    return out


def sampled(variance, correlation, sampler=ddpm):
    """(mean / k, variance) of the x that are sampled given k."""
    refiner = ACDM(pair(variance, correlation), channels=1, sampler=sampler).double()
    n = 64  # one point without noise, and one for each draw
    x = refiner(None, torch.ones(1, 1, n, **F64), None, Box.periodic((n,), 1.0), one_by_one)[0, 0]
    return x[0].item(), (x[1:] - x[0]).square().sum().item()


def state(rows, channels, n, seed=0, dtype=torch.float64):
    return torch.randn(rows, channels, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def recursion(variance, rho, eta, steps=20):
    """The same by hand, for scalars: x is denoised given a k + b e_k, e_k fresh."""
    path, mean, spread = LinearBetas(steps), 0.0, 1.0
    for k in range(steps):
        (a, b), (c, d) = path.ends(1 - k / steps), path.ends(1 - (k + 1) / steps)
        diagonal, off = a * a * variance + b * b, a * a * variance * rho
        own, other = b * diagonal / (diagonal**2 - off**2), -b * off / (diagonal**2 - off**2)  # E[e_x | z_x, z_k]
        w = eta * d / b * math.sqrt(max(b * b - (a * d / c) ** 2, 0))
        of_z, of_e = c / a, math.sqrt(max(d * d - w * w, 0)) - c * b / a
        mean = (of_z + of_e * own) * mean + of_e * other * a
        spread = (of_z + of_e * own) ** 2 * spread + (of_e * other * b) ** 2 + w * w
    return mean, spread


@pytest.mark.parametrize(("sampler", "eta"), [(ddpm, 1), (ddim, 0)])
@pytest.mark.parametrize("variance", [1.0, 30.0])
def test_a_gaussian_pair_follows_its_recursion(variance, sampler, eta):
    for got, expected in zip(sampled(variance, 0.9, sampler), recursion(variance, 0.9, eta), strict=True):
        assert math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-6)


def test_how_far_that_is_from_the_law():
    """The figures in the module: the mean of x given k should be the correlation, and is not; nor do more steps bring it there."""
    assert [round(recursion(1.0, rho, 1)[0], 2) for rho in (0.9, 0.99, 0.999)] == [0.58, 0.80, 0.88]
    assert [round(recursion(1.0, rho, 1, steps=4000)[0], 2) for rho in (0.9, 0.99, 0.999)] == [0.63, 0.87, 0.96]
    assert abs(sampled(1.0, 0.9)[0] - 0.58) < 0.005


def test_without_correlation_it_is_ddpm_whatever_the_context(points, plain):
    """The network knows that the context tells nothing: x has the law that the diffusion without a context has, draw for draw."""
    oracle = GaussianVelocity((0.5,), ((0.3,),), LinearBetas(), SourcePrediction())

    class Apart(nn.Module):
        def forward(self, x, domain, embedding=None):
            return torch.cat([oracle(x[:, :1], domain, embedding), 0 * x[:, 1:]], 1)

    refiner = ACDM(Apart(), channels=1, sampler=ddim).double()
    plainly = FlowMatching(
        oracle, channels=1, path=LinearBetas(), schedule=Steps(20), prediction=SourcePrediction(), sampler=ddim, steps=20
    ).double()
    context, domain = state(3, 2, 8), points(8)
    expected = plainly(None, context[:, :0], None, domain, plain())
    torch.testing.assert_close(refiner(None, context, None, domain, plain()), expected, rtol=1e-12, atol=1e-12)


def test_the_exact_prediction_minimises_the_loss_of_both(points, plain):
    rows, oracle = 40_000, pair(1.0, 0.9)
    k = state(rows, 1, 2, 51)
    x = 0.9 * k + math.sqrt(0.19) * state(rows, 1, 2, 52)

    class Shifted(nn.Module):
        def __init__(self, x, k, tilt):
            super().__init__()
            self.by, self.tilt = torch.tensor([x, k], **F64)[:, None], tilt

        def forward(self, x, domain, embedding=None):
            return oracle(x, domain, embedding) + self.by + self.tilt * x

    def loss(*by, tilt=0.0):
        return ACDM(Shifted(*by, tilt), channels=1).loss(x, None, k, None, points(2), plain()).mean().item()

    best = loss(0.0, 0.0)
    for by in ((0.2, 0.0), (0.0, 0.2), (-0.2, 0.0), (0.0, -0.2)):
        assert abs(loss(*by) - best - 0.02) < 0.006  # the mean over both channels
    up, down = (loss(0.0, 0.0, tilt=tilt) - best for tilt in (0.1, -0.1))
    assert min(up, down) > 0 and abs(up - down) < 0.005


class Listening(nn.Module):
    """Channels out as asked; remembers the times that it heard and how noisy the context was."""

    def __init__(self, out):
        super().__init__()
        self.out, self.heard, self.seen = out, [], []

    def forward(self, x, domain, embedding=None):
        self.heard.append(time_of(embedding).tolist())
        self.seen.append(x)
        return 0.1 * x[:, : self.out]


def test_levels_counts_and_fresh_noise_of_the_context(points, plain):
    operator = Listening(3)
    refiner = ACDM(operator, channels=1).double()
    context, domain = state(2, 2, 500), points(500)
    refiner(None, context, None, domain, plain())
    assert len(operator.heard) == refiner.evaluations == 20
    times = [t[0] for t in operator.heard]
    assert all(any(abs(s - k / 20) < 1e-9 for k in range(1, 21)) for s in times)
    noises = []
    for s, x in zip(times, operator.seen, strict=True):
        a, b = refiner.path.ends(s)
        noises.append((x[:, 1:] - a * context) / b)
    assert all(abs(e.std() - 1) < 0.1 for e in noises)
    assert max(abs((noises[0] * e).mean()) for e in noises[1:]) < 0.12  # each level has its own
    operator.heard.clear()
    refiner.loss(state(4000, 1, 2), None, state(4000, 2, 2), None, points(2), plain())
    trained = {round(s * 20) for s in operator.heard[0]}
    assert {round(s * 20) for s in times} == trained == set(range(1, 21))


def test_the_sampler_s_noise_is_not_the_context_s(points):
    drawn = []

    def noise(like, *, draw):
        drawn.append((draw, like.shape[1]))
        return torch.zeros_like(like)

    ACDM(Listening(3), channels=1)(None, state(1, 2, 4), None, points(4), noise)
    assert len(drawn) == len(set(drawn)) == 1 + 20 + 19
    assert not {d for d, c in drawn if c == 1} & {d for d, c in drawn if c == 2}


def test_the_same_draws_on_any_batch_split(points):
    refiner = ACDM(Listening(3), channels=1).float()
    guess, context, domain = state(4, 1, 8, 1).float(), state(4, 2, 8, 2).float(), points(8)

    def run(rows):
        noise = AtStep(SeededNoise(11, [7 + r for r in rows], [0] * len(rows)), 4)
        arguments = (guess[rows], context[rows], None, domain, noise)
        return refiner(*arguments), refiner.loss(guess[rows] + 1, *arguments)

    whole, loss = run([0, 1, 2, 3])
    for rows in ([0, 1], [3, 2], [3]):
        x, part = run(rows)
        assert torch.equal(x, whole[rows])
        torch.testing.assert_close(part, loss[rows], rtol=1e-12, atol=0)


def test_a_law_is_obeyed(points, plain):
    refiner = ACDM(Listening(3), channels=1).double()
    x = refiner(None, state(2, 2, 8), None, points(8), plain(), lambda x: x - x.mean(-1, keepdim=True) + 5)
    torch.testing.assert_close(x.mean(-1), torch.full((2, 1), 5.0, **F64), rtol=0, atol=1e-13)


@pytest.mark.parametrize("domain", [Box.periodic((4, 6), 2.5), Mesh.batch([cloud(7), cloud(9)])], ids=lambda d: type(d).__name__)
def test_any_domain(domain, plain):
    rows = 1 if domain.members > 1 else 2
    refiner, context = ACDM(Listening(3), channels=1).double(), torch.ones(rows, 2, *domain.shape, **F64)
    x = refiner(None, context, None, domain, plain())
    assert x.shape == (rows, 1, *domain.shape)
    assert refiner.loss(x, None, context, None, domain, plain()).shape == (rows * domain.members,)


def test_the_widths_are_those_that_the_operator_meets(points, plain):
    for guess in (False, True):
        sizes = ACDM.widths(2, 4, guess, 1)
        refiner = ACDM(ConvNet(sizes.inputs, sizes.outputs, sizes.embedding, dim=1, width=4, layers=2), channels=2)
        u, context = state(2, 2, 8).float(), state(2, 4, 8).float()
        first = u if guess else None
        assert refiner(first, context, None, points(8), plain()).shape == u.shape
        refiner.loss(u, first, context, None, points(8), plain()).mean().backward()
        assert all(p.grad is not None for p in refiner.parameters())


def test_a_refiner_writes_itself_down(points, plain):
    refiner = ACDM(ConvNet(3, 3, FEATURES, dim=1, width=4, layers=2), channels=1, sampler=ddim, steps=10)
    assert isinstance(refiner, Refiner)
    again = construct(json.loads(json.dumps(describe(refiner))))
    again.load_state_dict(refiner.state_dict())
    arguments = (None, state(2, 2, 8).float(), None, points(8), plain())
    assert torch.equal(again(*arguments), refiner(*arguments))


def test_bad_input_is_named(points, plain):
    with pytest.raises(ValueError, match="7 steps do not divide the 20"):
        ACDM(Listening(3), channels=1, steps=7)
    with pytest.raises(ValueError, match="ends in pure noise"):
        ACDM(Listening(3), channels=1, path=VariancePreserving(), schedule=Steps(20))
    with pytest.raises(ValueError, match="truth has 2 channels but this refiner generates 1"):
        ACDM(Listening(3), channels=1).loss(state(1, 2, 4), None, state(1, 2, 4), None, points(4), plain())
