"""Stochastic interpolants: the exact law of a Gaussian transition and weak orders, without sampling error, since the end of a linear
diffusion is affine in its noise: one point without any and one for each draw give its mean and its variance."""

import json

import pytest
import torch
from networks import cloud
from torch import nn

from surrogates.contracts import Refiner
from surrogates.domains import Box, Mesh, Sphere
from surrogates.noise import AtStep, SeededNoise
from surrogates.record import construct, describe
from surrogates.refine import FEATURES, GaussianSource, GuessSource, PreviousSource
from surrogates.refine.bridge import BrownianBridge, Foellmer, foellmer_diffusion, own_diffusion
from surrogates.refine.features import time_of
from surrogates.refine.interpolant import StochasticInterpolant
from surrogates.refine.sde import euler_maruyama, stochastic_heun

F64 = {"dtype": torch.float64}
SLOPE, SHIFT, VARIANCE = 0.7, 0.3, 0.2  # x | u ~ N(SLOPE u + SHIFT, VARIANCE)


class Transition(nn.Module):
    """The exact drift for that law, or `by` and `tilt` z off it; z comes first, u last."""

    def __init__(self, bridge, by=0.0, tilt=0.0):
        super().__init__()
        self.bridge, self.by, self.tilt = bridge, by, tilt

    def forward(self, x, domain, embedding=None):
        z, u = x[:, :1], x[:, -1:]
        s = domain.expand(time_of(embedding)[:, None])
        a, b, sigma, *_ = self.bridge.coefficients(s)
        mean, n2 = SLOPE * u + SHIFT, a * a * VARIANCE + sigma**2 * (1 - s)
        y = torch.where(n2 > 1e-13, (z - b * u - a * mean) / n2.clamp(min=1e-13), 0.0)
        return self.bridge.drift(mean + a * VARIANCE * y, u, sigma * (1 - s) * y, s) / self.bridge.gain(s) + self.by + self.tilt * z


