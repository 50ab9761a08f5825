"""One-pass ensembles: a network turns noise into a member in one evaluation, and is trained on the score of M members.

    x_m = F(e_m; context),    loss = <|x_m - y|>_m - (1 - (1 - alpha)/M)/2 <|x_m - x_n|>_(m != n)

at every point and channel, averaged under the domain's measure. alpha = 1 is the fair CRPS, whose expectation is that of infinitely many
members for any M >= 2: it is least, and then E|X - X'|/2, where the members are drawn from the law of y at each point. With M = 2 it
has a flaw: where one member is the truth the other is free. alpha < 1 ("almost fair"; .95 in the source) mixes in 1 - alpha of the
plain CRPS, which cures it and narrows the members a little. Sources: Lang et al., "AIFS-CRPS", 2024, section 2,
https://arxiv.org/abs/2412.15832; Ferro, "Fair scores for ensemble forecasts", 2014, https://doi.org/10.1002/qj.2270.

Two ways for noise to come in, and two classes:

    OnePass          e is a field, the flow's source (draw 0): channels of the input, beside the context
    OnePassGlobal    e is one vector of LATENT numbers a member: the embedding, by FiLM on every layer

The score knows one point at a time: any joint law with the right law at each point attains its least value (a test holds that). Which one
is learnt, the noise decides. A vector moves all points at once and makes members coherent in space, which on domains of few correlation
lengths is what works best (Alet et al., "Skillful joint probabilistic weather forecasting from marginals", 2025,
https://arxiv.org/abs/2506.10772); where distant parts are independent, LATENT numbers cannot make all of them, and a network that commutes
with translations makes no position of a vector. A field drives every point by itself; white, it leaves spread at scales where truth has
none, so give it a `colour` with the correlation length of what is uncertain, GaussianSource(colour=Spectral(length)). Only the field is
reached by the surrogate's coherence in time. A forecast's variance spectrum and energy score tell what the loss does not.

`inflation` stretches e, which costs nothing; where members depend on e linearly their spread grows by that factor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.metrics.crps import half_mean_distance
from surrogates.record import recorded
from surrogates.refine.conditioning import Widths, check_channels, member_mean, widths
from surrogates.refine.flow import FRESH_DRAW, Flow
from surrogates.refine.source import GAUSSIAN, Frame, Source

LATENT = 32
"""Numbers of noise that a member of `OnePassGlobal` is made of."""
MEMBER_DRAWS = 4
"""How far apart the draws of two members lie: more than a member uses."""


@recorded
class OnePass(Flow):
    """`Refiner` of one evaluation, trained on the (almost) fair CRPS of `members` members; around a guess, of its scaled residual.

    `channels` is C; the operator sees (z, context[, guess]) with z the noise of `source`, and no refinement time.
    Raises ValueError for fewer than two members, for alpha outside (0, 1] and for tensors whose channels are not C.
    """

    def __init__(self, operator: nn.Module, *, channels: int, members: int = 2, alpha: float = 1.0, source: Source = GAUSSIAN) -> None:
        super().__init__(operator, channels, source=source)
        check_ensemble(members, alpha)
        self.members, self.alpha = members, alpha

    @classmethod
    def widths(cls, channels: int, context: int, guess: bool, frames: int) -> Widths:
        """Those of the operator: the usual ones without a refinement time."""
        return widths(channels, context, guess, frames)._replace(embedding=0)

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
        frame = self.frame(guess, context)
        x = self.members_of(frame, guess, context, embedding, domain, [stretched(noise, self.inflation)])
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
        """The score of M members in units of the scale, averaged over channels and space, one a member of the batch, float64."""
        check_channels(self.channels, truth=truth, guess=guess)
        frame = self.frame(guess, context)
        noises = [of_member(noise, m) for m in range(self.members)]
        made = self.members_of(frame, guess, context, embedding, domain, noises).reshape(self.members, *truth.shape)
        return member_mean(almost_fair_crps(made.transpose(0, 1), (truth - frame.shift) / frame.unit, self.alpha), domain)

    def members_of(
        self,
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noises: Sequence[Draws],
    ) -> Float[Tensor, "MB C *X"]:
        """A member of every row for each of `noises`, in the coordinates of the frame, by one call of the operator."""
        e = torch.cat([self.start(frame, context, domain, noise) for noise in noises])
        rest = context if guess is None else torch.cat((context, guess), 1)
        joined = None if embedding is None else repeated(embedding, len(noises))
        made: Tensor = self.operator(torch.cat((e, repeated(rest, len(noises))), 1), domain, joined)
        return made


@recorded
class OnePassGlobal(OnePass):
    """`OnePass` whose members differ by one vector of LATENT numbers each, which joins the embedding.

    The operator sees (context[, guess]). The vector is drawn anew each step: the surrogate's coherence does not reach it.
    """

    def __init__(self, operator: nn.Module, *, channels: int, members: int = 2, alpha: float = 1.0) -> None:
        super().__init__(operator, channels=channels, members=members, alpha=alpha)

    @classmethod
    def widths(cls, channels: int, context: int, guess: bool, frames: int) -> Widths:
        """Those of the operator."""
        return Widths(context + (channels if guess else 0), channels, LATENT)

    def members_of(
        self,
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noises: Sequence[Draws],
    ) -> Float[Tensor, "MB C *X"]:
        """A member of every row for each of `noises`, in the coordinates of the frame, by one call of the operator."""
        like = context.new_empty(context.shape[0], domain.members, LATENT)
        e = torch.cat([noise(like, draw=FRESH_DRAW) for noise in noises]).flatten(0, 1)
        joined = e if embedding is None else torch.cat((repeated(embedding, len(noises)), e), 1)
        rest = context if guess is None else torch.cat((context, guess), 1)
        made: Tensor = self.operator(repeated(rest, len(noises)), domain, joined)
        return made


def almost_fair_crps(x: Float[Tensor, "B M C *X"], y: Float[Tensor, "B C *X"], alpha: float = 1.0) -> Float[Tensor, "B C *X"]:
    """The score of M >= 2 members at every point: fair for alpha = 1, the plain CRPS of M members for alpha = 0."""
    near = (x - y[:, None]).abs().mean(1)
    apart = half_mean_distance(x[:, :, None])[:, 0]
    return near - (1 - (1 - alpha) / x.shape[1]) * apart


def check_ensemble(members: int, alpha: float) -> None:
    """Raise ValueError unless there are two members or more and 0 < alpha <= 1."""
    if members < 2:
        raise ValueError(f"members is {members} but the score needs the distance between two at least; write members=2")
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha is {alpha} but lies in (0, 1]: 1 is the fair score, .95 the almost fair one")


def repeated(u: Float[Tensor, "B ..."], times: int) -> Float[Tensor, "MB ..."]:
    """All rows, and all of them again."""
    return u if times == 1 else u.repeat(times, *(1,) * (u.ndim - 1))


def of_member(noise: Draws, m: int) -> Draws:
    """The draws of member m: the refiner's own for member 0, and for others ones that no member shares."""
    return lambda like, draw: noise(like, draw=draw + MEMBER_DRAWS * m)


def stretched(noise: Draws, factor: Float[Tensor, ""]) -> Draws:
    """Draws times a factor."""
    return lambda like, draw: factor.to(like.dtype) * noise(like, draw=draw)
