"""Monte Carlo dropout: exact moments of a linear network, the masks of every network that has FiLM, rows, hooks, the refiner."""

import json
import math

import pytest
import torch
from networks import EXAMPLES, cloud
from torch import nn

from surrogates.contracts import Refiner
from surrogates.domains import Box, Mesh
from surrogates.noise import AtStep, SeededNoise
from surrogates.operators import ConvNet, MeshGraphNet
from surrogates.operators.film import FiLMs
from surrogates.record import construct, describe
from surrogates.refine.dropout import MCDropout, dropped, films_of, threshold

F64 = {"dtype": torch.float64}
LINE = Box.periodic((8,), 1.0)


class Linear(nn.Module):
    """sum_c w_c (gamma_c u + beta_c): one block of FiLM and a read-out."""

    def __init__(self, width=5):
        super().__init__()
        self.film = FiLMs(1, 4, [width])
        g = torch.Generator().manual_seed(1)
        self.w = nn.Parameter(torch.randn(width, generator=g))

    def forward(self, x, domain, embedding=None):
        ((gain, shift, _),) = self.film(embedding)
        hidden = gain[..., None] * x[:, :1] + shift[..., None]
        return (self.w[:, None] * hidden).sum(1, keepdim=True)


def keyed(rows, step=0, seed=3):
    return AtStep(SeededNoise(seed, list(rows), [0] * len(rows)), step)


# -- the law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("inflation", [1.0, 2.0])
def test_mean_and_variance_of_a_linear_network(p, inflation, plain):
    """E = sum w u and var = inflation^2 p/(1 - p) sum w^2 u^2, whatever the field: channels are dropped everywhere at once."""
    refiner = MCDropout(Linear(), channels=1, p=p).double()
    refiner.inflation.fill_(inflation)
    rows, u = 60_000, torch.linspace(0.5, 2.0, 4, **F64)
    x = refiner(None, u.expand(rows, 1, 4), None, Box.periodic((4,), 1.0), plain())[:, 0]
    w = refiner.operator.w.detach()
    std = inflation * math.sqrt(p / (1 - p) * w.square().sum())
    torch.testing.assert_close(x.mean(0), w.sum() * u, rtol=0, atol=0.06)
    torch.testing.assert_close(x.std(0), std * u, rtol=0.02, atol=0)
    torch.testing.assert_close(x / u, (x / u)[:, :1].expand(-1, 4))


def test_the_share_that_is_dropped_is_p(plain):
    numbers = plain()(torch.empty(200_000, **F64), draw=0)
    for p in (0.05, 0.3, 0.9):
        assert abs((numbers >= threshold(p)).double().mean() - p) < 0.004


def test_dropping_is_the_network_of_the_channels_that_are_left():
    """With one hidden layer: a member is the network without some channels, its other weights over 1 - p."""
    torch.manual_seed(0)
    network = ConvNet(1, 1, 1, dim=1, width=6, layers=1, activation="relu").double()
    with torch.no_grad():
        network.film.out.bias.normal_(0, 0.3)
    u, one, noise, p = torch.randn(1, 1, 8, **F64), torch.ones(1, 1, **F64), keyed([4]), 0.4
    kept = noise(torch.empty(1, 1, 6, **F64), draw=2).flatten() < threshold(p)
    assert 0 < kept.sum() < 6
    with torch.no_grad(), dropped(network, p, noise, u, LINE):
        x = network(u, LINE, one)
    with torch.no_grad():
        network.out.weight[:, ~kept] = 0
        network.out.weight /= 1 - p
        torch.testing.assert_close(x, network(u, LINE, one))


# -- every network -------------------------------------------------------------------------------------------------

FILMED = [n for n, e in EXAMPLES.items() if not e.needs and e.name != "ScOT"]


@pytest.mark.parametrize("name", FILMED)
def test_every_network_with_film(name):
    """Dropped rows differ from each other and from the whole network, do not see each other, and the hooks are gone afterwards."""
    one = EXAMPLES[name]
    f = one.build(embedding=3)
    x, domain, e = one.inputs(embedding=3)
    x, e = x[:1].expand_as(x).contiguous(), e[:1].expand_as(e).contiguous()
    with torch.no_grad():
        whole = f(x, domain, e)
        with dropped(f, 0.3, keyed([0, 1, 2]), x, domain):
            some, twice = f(x, domain, e), f(x, domain, e)
        with dropped(f, 0.3, keyed([2]), x[2:], domain):
            alone = f(x[2:], domain, e[2:])
        with dropped(f, 0.3, keyed([0, 1, 2]), x, domain, inflation=0.0):
            none = f(x, domain, e)
        after = f(x, domain, e)
    assert torch.equal(some, twice) and torch.equal(after, whole) and torch.equal(none, whole)
    torch.testing.assert_close(alone, some[2:], rtol=1e-10, atol=1e-11 * float(some.abs().max()))
    scale = whole.abs().max()
    assert (some[0] - some[1]).abs().max() > 1e-4 * scale and (some - whole).abs().amax((1, 2)).min() > 1e-4 * scale


