"""A light network for the last steps: a frozen head leads from s = 1 to `switch`, the tail's velocity from there to 0.

    z(1) -> z(switch)   the head: steps by average velocities, or a flow's sampler with its (large) network
    z(switch) -> z(0)   dz/ds = v(z, s) with a small network, trained by flow matching at s < switch only

Near the data the velocity is local: what is left to do is to shape the small scales that the noise, by now of size `switch`, has
hidden. A small network can do that at a fraction of the cost, and a head by average velocities, whose longest steps are its worst, need
not make the whole way. Where both are exact so is the sample: z(switch) has the law (1 - switch) x + switch e that the tail was trained
on. The tail does not see the head's errors and does not repair them; it follows whatever state it is handed.
Source: a velocity used on a part of the times only, as the experts of Balaji et al., "eDiff-I", 2022,
https://arxiv.org/abs/2211.01324.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.record import recorded
from surrogates.refine.average_velocity import AverageVelocity
from surrogates.refine.conditioning import check_channels
from surrogates.refine.flow import FRESH_DRAW, Flow
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.mean_flow import MeanFlow
from surrogates.refine.path import LINEAR
from surrogates.refine.samplers import Sampler, corrected, euler, evaluations
from surrogates.refine.schedule import UNIFORM, Schedule
from surrogates.refine.source import Frame
from surrogates.refine.split_mean_flow import SplitMeanFlow
from surrogates.refine.teacher import Student


@recorded
@dataclass(frozen=True)
class Below:
    """Another schedule's times, scaled to lie below `switch`: the levels fall from there to 0."""

    switch: float
    scaled: Schedule

    def __post_init__(self) -> None:
        if not 0 < self.switch < 1:
            raise ValueError(f"switch is {self.switch} but must lie between 0 and 1, where the head hands over to the tail")

    def levels(self, steps: int) -> tuple[float, ...]:
        return tuple(self.switch * s for s in self.scaled.levels(steps))

    def draw(self, noise: Draws, like: Float[Tensor, "B M"], *, draw: int) -> Float[Tensor, "B M"]:
        return self.switch * self.scaled.draw(noise, like, draw=draw)

    def trains(self, s: float) -> bool:
        return s <= self.switch and self.scaled.trains(s / self.switch)


@recorded
class VelocityTail(Student, FlowMatching):
    """`Refiner` whose first steps are a trained `head`'s (FlowMatching, MeanFlow or SplitMeanFlow on the linear path), frozen.

    The head makes its own `steps`, squeezed into (switch, 1); the tail `steps` of `sampler`. The tail's operator sees the head's
    channels. `evaluations` counts both, at whatever cost each is. There is no `inflation`. Raises ValueError for a head of another kind,
    path or channels, for one that was not trained at the levels it visits, and for a switch outside (0, 1).
    """

    HELD: ClassVar[str] = "head"
    head: FlowMatching | AverageVelocity

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        head: Flow,
        switch: float = 0.25,
        schedule: Schedule = UNIFORM,
        sampler: Sampler = euler,
        steps: int = 2,
    ) -> None:
        if not isinstance(head, FlowMatching | MeanFlow | SplitMeanFlow) or isinstance(head, Student):
            raise ValueError(
                f"a {type(head).__name__} does not stop at s = {switch} in the law that a tail is trained on; "
                "the head must be FlowMatching, MeanFlow or SplitMeanFlow"
            )
        super().__init__(operator, channels=channels, schedule=Below(switch, schedule), source=head.source, sampler=sampler, steps=steps)
        self.register_buffer("inflation", None)
        self.take(head, ("channels", "path"))
        self.first = tuple(switch + (1 - switch) * s for s in head.schedule.levels(head.steps))
        for s in self.first[:-1]:
            if not head.schedule.trains(s):
                raise ValueError(f"the head was not trained at s = {s:g}; give it a schedule of all times, such as Uniform()")

    @property
    def evaluations(self) -> int:
        """Network evaluations a call, the head's and the tail's."""
        head = self.head
        first = evaluations(head.sampler, self.first) if isinstance(head, FlowMatching) else head.evaluations_along(self.first)
        return first + super().evaluations

    def led(
        self,
        z: Float[Tensor, "B C *X"],
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
        lawful: Callable[[Tensor], Tensor] | None,
    ) -> Float[Tensor, "B C *X"]:
        """z(switch), by the head."""
        fresh = self.fresh(domain, noise)
        if isinstance(self.head, AverageVelocity):
            return self.head.along(self.first, z, frame, guess, context, embedding, domain, lawful, fresh)
        velocity = self.head.velocity(frame, guess, context, embedding, domain)
        velocity = velocity if lawful is None else corrected(velocity, lawful)
        return self.head.sampler(velocity, z, self.first, LINEAR, fresh)

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
        frame, after = self.frame(guess, context), FRESH_DRAW + len(self.first)
        lawful, given = self.lawful(frame, correct), (frame, guess, context, embedding, domain)
        z = self.led(self.start(frame, context, domain, noise), *given, noise, lawful)
        velocity = self.velocity(*given)
        velocity = velocity if lawful is None else corrected(velocity, lawful)
        x = self.sampler(velocity, z, self.schedule.levels(self.steps), LINEAR, self.fresh(domain, noise, after))
        return self.finish(frame, x, None, correct)
