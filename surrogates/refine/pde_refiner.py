"""PDE-Refiner: a first prediction, then K rounds of adding ever smaller noise and taking it away.

With y the target, sigma_k = sigma_min^(k/K) and one network for all k, training draws k uniformly and regresses

    k = 0:    y from zeros          k >= 1:    eps from y + sigma_k eps

and sampling starts from y = network(0; k = 0) and repeats y <- z - sigma_k network(z; k) with z = y + sigma_k eps for
k = 1, ..., K. The MSE-trained prediction neglects components of small amplitude; noise of amplitude sigma_k drowns what is
smaller than it, so that the network must model ever smaller ones. Source: Lippe et al., "PDE-Refiner: achieving accurate long
rollouts with neural PDE solvers", 2023, section 3.1 and algorithm 1, https://arxiv.org/abs/2308.05732.

The other form, of the authors' code in pdearena, is a diffusion model with the variances beta_k = sigma_min^(k/K), k = K, ..., 0:
it starts from pure noise and predicts v = sqrt(abar) eps - sqrt(1 - abar) y. That is flow matching on a variance-preserving path
up to the choice of levels: write FlowMatching(path=VariancePreserving()) for it.

With a deterministic guess, the guess is level 0: it is given rather than learned, and Exponential(first=1) says so.
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
from surrogates.refine.schedule import Exponential

NOISE_DRAW, TIME_DRAW = 0, 1


@recorded
class PDERefiner(nn.Module):
    """`Refiner` by rounds of denoising over any operator; see `conditioning` for what the operator sees.

    `channels` is C. sigma_min is relative to a target of unit variance. The buffer `inflation` stretches the result about the
    first prediction (or the guess), which is the conditional mean, as in `flow_matching`; it is one until fitted.
    Draw k - 1 of the noise serves round k. Raises ValueError where guess and schedule.first disagree.
    """

    inflation: Tensor

    def __init__(self, operator: nn.Module, *, channels: int, schedule: Exponential) -> None:
        super().__init__()
        self.operator, self.channels, self.schedule = operator, channels, schedule
        self.register_buffer("inflation", torch.ones(()))

    @property
    def evaluations(self) -> int:
        """Network evaluations a call."""
        return self.schedule.steps + 1 - self.schedule.first

    def forward(
        self,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
        correct: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """One sample a row, differentiable. `correct` maps every estimate of the target onto those that satisfy a law."""
        self._check(guess)
        network = conditioned(self.operator, guess, context, embedding, domain)
        lawful = correct if correct is not None else _same
        first, *rest = self.schedule.levels(self.schedule.steps)
        if guess is None:
            zeros = torch.zeros_like(state_like(context, self.channels))
            guess = network(zeros, at_level(first, zeros, domain)).to(zeros.dtype)  # a network may predict in half precision
        y = guess = lawful(guess)
        for k, s in enumerate(rest):
            sigma = self.schedule.sigma(s)
            z = y + sigma * noise(y, draw=NOISE_DRAW + k)
            y = lawful(z - sigma * network(z, at_level(s, z, domain)))
        return lawful(torch.lerp(guess, y, self.inflation.to(y.dtype)))

    def loss(
        self,
        truth: Float[Tensor, "B C *X"],
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
    ) -> Float[Tensor, " G"]:
        """The mean square error of what level k predicts, k drawn for each member, float64."""
        self._check(guess)
        check_channels(self.channels, truth=truth)
        times = self.schedule.draw(noise, truth.new_empty(truth.shape[0], domain.members), draw=TIME_DRAW)
        s: Any = domain.expand(times.reshape(-1, 1))
        eps = noise(truth, draw=NOISE_DRAW)
        predicts = s == 1
        z = torch.where(predicts, 0.0, truth + self.schedule.sigma(s) * eps)
        network = conditioned(self.operator, guess, context, embedding, domain)
        target = torch.where(predicts, truth, eps)
        return member_mean((network(z, features(times.flatten())) - target).square(), domain)

    def _check(self, guess: Tensor | None) -> None:
        check_channels(self.channels, guess=guess)
        if (guess is not None) != (self.schedule.first == 1):
            raise ValueError(
                f"the schedule has first={self.schedule.first} but guess is {'None' if guess is None else 'given'}; "
                "write Exponential(first=1) where a deterministic guess stands for level 0, and first=0 where there is none"
            )


def _same(u: Tensor) -> Tensor:
    return u
