"""Monte Carlo dropout: a member is the network without some of its channels, drawn at random and held for the whole field.

Where an operator is conditioned, an embedding acts on the channels h of every block by FiLM, gamma h + beta. With keep probability
q = 1 - p and one Bernoulli number b per member, block and channel,

    gamma h + beta  ->  b (gamma h + beta) / q,      b ~ Bernoulli(q),

that is dropout of whole channels on the modulated features; the mean is untouched. Trained by mean squared error with channels dropped,
each evaluation is a draw from a variational posterior over networks, and members differ by it: what is not known about the network,
and nothing of what is not known about the state. Sources: Gal and Ghahramani, "Dropout as a Bayesian approximation", 2016,
https://arxiv.org/abs/1506.02142; of whole channels, Tompson et al., "Efficient object localization using convolutional networks", 2015,
https://arxiv.org/abs/1411.4280.

Every FiLM of a network gives (gamma, beta, second gain) for each block, so `dropped` multiplies the first two as they leave it, for as
long as its block of code runs, and costs nothing outside. The second gain stays: in some networks it is no factor of features.
`inflation` stretches b/q about its mean of one, which costs nothing and changes the variance of small perturbations by its square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.operators.film import FiLMs
from surrogates.operators.swin import SwinLayer
from surrogates.record import recorded
from surrogates.refine.conditioning import Widths, check_channels, member_mean
from surrogates.refine.flow import FRESH_DRAW, Flow


@recorded
class MCDropout(Flow):
    """`Refiner` of one evaluation with channels dropped at rate `p`, trained by mean squared error; around a guess, of its scaled residual.

    `channels` is C; the operator sees (context[, guess]), and an embedding that ends in a one, so that it has FiLM to drop. Which
    channels are dropped is drawn anew each step. Raises ValueError for p outside (0, 1), for an operator without FiLM and for tensors
    whose channels are not C.
    """

    def __init__(self, operator: nn.Module, *, channels: int, p: float = 0.1) -> None:
        super().__init__(operator, channels)
        check_rate(p)
        films_of(operator)
        self.p = p

    @classmethod
    def widths(cls, channels: int, context: int, guess: bool, frames: int) -> Widths:
        """Those of the operator."""
        return Widths(context + (channels if guess else 0), channels, 1)

    @property
    def evaluations(self) -> int:
        """Network evaluations a call."""
        return 1

    def forward(
        self,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
        correct: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """One member a row, differentiable. `correct` maps states in the units of the truth onto those that satisfy a law."""
        check_channels(self.channels, guess=guess)
        x = self._member(guess, context, embedding, domain, noise, self.inflation)
        return self.finish(self.frame(guess, context), x, None, correct)

    def loss(
        self,
        truth: Float[Tensor, "B C *X"],
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
    ) -> Float[Tensor, " G"]:
        """The mean square error of one member, in units of the scale, one a member of the batch, float64."""
        check_channels(self.channels, truth=truth, guess=guess)
        frame = self.frame(guess, context)
        x = self._member(guess, context, embedding, domain, noise)
        return member_mean((x - (truth - frame.shift) / frame.unit).square(), domain)

    def _member(
        self,
        guess: Tensor | None,
        context: Tensor,
        embedding: Tensor | None,
        domain: Domain,
        noise: Draws,
        inflation: Tensor | float = 1.0,
    ) -> Tensor:
        one = context.new_ones(context.shape[0] * domain.members, 1)
        joined = one if embedding is None else torch.cat((embedding, one), 1)
        inputs = context if guess is None else torch.cat((context, guess), 1)
        with dropped(self.operator, self.p, noise, inputs, domain, draw=FRESH_DRAW, inflation=inflation):
            made: Tensor = self.operator(inputs, domain, joined)
        return made


@contextmanager
def dropped(
    operator: nn.Module,
    p: float,
    noise: Draws,
    like: Float[Tensor, "B ..."],
    domain: Domain,
    *,
    draw: int = FRESH_DRAW,
    inflation: Tensor | float = 1.0,
) -> Iterator[None]:
    """Inside, `operator` runs without channels drawn at rate `p`, the same in every call; `like` has its rows, device and type.

    One draw of the noise serves all blocks: row by row, so that it does not depend on the batch. The operator may be called with several
    rows for each of `like` (the tokens of a member, which share its channels). Raises ValueError for an operator without FiLM.
    """
    films = films_of(operator)
    counts = [sum(film.widths) for film in films]
    numbers = noise(like.new_empty(like.shape[0], domain.members, sum(counts)), draw=draw).flatten(0, 1)
    kept = (numbers < threshold(p)).to(like.dtype) / (1 - p)
    factors = (1 + inflation * (kept - 1)).to(like.dtype)
    hooks = [
        film.register_forward_hook(_masked(torch.split(part, list(film.widths), 1)))
        for film, part in zip(films, torch.split(factors, counts, 1), strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def films_of(operator: nn.Module) -> list[FiLMs]:
    """Every FiLM of an operator, in order. Raises ValueError where there is none, or where its gains are no factors of features."""
    modules = list(operator.modules())
    films = [m for m in modules if isinstance(m, FiLMs)]
    if any(isinstance(m, SwinLayer) for m in modules):
        raise ValueError(
            f"{type(operator).__name__} adds its FiLM gains to learnt ones that start at zero, so there are no features to drop; "
            "choose an operator whose FiLM multiplies, such as UNet, FNO or DiT"
        )
    if not films:
        raise ValueError(
            f"{type(operator).__name__} has no FiLM whose channels could be dropped; build it with an embedding of 1 or more "
            "(train/build does), or choose an operator that is conditioned by FiLM"
        )
    return films


def check_rate(p: float) -> None:
    """Raise ValueError unless 0 < p < 1."""
    if not 0 < p < 1:
        raise ValueError(f"p is {p} but the share of channels that are dropped lies between 0 and 1; write p=0.1 for a start")


def threshold(p: float) -> float:
    """What a standard normal number exceeds with probability p."""
    check_rate(p)
    return float(torch.special.ndtri(torch.tensor(1 - p, dtype=torch.float64)))


def _masked(factors: tuple[Tensor, ...]) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(film: nn.Module, arguments: Any, rows: Any) -> Any:
        out = []
        for (gain, shift, second), factor in zip(rows, factors, strict=True):
            m = factor.repeat_interleave(len(gain) // len(factor), 0) if len(gain) != len(factor) else factor
            out.append((gain * m, shift * m, second))
        return tuple(out)

    return hook
