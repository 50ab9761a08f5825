"""Autoregressive conditional diffusion: what is known is noised like what is not, and the noise of both is predicted,

    loss = E |F(a k + b e_k, a x + b e_x, s) - (e_k, e_x)|^2,      k the context, x the next state

and in sampling the context is brought to each level by fresh noise while x is denoised. A network that always sees noisy frames does not
lean on details that its own predictions get wrong. Source: Kohl, Chen and Thuerey, "Benchmarking autoregressive conditional diffusion
models for turbulent flow simulation", 2023, https://arxiv.org/abs/2309.01745: two previous frames (history = 2), 20 steps (100 for
isotropic turbulence). Their code draws the context's noise once a sample; drawn for every level, as here, it averages out.

What it samples is not the law of x given k, whatever the network and the steps: at each level x is denoised as if k were known only as
well as the level shows it, and early levels leave their mark. For a Gaussian pair of correlation .9, .99 or .999 and the exact network, 20
steps have the mean .58 k, .80 k or .88 k, and endlessly many .63 k, .87 k or .96 k (tests/refine/test_acdm.py); noise held over the levels
has the same mean and more spread.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.record import recorded
from surrogates.refine.conditioning import Widths, at_level, check_channels, conditioned, member_mean, widths
from surrogates.refine.discrete import LinearBetas
from surrogates.refine.features import features
from surrogates.refine.flow import FRESH_DRAW, TIME_DRAW, Flow
from surrogates.refine.path import Path
from surrogates.refine.samplers import Sampler, evaluations, sample
from surrogates.refine.schedule import Schedule, Steps
from surrogates.refine.stochastic import ddpm


@recorded
class ACDM(Flow):
    """`Refiner` by a diffusion of context and state together. The operator sees (z of the state, z of the context[, guess]) and tells
    the noise of both: C + Cc channels out, as `widths` says.

    `channels` is C; `steps` the sampler's steps. There is no `inflation`: the first end point that the network points to forgets the
    context. Raises ValueError for steps that the schedule lacks, for a path that keeps nothing of the data at s = 1 (its noise tells no
    state) and for tensors whose channels are not C.
    """

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        path: Path = LinearBetas(),  # noqa: B008 - frozen
        schedule: Schedule = Steps(20),  # noqa: B008 - frozen
        sampler: Sampler = ddpm,
        steps: int = 20,
    ) -> None:
        super().__init__(operator, channels, path)
        self.register_buffer("inflation", None)
        if path.ends(1.0)[0] < 1e-6:
            raise ValueError(f"{path} ends in pure noise, from which a prediction of noise tells no state; write LinearBetas(20)")
        self.schedule, self.sampler, self.steps = schedule, sampler, steps
        schedule.levels(steps)

    @classmethod
    def widths(cls, channels: int, context: int, guess: bool, frames: int) -> Widths:
        """C + Cc (+ C with a guess) in, C + Cc out."""
        return widths(channels, context, guess, frames)._replace(outputs=channels + context)

    @property
    def evaluations(self) -> int:
        """Network evaluations a call."""
        return evaluations(self.sampler, self.schedule.levels(self.steps), self.path)

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
        network = conditioned(self.operator, guess, context[:, :0], embedding, domain)
        calls = count()  # even draws are the sampler's, odd ones the context's

        def velocity(z: Tensor, s: float) -> Tensor:
            noisy = self.path.interpolate(context, noise(context, draw=FRESH_DRAW + 2 * next(calls) + 1), s)
            both = network(torch.cat((z, noisy), 1), at_level(float(self.path.told(s)), z, domain))
            return self.path.velocity_from_noise(z, both[:, : self.channels], s)

        def fresh(like: Tensor, k: int) -> Tensor:
            return noise(like, draw=FRESH_DRAW + 2 * k)

        z, levels = self.start(frame, context, domain, noise), self.schedule.levels(self.steps)
        x = sample(self.sampler, velocity, z, levels, self.lawful(frame, correct), self.path, fresh)
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
        """The mean square of the noise's error, over the channels of state and context, one a member, float64."""
        check_channels(self.channels, truth=truth, guess=guess)
        frame = self.frame(guess, context)
        x, e = self.pair(truth, frame, context, domain, noise)
        both, noises = torch.cat((x, context), 1), torch.cat((e, noise(context, draw=FRESH_DRAW)), 1)
        times = self.schedule.draw(noise, truth.new_empty(truth.shape[0], domain.members), draw=TIME_DRAW)
        s, told = domain.expand(times.reshape(-1, 1)), torch.as_tensor(self.path.told(times.flatten()))
        network = conditioned(self.operator, guess, context[:, :0], embedding, domain)
        predicted: Any = network(self.path.interpolate(both, noises, s), features(told))
        return member_mean((predicted - noises).square(), domain)
