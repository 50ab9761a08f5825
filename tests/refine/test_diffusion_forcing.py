"""Diffusion forcing: what it reduces to, the exact law of Gaussian frames by any matrix of levels, levels, counts and draws."""

import itertools
import json

import pytest
import torch
from networks import cloud
from torch import nn

from surrogates.contracts import Refiner
from surrogates.domains import Box, Mesh, Sphere
from surrogates.noise import AtStep, SeededNoise
from surrogates.operators import ConvNet
from surrogates.record import construct, describe
from surrogates.refine import (
    FEATURES,
    FlowMatching,
    GaussianVelocity,
    GuessSource,
    Linear,
    LinearBetas,
    LogitNormal,
    Preconditioned,
    PreviousSource,
    SourcePrediction,
    Steps,
    VariancePreserving,
    Velocity,
    ddim,
)
from surrogates.refine.diffusion_forcing import DiffusionForcing
from surrogates.refine.features import time_of
from surrogates.refine.rolling import Ramp

F64 = {"dtype": torch.float64}
FRAMES = ((1.0, 0.6, 0.3), (0.6, 1.0, 0.6), (0.3, 0.6, 0.5))  # covariance of three frames
MEAN = (0.5, -1.0, 0.2)


def times_of(embedding, frames):
    return torch.stack([time_of(f) for f in embedding[:, -frames * FEATURES :].split(FEATURES, 1)], 1)


class Frames(nn.Module):
    """The exact prediction for Gaussian frames of one channel, each at its own level."""

    def __init__(self, path=Linear(), prediction=Velocity(), mean=MEAN, covariance=FRAMES):  # noqa: B008
        super().__init__()
        self.path, self.prediction = path, prediction
        self.mean, self.covariance = torch.tensor(mean, **F64), torch.tensor(covariance, **F64)

    def forward(self, x, domain, embedding=None):
        t = len(self.mean)
        s = self.path.heard(times_of(embedding.double(), t))
        of_z = torch.stack([torch.as_tensor(self.prediction.factor(self.path, q), **F64).expand(len(s)) for q in s.unbind(1)], 1)
        a, b, _, _ = self.path.coefficients(s)
        z = x[:, :t].double() / of_z[:, :, None]
        a, b = torch.as_tensor(a, **F64).expand(s.shape), torch.as_tensor(b, **F64).expand(s.shape)
        inside = a[:, :, None] * self.covariance * a[:, None, :] + torch.diag_embed(b**2)
        y = torch.linalg.solve(inside, z - (a * self.mean)[:, :, None])
        clean = self.mean[:, None] + self.covariance @ (a[:, :, None] * y)
        return self.prediction.target(self.path, clean, b[:, :, None] * y, s[:, :, None]).to(x.dtype)


class Pointwise(nn.Module):
    """A small network at each point, elementwise over rows."""

    def __init__(self, channels_in, channels_out, embedding=FEATURES):
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.inward = nn.Parameter(torch.randn(channels_in, channels_out, generator=g, **F64))
        self.outward = nn.Parameter(torch.randn(embedding, channels_out, generator=g, **F64))

    def forward(self, x, domain, embedding=None):
        w, t = self.inward.to(x), self.outward.to(x)
        mixed = sum(x[:, i, None] * w[i].reshape(-1, *[1] * (x.ndim - 2)) for i in range(len(w)))
        return torch.tanh(mixed + domain.expand(sum(embedding[:, i, None] * t[i] for i in range(len(t)))))


def state(rows, channels, n, seed=0, dtype=torch.float64):
    return torch.randn(rows, channels, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def law(refiner):
    """(mean, covariance) over the channels of what an affine sampler makes: one point without noise and one for each channel."""
    c = refiner.channels

    def one_by_one(like, *, draw):
        out = torch.zeros_like(like)
        out[0, :, 1:] = torch.eye(c).to(like)
        return out

    x = refiner(None, torch.zeros(1, 0, c + 1, **F64), None, Box.periodic((c + 1,), 1.0), one_by_one)[0]
    spread = x[:, 1:] - x[:, :1]
    return x[:, 0], spread @ spread.T


# -- reductions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "prediction"),
    [(Linear(), Velocity()), (VariancePreserving(), Velocity()), (VariancePreserving(), Preconditioned())],
    ids=str,
)
@pytest.mark.parametrize("source", [None, GuessSource(0.5), PreviousSource()])
def test_one_frame_is_flow_matching(path, prediction, source, points, plain):
    options = {"channels": 2, "path": path, "prediction": prediction} | ({} if source is None else {"source": source})
    network = Pointwise(2 + 4 + 2, 2)
    forcing, flow = DiffusionForcing(network, frames=1, steps=5, **options), FlowMatching(network, sampler=ddim, steps=5, **options)
    unit = torch.tensor([0.3, 2.0])
    for refiner in (forcing.double(), flow.double()):
        refiner.scale.copy_(unit)
        refiner.inflation.fill_(1.3)
    guess, context, truth, domain = state(3, 2, 8, 3), state(3, 4, 8, 1), state(3, 2, 8, 2), points(8)
    arguments = (guess, context, None, domain, plain())
    torch.testing.assert_close(forcing(*arguments), flow(*arguments), rtol=1e-11, atol=1e-11)
    assert torch.equal(forcing.loss(truth, *arguments), flow.loss(truth, *arguments))
    assert forcing.evaluations == flow.evaluations == 5


