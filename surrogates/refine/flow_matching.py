"""Flow matching and diffusion: regress what tells the velocity of a path from source to data, then integrate it.

    loss = E w(s) |F(c z(s), s) - target(x, e, s)|^2,   z(s) = a(s) x + b(s) e,   s ~ schedule, e ~ source, x ~ data

With F the velocity a' x + b' e its minimiser is v(z, s) = E[a' x + b' e | z(s) = z], whose flow carries the law of e to that of x
given the context; the other predictions (`prediction`) tell the same velocity. So one class is

    flow matching             path Linear               prediction Velocity          schedule Uniform, LogitNormal
    EDM, GenCast              path VarianceExploding    prediction Preconditioned    schedule Karras...    sampler dpm_2s, Churn
    DDPM, DDIM                path LinearBetas          prediction SourcePrediction  schedule Steps        sampler ddpm, ddim
    pdearena's PDE-Refiner    path ExponentialBetas     prediction Preconditioned    schedule Steps        sampler ddpm

on the linear path by default. Sources: Lipman et al., 2023, https://arxiv.org/abs/2210.02747; those of the parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.record import recorded
from surrogates.refine.conditioning import at_level, check_channels, conditioned, member_mean
from surrogates.refine.coupling import INDEPENDENT, Coupling
from surrogates.refine.features import features
from surrogates.refine.flow import TIME_DRAW, Flow, Judge
from surrogates.refine.noise_levels import check_noise_levels
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.prediction import VELOCITY, Prediction, Velocity, check_start
from surrogates.refine.reinterpolate import check_source
from surrogates.refine.samplers import Sampler, euler, evaluations, sample
from surrogates.refine.schedule import UNIFORM, Schedule
from surrogates.refine.source import GAUSSIAN, Frame, Source
from surrogates.refine.weighting import UNWEIGHTED, Weighting


@recorded
class FlowMatching(Flow):
    """`Refiner` by flow matching over any operator; see `conditioning` for what the operator sees and what a context is.

    `channels` is C; `steps` the sampler's steps. Raises ValueError for steps < 1 and for tensors whose channels are not C.
    """

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        path: Path = LINEAR,
        schedule: Schedule = UNIFORM,
        source: Source = GAUSSIAN,
        coupling: Coupling = INDEPENDENT,
        prediction: Prediction = VELOCITY,
        weighting: Weighting = UNWEIGHTED,
        sampler: Sampler = euler,
        steps: int = 4,
    ) -> None:
        super().__init__(operator, channels, path, source, coupling)
        check_start(prediction, path)
        check_source(sampler, source)
        check_noise_levels(schedule, path)
        self.schedule, self.prediction, self.weighting, self.sampler, self.steps = schedule, prediction, weighting, sampler, steps
        schedule.levels(steps)

    @property
    def evaluations(self) -> int:
        """Network evaluations a call."""
        return evaluations(self.sampler, self.schedule.levels(self.steps), self.path)

    def velocity(
        self,
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
    ) -> Callable[[Tensor, float], Tensor]:
        """v(z, s) in the coordinates of `frame`, for a whole batch at one level."""
        network = conditioned(self.operator, guess, context, embedding, domain)
        path, prediction, gain = self.path, self.prediction, frame.gain
        plain = isinstance(prediction, Velocity) and isinstance(gain, float)

        def velocity(z: Tensor, s: float) -> Tensor:
            c = prediction.factor(path, s)
            f = network(z if c == 1 else c * z, at_level(float(path.told(s)), z, domain))
            return f if plain else gain * prediction.velocity(path, z / gain, f, s)

        return velocity

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
        return self.follow(self.velocity(frame, guess, context, embedding, domain), frame, context, domain, noise, correct)

    def follow(
        self,
        flow: Callable[[Tensor, float], Tensor],
        frame: Frame,
        context: Float[Tensor, "B Cc *X"],
        domain: Domain,
        noise: Draws,
        correct: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """Where a velocity in the coordinates of `frame` leads: the network's, or one that something guides."""
        means: list[Tensor] = []

        def velocity(z: Tensor, s: float) -> Tensor:
            v = flow(z, s)
            if not means:
                means.append(self.path.data(z, v, s))
            return v

        z = self.start(frame, context, domain, noise)
        levels = self.schedule.levels(self.steps)
        x = sample(
            self.sampler,
            velocity,
            z,
            levels,
            self.lawful(frame, correct),
            self.path,
            self.fresh(domain, noise),
        )
        return self.finish(frame, x, means[0], correct)

    def loss(
        self,
        truth: Float[Tensor, "B C *X"],
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
        judge: Judge | None = None,
    ) -> Float[Tensor, " G"]:
        """The weighted mean square of the prediction's error, in units of `frame.gain`, one a member, float64; and what the judge says of
        the end point that is predicted."""
        check_channels(self.channels, truth=truth, guess=guess)
        frame = self.frame(guess, context)
        x, e = self.pair(truth, frame, context, domain, noise)
        times = self.schedule.draw(noise, truth.new_empty(truth.shape[0], domain.members), draw=TIME_DRAW)
        s: Any = domain.expand(times.reshape(-1, 1))
        z = self.path.interpolate(x, e, s)
        told: Any = self.path.told(times.flatten())
        network = conditioned(self.operator, guess, context, embedding, domain)
        predicted = network(self.prediction.factor(self.path, s) * z, features(told))
        target = self.prediction.target(self.path, x / frame.gain, e / frame.gain, s)
        loss = member_mean(self.weighting(self.path, self.prediction, s) * (predicted - target).square(), domain)
        if judge is None:
            return loss
        v = frame.gain * self.prediction.velocity(self.path, z / frame.gain, predicted, s)
        return loss + self.judged(judge, frame, self.path.data(z, v, s), times.flatten())
