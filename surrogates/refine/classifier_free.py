"""Classifier-free guidance on the conditions: one network learns p(x | c) and p(x), and sampling leans on what c changes.

    training     c -> null with probability `drop`, one draw a member
    sampling     v = v(z, null) + w (v(z, c) - v(z, null))

w = 1 is the conditional model and w = 0 the unconditional one; w > 1 leans the score of every s towards p(x) (p(x|c)/p(x))^w. (What
comes out is no sample of that law, since noise and powers do not commute. For x | c ~ N(m, l) beside x ~ N(m0, l) the flow leads to
N(m0 + w (m - m0), l); for N(0, l) beside N(0, l0) to the variance l0^(1-w) l^w, where the power has 1/((1-w)/l0 + w/l).) What c tells
is the embedding of the conditions, its first E numbers; the features of s stay.

The null code is (0, ..., 0 | 1) beside (c_1, ..., c_E | 0): a last number says that the others are void, for zeros alone are the mean
of standardised parameters. So the operator's embedding is E + 1 + FEATURES, whatever E is. Both branches run in one batch of twice the
rows, so `evaluations` counts calls, each of which costs as much as two on the rows that were asked for (unless w is 0 or 1).

Source: Ho and Salimans, "Classifier-free diffusion guidance", 2022, algorithms 1 and 2, https://arxiv.org/abs/2207.12598 (w here is
their 1 + w); for flows: Zheng et al., "Guided flows for generative modeling and decision making", 2023, https://arxiv.org/abs/2311.13443.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.noise import uniform
from surrogates.record import recorded
from surrogates.refine.conditioning import Widths, widths
from surrogates.refine.coupling import INDEPENDENT, Coupling
from surrogates.refine.flow import FRESH_DRAW, Judge
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.prediction import VELOCITY, Prediction
from surrogates.refine.samplers import Sampler, euler
from surrogates.refine.schedule import UNIFORM, Schedule
from surrogates.refine.source import GAUSSIAN, Frame, Source
from surrogates.refine.weighting import UNWEIGHTED, Weighting

DROP_DRAW = FRESH_DRAW
"""Which draw of the training noise decides whose conditions are dropped."""


@recorded
class ClassifierFree(FlowMatching):
    """`FlowMatching` that is trained with and without its conditions, and guided by what they change.

    `drop` is the probability of training without, `weight` is w. Raises ValueError for a drop outside [0, 1), for a w that needs the
    unconditional model where drop is 0, and for tensors that come without an embedding.
    """

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        drop: float = 0.1,
        weight: float = 1.0,
        path: Path = LINEAR,
        schedule: Schedule = UNIFORM,
        source: Source = GAUSSIAN,
        coupling: Coupling = INDEPENDENT,
        prediction: Prediction = VELOCITY,
        weighting: Weighting = UNWEIGHTED,
        sampler: Sampler = euler,
        steps: int = 4,
    ) -> None:
        if not 0 <= drop < 1:
            raise ValueError(f"drop is {drop} but a probability of training without conditions lies in [0, 1); write drop=0.1 for a start")
        if drop == 0 and weight != 1:
            raise ValueError(
                f"weight is {weight} but drop=0 never trains the unconditional model that it needs; write drop=0.1, or weight=1"
            )
        super().__init__(
            operator,
            channels=channels,
            path=path,
            schedule=schedule,
            source=source,
            coupling=coupling,
            prediction=prediction,
            weighting=weighting,
            sampler=sampler,
            steps=steps,
        )
        self.drop, self.weight = float(drop), float(weight)

    @classmethod
    def widths(cls, channels: int, context: int, guess: bool, frames: int) -> Widths:
        """The usual ones and one number more of embedding, which marks the null code."""
        inputs, outputs, embedding = widths(channels, context, guess, frames)
        return Widths(inputs, outputs, embedding + 1)

    def velocity(
        self,
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
    ) -> Callable[[Tensor, float], Tensor]:
        """The guided velocity; one call of the network, on twice the rows unless w is 0 or 1."""
        c = _given(embedding)
        every = torch.ones(len(c), dtype=torch.bool, device=c.device)
        if self.weight in (0, 1):
            return super().velocity(frame, guess, context, coded(c, every if self.weight == 0 else ~every), domain)
        codes = torch.cat((coded(c, ~every), coded(c, every)))
        both = super().velocity(frame, None if guess is None else _twice(guess), _twice(context), codes, domain)

        def velocity(z: Tensor, s: float) -> Tensor:
            conditional, unconditional = both(_twice(z), s).chunk(2)
            return torch.lerp(unconditional, conditional, self.weight)

        return velocity

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
        """That of `FlowMatching`, with the conditions of some members dropped."""
        c = _given(embedding)
        chance = uniform(noise, truth.new_empty(truth.shape[0], domain.members), draw=DROP_DRAW).flatten()
        return super().loss(truth, guess, context, coded(c, chance < self.drop), domain, noise, judge)


def coded(embedding: Float[Tensor, "G E"], dropped: Bool[Tensor, " G"]) -> Float[Tensor, "G E1"]:
    """The conditions and whether they are void."""
    void = dropped[:, None]
    return torch.cat((embedding.masked_fill(void, 0.0), void.to(embedding)), dim=1)


def _twice(u: Tensor) -> Tensor:
    return torch.cat((u, u))


def _given(embedding: Tensor | None) -> Tensor:
    if embedding is None:
        raise ValueError(
            "classifier-free guidance leans on conditions but there is no embedding; condition the surrogate on parameters, "
            "or write FlowMatching"
        )
    return embedding
