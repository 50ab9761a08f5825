"""Flow matching: regress the velocity of a path from source to data, then integrate it.

    loss = E |v(z(s), s) - (a'(s) x + b'(s) e)|^2,   z(s) = a(s) x + b(s) e,   s ~ schedule, e ~ source, x ~ data

Its minimiser is v(z, s) = E[a' x + b' e | z(s) = z], whose flow carries the law of e to that of x given the context. Source:
Lipman et al., 2023, https://arxiv.org/abs/2210.02747.

Calibration. At s = 1 the state z is pure source, independent of x given the context, so the end point that the first
velocity points to is the conditional mean m = E[x | context]. The generated x is stretched about it,

    x <- m + inflation (x - m),

which keeps the mean and multiplies the covariance by inflation^2, for every law. For a Gaussian law the exact flow is affine,
x = m + S e, and stretching equals inflating the source's deviation; for other laws inflating the source changes the mean too,
and asks the network about states that it was never trained on. It costs no evaluation. `inflation` is fitted on held-out data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.record import recorded
from surrogates.refine.conditioning import at_level, check_channels, conditioned, member_mean, state_like
from surrogates.refine.features import features
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.samplers import Sampler, euler, evaluations
from surrogates.refine.schedule import UNIFORM, Schedule
from surrogates.refine.source import GAUSSIAN, Frame, Source

SOURCE_DRAW, TIME_DRAW = 0, 1


@recorded
class FlowMatching(nn.Module):
    """`Refiner` by flow matching over any operator; see `conditioning` for what the operator sees and what a context is.

    `channels` is C; `steps` the sampler's steps. The buffers `scale` (C, 1; in normalised units) and `inflation` (scalar) are
    one until fitted. Raises ValueError for steps < 1 and for tensors whose channels are not C.
    """

    scale: Tensor
    inflation: Tensor

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        path: Path = LINEAR,
        schedule: Schedule = UNIFORM,
        source: Source = GAUSSIAN,
        sampler: Sampler = euler,
        steps: int = 4,
    ) -> None:
        super().__init__()
        self.operator, self.path, self.schedule, self.source, self.sampler = operator, path, schedule, source, sampler
        self.channels, self.steps = channels, steps
        schedule.levels(steps)
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("inflation", torch.ones(()))

    @property
    def evaluations(self) -> int:
        """Network evaluations a call."""
        return evaluations(self.sampler, self.steps)

    def fit_scale(self, residuals: Float[Tensor, "N C *X"]) -> None:
        """Set `scale` to the root mean square per channel of truth - guess (or truth - previous), normalised, training split.

        Raises ValueError where a channel is exactly zero or not finite.
        """
        check_channels(self.channels, residuals=residuals)
        rms = residuals.double().square().transpose(0, 1).flatten(1).mean(1).sqrt()
        if not bool((rms.isfinite() & (rms > 0)).all()):
            raise ValueError(f"residuals have root mean squares {rms.tolist()}; every channel must be finite and not exactly zero")
        self.scale.copy_(rms)

    def frame(self, guess: Float[Tensor, "B C *X"] | None, context: Float[Tensor, "B Cc *X"]) -> Frame:
        """The coordinates in which the flow runs."""
        c = self.channels
        scale = self.scale.to(context.dtype).reshape(c, *(1,) * (context.ndim - 2))
        return self.source.frame(guess, context[:, -c:] if context.shape[1] >= c else None, scale)

    def forward(
        self,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
        correct: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """One sample a row, differentiable. `correct` maps states in the units of the truth onto those that satisfy a law."""
        check_channels(self.channels, guess=guess)
        frame = self.frame(guess, context)
        network = conditioned(self.operator, guess, context, embedding, domain)
        means: list[Tensor] = []

        def velocity(z: Tensor, s: float) -> Tensor:
            v = frame.gain * network(z, at_level(s, z, domain))
            if not means:
                means.append(self.path.data(z, v, s))
            return v

        def lawful(x: Tensor) -> Tensor:
            return x if correct is None else (correct(frame.shift + frame.unit * x) - frame.shift) / frame.unit

        z = frame.mean + frame.std * noise(state_like(context, self.channels), draw=SOURCE_DRAW)
        x = self.sampler(velocity, z, self.schedule.levels(self.steps), None if correct is None else lawful, self.path)
        x = frame.shift + frame.unit * torch.lerp(means[0], x, self.inflation.to(x.dtype))
        return x if correct is None else correct(x)

    def loss(
        self,
        truth: Float[Tensor, "B C *X"],
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
    ) -> Float[Tensor, " G"]:
        """The mean square of the velocity's error in units of `frame.gain`, one a member, float64."""
        check_channels(self.channels, truth=truth, guess=guess)
        frame = self.frame(guess, context)
        x = (truth - frame.shift) / frame.unit
        e = frame.mean + frame.std * noise(truth, draw=SOURCE_DRAW)
        times = self.schedule.draw(noise, truth.new_empty(truth.shape[0], domain.members), draw=TIME_DRAW)
        s: Any = domain.expand(times.reshape(-1, 1))
        network = conditioned(self.operator, guess, context, embedding, domain)
        predicted = network(self.path.interpolate(x, e, s), features(times.flatten()))
        return member_mean((predicted - self.path.velocity(x, e, s) / frame.gain).square(), domain)
