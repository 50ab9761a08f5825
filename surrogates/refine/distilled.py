"""Distilled consistency: the neighbour on a trajectory comes from a trained velocity, so that the grid can be coarse; see `consistency`.

    z(r) = z(s) + (r - s) (v(z(s), s) + v(z(s) + (r - s) v(z(s), s), r))/2,      and Euler's step to r = 0

Source: Song et al., "Consistency models", 2023, algorithm 2, https://arxiv.org/abs/2303.01469.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.record import recorded
from surrogates.refine.consistency import Consistency
from surrogates.refine.coupling import INDEPENDENT, Coupling
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.prediction import VELOCITY, Prediction
from surrogates.refine.schedule import UNIFORM, Schedule
from surrogates.refine.source import GAUSSIAN, Frame, Source
from surrogates.refine.teacher import Student, present, velocity_at


@recorded
class DistilledConsistency(Student, Consistency):
    """`Consistency` from a `teacher`, a trained `FlowMatching` of the same path and source, which is frozen and gives its scale.

    With `warm`, the operator begins with the teacher's weights. Raises ValueError for a teacher of another path, source or channels, and
    in `loss` where there is none (`teacher.without_teacher` drops it).
    """

    teacher: FlowMatching | None

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        teacher: FlowMatching | None = None,
        warm: bool = False,
        path: Path = LINEAR,
        schedule: Schedule = UNIFORM,
        source: Source = GAUSSIAN,
        coupling: Coupling = INDEPENDENT,
        prediction: Prediction = VELOCITY,
        steps: int = 1,
        intervals: int = 8,
        huber: float | None = None,
    ) -> None:
        super().__init__(
            operator,
            channels=channels,
            path=path,
            schedule=schedule,
            source=source,
            coupling=coupling,
            prediction=prediction,
            steps=steps,
            intervals=intervals,
            huber=huber,
        )
        if isinstance(teacher, Student):
            raise ValueError(f"a {type(teacher).__name__} learned from another flow already; give that one as the teacher")
        self.take(teacher, ("channels", "path", "source"), warm)

    def neighbour(
        self,
        z: Float[Tensor, "B C *X"],
        x: Float[Tensor, "B C *X"],
        e: Float[Tensor, "B C *X"],
        s: Float[Tensor, " G"],
        r: Float[Tensor, " G"],
        frame: Frame,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
    ) -> Float[Tensor, "B C *X"]:
        velocity = velocity_at(present(self.teacher), frame, guess, context, embedding, domain)
        step, after = domain.expand((r - s)[:, None]), domain.expand(r[:, None])
        v = velocity(z, s)
        return z + step * torch.where(after > 0, (v + velocity(z + step * v, r)) / 2, v)
