"""Diffusion forcing: a bundle of T frames, each at its own noise level, and a network that is told all T of them,

    loss = E mean_j w(s_j) |F_j(z, s) - target(x_j, e_j, s_j)|^2,     z_j = a(s_j) x_j + b(s_j) e_j,     s_1, ..., s_T independent

so that one network denoises a bundle together, frame after frame, as a pyramid or in a rolling window: whatever matrix of levels is
followed, row after row, with x and e held fixed over a step (DDIM; Euler's method on the linear path),

    z_j <- a(r_j) x_j + b(r_j) (z_j - a(s_j) x_j)/b(s_j).

Frames that are clean before others are conditions of those. With T = 1, or with levels that are equal, this is flow matching.

The network hears the T levels as T sets of features in its embedding, frame 0 first, where it would hear one: then T = 1 is flow
matching to the weight, and every operator hears levels by the way that it has for that. (As planes, T more channels, they would meet
their frames at the first layer already, but a constant plane is what instance norms take away, and one number a frame tells near levels
apart badly.) Source: Chen et al., "Diffusion forcing", 2024, https://arxiv.org/abs/2407.01392.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.record import recorded
from surrogates.refine.conditioning import Network, Widths, check_channels, conditioned, member_mean, widths
from surrogates.refine.features import FEATURES, features, level_features
from surrogates.refine.flow import TIME_DRAW, Flow
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.prediction import VELOCITY, Prediction, check_start
from surrogates.refine.rolling import EACH_FRAME, FrameTimes, Matrix, staggered
from surrogates.refine.samplers import Correct
from surrogates.refine.schedule import UNIFORM, Schedule
from surrogates.refine.source import GAUSSIAN, Number, Source
from surrogates.refine.weighting import UNWEIGHTED, Weighting


@recorded
class DiffusionForcing(Flow):
    """`Refiner` of a bundle with a level a frame; see `conditioning` for what else the operator sees.

    `channels` is C, those of all `frames` together; each frame takes `steps` steps, `lag` evaluations behind the one before: 0 for all
    together, `steps` for one after the other. `times` says which levels are trained together. Raises ValueError where the frames do
    not divide C, where a row of levels is visited that is not trained, and for tensors whose channels are not C.
    """

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        frames: int,
        path: Path = LINEAR,
        schedule: Schedule = UNIFORM,
        times: FrameTimes = EACH_FRAME,
        source: Source = GAUSSIAN,
        prediction: Prediction = VELOCITY,
        weighting: Weighting = UNWEIGHTED,
        steps: int = 4,
        lag: int = 0,
    ) -> None:
        super().__init__(operator, channels, path, source)
        check_start(prediction, path)
        check_frames(channels, frames)
        if not 0 <= lag <= steps:
            raise ValueError(f"lag is {lag} but lies between 0 (all frames together) and steps={steps} (one after the other)")
        self.frames, self.schedule, self.times, self.prediction, self.weighting = frames, schedule, times, prediction, weighting
        self.steps, self.lag = steps, lag
        self.check_trained(self.matrix)

    @classmethod
    def widths(cls, channels: int, context: int, guess: bool, frames: int) -> Widths:
        """The usual ones, with the features of a level for each frame."""
        return widths(channels, context, guess, frames)._replace(embedding=frames * FEATURES)

    @property
    def matrix(self) -> Matrix:
        """The levels that are visited."""
        return staggered(self.schedule.levels(self.steps), self.frames, self.lag)

    @property
    def evaluations(self) -> int:
        """Network evaluations a call."""
        return len(self.matrix) - 1

    def check_trained(self, matrix: Matrix) -> None:
        """Raise ValueError for a row of levels that training does not cover."""
        for row in matrix[:-1]:
            if not self.times.trains(self.schedule, row):
                raise ValueError(
                    f"the levels {row} of the frames are visited together but {self.times} and {self.schedule} never train them; write "
                    "times=EachFrame() and schedule=Uniform(). A Ramp needs steps = frames * lag, and a schedule that never trains clean "
                    "frames, such as Steps, needs frames that go together, lag=0"
                )

    def fit_scale(self, residuals: Float[Tensor, "N C *X"]) -> None:
        """As for any flow, but one scale for all frames, so that a frame keeps its units when a window rolls."""
        super().fit_scale(residuals)
        rms = self.scale.reshape(self.frames, -1).square().mean(0).sqrt()
        self.scale.copy_(rms.repeat(self.frames))

    def denoise(
        self,
        network: Network,
        z: Float[Tensor, "B C *X"],
        matrix: Matrix,
        domain: Domain,
        gain: Number = 1.0,
        correct: Correct | None = None,
    ) -> tuple[Float[Tensor, "B C *X"], Float[Tensor, "B C *X"]]:
        """Where z leads along the rows of a matrix, in the coordinates of the flow, and the end points that the first row points to.

        `network` is `conditioned`, `gain` that of the frame; `correct` maps end points of the whole bundle onto lawful ones.
        """
        first = z
        for k, (row, after) in enumerate(pairwise(matrix)):
            x = self.ends(network, z, row, domain, gain)
            x = x if correct is None else correct(x)
            first = x if k == 0 else first
            z = torch.cat([self._held(z[:, c], x[:, c], s, r) for (s, r), c in self._groups(row, after)], 1)
        return z, first

    def ends(
        self, network: Network, z: Float[Tensor, "B C *X"], row: tuple[float, ...], domain: Domain, gain: Number = 1.0
    ) -> Float[Tensor, "B C *X"]:
        """The data that each frame points to at the levels of a row; a clean frame is its own."""
        path, prediction = self.path, self.prediction
        groups = [(s, c) for (s, _), c in self._groups(row, row)]
        factors = [prediction.factor(path, s) for s, _ in groups]
        seen = z if all(f == 1 for f in factors) else torch.cat([f * z[:, c] for f, (_, c) in zip(factors, groups, strict=True)], 1)
        told = torch.cat([level_features(float(path.told(s)), z.device, z.dtype) for s in row], 1)
        f = network(seen, told.expand(z.shape[0] * domain.members, -1))
        parts = []
        for s, c in groups:
            u, g = z[:, c], gain if isinstance(gain, float) else gain[c]
            parts.append(path.data(u, g * prediction.velocity(path, u / g, f[:, c], s), s) if s > 0 else u)
        return torch.cat(parts, 1)

    def forward(
        self,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
        correct: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """One bundle a row, differentiable. `correct` maps bundles in the units of the truth onto those that satisfy a law."""
        check_channels(self.channels, guess=guess)
        frame = self.frame(guess, context)
        z = self.start(frame, context, domain, noise)
        network = conditioned(self.operator, guess, context, embedding, domain)
        x, mean = self.denoise(network, z, self.matrix, domain, frame.gain, self.lawful(frame, correct))
        return self.finish(frame, x, mean, correct)

    def loss(
        self,
        truth: Float[Tensor, "B C *X"],
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
    ) -> Float[Tensor, " G"]:
        """The weighted mean square of the prediction's error, in which clean frames do not count, one a member, float64."""
        check_channels(self.channels, truth=truth, guess=guess)
        frame, path, prediction = self.frame(guess, context), self.path, self.prediction
        x, e = self.pair(truth, frame, context, domain, noise)
        like = truth.new_empty(truth.shape[0], domain.members)
        times = self.times.draw(self.schedule, noise, like, self.frames, draw=TIME_DRAW).reshape(-1, self.frames)
        s: Any = domain.expand(times).repeat_interleave(self.channels // self.frames, 1)
        told = features(torch.as_tensor(path.told(times.flatten()))).reshape(len(times), -1)
        network = conditioned(self.operator, guess, context, embedding, domain)
        predicted = network(prediction.factor(path, s) * path.interpolate(x, e, s), told)
        error = (predicted - prediction.target(path, x / frame.gain, e / frame.gain, s)).square()
        return member_mean(torch.where(s > 0, self.weighting(path, prediction, s) * error, 0.0), domain)

    def _held(self, z: Tensor, x: Tensor, s: float, r: float) -> Tensor:
        """Some frames' step from s to r with both ends fixed."""
        if s == r:
            return z
        (a, b), (c, d) = self.path.ends(s), self.path.ends(r)
        return c * x + (d / b) * (z - a * x) if d > 0 else x if c == 1 else c * x

    def _groups(self, row: tuple[float, ...], after: tuple[float, ...]) -> list[tuple[tuple[float, float], slice]]:
        """Runs of neighbouring frames that take the same step, with their channels."""
        c, start, runs = self.channels // self.frames, 0, []
        for step, run in groupby(zip(row, after, strict=True)):
            stop = start + c * len(list(run))
            runs.append((step, slice(start, stop)))
            start = stop
        return runs


def check_frames(channels: int, frames: int) -> None:
    """Raise ValueError unless a bundle of so many channels is so many frames."""
    if frames < 1 or channels % frames:
        raise ValueError(f"{channels} channels are not {frames} frames of as many channels each; let frames be the bundle")
