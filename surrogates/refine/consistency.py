"""Consistency models: one network that sends every state on a trajectory of the flow to where the trajectory ends.

    f(z(s), s) = f(z(r), r),      f(z, 0) = z,      loss = h(f(z(s), s) - stopgrad f(z(r), r)),      s > r neighbours of a grid

f(z, s) is the end point x that the path makes of z and of what the network predicts; with a velocity, x = z - s F(z, s). It is z itself
at s = 0 for every prediction that has no leverage there, which is the boundary condition. z(r) comes from the same pair (x, e) as z(s),

    direct       z(r) = a(r) x + b(r) e        right as the grid is refined, since E[e, x | z(s)] is what the flow follows
    distilled    z(r) = one step of Heun's method with a trained velocity from z(s)

With l the mean square of the difference over b(s) - b(r), h is l, or the papers' pseudo-Huber distance sqrt(l + c^2) - c. The latter
trains faster, but what minimises it is no mean, and likely outcomes gain on rare ones (of two modes with odds 3 : 1 in one dimension
c = .1 makes 8 : 1); l keeps the law. Sampling alternates x = f(z, s) with fresh noise, z = a(r) x + b(r) e'.

Sources: Song et al., "Consistency models", 2023, https://arxiv.org/abs/2303.01469; Song and Dhariwal, "Improved techniques for training
consistency models" (iCT: no averaged network in the target, and the distance), 2023, https://arxiv.org/abs/2310.14189. Their path is
VarianceExploding with prediction Preconditioned and schedule Karras; their grid grows during training, here train longer with more
`intervals` from the last weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.noise import uniform
from surrogates.record import recorded
from surrogates.refine.conditioning import check_channels, conditioned, member_mean, state_like
from surrogates.refine.coupling import INDEPENDENT, Coupling
from surrogates.refine.features import features
from surrogates.refine.flow import FRESH_DRAW, TIME_DRAW, Flow
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.prediction import VELOCITY, Prediction
from surrogates.refine.schedule import UNIFORM, Schedule
from surrogates.refine.source import GAUSSIAN, Frame, Source


@recorded
class Consistency(Flow):
    """`Refiner` by direct consistency training over any operator; see `conditioning` for what the operator sees.

    The grid is `schedule.levels(intervals)`; `steps` must divide `intervals`, and sampling visits every intervals/steps-th level of it.
    `huber` is c; None: the plain square. There is no `inflation`: the conditional mean is not known. Raises ValueError for other steps,
    for huber <= 0 and for a prediction of the data themselves, which knows no boundary condition.
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
        steps: int = 1,
        intervals: int = 32,
        huber: float | None = None,
    ) -> None:
        super().__init__(operator, channels, path, source, coupling)
        if steps < 1 or intervals % steps:
            raise ValueError(f"steps={steps} must divide intervals={intervals}, so that every level visited is one that was trained")
        if huber is not None and not huber > 0:
            raise ValueError(f"huber is {huber} but must be positive; leave it out for the plain square")
        if float(prediction.leverage(path, 0.0)):
            raise ValueError(f"{prediction} does not give back z at s = 0; write Velocity or Preconditioned")
        self.schedule, self.prediction, self.steps, self.intervals, self.huber = schedule, prediction, steps, intervals, huber
        self.register_buffer("inflation", None)
        self.grid = tuple(schedule.levels(intervals))

    @property
    def evaluations(self) -> int:
        """Network evaluations a call."""
        return self.steps

    def ends(
        self,
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """f(z "B C *X", s " G"): where trajectories end."""
        network = conditioned(self.operator, guess, context, embedding, domain)
        path, prediction, gain = self.path, self.prediction, frame.gain

        def end(z: Tensor, times: Tensor) -> Tensor:
            s: Any = domain.expand(times[:, None])
            told: Any = path.told(times)
            f = network(prediction.factor(path, s) * z, features(told))
            return path.data(z, gain * prediction.velocity(path, z / gain, f, s), s)

        return end

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
        end, lawful = self.ends(frame, guess, context, embedding, domain), self.lawful(frame, correct)
        x = z = self.start(frame, context, domain, noise)
        for k, s in enumerate(self.grid[: -1 : self.intervals // self.steps]):
            if k:
                eps = noise(state_like(context, self.channels), draw=FRESH_DRAW + k - 1)
                z = self.path.interpolate(x, frame.mean + frame.std * self.source.colour(eps, domain), s)
            x = end(z, z.new_full((z.shape[0] * domain.members,), s))
            x = x if lawful is None else lawful(x)
        return self.finish(frame, x, None, correct)

    def loss(
        self,
        truth: Float[Tensor, "B C *X"],
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
    ) -> Float[Tensor, " G"]:
        """The distance between the ends of neighbours, one a member, float64."""
        check_channels(self.channels, truth=truth, guess=guess)
        frame = self.frame(guess, context)
        x, e = self.pair(truth, frame, context, domain, noise)
        place = uniform(noise, truth.new_empty(truth.shape[0], domain.members), draw=TIME_DRAW).flatten()
        k = (place * self.intervals).long().clamp(max=self.intervals - 1)
        grid = truth.new_tensor(self.grid)
        s, r = grid[k], grid[k + 1]
        at, before = (domain.expand(t[:, None]) for t in (s, r))
        z = self.path.interpolate(x, e, at)
        given = (frame, guess, context, embedding, domain)
        end = self.ends(*given)
        with torch.no_grad():
            target = end(self.neighbour(z, x, e, s, r, *given), r)
        step: Any = self.path.coefficients(at)[1] - self.path.coefficients(before)[1]
        error = member_mean(((end(z, s) - target) / (frame.gain * step)).square(), domain)
        return error if self.huber is None else (error + self.huber**2).sqrt() - self.huber

    def neighbour(
        self,
        z: Float[Tensor, "B C *X"],
        x: Float[Tensor, "B C *X"],
        e: Float[Tensor, "B C *X"],
        s: Float[Tensor, " G"],
        r: Float[Tensor, " G"],
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
    ) -> Float[Tensor, "B C *X"]:
        """z(r) on the trajectory of z(s)."""
        return self.path.interpolate(x, e, domain.expand(r[:, None]))
