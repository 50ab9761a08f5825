"""Reflow: a flow is trained again on the pairs that a trained one makes, whose paths are straighter, so that fewer steps follow them.

    loss = E w(s) |F(z(s), s) - (e - X(e))|^2,      z(s) = (1 - s) X(e) + s e,      X(e) where the teacher leads from e

The teacher's sample keeps the data's law, so the student's flow carries e to the same law; the paths of an independent pair cross, those
of (e, X(e)) hardly do, the velocity is nearly constant along each, and one Euler step goes a long way. Each round does not increase the
transport cost. Where the paths of the pairs do not cross, as for a Gaussian law, one round is enough: one Euler step is exact.
The teacher's errors are the student's: what it generates becomes the truth, and the truth that comes with a batch is not looked at.
Source: Liu, Gong and Liu, "Flow straight and fast: learning to generate and transfer data with rectified flow", 2022, section 2.2,
https://arxiv.org/abs/2209.03003.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.record import recorded
from surrogates.refine.flow import Flow, Judge
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.samplers import Sampler, euler
from surrogates.refine.schedule import UNIFORM, Schedule
from surrogates.refine.source import GAUSSIAN, Frame, Source
from surrogates.refine.teacher import Student, present


@recorded
class Reflow(Student, FlowMatching):
    """`Refiner` by flow matching on the linear path between the source's draws and what a frozen `teacher` makes of them.

    With `warm`, the operator begins with the teacher's weights. Each loss costs the teacher's evaluations. A teacher that adds noise
    gives pairs of the right law, but no straighter ones. There is no `inflation`: the first velocity points to the sample and not to the
    conditional mean. Raises ValueError for a teacher of another source or channels, and in `loss` where there is none.
    """

    teacher: Flow | None

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        teacher: Flow | None = None,
        warm: bool = False,
        schedule: Schedule = UNIFORM,
        source: Source = GAUSSIAN,
        sampler: Sampler = euler,
        steps: int = 1,
    ) -> None:
        super().__init__(operator, channels=channels, schedule=schedule, source=source, sampler=sampler, steps=steps)
        self.register_buffer("inflation", None)
        self.take(teacher, ("channels", "source"), warm)

    def finish(
        self,
        frame: Frame,
        x: Float[Tensor, "B C *X"],
        mean: Float[Tensor, "B C *X"] | None,
        correct: Callable[[Tensor], Tensor] | None,
    ) -> Float[Tensor, "B C *X"]:
        """The state from the flow's end, as it is."""
        return super().finish(frame, x, None, correct)

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
        """The mean square of the velocity's error between the source's draw and the teacher's sample from it, one a member, float64."""
        with torch.no_grad():
            made = present(self.teacher)(guess, context, embedding, domain, noise)
        return super().loss(made, guess, context, embedding, domain, noise, judge)