class Pointwise(nn.Module):
    """A small network at each point, elementwise over rows."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.inward = nn.Parameter(torch.randn(channels_in, channels_out, generator=g, **F64))
        self.outward = nn.Parameter(torch.randn(FEATURES, channels_out, generator=g, **F64))

    def forward(self, x, domain, embedding=None):
        w, t = self.inward.to(x), self.outward.to(x)
        mixed = sum(x[:, i, None] * w[i].reshape(-1, *[1] * (x.ndim - 2)) for i in range(len(w)))
        return torch.tanh(mixed + domain.expand(sum(embedding[:, i, None] * t[i] for i in range(len(t)))))


def one_by_one(like, *, draw):
    """Draw k is one at point k + 1 alone, so that point 0 has no noise."""
    out = torch.zeros_like(like)
    out[..., draw - 1 if draw else 1] = 1.0
    return out


def law(bridge, diffusion, integrator, steps, u=1.5):
    refiner = StochasticInterpolant(
        Transition(bridge), channels=1, bridge=bridge, diffusion=diffusion, integrator=integrator, steps=steps
    ).double()
    x = refiner(None, torch.full((1, 1, steps + 1), u, **F64), None, Box.periodic((steps + 1,), 1.0), one_by_one)[0, 0]
    return torch.stack([x[0] - SLOPE * u - SHIFT, (x[1:] - x[0]).square().sum() - VARIANCE])


def twice(bridge, s):
    return 2 * own_diffusion(bridge, s)


def state(rows, channels, n, seed=0, dtype=torch.float64):
    return torch.randn(rows, channels, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# -- the law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diffusion", [own_diffusion, foellmer_diffusion, twice])
@pytest.mark.parametrize(
    ("bridge", "integrator", "order"),
    [
        (Foellmer(), euler_maruyama, 1),
        (Foellmer(), stochastic_heun, 2),
        (Foellmer(0.3), stochastic_heun, 2),
        (BrownianBridge(), euler_maruyama, 1),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_any_strength_gives_the_law_at_the_weak_order(bridge, integrator, order, diffusion):
    coarse, fine = (law(bridge, diffusion, integrator, n) for n in (64, 128))
    assert fine.abs().max() < {1: 0.02, 2: 5e-4}[order]
    orders = (coarse / fine).abs().log2()[(fine.abs() > 1e-10)]
    assert len(orders) and (orders - order).abs().max() < 0.15, orders


def test_without_noise_at_the_end_a_strength_that_stays_is_of_order_one():
    """BrownianBridge with constant g: what the last step leaves out is of the order of the step, whatever the method."""
    coarse, fine = (law(BrownianBridge(), foellmer_diffusion, stochastic_heun, n)[1] for n in (64, 128))
    assert abs((coarse / fine).log2() - 1) < 0.05


@pytest.mark.parametrize("integrator", [euler_maruyama, stochastic_heun])
def test_a_brownian_bridge_has_the_mean_at_any_number_of_steps(integrator):
    for steps in (1, 2, 5):
        assert law(BrownianBridge(), own_diffusion, integrator, steps)[0].abs() < 1e-12


def test_the_mean_that_few_steps_of_euler_and_maruyama_leave():
    """Nearly 1/steps of it, as the module says."""
    for steps in (4, 8, 16):
        short = -law(Foellmer(), own_diffusion, euler_maruyama, steps)[0] / (SLOPE * 1.5 + SHIFT)
        assert 0.7 < short * steps < 1


def test_what_few_evaluations_leave():
    """The figures in the module: four steps of Heun's method, which are 7 evaluations and 6."""
    mean, variance = law(BrownianBridge(), own_diffusion, stochastic_heun, 4) / torch.tensor([SLOPE * 1.5 + SHIFT, VARIANCE])
    assert abs(mean) < 1e-12 and -0.035 < variance < -0.025
    mean, variance = law(Foellmer(), own_diffusion, stochastic_heun, 4) / torch.tensor([SLOPE * 1.5 + SHIFT, VARIANCE])
    assert -0.055 < mean < -0.045 and -0.45 < variance < -0.35


def test_a_flow_cannot_leave_a_point():
    """g = 0 never converges: too little noise has been added before it starts."""
    errors = [law(Foellmer(), lambda bridge, s: 0.0, euler_maruyama, n)[1].abs() for n in (64, 256)]
    assert min(errors) > 0.02


@pytest.mark.parametrize("bridge", [Foellmer(), BrownianBridge()], ids=str)
def test_the_exact_drift_minimises_the_loss(bridge, points, plain):
    rows = 40_000
    u = state(rows, 1, 2, 51)
    x = SLOPE * u + SHIFT + VARIANCE**0.5 * state(rows, 1, 2, 52)

    def loss(**off):
        refiner = StochasticInterpolant(Transition(bridge, **off), channels=1, bridge=bridge)
        return refiner.loss(x, None, u, None, points(2), plain()).mean().item()

    best = loss()
    for by in (0.1, -0.1):
        assert abs(loss(by=by) - best - 0.01) < 0.004
    up, down = (loss(tilt=tilt) - best for tilt in (0.1, -0.1))
    assert min(up, down) > 0 and abs(up - down) < 0.005


