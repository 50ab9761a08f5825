"""The rollout counts frames, cuts bundles, and is differentiable."""

import pytest
import torch

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.rollout import rollout


class Growth:
    """du/dt = a u, exact over a bundle of frames of dt."""

    inputs = outputs = Fields.of(Field("u"))

    def __init__(self, bundle: int, history: int = 1) -> None:
        self.bundle, self.history, self.rate = bundle, history, torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def begin(self, past, conditions):
        return {"past": past[:, -1], "step": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state, conditions, noise=None):
        factor = torch.exp(self.rate * conditions.dt)[:, None, None]
        frames = [state["past"] * factor ** (j + 1) for j in range(self.bundle)]
        return torch.stack(frames, 1), {"past": frames[-1], "step": state["step"] + 1}


def conditions(batch):
    one = torch.ones(batch, dtype=torch.float64)
    return Conditions(Box.periodic((4,), 1.0), 0 * one, 0.1 * one, torch.zeros(batch, 0))


@pytest.mark.parametrize("bundle", [1, 3, 7])
def test_any_bundle_gives_the_same_frames(bundle):
    past = torch.rand(2, 1, 1, 4, dtype=torch.float64)
    frames = list(rollout(Growth(bundle), past, 7, conditions(2).after))
    assert len(frames) == 7
    for n, u in enumerate(frames, 1):
        torch.testing.assert_close(u, past[:, 0] * torch.exp(torch.tensor(0.05 * n, dtype=torch.float64)))


def test_the_gradient_flows_through_every_step():
    step, past = Growth(2), torch.ones(1, 1, 1, 4, dtype=torch.float64)
    last = list(rollout(step, past, 5, conditions(1).after))[-1]
    (slope,) = torch.autograd.grad(last.sum(), step.rate)
    torch.testing.assert_close(slope, (last.sum() * 0.5).detach())  # d/da of 4 exp(5 a dt) = 5 dt times it


def test_time_advances_with_the_frames():
    seen = []

    def at(n):
        seen.append(n)
        return conditions(1).after(n)

    list(rollout(Growth(3), torch.ones(1, 1, 1, 4, dtype=torch.float64), 7, at))
    assert seen == [0, 0, 3, 6]
    torch.testing.assert_close(conditions(1).after(6).time, torch.tensor([0.6], dtype=torch.float64))


def test_wrong_history_or_channels_are_explained():
    with pytest.raises(ValueError, match=r"2 frames of 1 channels but the step takes 1 of 1 \('u',\)"):
        list(rollout(Growth(1), torch.ones(1, 2, 1, 4), 1, conditions(1).after))
    with pytest.raises(ValueError, match="did you forget"):
        list(rollout(Growth(1), torch.ones(1, 1, 3, 4), 1, conditions(1).after))
