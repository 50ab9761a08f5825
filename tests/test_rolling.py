"""The rolling window as a Step: the laws of every step, the exact law of an autoregressive process, levels and counts."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from laws import step_laws
from torch import nn

from surrogates.constraints import ConservedIntegral
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.noise import SeededNoise
from surrogates.operators import ConvNet
from surrogates.record import construct, describe
from surrogates.refine import FEATURES, FlowMatching, GaussianSource, Linear, PreviousSource, Steps
from surrogates.refine.diffusion_forcing import DiffusionForcing
from surrogates.refine.features import time_of
from surrogates.refine.rolling import Ramp
from surrogates.rolling import Rolling
from surrogates.rollout import rollout
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute, Tendency

F64 = {"dtype": torch.float64}
SCALAR, PAIR = Fields.of(Field("u")), Fields.of(Field("velocity", components=("x", "y")))
PLANE = Box.periodic((8, 8), 2 * torch.pi)


def conditions(domain, rows=1):
    one = torch.ones(rows, **F64)
    return Conditions(domain, 0 * one, 0.1 * one, torch.zeros(rows, 0, **F64))


def seeded(rows):
    return SeededNoise(7, rows.tolist(), [0] * len(rows))


def rolling(frames=3, evaluations=2, target=None, constraint=None, history=2, sampling=False, **options):
    c = PAIR.count
    torch.manual_seed(0)
    operator = ConvNet(frames * c + history * c, frames * c, frames * FEATURES, dim=2, width=4, layers=2)
    refiner = DiffusionForcing(operator, channels=frames * c, frames=frames, steps=frames, lag=1, **options)
    surrogate = Surrogate(
        PAIR,
        PLANE,
        0.1,
        refiner=refiner,
        target=target or Tendency(),
        constraint=constraint,
        history=history,
        bundle=frames,
        correct_sampling=sampling,
    )
    return Rolling(surrogate, evaluations=evaluations).eval()


@pytest.mark.parametrize("target", [Tendency, Absolute])
@pytest.mark.parametrize(
    ("frames", "evaluations", "options"), [(3, 2, {}), (2, 1, {"times": Ramp()}), (1, 2, {}), (4, 1, {"source": GaussianSource()})], ids=str
)
def test_the_laws_of_a_step(target, frames, evaluations, options):
    step = rolling(frames, evaluations, target(), ConservedIntegral(PAIR, "velocity"), **options)
    past = torch.randn(3, 2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        step_laws(step, past, conditions(PLANE, 3), seeded, rounding=2e-5)


def test_what_is_emitted_obeys_the_law():
    step = rolling(constraint=ConservedIntegral(PAIR, "velocity"))
    past = torch.randn(2, 2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        made = torch.stack(list(rollout(step, past, 5, conditions(PLANE, 2).after, seeded(torch.arange(2)))), 1)
    budget = PLANE.integral(past[:, -1])
    for frame in made.unbind(1):
        torch.testing.assert_close(PLANE.integral(frame), budget, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("target", [Tendency, Absolute])
def test_correct_sampling_puts_the_law_into_the_window(target):
    """The frame that leaves the sampler is lawful before the constraint sees it; what lies ahead has changed with it."""
    past = torch.randn(2, 2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    where, law, seen = conditions(PLANE, 2), ConservedIntegral(PAIR, "velocity"), {}
    for sampling in (False, True):
        step = rolling(3, 2, target(), law, sampling=sampling)
        state = step.begin(past, where)
        with torch.no_grad():
            _, new = step(state, where, seeded(torch.arange(2)))
        free = rolling(3, 2, target(), law, sampling=sampling)
        free.surrogate.refiner.denoise = partial(told, free.surrogate.refiner.denoise, seen, sampling)
        with torch.no_grad():
            free(state, where, seeded(torch.arange(2)))
        seen[sampling, "window"] = new["window"]
    surrogate = step.surrogate
    for sampling in (False, True):
        frame = surrogate.target.decode(surrogate.refiner.scale[:2, None, None] * seen[sampling][:, :2], past[:, -1], surrogate.normaliser)
        assert ((PLANE.integral(frame[:, 0]) - PLANE.integral(past[:, -1])).abs().max() < 1e-3) == sampling
    assert (seen[True, "window"] - seen[False, "window"]).abs().max() > 1e-3


def told(denoise, seen, key, *given, **named):
    z, first = denoise(*given, **named)
    seen[key] = z
    return z, first


def test_another_step_is_refused_after_the_beginning_too():
    step, where = rolling(), conditions(PLANE, 1)
    state = step.begin(torch.zeros(1, 2, 2, 8, 8), where)
    with pytest.raises(ValueError, match="steps by dt=0.1"):
        step(state, replace(where, dt=2 * where.dt), seeded(torch.arange(1)))


# -- the law of an autoregressive process --------------------------------------------------------------------------

PERSISTENCE = 0.8


class Autoregression(nn.Module):
    """The exact velocity for x_n = phi x_{n-1} + sqrt(1 - phi^2) xi: frames at their levels on the linear path, x_0 the context."""

    def __init__(self, frames):
        super().__init__()
        n = torch.arange(1, frames + 1, **F64)
        self.frames, self.mean = frames, PERSISTENCE**n
        self.covariance = PERSISTENCE ** (n[:, None] - n).abs() - PERSISTENCE ** (n[:, None] + n)
        self.heard = []

    def forward(self, x, domain, embedding=None):
        t = self.frames
        s = torch.stack([time_of(f) for f in embedding.split(FEATURES, 1)], 1)
        self.heard.append(s[0].tolist())
        mean = self.mean[:, None] * x[:, -1:]
        a, b = 1 - s, s
        inside = a[:, :, None] * self.covariance * a[:, None, :] + torch.diag_embed(b**2)
        y = torch.linalg.solve(inside, x[:, :t] - a[:, :, None] * mean)
        return b[:, :, None] * y - mean - self.covariance @ (a[:, :, None] * y)


def stationary(frames, evaluations):
    """(variance, correlation at lag one) of what a window makes in the end. A step is linear: its matrix comes from unit vectors, one a
    point, and the covariance of (state, window) from its fixed point."""
    n = frames + 1  # the state, T - 1 frames of the window, the new noise; the last point is spare
    box = Box.periodic((n,), 1.0)
    refiner = DiffusionForcing(Autoregression(frames), channels=frames, frames=frames)
    step = Rolling(Surrogate(SCALAR, box, 0.1, refiner=refiner, target=Absolute(), bundle=frames).double(), evaluations=evaluations)
    unit = torch.eye(n, **F64)[:, None]  # (direction, 1, point)
    state = {"past": unit[:1, None], "window": unit[1:frames].transpose(0, 1), "step": torch.ones((), dtype=torch.int64)}

    def noise(like, *, step, draw):
        return unit[frames][None].expand_as(like)

    made, new = step(state, conditions(box), noise)
    matrix = torch.cat([made[0, 0], new["window"][0]])[:, :n]  # rows: new state and window; columns: old ones and the noise
    a, b = matrix[:, :frames], matrix[:, frames:]
    covariance = torch.linalg.solve(torch.eye(frames**2, **F64) - torch.kron(a, a), (b @ b.T).flatten()).reshape(frames, frames)
    return covariance[0, 0].item(), ((a @ covariance)[0, 0] / covariance[0, 0]).item()


@pytest.mark.parametrize("frames", [1, 3])
def test_the_stationary_law_of_an_autoregression_at_first_order(frames):
    errors = [torch.tensor(stationary(frames, n)) - torch.tensor([1.0, PERSISTENCE]) for n in (16, 32)]
    assert errors[1].abs().max() < 0.09 / frames
    ratio = errors[0] / errors[1]
    assert ((ratio > 1.5) & (ratio < 2.6) | (errors[1].abs() < 1e-3)).all(), (errors, ratio)


def test_a_window_of_few_evaluations_is_better_than_a_frame_of_few():
    """T frames take T times as many steps on their way as one that is made at once, at the same cost a frame."""
    alone, window = stationary(1, 2)[0], stationary(6, 2)[0]
    assert abs(window - 1) < abs(alone - 1) / 2, (alone, window)


def test_evaluations_and_levels():
    box = Box.periodic((4,), 1.0)
    operator = Autoregression(3)
    refiner = DiffusionForcing(operator, channels=3, frames=3)
    step = Rolling(Surrogate(SCALAR, box, 0.1, refiner=refiner, target=Absolute(), bundle=3).double(), evaluations=2)
    list(rollout(step, torch.ones(1, 1, 1, 4, **F64), 3, conditions(box).after, seeded(torch.arange(1))))
    assert len(operator.heard) == 6 + 2 + 2
    rolls = [[(j + 1) / 3 - k / 6 for j in range(3)] for k in range(2)]
    torch.testing.assert_close(torch.tensor(operator.heard[6:]), torch.tensor(rolls * 2), rtol=0, atol=1e-6)


# -- the contract --------------------------------------------------------------------------------------------------


def test_the_units_of_the_scale():
    step, box = rolling(), PLANE
    refiner = step.surrogate.refiner
    past = torch.randn(1, 2, 2, 8, 8, generator=torch.Generator().manual_seed(1))

    class Zero(nn.Module):
        def forward(self, x, domain, embedding=None):
            return torch.zeros_like(x[:, :6])

    refiner.operator = Zero()  # a velocity of zero: what comes in goes out, in units of the scale
    refiner.scale.copy_(torch.tensor([3.0, 5.0]).repeat(3))
    frame, new = step(step.begin(past, conditions(box)), conditions(box), seeded(torch.arange(1)))
    eps = seeded(torch.arange(1))(past.new_empty(1, 6, 8, 8), step=0, draw=0)
    torch.testing.assert_close(frame[:, 0] - past[:, -1], torch.tensor([3.0, 5.0])[:, None, None] * eps[:, :2])
    torch.testing.assert_close(new["window"], eps[:, 2:])


def test_it_writes_itself_down():
    step = rolling(evaluations=1)
    again = construct(describe(step))
    again.load_state_dict(step.state_dict())
    past = torch.ones(1, 2, 2, 8, 8)
    made = [next(iter(rollout(s, past, 1, conditions(PLANE).after, seeded(torch.arange(1))))) for s in (step, again.eval())]
    assert torch.equal(*made)


def test_what_cannot_roll_is_refused():
    def surrogate(refiner, **parts):
        return Surrogate(SCALAR, PLANE, 0.1, refiner=refiner, bundle=2, **parts)

    network = ConvNet(3, 2, 2 * FEATURES, dim=2, width=4, layers=1)
    with pytest.raises(ValueError, match="here the refiner is FlowMatching"):
        Rolling(surrogate(FlowMatching(network, channels=2, path=Linear())))
    forcing = DiffusionForcing(network, channels=2, frames=2)
    with pytest.raises(ValueError, match="the guess ConvNet"):
        Rolling(surrogate(forcing, operator=ConvNet(1, 2, 0, dim=2, width=4, layers=1)))
    with pytest.raises(ValueError, match="purely generative"):
        Rolling(surrogate(DiffusionForcing(network, channels=2, frames=2, source=PreviousSource()), target=Absolute()))
    with pytest.raises(ValueError, match="frames=1 but the surrogate bundle=2"):
        Rolling(surrogate(DiffusionForcing(network, channels=2, frames=1)))
    with pytest.raises(ValueError, match="at least one"):
        Rolling(surrogate(forcing), evaluations=0)
    with pytest.raises(ValueError, match="do not divide"):
        Rolling(surrogate(DiffusionForcing(network, channels=2, frames=2, schedule=Steps(5), steps=5)))
    with pytest.raises(ValueError, match="never train them"):
        Rolling(surrogate(DiffusionForcing(network, channels=2, frames=2, times=Ramp(0.0), steps=1, lag=1)))
    step = Rolling(surrogate(forcing))
    with pytest.raises(ValueError, match="pass noise"):
        step(step.begin(torch.ones(1, 1, 1, 8, 8), conditions(PLANE)), conditions(PLANE))


def test_laws_can_be_switched_off_with_weights_shared():
    window = rolling(constraint=ConservedIntegral(PAIR, "velocity"))
    bare = window.with_constraint(None)
    assert window.constraint is not None and bare.constraint is None and bare.evaluations == window.evaluations and not bare.training
    assert bare.surrogate.refiner is window.surrogate.refiner
