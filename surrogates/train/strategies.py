"""What a training step asks of a window: one step from the truth, or one step from where the model itself arrived.

    OneStep        loss(u_t -> u_{t+1})
    Pushforward    loss(v_{t+n} -> u_{t+n+1}),   v_t = u_t,   v_{t+1} = stopgrad model(v_t),   n uniform on 0, ..., pushes

A model rolled out sees its own errors as input; the pushforward trains it on these without differentiating through them.
Source: Brandstetter, Worrall and Welling, "Message passing neural PDE solvers", 2022, section 3.1, https://arxiv.org/abs/2202.03376.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Conditions, Draws, Noise, State
from surrogates.noise import AtStep, uniform
from surrogates.record import recorded

PUSHES_DRAW = 1 << 20  # far from the draws of any refiner


@runtime_checkable
class Learner(Protocol):
    """What a strategy trains: a `Step` with a loss, such as a `Surrogate` or a hybrid (`surrogates.hybrid.Corrected`)."""

    @property
    def bundle(self) -> int: ...
    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State: ...
    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T C *X"], State]: ...
    def loss(
        self,
        past: Float[Tensor, "B H C *X"],
        future: Float[Tensor, "B T C *X"],
        conditions: Conditions,
        noise: Draws,
        guess: nn.Module | None = None,
    ) -> Float[Tensor, " G"]: ...


@runtime_checkable
class Strategy(Protocol):
    """From a window to one loss a member. `noise` is keyed by the training step; its own `step` counts pushes."""

    @property
    def bundles(self) -> int:
        """How many bundles of future frames a window holds."""
        ...

    def __call__(
        self,
        surrogate: Learner,
        past: Float[Tensor, "B H C *X"],
        future: Float[Tensor, "B T C *X"],
        conditions: Conditions,
        noise: Noise,
        step: int,
        guess: nn.Module | None = None,
    ) -> Float[Tensor, " G"]: ...


@recorded
class OneStep:
    """The step from the truth."""

    bundles = 1

    def __init__(self) -> None:
        pass

    def __call__(
        self,
        surrogate: Learner,
        past: Float[Tensor, "B H C *X"],
        future: Float[Tensor, "B T C *X"],
        conditions: Conditions,
        noise: Noise,
        step: int,
        guess: nn.Module | None = None,
    ) -> Float[Tensor, " G"]:
        return surrogate.loss(past, future, conditions, AtStep(noise, 0), guess)


@recorded
class Pushforward:
    """Up to `pushes` steps without gradient, then one with; `after` training steps (one-step until then)."""

    def __init__(self, pushes: int = 1, after: int = 0) -> None:
        if pushes < 0 or after < 0:
            raise ValueError(f"pushes and after must be at least 0, got {pushes} and {after}")
        self.pushes, self.after = pushes, after

    @property
    def bundles(self) -> int:
        return self.pushes + 1

    def __call__(
        self,
        surrogate: Learner,
        past: Float[Tensor, "B H C *X"],
        future: Float[Tensor, "B T C *X"],
        conditions: Conditions,
        noise: Noise,
        step: int,
        guess: nn.Module | None = None,
    ) -> Float[Tensor, " G"]:
        count = self.count(noise, len(past)) if step >= self.after else 0
        bundle = surrogate.bundle
        with torch.no_grad():
            state = surrogate.begin(past, conditions)
            for n in range(count):
                _, state = surrogate(state, conditions.after(n * bundle), noise)
        ahead = future[:, count * bundle : (count + 1) * bundle]
        return surrogate.loss(state["past"], ahead, conditions.after(count * bundle), AtStep(noise, count), guess)

    def count(self, noise: Noise, rows: int) -> int:
        """How many pushes this training step makes, drawn from the noise of its first window."""
        draw = uniform(AtStep(noise, 0), torch.empty(rows, 1), draw=PUSHES_DRAW)
        return min(int(draw[0] * (self.pushes + 1)), self.pushes)
