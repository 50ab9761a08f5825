"""One-pass ensembles: the score's expectations in closed form, what it is least for, members alike, one evaluation, batching."""

import json
import math

import pytest
import torch
from networks import cloud
from torch import nn

from surrogates.contracts import Refiner
from surrogates.domains import Box, Mesh, Sphere
from surrogates.noise import AtStep, SeededNoise
from surrogates.operators import FNO, MeshGraphNet
from surrogates.record import construct, describe
from surrogates.refine import GaussianSource, GuessSource
from surrogates.refine.colour import Spectral, UnderMeasure, WhiteOnSphere
from surrogates.refine.one_pass import LATENT, OnePass, OnePassGlobal, almost_fair_crps, of_member

F64 = {"dtype": torch.float64}
BOTH = pytest.mark.parametrize("cls", [OnePass, OnePassGlobal])


class Affine(nn.Module):
    """mean + std z of the first channel; counts its calls."""

    def __init__(self, mean=0.0, std=1.0):
        super().__init__()
        self.mean, self.std, self.calls = mean, std, 0

    def forward(self, x, domain, embedding=None):
        self.calls += 1
        return self.mean + self.std * x[:, :1]


class Spread(nn.Module):
    """A small network at each point of inputs and embedding, alike for any batch."""

    def __init__(self, inputs, outputs, embedding):
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.w = nn.Parameter(torch.randn(inputs, outputs, generator=g))
        self.v = nn.Parameter(torch.randn(embedding, outputs, generator=g)) if embedding else None

    def forward(self, x, domain, embedding=None):
        y = sum(x[:, i, None] * self.w[i].reshape(-1, *(1,) * (x.ndim - 2)) for i in range(x.shape[1]))
        if self.v is not None:
            y = y + domain.expand(sum(embedding[:, i, None] * self.v[i] for i in range(embedding.shape[1])))
        return torch.tanh(y)


def state(rows, channels, n, seed=0):
    return torch.randn(rows, channels, n, generator=torch.Generator().manual_seed(seed), **F64)


def made(cls, channels, context, guess, conditions=0, network=Spread, **arguments):
    sizes = cls.widths(channels, context, guess, 1)
    return cls(network(sizes.inputs, sizes.outputs, conditions + sizes.embedding), channels=channels, **arguments)


# -- the score -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [2, 3, 8])
@pytest.mark.parametrize("alpha", [1.0, 0.95, 0.5])
def test_the_loss_of_the_exact_generator_is_the_crps_of_its_law(members, alpha, points, plain):
    """E = sigma/sqrt(pi) for any M when fair, that of M members and (1 - alpha)/M more otherwise."""
    mean, std, rows = 0.7, 1.6, 40_000
    truth = mean + std * state(rows, 1, 4, seed=9)
    refiner = OnePass(Affine(mean, std), channels=1, members=members, alpha=alpha)
    loss = refiner.loss(truth, None, truth[:, :0], None, points(4), plain()).mean().item()
    assert abs(loss / (std / math.sqrt(math.pi) * (1 + (1 - alpha) / members)) - 1) < 0.01


@pytest.mark.parametrize("std", [0.5, 0.8, 1.25, 2.0])
def test_too_narrow_and_too_wide_score_as_they_should(std, points, plain):
    truth = state(40_000, 1, 4, seed=9)

    def loss(operator):
        return OnePass(operator, channels=1).loss(truth, None, truth[:, :0], None, points(4), plain()).mean().item()

    expected = math.sqrt(2 / math.pi) * math.hypot(std, 1) - std / math.sqrt(math.pi)
    assert abs(loss(Affine(0.0, std)) - expected) < 0.01
    assert loss(Affine(0.0, std)) > loss(Affine()) + 0.5 * (expected - 1 / math.sqrt(math.pi))
    assert loss(Affine(0.3, 1.0)) > loss(Affine()) + 0.01


@pytest.mark.parametrize("members", [2, 5])
def test_it_is_the_fair_score_at_one_and_the_plain_one_at_zero(members):
    x, y = state(3, members * 2, 6, 1).unflatten(1, (members, 2)), state(3, 2, 6, 2)
    pairs = (x[:, :, None] - x[:, None]).abs()
    near = (x - y[:, None]).abs().mean(1)
    torch.testing.assert_close(almost_fair_crps(x, y), near - pairs.sum((1, 2)) / (2 * members * (members - 1)))
    torch.testing.assert_close(almost_fair_crps(x, y, 0.0), near - pairs.mean((1, 2)) / 2)


