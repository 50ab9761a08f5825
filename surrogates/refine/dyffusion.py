"""DYffusion: the dynamics themselves take the place of noise. From x_0, a forecaster F tells x_T from any frame between, and an
interpolator I tells the frames between from both ends; sampling walks through the bundle,

    xhat = F(x, i),      x <- x - I(x_0, xhat, i) + I(x_0, xhat, i + 1),      i = 0, ..., T - 1        (cold sampling)

with I(., ., 0) = x_0 and I(., xhat, T) = xhat, and x after each step is a frame. What I gets wrong drops out of the difference.

    loss = E |I(x_0, x_T, i) - x_i|^2 + (E |F(y_j, j) - x_T|^2 + E |F(I(x_0, F(y_j, j), j + 1), j + 1) - x_T|^2) / 2

with y_0 = x_0 and y_j = I(x_0, x_T, j). The paper trains I first and freezes it; here both learn at once, and F's terms leave I's
weights alone, so that I learns what it would alone and F learns against it: the same optimum, in one training.
Source: Ruehling Cachay, Zhao, Joren and Yu, "DYffusion: a dynamics-informed diffusion model for spatiotemporal forecasting", 2023,
section 3 and algorithms 1 and 2, https://arxiv.org/abs/2306.01984 (without its artificial steps before x_1).

Members differ by the dropout of the interpolator, which stays on when sampling, drawn anew each time that it is called. Here whole channels
are dropped, as `dropout` does it for any operator that is conditioned by FiLM, from the refiner's keyed draws; the paper's networks drop
single values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from surrogates.contracts import Domain, Draws
from surrogates.noise import uniform
from surrogates.record import recorded
from surrogates.refine.conditioning import Widths, at_level, check_channels, conditioned, member_mean
from surrogates.refine.diffusion_forcing import check_frames
from surrogates.refine.dropout import check_rate, dropped, films_of
from surrogates.refine.features import FEATURES, features

INTERPOLATION_DRAW, FORECAST_DRAW, DROPOUT_DRAW = 0, 1, 2
"""In training: the frame that is interpolated, the frame that is forecast from; the first of those for the dropout, always."""

Stage = Callable[[Tensor, Tensor], Tensor]
"""(a frame "B c *X", features of 1 - i/T) -> another."""


@recorded
class DYffusion(nn.Module):
    """`Refiner` of a bundle by forecast and interpolation; what is generated must be states, and the last frame of the context is x_0.

    `operator` is F; `interpolator` is I, by default a copy of F with weights of its own. Both see (a frame, context[, guess]) and tell a
    frame: x at i for F, x_T for I, with 1 - i/T as the time. `channels` is C, those of all `frames` T together; `dropout` is the
    share of I's channels that is dropped; 0 makes it deterministic. Raises ValueError for fewer than two frames, for frames that do not
    divide C, for dropout outside [0, 1) or of a network without FiLM, for tensors whose channels are not C and for a context without x_0.
    """

    def __init__(
        self, operator: nn.Module, *, channels: int, frames: int, interpolator: nn.Module | None = None, dropout: float = 0.15
    ) -> None:
        super().__init__()
        check_frames(channels, frames)
        if frames < 2:
            raise ValueError("frames is 1, which leaves nothing to interpolate; let the bundle be at least 2 frames")
        self.operator, self.channels, self.frames, self.dropout = operator, channels, frames, dropout
        self.interpolator = copy.deepcopy(operator) if interpolator is None else interpolator
        if dropout != 0:
            check_rate(dropout)
            films_of(self.interpolator)

    of_states = True
    """What lies between the previous state and the last of the bundle are states."""

    @classmethod
    def widths(cls, channels: int, context: int, guess: bool, frames: int) -> Widths:
        """One frame and the context (and the guess of all frames) in, one frame out."""
        c = channels // frames
        return Widths(c + context + (channels if guess else 0), c, FEATURES)

    @property
    def evaluations(self) -> int:
        """Network evaluations a call: T of the forecaster, 2 (T - 1) of the interpolator."""
        return 3 * self.frames - 2

    def forward(
        self,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
        correct: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """One bundle a row, differentiable. `correct` maps bundles onto those that satisfy a law; it acts on what was sampled."""
        x0, draws = self._first(guess, context), count(DROPOUT_DRAW)
        forecast = conditioned(self.operator, guess, context, embedding, domain)
        interpolate = conditioned(self.interpolator, guess, context, embedding, domain)

        def between(end: Tensor, i: int) -> Tensor:
            if i == 0:
                return x0
            if i == self.frames:
                return end
            with self._dropped(noise, end, domain, next(draws)):
                return interpolate(end, at_level(1 - i / self.frames, end, domain))

        x, made = x0, []
        for i in range(self.frames):
            end = forecast(x, at_level(1 - i / self.frames, x, domain))
            x = between(end, 1) if i == 0 else x - between(end, i) + between(end, i + 1)
            made.append(x)
        u = torch.cat(made, 1)
        return u if correct is None else correct(u)

    def loss(
        self,
        truth: Float[Tensor, "B C *X"],
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
    ) -> Float[Tensor, " G"]:
        """The interpolator's squared error and half of the forecaster's two, i and j drawn for each member, float64."""
        x0, frames, last = self._first(guess, context), self.frames, self.frames - 1
        check_channels(self.channels, truth=truth)
        parts = torch.stack(truth.chunk(frames, 1), 1)
        end = parts[:, -1]
        forecast = conditioned(self.operator, guess, context, embedding, domain)
        interpolate = conditioned(self.interpolator, guess, context, embedding, domain)
        held = conditioned(self._frozen, guess, context, embedding, domain)  # type: ignore[arg-type]

        def between(network: Stage, end: Tensor, i: Tensor, k: int) -> Tensor:
            with self._dropped(noise, end, domain, DROPOUT_DRAW + k):
                return network(end, self._told(i, truth))

        like = truth.new_empty(truth.shape[0], domain.members)
        i = 1 + (uniform(noise, like, draw=INTERPOLATION_DRAW) * last).long().flatten().clamp(max=last - 1)
        j = (uniform(noise, like, draw=FORECAST_DRAW) * frames).long().flatten().clamp(max=last)
        after = (j + 1).clamp(max=last)
        chosen = domain.expand(nn.functional.one_hot(i - 1, frames).to(truth))
        x = (chosen[:, :, None] * parts).sum(1)
        first = between(interpolate, end, i, 0)
        with torch.no_grad():
            y = torch.where(domain.expand(j[:, None].to(truth)) == 0, x0, between(interpolate, end, j.clamp(min=1), 1))
        near = forecast(y, self._told(j, truth))
        far = forecast(between(held, near, after, 2), self._told(after, truth))
        more = torch.where(j < last, member_mean((far - end).square(), domain), 0.0)
        return member_mean((first - x).square(), domain) + (member_mean((near - end).square(), domain) + more) / 2

    def _frozen(self, x: Tensor, domain: Domain, embedding: Tensor | None) -> Tensor:
        """The interpolator, differentiable in what it is given and not in its weights."""
        fixed = {k: v.detach() for k, v in self.interpolator.named_parameters()}
        made: Tensor = functional_call(self.interpolator, fixed, (x, domain, embedding))
        return made

    def _dropped(self, noise: Draws, like: Tensor, domain: Domain, draw: int) -> AbstractContextManager[None]:
        """Inside, the interpolator runs without some of its channels."""
        return dropped(self.interpolator, self.dropout, noise, like, domain, draw=draw) if self.dropout else nullcontext()

    def _told(self, i: Tensor, like: Tensor) -> Tensor:
        return features(1 - i.to(like.dtype) / self.frames)

    def _first(self, guess: Tensor | None, context: Tensor) -> Tensor:
        check_channels(self.channels, guess=guess)
        c = self.channels // self.frames
        if context.shape[1] < c:
            raise ValueError(f"the context has {context.shape[1]} channels but must end in the last frame, of {c}; let it hold a frame")
        return context[:, -c:]