@pytest.mark.parametrize("bridge", [Foellmer(), pytest.param(BrownianBridge(), marks=pytest.mark.slow)], ids=str)
def test_two_modes_are_both_found(bridge, points, plain):
    torch.manual_seed(0)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2 + FEATURES, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1))

        def forward(self, x, domain, embedding=None):
            return self.net(torch.cat([x[..., 0], embedding], 1))[..., None]

    refiner = StochasticInterpolant(Network(), channels=1, bridge=bridge, steps=16)
    optimiser, domain = torch.optim.Adam(refiner.parameters(), 4e-3), points(1)
    for i in range(500):
        truth = torch.randint(0, 4, (256, 1, 1)).clamp(max=1) * 2.0 - 1 + 0.1 * torch.randn(256, 1, 1)  # 3/4 of them at +1
        loss = refiner.loss(truth, None, torch.full((256, 1, 1), 0.5), None, domain, plain(i)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        x = refiner(None, torch.full((4000, 1, 1), 0.5), None, domain, plain(-1)).flatten()
    assert ((x.abs() - 1).abs() < 0.4).double().mean() > 0.85
    assert abs((x > 0).double().mean() - 0.75) < 0.08


# -- source and noise ----------------------------------------------------------------------------------------------


def test_the_guess_takes_the_place_of_the_previous_state(points, plain):
    previous, context, domain = state(3, 1, 8, 1), state(3, 2, 8, 2), points(8)
    from_previous = StochasticInterpolant(Transition(Foellmer()), channels=1).double()
    from_guess = StochasticInterpolant(Transition(Foellmer()), channels=1, source=GuessSource(std=0.0)).double()
    x = from_previous(None, torch.cat([context, previous], 1), None, domain, plain())
    assert torch.equal(from_guess(previous, context, None, domain, plain()), x)
    a = from_previous.loss(x, None, torch.cat([context, previous], 1), None, domain, plain())
    assert torch.equal(from_guess.loss(x, previous, context, None, domain, plain()), a)


def test_the_noise_has_the_scale(points):
    """In units of the scale, from a scaled state: the law in those units."""
    refiner = StochasticInterpolant(Transition(Foellmer()), channels=1, steps=8).double()

    class Scaled(nn.Module):
        def forward(self, x, domain, embedding=None):
            return refiner.operator(x / 50, domain, embedding)

    large = StochasticInterpolant(Scaled(), channels=1, steps=8).double()
    large.scale.fill_(50.0)
    context, domain = state(1, 1, 9), points(9)
    torch.testing.assert_close(
        large(None, 50 * context, None, domain, one_by_one), 50 * refiner(None, context, None, domain, one_by_one), rtol=1e-12, atol=1e-12
    )


def test_all_randomness_is_in_the_draws(points):
    drawn = []

    def noise(like, *, draw):
        drawn.append((draw, tuple(like.shape)))
        return torch.zeros_like(like)

    refiner = StochasticInterpolant(Pointwise(3, 1), channels=1, steps=4)
    refiner(None, state(2, 2, 8), None, points(8), noise)
    assert drawn == [(k, (2, 1, 8)) for k in (0, 3, 4)]  # a draw a step but for the last


def test_the_same_draws_on_any_batch_split(points):
    refiner = StochasticInterpolant(Pointwise(4, 1), channels=1).float()
    guess, context, domain = state(5, 1, 8, 1).float(), state(5, 2, 8, 2).float(), points(8)

    def run(rows):
        noise = AtStep(SeededNoise(11, [7 + r for r in rows], [0] * len(rows)), 4)
        arguments = (guess[rows], context[rows], None, domain, noise)
        return refiner(*arguments), refiner.loss(guess[rows] + 1, *arguments)

    whole, loss = run([0, 1, 2, 3, 4])
    for rows in ([0, 1], [4, 2], [3]):
        x, part = run(rows)
        assert torch.equal(x, whole[rows])
        torch.testing.assert_close(part, loss[rows], rtol=1e-12, atol=0)


# -- the contract --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bridge", [Foellmer(), BrownianBridge()], ids=str)
@pytest.mark.parametrize("integrator", [euler_maruyama, stochastic_heun])
def test_evaluations_are_counted_and_levels_trained(bridge, integrator, points, plain):
    heard = []

    class Listening(Pointwise):
        def forward(self, x, domain, embedding=None):
            heard.append(time_of(embedding)[0].item())
            return super().forward(x, domain, embedding)

    refiner = StochasticInterpolant(Listening(3, 1), channels=1, bridge=bridge, integrator=integrator, steps=4)
    refiner(None, state(2, 2, 8), None, points(8), plain())
    per_step = {euler_maruyama: 4, stochastic_heun: 7}[integrator]
    assert len(heard) == refiner.evaluations == per_step - bridge.departs_blindly
    assert min(heard) > 0 and all(refiner.schedule.trains(s) for s in heard)


@pytest.mark.parametrize("diffusion", [own_diffusion, foellmer_diffusion])
def test_a_law_is_obeyed_and_the_rest_is_left_alone(diffusion, points, plain):
    def centred(x):
        return x - x.mean(-1, keepdim=True) + 5

    refiner = StochasticInterpolant(Transition(Foellmer()), channels=1, steps=6, diffusion=diffusion).double()
    context, domain = state(3, 1, 8), points(8)
    free, held = (refiner(None, context, None, domain, plain(), law) for law in (None, centred))
    torch.testing.assert_close(held.mean(-1), torch.full((3, 1), 5.0, **F64), rtol=0, atol=1e-13)
    torch.testing.assert_close(held - held.mean(-1, keepdim=True), free - free.mean(-1, keepdim=True), rtol=0, atol=1e-11)


def test_a_sample_is_differentiable(points, plain):
    refiner = StochasticInterpolant(Pointwise(4, 1), channels=1, steps=3, diffusion=foellmer_diffusion).double()
    guess, context = state(1, 1, 3, 1).requires_grad_(), state(1, 2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda g, c: refiner(g, c, None, points(3), plain()), (guess, context))


@pytest.mark.parametrize(
    "domain", [Box.periodic((4, 6), 2.5), Sphere((4, 8)), Mesh.batch([cloud(7), cloud(9)])], ids=lambda d: type(d).__name__
)
def test_any_domain(domain, plain):
    rows = 1 if domain.members > 1 else 2
    refiner = StochasticInterpolant(Pointwise(3, 1), channels=1).double()
    context = torch.ones(rows, 2, *domain.shape, **F64)
    x = refiner(None, context, None, domain, plain())
    assert x.shape == (rows, 1, *domain.shape) and x.isfinite().all()
    assert refiner.loss(x, None, context, None, domain, plain()).shape == (rows * domain.members,)


def test_a_refiner_writes_itself_down(points, plain):
    from surrogates.operators import ConvNet

    refiner = StochasticInterpolant(
        ConvNet(3, 1, FEATURES, dim=1, width=4, layers=2),
        channels=1,
        bridge=BrownianBridge(0.4),
        diffusion=foellmer_diffusion,
        integrator=euler_maruyama,
        steps=3,
    )
    refiner.scale.fill_(0.3)
    assert isinstance(refiner, Refiner)
    again = construct(json.loads(json.dumps(describe(refiner))))
    again.load_state_dict(refiner.state_dict())
    arguments = (None, state(2, 2, 8).float(), None, points(8), plain())
    assert torch.equal(again(*arguments), refiner(*arguments))


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [GaussianSource(), PreviousSource(), GuessSource(0.1)])
def test_a_source_with_noise_of_its_own_is_refused(source):
    with pytest.raises(ValueError, match="a bridge brings its own noise"):
        StochasticInterpolant(Pointwise(3, 1), channels=1, source=source)


def test_a_single_step_that_sees_no_data_is_refused():
    with pytest.raises(ValueError, match="needs at least 2"):
        StochasticInterpolant(Pointwise(3, 1), channels=1, steps=1)
    assert StochasticInterpolant(Pointwise(3, 1), channels=1, bridge=BrownianBridge(), steps=1).evaluations == 1


def test_other_channels_and_a_missing_state_are_named(points, plain):
    refiner = StochasticInterpolant(Pointwise(5, 2), channels=2)
    with pytest.raises(ValueError, match="truth has 3 channels but this refiner generates 2"):
        refiner.loss(state(1, 3, 4), None, state(1, 2, 4), None, points(4), plain())
    with pytest.raises(ValueError, match="the context has fewer channels"):
        refiner(None, state(1, 1, 4), None, points(4), plain())