def test_it_is_a_mean_of_pairs_and_knows_no_order():
    """(|x_j - y| + |x_k - y| - (1 - (1 - alpha)/M) |x_j - x_k|)/2 over pairs j != k: the form of the source, never negative."""
    x, y, m, alpha = state(4, 5, 3, 1)[:, :, None], state(4, 1, 3, 2), 5, 0.9
    pairs = [(j, k) for j in range(m) for k in range(m) if j != k]
    near = (x - y[:, None]).abs()
    form = sum(near[:, j] + near[:, k] - (1 - (1 - alpha) / m) * (x[:, j] - x[:, k]).abs() for j, k in pairs) / (2 * len(pairs))
    torch.testing.assert_close(almost_fair_crps(x, y, alpha), form)
    assert (form >= 0).all()
    torch.testing.assert_close(almost_fair_crps(x[:, [3, 1, 4, 0, 2]], y, alpha), form)


def test_with_two_members_fairness_leaves_one_free_and_alpha_binds_it():
    y = torch.zeros(1, 1, 1, **F64)
    free = torch.tensor([0.0, 7.0], **F64).reshape(1, 2, 1, 1).requires_grad_()
    for alpha, slope in ((1.0, 0.0), (0.9, 0.025)):
        (g,) = torch.autograd.grad(almost_fair_crps(free, y, alpha).sum(), free)
        assert abs(g[0, 1].item() - slope) < 1e-12


def test_the_score_does_not_see_how_points_hang_together(points, plain):
    """Points that are independent, and points that are all the same: of one law each, they have one score. The noise must know better."""

    class Shared(nn.Module):
        def forward(self, x, domain, embedding=None):
            return x[:, :1, :1].expand(-1, -1, x.shape[2])

    truth = state(40_000, 1, 4, seed=9)
    losses = [
        OnePass(network, channels=1).loss(truth, None, truth[:, :0], None, points(4), plain()).mean() for network in (Affine(), Shared())
    ]
    torch.testing.assert_close(*losses, rtol=0.02, atol=0)


# -- training ------------------------------------------------------------------------------------------------------


