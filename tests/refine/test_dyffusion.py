"""DYffusion: exact dynamics give the exact frames, what each term of the loss teaches whom, dropout by keyed draws, counts."""

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
from surrogates.refine import FEATURES
from surrogates.refine.dyffusion import DYffusion
from surrogates.refine.features import time_of

F64 = {"dtype": torch.float64}
T = 4
TURN = torch.tensor([[0.9, -0.3], [0.4, 0.8]], **F64)  # one step of an autonomous linear system


class Exact(nn.Module):
    """x_i = TURN^i x_0, told at 1 - i/T: the forecaster takes x_i to x_T, the interpolator (x_0 at the end of the context) to x_i."""

    def __init__(self, forecasts, by=0.0):
        super().__init__()
        self.forecasts, self.by, self.heard = forecasts, by, []

    def forward(self, x, domain, embedding=None):
        i = ((1 - time_of(embedding)) * T).round().long()
        self.heard += i.tolist()
        power = torch.stack([torch.linalg.matrix_power(TURN, int(T - k if self.forecasts else k)) for k in i]).to(x)
        return power @ (x[:, :2] if self.forecasts else x[:, -2:]) + self.by


class Linear(nn.Module):
    """A trajectory that is linear in time, interpolated from its ends."""

    def forward(self, x, domain, embedding=None):
        s = domain.expand(time_of(embedding)[:, None])
        return (1 - s) * x[:, :1] + s * x[:, -1:]


def exact(by_forecast=0.0, by_interpolation=0.0):
    return DYffusion(Exact(True, by_forecast), channels=2 * T, frames=T, interpolator=Exact(False, by_interpolation), dropout=0.0).double()


def trajectory(x0):
    return torch.cat([torch.linalg.matrix_power(TURN, i) @ x0 for i in range(1, T + 1)], 1)