class LastFeatures(nn.Module):
    """What a network of one time sees of T that are equal."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, domain, embedding=None):
        assert all(torch.equal(f, embedding[:, -FEATURES:]) for f in embedding.split(FEATURES, 1))
        return self.inner(x, domain, embedding[:, -FEATURES:])


def test_frames_that_go_together_are_flow_matching_on_the_bundle(points, plain):
    network = Pointwise(6 + 2, 6)
    forcing = DiffusionForcing(LastFeatures(network), channels=6, frames=3, steps=4).double()
    flow = FlowMatching(network, channels=6, steps=4).double()
    arguments = (None, state(3, 2, 8, 1), None, points(8), plain())
    torch.testing.assert_close(forcing(*arguments), flow(*arguments), rtol=1e-11, atol=1e-11)


# -- the law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_steps", [lambda n: 0, lambda n: n // 4, lambda n: n], ids=["together", "pyramid", "one after the other"])
@pytest.mark.parametrize(("path", "prediction"), [(Linear(), Velocity()), (VariancePreserving(), Preconditioned())], ids=["linear", "vp"])
def test_any_matrix_gives_the_law_of_the_frames(path, prediction, of_steps):
    errors = []
    for n in (64, 128):
        refiner = DiffusionForcing(
            Frames(path, prediction), channels=3, frames=3, path=path, prediction=prediction, steps=n, lag=of_steps(n)
        ).double()
        mean, covariance = law(refiner)
        errors.append(max((mean - torch.tensor(MEAN, **F64)).abs().max(), (covariance - torch.tensor(FRAMES, **F64)).abs().max()).item())
    assert errors[1] < 0.03 and 1.6 < errors[0] / errors[1] < 2.4, errors


def test_together_is_the_exact_flow_of_the_bundle(points, plain):
    refiner = DiffusionForcing(Frames(), channels=3, frames=3, steps=400).double()
    x = refiner(None, torch.zeros(2, 0, 8, **F64), None, points(8), plain())
    exact = GaussianVelocity(MEAN, FRAMES).flow(plain()(x, draw=0))
    torch.testing.assert_close(x, exact, rtol=0, atol=0.02)


def test_a_frame_follows_from_what_another_became():
    """A frame that the clean one before it determines is made exactly, in one step; pure noise points to the mean."""
    refiner = DiffusionForcing(Frames(mean=(0.0, 0.0), covariance=((1.0, 0.8), (0.8, 0.64))), channels=2, frames=2).double()
    domain, z = Box.periodic((1,), 1.0), torch.tensor([[[0.7], [0.3]]], **F64)

    def network(z, features):
        return refiner.operator(z, domain, features)

    x, _ = refiner.denoise(network, z, ((0.0, 1.0), (0.0, 0.0)), domain)
    torch.testing.assert_close(x.flatten(), torch.tensor([0.7, 0.56], **F64), rtol=0, atol=1e-9)
    _, first = refiner.denoise(network, z, ((1.0, 1.0), (0.0, 1.0), (0.0, 0.0)), domain)
    torch.testing.assert_close(first, torch.zeros_like(first), rtol=0, atol=1e-12)


def test_the_exact_prediction_minimises_the_loss(points, plain):
    rows = 20_000
    truth = GaussianVelocity(MEAN, FRAMES).flow(state(rows, 3, 2, 5))

    class Shifted(Frames):
        by, tilt = torch.zeros(3, 1, **F64), 0.0

        def forward(self, x, domain, embedding=None):
            return super().forward(x, domain, embedding) + self.by + self.tilt * x

    def loss(frame=0, by=0.0, tilt=0.0):
        operator = Shifted()
        operator.by, operator.tilt = torch.zeros(3, 1, **F64).index_fill(0, torch.tensor(frame), by), tilt
        refiner = DiffusionForcing(operator, channels=3, frames=3)
        return refiner.loss(truth, None, torch.zeros(rows, 0, 2, **F64), None, points(2), plain()).mean().item()

    best = loss()
    for frame, by in itertools.product(range(3), (0.2, -0.2)):
        assert abs(loss(frame, by) - best - 0.04 / 3) < 0.006
    up, down = (loss(tilt=tilt) - best for tilt in (0.1, -0.1))
    assert min(up, down) > 0 and abs(up - down) < 0.005


# -- levels --------------------------------------------------------------------------------------------------------


class Listening(Pointwise):
    def __init__(self, channels_in, channels_out, frames):
        super().__init__(channels_in, channels_out, frames * FEATURES)
        self.frames, self.heard = frames, []

    def forward(self, x, domain, embedding=None):
        self.heard.append(times_of(embedding, self.frames))
        return super().forward(x, domain, embedding)


@pytest.mark.parametrize("lag", [0, 2, 4])
def test_evaluations_and_levels(lag, points, plain):
    operator = Listening(6 + 1, 6, 3)
    refiner = DiffusionForcing(operator, channels=6, frames=3, steps=4, lag=lag).double()
    refiner(None, state(2, 1, 4), None, points(4), plain())
    assert len(operator.heard) == refiner.evaluations == 4 + 2 * lag
    heard = torch.stack([h[0] for h in operator.heard])
    torch.testing.assert_close(heard, torch.tensor(refiner.matrix[:-1], **F64), rtol=0, atol=1e-6)
    assert all(refiner.times.trains(refiner.schedule, row) for row in refiner.matrix[:-1])


def test_each_frame_is_trained_at_a_level_of_its_own(points, plain):
    operator = Listening(3, 3, 3)
    DiffusionForcing(operator, channels=3, frames=3).loss(state(4000, 3, 1), None, state(4000, 0, 1), None, points(1), plain())
    s = operator.heard[0]
    assert s.T.corrcoef().triu(1).abs().max() < 0.05
    torch.testing.assert_close(s.mean(0), torch.full((3,), 0.5, **F64), rtol=0, atol=0.02)


def test_levels_that_are_not_trained_are_refused():
    with pytest.raises(ValueError, match="never train them"):  # a clean frame beside others is no step of a diffusion in 20
        DiffusionForcing(Frames(), channels=3, frames=3, path=LinearBetas(), schedule=Steps(20), steps=20, lag=5)
    DiffusionForcing(Frames(), channels=3, frames=3, path=LinearBetas(), schedule=Steps(20), steps=20)
    with pytest.raises(ValueError, match="Ramp"):  # a ramp never has all frames halfway
        DiffusionForcing(Frames(), channels=3, frames=3, times=Ramp(), steps=4)
    DiffusionForcing(Frames(), channels=3, frames=3, times=Ramp(), steps=6, lag=2)


# -- the contract --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"times": Ramp(), "steps": 6, "lag": 3}, {"prediction": Preconditioned(), "schedule": LogitNormal()}], ids=str
)
def test_the_same_draws_on_any_batch_split(options, points):
    refiner = DiffusionForcing(Pointwise(4 + 4 + 2, 4, 2 * FEATURES), channels=4, frames=2, **options).float()
    guess, context, domain = state(4, 4, 8, 1).float(), state(4, 2, 8, 2).float(), points(8)

    def run(rows):
        noise = AtStep(SeededNoise(11, [7 + r for r in rows], [0] * len(rows)), 4)
        arguments = (guess[rows], context[rows], None, domain, noise)
        return refiner(*arguments), refiner.loss(guess[rows] + 1, *arguments)

    whole, loss = run([0, 1, 2, 3])
    for rows in ([0, 1], [3, 2], [3]):
        x, part = run(rows)
        assert torch.equal(x, whole[rows])
        torch.testing.assert_close(part, loss[rows], rtol=1e-12, atol=0)


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_a_law_is_obeyed_and_the_rest_is_left_alone(lag, points, plain):
    def centred(x):
        return x - x.mean(-1, keepdim=True) + 5

    refiner = DiffusionForcing(Frames(), channels=3, frames=3, steps=2, lag=lag).double()
    arguments = (None, state(3, 0, 8), None, points(8), plain())
    free, held = refiner(*arguments), refiner(*arguments, centred)
    torch.testing.assert_close(held.mean(-1), torch.full((3, 3), 5.0, **F64), rtol=0, atol=1e-13)
    torch.testing.assert_close(held - held.mean(-1, keepdim=True), free - free.mean(-1, keepdim=True), rtol=0, atol=1e-11)


def test_a_bundle_is_differentiable(points, plain):
    refiner = DiffusionForcing(Pointwise(2 + 2, 2, 2 * FEATURES), channels=2, frames=2, steps=2, lag=1).double()
    context = state(1, 2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: refiner(None, c, None, points(3), plain()), (context,))


@pytest.mark.parametrize(
    "domain", [Box.periodic((4, 6), 2.5), Sphere((4, 8)), Mesh.batch([cloud(7), cloud(9)])], ids=lambda d: type(d).__name__
)
@pytest.mark.parametrize("options", [{"lag": 2}, {"times": Ramp(), "steps": 2, "lag": 1}], ids=str)
def test_any_domain(domain, options, plain):
    rows = 1 if domain.members > 1 else 2
    refiner = DiffusionForcing(Pointwise(4 + 2, 4, 2 * FEATURES), channels=4, frames=2, **options).double()
    context = torch.ones(rows, 2, *domain.shape, **F64)
    x = refiner(None, context, None, domain, plain())
    assert x.shape == (rows, 4, *domain.shape) and x.isfinite().all()
    assert refiner.loss(x, None, context, None, domain, plain()).shape == (rows * domain.members,)


def test_the_members_of_a_mesh_have_levels_of_their_own(plain):
    mesh, operator = Mesh.batch([cloud(7), cloud(9)]), Listening(4, 4, 2)
    refiner = DiffusionForcing(operator, channels=4, frames=2).double()
    loss = refiner.loss(state(1, 4, 16), None, state(1, 0, 16), None, mesh, plain())
    assert operator.heard[0].shape == (2, 2) and len(operator.heard[0].unique()) == 4 and loss.shape == (2,)


def test_one_scale_serves_all_frames(points):
    refiner = DiffusionForcing(Pointwise(4, 4, 2 * FEATURES), channels=4, frames=2)
    refiner.fit_scale(state(200, 4, 8) * torch.tensor([1.0, 30.0, 3.0, 10.0], **F64)[:, None])
    torch.testing.assert_close(refiner.scale, torch.tensor([5.0, 500.0, 5.0, 500.0]).sqrt(), rtol=0.05, atol=0)


def test_the_widths_are_those_that_the_operator_meets(points, plain):
    for guess in (False, True):
        sizes = DiffusionForcing.widths(6, 4, guess, 3)
        operator = ConvNet(sizes.inputs, sizes.outputs, sizes.embedding, dim=1, width=4, layers=2)
        refiner = DiffusionForcing(operator, channels=6, frames=3, steps=2)
        u, context = state(2, 6, 8).float(), state(2, 4, 8).float()
        first = u if guess else None
        assert refiner(first, context, None, points(8), plain()).shape == u.shape
        refiner.loss(u, first, context, None, points(8), plain()).mean().backward()


def test_a_refiner_writes_itself_down(points, plain):
    refiner = DiffusionForcing(ConvNet(4, 3, 3 * FEATURES, dim=1, width=4, layers=2), channels=3, frames=3, times=Ramp(0.5), steps=6, lag=2)
    refiner.scale.fill_(0.3)
    assert isinstance(refiner, Refiner)
    again = construct(json.loads(json.dumps(describe(refiner))))
    again.load_state_dict(refiner.state_dict())
    arguments = (None, state(2, 1, 8).float(), None, points(8), plain())
    assert torch.equal(again(*arguments), refiner(*arguments))


def test_bad_input_is_named(points, plain):
    with pytest.raises(ValueError, match="5 channels are not 2 frames"):
        DiffusionForcing(Pointwise(5, 5), channels=5, frames=2)
    with pytest.raises(ValueError, match="lag is 5 but lies between 0"):
        DiffusionForcing(Pointwise(4, 4), channels=4, frames=2, lag=5)
    with pytest.raises(ValueError, match="truth has 2 channels but this refiner generates 4"):
        DiffusionForcing(Pointwise(4, 4), channels=4, frames=2).loss(state(1, 2, 4), None, state(1, 0, 4), None, points(4), plain())


def test_a_prediction_of_noise_serves_too():
    refiner = DiffusionForcing(
        Frames(LinearBetas(), SourcePrediction()),
        channels=3,
        frames=3,
        path=LinearBetas(),
        schedule=Steps(20),
        prediction=SourcePrediction(),
        steps=20,
    ).double()
    mean, covariance = law(refiner)
    assert (mean - torch.tensor(MEAN, **F64)).abs().max() < 0.1 and (covariance - torch.tensor(FRAMES, **F64)).abs().max() < 0.15