def test_a_generator_learns_two_modes_from_the_score(points, plain):
    torch.manual_seed(0)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

        def forward(self, x, domain, embedding=None):
            return self.net(x.movedim(1, -1)).movedim(-1, 1)

    refiner, domain = OnePass(Network(), channels=1, members=4), points(1)
    optimiser = torch.optim.Adam(refiner.parameters(), 1e-2)
    for i in range(500):
        truth = torch.randint(0, 4, (128, 1, 1)).clamp(max=1) * 2.0 - 1 + 0.1 * torch.randn(128, 1, 1)  # 3/4 of them at +1
        loss = refiner.loss(truth, None, truth[:, :0], None, domain, plain(i)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        x = refiner(None, torch.zeros(4000, 0, 1), None, domain, plain(-1)).flatten()
    assert ((x.abs() - 1).abs() < 0.35).double().mean() > 0.85  # a smooth map has some way between the modes
    assert abs((x > 0).double().mean() - 0.75) < 0.06


# -- the contract --------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("guided", [False, True])
def test_one_evaluation_a_call_and_one_a_loss(cls, guided, points):
    refiner = made(cls, 2, 4, guided, 3, members=3)
    calls = []
    refiner.operator.register_forward_hook(lambda *_: calls.append(1))
    u, context, e = state(2, 2, 5).float(), state(2, 4, 5, 1).float(), torch.randn(2, 3)
    noise = AtStep(SeededNoise(0, [0, 1], [0, 0]), 0)
    x = refiner(u if guided else None, context, e, points(5), noise)
    assert x.shape == u.shape and len(calls) == refiner.evaluations == 1
    loss = refiner.loss(u, u if guided else None, context, e, points(5), noise)
    assert loss.shape == (2,) and loss.dtype == torch.float64 and len(calls) == 2
    loss.mean().backward()
    assert all(p.grad.abs().max() > 0 for p in refiner.operator.parameters())


@BOTH
def test_members_of_the_loss_are_those_of_forecasts_with_their_draws(cls, points, plain):
    """The score of the batch of members is that of members made one at a time."""
    refiner = made(cls, 1, 2, True, members=3, alpha=0.9).double()
    refiner.scale.fill_(0.4)
    guess, context, truth, domain = state(4, 1, 6, 1), state(4, 2, 6, 2), state(4, 1, 6, 3), points(6)
    members = torch.stack([refiner(guess, context, None, domain, of_member(plain(), m)) for m in range(3)], 1)
    assert (members[:, 0] - members[:, 1]).abs().max() > 0.01
    expected = almost_fair_crps(members, truth, 0.9).mean((1, 2)) / 0.4
    torch.testing.assert_close(refiner.loss(truth, guess, context, None, domain, plain()), expected)


@BOTH
def test_the_same_draws_on_any_batch_split(cls, points):
    refiner = made(cls, 1, 2, True, 2)
    guess, context, embedding = state(5, 1, 8, 1).float(), state(5, 2, 8, 2).float(), torch.randn(5, 2)
    trajectories, members = [7, 7, 8, 9, 9], [0, 1, 0, 0, 3]

    def run(rows):
        noise = AtStep(SeededNoise(11, [trajectories[r] for r in rows], [members[r] for r in rows]), 4)
        arguments = (guess[rows], context[rows], embedding[rows], points(8), noise)
        return refiner(*arguments), refiner.loss(guess[rows] + 1, *arguments)

    whole, loss = run([0, 1, 2, 3, 4])
    assert not torch.equal(whole[0], whole[1])
    for rows in ([0, 1], [4, 2], [3]):
        x, part = run(rows)
        assert torch.equal(x, whole[rows])
        torch.testing.assert_close(part, loss[rows], rtol=1e-12, atol=0)


def test_a_guess_shifts_and_the_scale_stretches_what_is_generated(points, plain):
    refiner = OnePass(Affine(0.0, 1.0), channels=1).double()
    refiner.fit_scale(0.2 * state(500, 1, 8, 3))
    guess = state(2, 1, 8, 1)
    x = refiner(guess, state(2, 1, 8, 2), None, points(8), plain())
    torch.testing.assert_close(x, guess + refiner.scale * plain()(guess, draw=0))
    refiner.inflation.fill_(1.5)
    stretched = refiner(guess, state(2, 1, 8, 2), None, points(8), plain())
    torch.testing.assert_close(stretched - guess, 1.5 * (x - guess))


def test_sampling_draws_the_source_or_a_vector(points):
    for cls, expected in ((OnePass, (0, (2, 1, 8))), (OnePassGlobal, (2, (2, 1, LATENT)))):
        drawn = []

        def noise(like, *, draw, drawn=drawn):
            drawn.append((draw, tuple(like.shape)))
            return torch.zeros_like(like)

        made(cls, 1, 1, False)(None, state(2, 1, 8).float(), None, points(8), noise)
        assert drawn == [expected]


DOMAINS = [
    (Box.periodic((6, 4), 2.0), GaussianSource(Spectral(0.3))),
    (Box.periodic((4, 4, 6), 2.0), GuessSource()),
    (Sphere((4, 8)), GaussianSource(WhiteOnSphere())),
    (cloud(9), GaussianSource(UnderMeasure())),
]


@pytest.mark.parametrize(("domain", "source"), DOMAINS, ids=lambda v: type(v).__name__)
def test_boxes_spheres_and_meshes(domain, source, plain):
    u, context = (torch.randn(3, c, *domain.shape) for c in (1, 2))
    for refiner in (made(OnePass, 1, 2, True, source=source), made(OnePassGlobal, 1, 2, True)):
        assert refiner(u, context, None, domain, plain()).shape == u.shape
        assert refiner.loss(u, u, context, None, domain, plain()).shape == (3,)


@BOTH
def test_meshes_in_one_batch_are_their_own_members(cls, plain):
    mesh = Mesh.batch([cloud(7), cloud(9, 1)])
    refiner = made(cls, 1, 2, False, 1, network=lambda i, o, e: MeshGraphNet(i, o, e, dim=2, width=8, layers=1))
    truth, context, e = torch.randn(1, 1, 16), torch.randn(1, 2, 16), torch.randn(2, 1)
    loss = refiner.loss(truth, None, context, e, mesh, plain())
    assert loss.shape == (2,) and loss.isfinite().all()
    assert refiner(None, context, e, mesh, plain()).shape == truth.shape


@BOTH
def test_corrections_are_asked_in_the_units_of_the_truth(cls, points, plain):
    refiner = made(cls, 1, 2, True).double()
    refiner.scale.fill_(1e-3)
    seen = []
    refiner(state(2, 1, 8, 1) + 100, state(2, 2, 8), None, points(8), plain(), lambda x: seen.append(x.mean().item()) or x)
    assert len(seen) == 1 and abs(seen[0] - 100) < 1


@BOTH
def test_a_refiner_writes_itself_down(cls, points, plain):
    network = lambda i, o, e: FNO(i, o, e, width=4, modes=(3,), layers=1)  # noqa: E731
    refiner = made(cls, 2, 3, False, network=network, members=4, alpha=0.95)
    refiner.inflation.fill_(1.2)
    assert isinstance(refiner, Refiner)
    again = construct(json.loads(json.dumps(describe(refiner))))
    again.load_state_dict(refiner.state_dict())
    assert (again.members, again.alpha) == (4, 0.95)
    arguments = (None, state(2, 3, 8).float(), None, points(8), plain())
    assert torch.equal(again(*arguments), refiner(*arguments))


def test_bad_numbers_are_refused(plain):
    with pytest.raises(ValueError, match="members is 1 but the score needs the distance between two"):
        OnePass(Affine(), channels=1, members=1)
    for alpha in (0.0, 1.5):
        with pytest.raises(ValueError, match="alpha is"):
            OnePass(Affine(), channels=1, alpha=alpha)
    with pytest.raises(ValueError, match="truth has 3 channels but this refiner generates 1"):
        OnePass(Affine(), channels=1).loss(state(1, 3, 4), None, state(1, 1, 4), None, Box.periodic((4,), 1.0), plain())
