"""A trained flow that a student learns from: frozen, and a part of the student until it is dropped.

The teacher is a recorded part, so that a student in training is saved and loaded whole; `without_teacher` leaves behind what sampling
does not need. A student made with teacher=None samples, and says what it lacks when it is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.refine.conditioning import conditioned
from surrogates.refine.features import features
from surrogates.refine.flow import Flow
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.source import Frame

S = TypeVar("S", bound="Student")
F = TypeVar("F", bound=Flow)


class Student(nn.Module):
    """Mixed into a flow that holds a frozen one, under the name `HELD`: no gradients, and in evaluation mode for good."""

    HELD: ClassVar[str] = "teacher"

    def take(self, teacher: Flow | None, alike: tuple[str, ...], warm: bool = False) -> None:
        """Keep `teacher`, frozen, and its scale; with `warm`, its weights to begin with.

        Raises ValueError unless the attributes `alike` are equal on both sides, and where the weights do not fit.
        """
        setattr(self, self.HELD, None if teacher is None else teacher.requires_grad_(False).eval())
        if teacher is None:
            return
        for name in alike:
            have, want = getattr(teacher, name), getattr(self, name)
            if have != want:
                raise ValueError(f"the {self.HELD} has {name}={have} but this {type(self).__name__} has {name}={want}; make them equal")
        self.scale.copy_(teacher.scale)  # type: ignore[operator]
        if warm:
            self._begin_with(teacher.operator)

    def _begin_with(self, trained: nn.Module) -> None:
        weights, own = trained.state_dict(), self.operator.state_dict()  # type: ignore[union-attr]
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in own.items()}:
            raise ValueError("warm=True copies the teacher's weights, but the two networks differ; make them alike, or write warm=False")
        self.operator.load_state_dict(weights)  # type: ignore[union-attr]

    def fit_scale(self, residuals: Float[Tensor, "N C *X"]) -> None:
        """The teacher's scale, whatever the residuals: the trajectories are its own."""
        self.scale.copy_(present(getattr(self, self.HELD)).scale)  # type: ignore[operator]

    def follow_scale(self, residuals: Float[Tensor, "B C *X"], keep: float = 0.95) -> None:
        """Nothing: as for `fit_scale`."""

    def train(self: S, mode: bool = True) -> S:
        super().train(mode)
        held = getattr(self, self.HELD)
        if held is not None:
            held.eval()
        return self


def present(teacher: F | None) -> F:
    """The teacher. Raises ValueError where there is none."""
    if teacher is None:
        raise ValueError("this refiner has no teacher, so it can sample but not be trained; make it with teacher=...")
    return teacher


def without_teacher(student: S) -> S:
    """The same refiner for sampling only, sharing its operator: neither its record nor its weights hold a teacher."""
    arguments: dict[str, Any] = {**student.arguments, "teacher": None, "warm": False}  # type: ignore[dict-item]
    alone = type(student)(**arguments)
    alone.load_state_dict({k: v for k, v in student.state_dict().items() if not k.startswith("teacher.")})
    return alone.train(student.training)


def velocity_at(
    flow: FlowMatching,
    frame: Frame,
    guess: Float[Tensor, "B C *X"] | None,
    context: Float[Tensor, "B Cc *X"],
    embedding: Float[Tensor, "G E"] | None,
    domain: Domain,
) -> Callable[[Tensor, Tensor], Tensor]:
    """v(z "B C *X", s " G") of a flow with a time for each member, differentiable in both; `FlowMatching.velocity` has one for all."""
    if type(flow).velocity is not FlowMatching.velocity:
        raise ValueError(
            f"a {type(flow).__name__} has a velocity of its own, which cannot be asked for member by member; take a FlowMatching"
        )
    network = conditioned(flow.operator, guess, context, embedding, domain)

    def velocity(z: Tensor, times: Tensor) -> Tensor:
        s: Any = domain.expand(times[:, None])
        told: Any = flow.path.told(times)
        f = network(flow.prediction.factor(flow.path, s) * z, features(told))
        v: Tensor = frame.gain * flow.prediction.velocity(flow.path, z / frame.gain, f, s)
        return v

    return velocity