def state(rows, channels, n, seed=0, dtype=torch.float64):
    return torch.randn(rows, channels, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def network(inputs, outputs, embedding=FEATURES, dim=1):
    torch.manual_seed(0)
    made = ConvNet(inputs, outputs, embedding, dim=dim, width=6, layers=2)
    with torch.no_grad():
        for p in made.parameters():
            p += 0.1 * torch.randn(p.shape)
    return made


# -- exactness -----------------------------------------------------------------------------------------------------


def test_exact_dynamics_give_the_exact_frames_and_no_loss(points, plain):
    refiner, x0, domain = exact(), state(3, 2, 8), points(8)
    context = torch.cat([state(3, 2, 8, 1), x0], 1)  # an older frame before the last
    truth = trajectory(x0)
    torch.testing.assert_close(refiner(None, context, None, domain, plain()), truth, rtol=0, atol=1e-6)  # times are told in features
    assert refiner.loss(truth, None, context, None, domain, plain()).abs().max() < 1e-10


def test_what_the_interpolator_gets_wrong_by_a_constant_stays_in_one_frame(points, plain):
    """Cold sampling adds differences, so the error of I does not pile up; the last frame has it taken off again."""
    x0, domain = state(3, 2, 8), points(8)
    wrong = exact(by_interpolation=0.25)(None, x0, None, domain, plain())
    error = torch.stack((wrong - trajectory(x0)).chunk(T, 1))
    assert error[:-1].abs().max() < 0.25 * 4  # the forecaster carries it on, at most with the system's own growth
    naive = 0.25 * (T - 1)
    assert error.abs().max() < naive


def test_a_forecast_of_the_end_moves_along_the_line_to_it(points, plain):
    """With a trajectory that is linear in time and any constant forecast xhat, the frames lie evenly between x_0 and xhat."""

    class Constant(nn.Module):
        def forward(self, x, domain, embedding=None):
            return torch.full_like(x[:, :1], 3.0)

    refiner = DYffusion(Constant(), channels=T, frames=T, interpolator=Linear(), dropout=0.0).double()
    x0 = state(2, 1, 8)
    x = refiner(None, x0, None, points(8), plain())
    i = torch.arange(1, T + 1, **F64)[:, None] / T
    torch.testing.assert_close(x, (1 - i) * x0 + i * 3.0, rtol=0, atol=1e-6)


def test_along_a_line_only_differences_count(points, plain):
    """With I a line and a forecast that changes on the way, each step adds a T-th of what lies between x_0 and the newest forecast."""

    class Double(nn.Module):
        def forward(self, x, domain, embedding=None):
            return 2 * x[:, :1]

    x = x0 = state(2, 1, 8)
    made = DYffusion(Double(), channels=T, frames=T, interpolator=Linear(), dropout=0.0).double()(None, x0, None, points(8), plain())
    for frame in made.split(1, 1):
        x = x + (2 * x - x0) / T
        torch.testing.assert_close(frame, x, rtol=0, atol=1e-6)


def test_evaluations_and_stages(points, plain):
    refiner, heard = exact(), {"F": [], "I": []}
    refiner(None, state(1, 2, 4), None, points(4), plain())
    heard = refiner.operator.heard + refiner.interpolator.heard
    assert refiner.operator.heard == [0, 1, 2, 3]
    assert sorted(refiner.interpolator.heard) == [1, 1, 2, 2, 3, 3]
    assert len(heard) == refiner.evaluations == 3 * T - 2
    for r in (refiner.operator, refiner.interpolator):
        r.heard.clear()
    x0 = state(400, 2, 2)
    refiner.loss(trajectory(x0), None, x0, None, points(2), plain())
    assert set(refiner.operator.heard) == {0, 1, 2, 3} and set(refiner.interpolator.heard) == {1, 2, 3}


# -- training ------------------------------------------------------------------------------------------------------


def test_each_term_of_the_loss(points, plain):
    """Constant errors: I's alone, F's in its own term and, but for the last stage, in the look-ahead."""
    x0, domain = state(4000, 2, 2), points(2)
    truth = trajectory(x0)

    def loss(**errors):
        return exact(**errors).loss(truth, None, x0, None, domain, plain())

    torch.testing.assert_close(loss(by_forecast=0.1).max().item(), 0.01, rtol=1e-4, atol=0)
    assert set((loss(by_forecast=0.1) * 1e4).round().int().tolist()) == {50, 100}  # half where there is nothing ahead
    assert abs(loss(by_forecast=0.1).mean().item() - 0.01 * (1 + 3 / 4) / 2) < 2e-4
    assert loss(by_interpolation=0.1).min() > 0.01 - 1e-6


def test_the_forecaster_s_terms_leave_the_interpolator_alone(points, plain):
    """Its gradient is that of its own error; the forecaster's goes through both terms, and through the interpolator in the second."""
    refiner = DYffusion(network(1 + 1, 1), channels=T, frames=T, interpolator=network(1 + 1, 1), dropout=0.0)
    truth, x0, domain = state(8, T, 8).float(), state(8, 1, 8, 1).float(), points(8)
    refiner.loss(truth, None, x0, None, domain, plain()).mean().backward()
    before = [p.grad.clone() for p in refiner.interpolator.parameters()]
    with torch.no_grad():
        for p in refiner.operator.parameters():
            p += 0.3
    refiner.zero_grad()
    refiner.loss(truth, None, x0, None, domain, plain()).mean().backward()
    for a, p in zip(before, refiner.interpolator.parameters(), strict=True):
        assert torch.equal(a, p.grad)
    assert all(p.grad.abs().max() > 0 for p in refiner.operator.parameters())


def test_two_networks_that_start_alike():
    refiner = DYffusion(network(2, 1), channels=T, frames=T)
    assert len(list(refiner.parameters())) == 2 * len(list(refiner.operator.parameters()))
    for p, q in zip(refiner.operator.parameters(), refiner.interpolator.parameters(), strict=True):
        assert p is not q and torch.equal(p, q)


def test_it_learns(points, plain):
    torch.manual_seed(0)
    refiner, domain = DYffusion(network(2 + 2, 2), channels=2 * T, frames=T, dropout=0.05), points(1)
    optimiser, losses = torch.optim.Adam(refiner.parameters(), 1e-2), []
    for i in range(40):
        x0 = torch.randn(64, 2, 1)
        truth = trajectory(x0.double()).float()
        loss = refiner.loss(truth, None, x0, None, domain, plain(i)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


# -- dropout -------------------------------------------------------------------------------------------------------


def test_members_differ_by_the_interpolator_s_dropout(points, plain):
    refiner = DYffusion(network(2, 1), channels=T, frames=T, dropout=0.3).eval()
    context, domain = torch.ones(1, 1, 8).expand(3, 1, 8), points(8)
    noise = AtStep(SeededNoise(1, [0, 0, 0], [0, 1, 2]), 0)
    x = refiner(None, context, None, domain, noise)
    assert (x[0] - x[1]).abs().max() > 1e-3 and torch.equal(x, refiner(None, context, None, domain, noise))
    still = DYffusion(refiner.operator, channels=T, frames=T, interpolator=refiner.interpolator, dropout=0.0)
    y = still(None, context, None, domain, noise)
    torch.testing.assert_close(y[0], y[1], rtol=1e-6, atol=1e-6)


def test_every_call_of_the_interpolator_has_a_draw_of_its_own(points):
    drawn = []

    def noise(like, *, draw):
        drawn.append(draw)
        return torch.zeros_like(like)

    refiner = DYffusion(network(2, 1), channels=T, frames=T)
    refiner(None, torch.ones(1, 1, 8), None, points(8), noise)
    assert len(drawn) == len(set(drawn)) == 2 * (T - 1) and 0 not in drawn  # 0 is the surrogate's to hold
    drawn.clear()
    refiner.loss(torch.ones(1, T, 8), None, torch.ones(1, 1, 8), None, points(8), noise)
    assert len(drawn) == len(set(drawn)) == 5


def test_the_same_draws_on_any_batch_split(points):
    refiner = DYffusion(network(1 + 2 + T, 1), channels=T, frames=T).double()
    guess, context, domain = state(4, T, 8, 1), state(4, 2, 8, 2), points(8)

    def run(rows):
        noise = AtStep(SeededNoise(11, [7 + r for r in rows], [0] * len(rows)), 4)
        arguments = (guess[rows], context[rows], None, domain, noise)
        return refiner(*arguments), refiner.loss(guess[rows] + 1, *arguments)

    whole, loss = run([0, 1, 2, 3])
    for rows in ([0, 1], [3, 2], [3]):
        x, part = run(rows)
        torch.testing.assert_close(x, whole[rows], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(part, loss[rows], rtol=1e-12, atol=0)


# -- the contract --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "domain", [Box.periodic((4, 6), 2.5), Sphere((4, 8)), Mesh.batch([cloud(7), cloud(9)])], ids=lambda d: type(d).__name__
)
def test_any_domain(domain, plain):
    rows = 1 if domain.members > 1 else 2
    refiner = DYffusion(Linear(), channels=T, frames=T, dropout=0.0).double()
    context = torch.ones(rows, 1, *domain.shape, **F64)
    x = refiner(None, context, None, domain, plain())
    assert x.shape == (rows, T, *domain.shape) and x.isfinite().all()
    assert refiner.loss(x, None, context, None, domain, plain()).shape == (rows * domain.members,)


def test_a_law_is_obeyed(points, plain):
    x = exact()(None, state(2, 2, 8), None, points(8), plain(), lambda x: x - x.mean(-1, keepdim=True) + 5)
    torch.testing.assert_close(x.mean(-1), torch.full((2, 2 * T), 5.0, **F64), rtol=0, atol=1e-13)


def test_the_widths_are_those_that_the_operator_meets(points, plain):
    for guess in (False, True):
        sizes = DYffusion.widths(2 * T, 4, guess, T)
        refiner = DYffusion(network(sizes.inputs, sizes.outputs, sizes.embedding), channels=2 * T, frames=T)
        u, context = state(2, 2 * T, 8).float(), state(2, 4, 8).float()
        first = u if guess else None
        assert refiner(first, context, None, points(8), plain()).shape == u.shape
        refiner.loss(u, first, context, None, points(8), plain()).mean().backward()


def test_a_bundle_is_differentiable(points, plain):
    refiner = DYffusion(network(2, 1), channels=3, frames=3).double()
    context = state(1, 1, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: refiner(None, c, None, points(4), plain()), (context,))


def test_a_refiner_writes_itself_down(points, plain):
    refiner = DYffusion(network(2, 1), channels=T, frames=T, dropout=0.2)
    with torch.no_grad():
        refiner.interpolator.load_state_dict({k: v + 0.01 for k, v in refiner.interpolator.state_dict().items()})
    assert isinstance(refiner, Refiner)
    again = construct(json.loads(json.dumps(describe(refiner))))
    again.load_state_dict(refiner.state_dict())
    arguments = (None, state(2, 1, 8).float(), None, points(8), plain())
    assert torch.equal(again(*arguments), refiner(*arguments))


def test_bad_input_is_named(points, plain):
    with pytest.raises(ValueError, match="leaves nothing to interpolate"):
        DYffusion(Linear(), channels=1, frames=1, dropout=0.0)
    with pytest.raises(ValueError, match="5 channels are not 2 frames"):
        DYffusion(Linear(), channels=5, frames=2, dropout=0.0)
    with pytest.raises(ValueError, match="dropped"):
        DYffusion(network(2, 1), channels=2, frames=2, dropout=1.0)
    with pytest.raises(ValueError, match="Linear has no FiLM"):
        DYffusion(Linear(), channels=2, frames=2)
    refiner = exact()
    with pytest.raises(ValueError, match="the context has 1 channels but must end in the last frame, of 2"):
        refiner(None, state(1, 1, 4), None, points(4), plain())
    with pytest.raises(ValueError, match="truth has 2 channels but this refiner generates 8"):
        refiner.loss(state(1, 2, 4), None, state(1, 2, 4), None, points(4), plain())