def test_hooks_go_when_something_fails():
    f = ConvNet(1, 1, 1, dim=1, width=4, layers=1)
    with pytest.raises(RuntimeError, match="midway"), dropped(f, 0.3, keyed([0]), torch.zeros(1, 1, 8), LINE):
        raise RuntimeError("midway")
    assert not any(m._forward_hooks for m in f.modules())


def test_members_of_a_batch_of_meshes_drop_their_own_channels():
    mesh = Mesh.batch([cloud(7), cloud(7)])
    torch.manual_seed(0)
    refiner = MCDropout(MeshGraphNet(2, 1, 1, dim=2, width=8, layers=2), channels=1, p=0.5)
    once = torch.randn(1, 2, 7)
    x = refiner(None, torch.cat([once, once], 2), None, mesh, keyed([0]))
    assert (x[..., :7] - x[..., 7:]).abs().max() > 1e-3
    assert refiner.loss(x, None, torch.cat([once, once], 2), None, mesh, keyed([0])).shape == (2,)


# -- the refiner ---------------------------------------------------------------------------------------------------


def refiner(guess=True, conditions=2, **arguments):
    sizes = MCDropout.widths(1, 2, guess, 1)
    torch.manual_seed(0)
    network = ConvNet(sizes.inputs, sizes.outputs, conditions + sizes.embedding, dim=1, width=6, layers=2)
    return MCDropout(network, channels=1, **arguments)


def test_the_same_channels_on_any_batch_split():
    made = refiner(p=0.3)
    guess, context, embedding = torch.randn(5, 1, 8), torch.randn(5, 2, 8), torch.randn(5, 2)

    def run(rows):
        arguments = (guess[rows], context[rows], embedding[rows], LINE, keyed(rows))
        return made(*arguments), made.loss(guess[rows] + 1, *arguments)

    whole, loss = run([0, 1, 2, 3, 4])
    for rows in ([0, 1], [4, 2], [3]):
        x, part = run(rows)
        torch.testing.assert_close(x, whole[rows], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(part, loss[rows], rtol=1e-5, atol=0)


def test_one_evaluation_and_the_error_of_that_member():
    made, calls = refiner(p=0.3), []
    made.scale.fill_(0.5)
    made.operator.register_forward_hook(lambda *_: calls.append(1))
    arguments = (torch.randn(3, 1, 8), torch.randn(3, 2, 8), torch.randn(3, 2), LINE, keyed([0, 1, 2]))
    truth = torch.randn(3, 1, 8)
    x = made(*arguments)
    assert len(calls) == made.evaluations == 1
    loss = made.loss(truth, *arguments)
    assert len(calls) == 2 and loss.dtype == torch.float64
    torch.testing.assert_close(loss, ((x - truth) / 0.5).double().square().mean((1, 2)), rtol=1e-5, atol=0)
    loss.mean().backward()
    assert made.operator.out.weight.grad.abs().max() > 0


def test_training_lowers_the_loss_and_spread_remains():
    made = refiner(guess=False, conditions=0, p=0.2)
    optimiser = torch.optim.Adam(made.parameters(), 1e-2)
    context = torch.randn(16, 2, 8, generator=torch.Generator().manual_seed(1))
    truth = (context[:, :1] + context[:, 1:]).tanh()
    losses = []
    for i in range(60):
        loss = made.loss(truth, None, context, None, LINE, keyed(range(16), i)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    with torch.no_grad():
        members = torch.stack([made(None, context, None, LINE, keyed(range(16), 100 + m)) for m in range(4)])
    assert members.std(0).mean() > 0.01


def test_a_refiner_writes_itself_down():
    made = refiner(p=0.25)
    assert isinstance(made, Refiner)
    again = construct(json.loads(json.dumps(describe(made))))
    again.load_state_dict(made.state_dict())
    assert again.p == 0.25
    arguments = (torch.randn(2, 1, 8), torch.randn(2, 2, 8), torch.randn(2, 2), LINE, keyed([0, 1]))
    assert torch.equal(again(*arguments), made(*arguments))


def test_what_cannot_be_dropped_is_refused():
    with pytest.raises(ValueError, match="ConvNet has no FiLM whose channels could be dropped"):
        MCDropout(ConvNet(1, 1, dim=1), channels=1)
    with pytest.raises(ValueError, match="ScOT adds its FiLM gains to learnt ones"):
        films_of(EXAMPLES["ScOT 1-D"].build(embedding=1))
    for p in (0.0, 1.0):
        with pytest.raises(ValueError, match="lies between 0 and 1"):
            MCDropout(ConvNet(1, 1, 1, dim=1), channels=1, p=p)
