"""What generators by average velocities share: two times, and steps of any length that are exact for an exact network.

Where dz/ds = v(z, s) carries z from s to r <= s, its average velocity is

    u(z, s, r) = 1/(s - r) * (the integral of v(z(t), t) over r < t < s),      z(r) = z - (s - r) u(z, s, r),      u(z, s, s) = v(z, s),

so one evaluation makes a step of any length, the whole way from noise to data too. A network for u regresses a `target`, which is what
tells `MeanFlow`, `SplitMeanFlow` and `Shortcut` apart. It hears s and the step d = s - r rather than s and r: d = 0 is where u is the
velocity itself, at every s. Geng et al., "Mean flows for one-step generative modeling", 2025, table 1c,
https://arxiv.org/abs/2505.13447, also find it the better choice. Both are told by features SLOW times slower than those of a velocity:
targets made of u elsewhere, or of its derivative d_s u, amplify what the fast ones let a young network do (Lu and Song, "Simplifying,
stabilizing and scaling continuous-time consistency models", 2024, section 4.1, https://arxiv.org/abs/2410.11081).

The path is the linear one, where z - s u is an estimate of the end point at every r, as the laws of `correct` need. With a `sampler` that
goes to the end and back, PCFM or ECI, it is z - s u(z, s, 0), the end point itself: a sample, where a velocity knows only its mean.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.refine.conditioning import Widths, check_channels, conditioned, member_mean, widths
from surrogates.refine.coupling import Coupling
from surrogates.refine.features import FEATURES, features, time_of
from surrogates.refine.flow import Flow, Judge
from surrogates.refine.path import LINEAR
from surrogates.refine.reinterpolate import ECI, PCFM, check_source
from surrogates.refine.samplers import Fresh, Velocity, corrected, euler
from surrogates.refine.schedule import Schedule
from surrogates.refine.source import Frame, Source

SLOW = 16.0
"""Between the frequencies of `features` and those here, whose highest is 4 pi."""
Average = Callable[[Tensor, Tensor, Tensor], Tensor]
"""u(z "B C *X", s " G", r " G") in the coordinates of a frame."""


def tell(s: Float[Tensor, " G"], d: Float[Tensor, " G"]) -> Float[Tensor, "G F2"]:
    """How a network is told s and the step d = s - r."""
    return torch.cat((features(s / SLOW), features(d / SLOW)), dim=1)


def heard(embedding: Float[Tensor, "G E"]) -> tuple[Float[Tensor, " G"], Float[Tensor, " G"]]:
    """(s, d) from an embedding that ends in what `tell` says: the inverse."""
    return SLOW * time_of(embedding[:, :-FEATURES]), SLOW * time_of(embedding)


@lru_cache(maxsize=1024)
def _told(s: float, d: float, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "1 F2"]:
    with torch.inference_mode(False):
        return tell(*(torch.tensor([t], dtype=dtype, device=device) for t in (s, d)))


class AverageVelocity(Flow):
    """A refiner by average velocities, one evaluation a step; `channels` is C.

    With `calibrated`, one more evaluation, u(e, 1, 1), finds the conditional mean that the buffer `inflation` stretches about (see
    `flow`); without, there is no such buffer. Without a `sampler` each step goes from level to level. Raises ValueError for steps < 1 and
    for ECI from another source than GaussianSource.
    """

    def __init__(
        self,
        operator: nn.Module,
        channels: int,
        schedule: Schedule,
        source: Source,
        coupling: Coupling,
        steps: int,
        calibrated: bool,
        sampler: PCFM | ECI | None = None,
    ) -> None:
        super().__init__(operator, channels, LINEAR, source, coupling)
        check_source(sampler, source)
        self.schedule, self.steps, self.calibrated, self.sampler = schedule, steps, calibrated, sampler
        if not calibrated:
            self.register_buffer("inflation", None)
        schedule.levels(steps)

    @classmethod
    def widths(cls, channels: int, context: int, guess: bool, frames: int) -> Widths:
        """Those of the operator: two times instead of one."""
        return widths(channels, context, guess, frames)._replace(embedding=2 * FEATURES)

    @property
    def evaluations(self) -> int:
        """Network evaluations a call."""
        return self.evaluations_along(self.schedule.levels(self.steps)) + self.calibrated

    def evaluations_along(self, levels: Sequence[float]) -> int:
        """Network evaluations of `along`."""
        if self.sampler is None:
            return len(levels) - 1
        calls: list[int] = []

        def velocity(z: Tensor, s: float) -> Tensor:
            calls.append(len(self.stairs(s)) - 1)
            return z

        self.sampler(velocity, torch.zeros(1, 1, 1), levels, LINEAR, lambda like, k: like)
        return sum(calls)

    def stairs(self, s: float) -> tuple[float, ...]:
        """The levels of steps that lead from s to the end: one step, where any length was trained."""
        return s, 0.0

    @abstractmethod
    def times(self, noise: Draws, like: Float[Tensor, "B M"]) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]:
        """(s, r) to train at, r <= s."""

    @abstractmethod
    def target(self, average: Average, z: Tensor, v: Tensor, s: Tensor, r: Tensor, domain: Domain, noise: Draws) -> Tensor:
        """What u(z, s, r) regresses, with v = e - x; called without gradient. s and r are one a member."""

    def weighted(self, error: Float[Tensor, " G"]) -> Float[Tensor, " G"]:
        """The members' losses from their mean square errors."""
        return error

    def average(
        self,
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
    ) -> Average:
        """u(z, s, r) in the coordinates of `frame`, for times of each member."""
        network = conditioned(self.operator, guess, context, embedding, domain)
        return lambda z, s, r: frame.gain * network(z, tell(s, s - r))

    def along(
        self,
        levels: Sequence[float],
        z: Float[Tensor, "B C *X"],
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        correct: Callable[[Tensor], Tensor] | None = None,
        fresh: Fresh | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """Where steps along falling levels lead from z: Euler's method with average velocities, or the sampler. `correct` acts in the
        frame."""
        network = conditioned(self.operator, guess, context, embedding, domain)
        rows = z.shape[0] * domain.members

        def steps(levels: Sequence[float]) -> Velocity:
            after = dict(pairwise(levels))

            def velocity(z: Tensor, s: float) -> Tensor:
                u = network(z, _told(s, s - after[s], z.device, z.dtype).expand(rows, -1))
                return frame.gain * u

            return velocity

        def to_the_end(z: Tensor, s: float) -> Tensor:
            stairs = self.stairs(s)
            v = steps(stairs)
            return v(z, s) if len(stairs) == 2 else (z - euler(v, z, stairs)) / s

        velocity = steps(levels) if self.sampler is None else to_the_end
        velocity = velocity if correct is None else corrected(velocity, correct)
        return euler(velocity, z, levels) if self.sampler is None else self.sampler(velocity, z, levels, LINEAR, fresh)

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
        e = self.start(frame, context, domain, noise)
        given = (frame, guess, context, embedding, domain)
        mean = None
        if self.calibrated:
            ones = e.new_ones(e.shape[0] * domain.members)
            mean = self.path.data(e, self.average(*given)(e, ones, ones), 1.0)
        x = self.along(self.schedule.levels(self.steps), e, *given, self.lawful(frame, correct), self.fresh(domain, noise))
        return self.finish(frame, x, mean, correct)

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
        """The mean square of u's error against its target, in units of `frame.gain`, weighted, one a member, float64; and what the judge
        says of the end point z - s u, which is as sure as z(r)."""
        check_channels(self.channels, truth=truth, guess=guess)
        frame = self.frame(guess, context)
        x, e = self.pair(truth, frame, context, domain, noise)
        s, r = (t.flatten() for t in self.times(noise, truth.new_empty(truth.shape[0], domain.members)))
        at: Any = domain.expand(s[:, None])
        z, v = self.path.interpolate(x, e, at), self.path.velocity(x, e, at)
        average = self.average(frame, guess, context, embedding, domain)
        with torch.no_grad():
            target = self.target(average, z, v, s, r, domain, noise)
        u = average(z, s, r)
        loss = self.weighted(member_mean(((u - target) / frame.gain).square(), domain))
        return loss if judge is None else loss + self.judged(judge, frame, z - at * u, r)
