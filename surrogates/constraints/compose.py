"""Several laws, one after the other: u -> law_n(... law_1(u)), with their references and defects side by side.

The last law holds exactly. All of them do where the projections commute, as the divergence-free projection (wavenumbers k != 0) and
the mean flow (k = 0) do: then the composition is itself the nearest field that holds every law (von Neumann, 1933). Where laws disturb
each other, `Alternating` goes round until what is left is small, and `Dykstra` to the nearest field that holds convex ones.

Every law has a name, by which `remaining` reports what is left of each and by which a rollout is run with some laws and without others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.contracts import Conditions, Constraint, Domain
from surrogates.record import recorded

ROUNDS = 4
"""Projections of a frame whose budget depends on it, after the first: each makes the defect smaller by about dt times a rate."""

EVERY = 8
"""Sweeps between two questions to a device whether all members have arrived."""


class Law(Constraint, Protocol):
    """A Constraint that says how many references R it keeps, so that several can share one tensor.

    One whose `advance` depends on u has `follows = True`: its budget is that of the frames that are returned.
    """

    references: int


class Laws(ABC):
    """What compositions share: references and defects side by side, and a name for each law.

    `names` are those of `names_of` unless given. Raises ValueError without any law, and for names that are not one each and all different.
    """

    def __init__(self, laws: tuple[Law, ...], names: tuple[str, ...] = ()) -> None:
        if not laws:
            raise ValueError(f"{type(self).__name__} needs at least one law, such as InOrder((DivergenceFree(fields),))")
        names = tuple(names) or names_of(laws)
        if len(names) != len(laws) or len(set(names)) != len(names):
            raise ValueError(f"names are {names} but there are {len(laws)} laws, each with a name of its own")
        self.laws, self.names = tuple(laws), names
        self.references, self.follows = sum(law.references for law in laws), any(follows(law) for law in laws)

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        return torch.cat([law.reference(u, conditions) for law in self.laws], dim=1)

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        parts = zip(self.laws, self.split(reference), strict=True)
        return torch.cat([law.advance(part, u, conditions) for law, part in parts], dim=1)

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]:
        return torch.cat(list(self.defects(u, reference, conditions).values()), dim=1)

    def defects(
        self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions
    ) -> dict[str, Float[Tensor, "G ..."]]:
        """The defects of each law by its name, in order."""
        parts = zip(self.names, self.laws, self.split(reference), strict=True)
        return {name: law.defect(u, part, conditions) for name, law, part in parts}

    @abstractmethod
    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]: ...

    def once(
        self, u: Float[Tensor, "B C *X"], parts: Sequence[Tensor], conditions: Conditions, past: Tensor | None
    ) -> Float[Tensor, "B C *X"]:
        """Every law, in order."""
        for law, part in zip(self.laws, parts, strict=True):
            u = law(u, part, conditions, past)
        return u

    def split(self, reference: Float[Tensor, "G R"]) -> tuple[Tensor, ...]:
        """The references of each law. Raises ValueError for another number of them."""
        if reference.shape[1] != self.references:
            raise ValueError(f"{reference.shape[1]} references but the laws keep {self.references}; make it with reference(u, conditions)")
        return torch.split(reference, [law.references for law in self.laws], dim=1)

    def with_laws(self, laws: Mapping[str, Any]) -> Laws:
        """Other laws, composed in the same way."""
        others = {k: v for k, v in cast(Any, self).arguments.items() if k not in ("laws", "names")}
        return type(self)(tuple(laws.values()), tuple(laws), **others)


@recorded
class InOrder(Laws):
    """The laws in the order given, each once. Raises ValueError as `Laws`."""

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        return self.once(u, self.split(reference), conditions, past)


def name_of(law: Constraint) -> str:
    """The class, and the field where the law was made for one: "ConservedIntegral-velocity"; a law around another has its name."""
    arguments: Mapping[str, Any] = getattr(law, "arguments", {})
    inner: Any = arguments.get("law")
    if hasattr(inner, "defect"):
        return name_of(inner)
    field = arguments.get("field")
    return f"{type(law).__name__}-{field}" if isinstance(field, str) else type(law).__name__


def names_of(laws: Sequence[Constraint]) -> tuple[str, ...]:
    """A name for each law; the second of the same name is counted: "Bounds-dye-2"."""
    plain = [name_of(law) for law in laws]
    return tuple(n if (k := plain[: i + 1].count(n)) == 1 else f"{n}-{k}" for i, n in enumerate(plain))


def law_names(law: Constraint) -> tuple[str, ...]:
    """The names of the laws of a composition, or of the one law."""
    return law.names if isinstance(law, Laws) else (name_of(law),)


def remaining(
    law: Constraint, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions
) -> dict[str, Float[Tensor, "G ..."]]:
    """What is left of each law in u, by name in the order in which they act: defects (G, K) as the law counts them.

    Laws inside a composition inside a composition are named "outer/inner".
    """
    if not isinstance(law, Laws):
        return {name_of(law): law.defect(u, reference, conditions)}
    out: dict[str, Tensor] = {}
    for name, inner, part in zip(law.names, law.laws, law.split(reference), strict=True):
        left = remaining(inner, u, part, conditions)
        out.update({f"{name}/{k}": v for k, v in left.items()} if isinstance(inner, Laws) else dict.fromkeys([name], *left.values()))
    return out


def over_bundle(
    law: Constraint,
    future: Float[Tensor, "B T C *X"],
    reference: Float[Tensor, "G R"],
    conditions: Conditions,
    past: Float[Tensor, "B H C *X"] | None = None,
) -> tuple[Float[Tensor, "B T C *X"], Float[Tensor, "G R"]]:
    """The frames of a bundle under a law, each by the reference that has come to it, and the reference behind the last.

    The budget of a law that follows the field is read off the frame as it is returned, not as it came: the frame and its budget are found
    in turns, a fixed number of them, and what is kept is the budget of the frame that is returned. What of the defect the turns leave is
    made good by the next step.
    """
    frames = []
    for j, u in enumerate(future.unbind(1)):
        here, there = conditions.after(j), conditions.after(j + 1)
        moved = law.advance(reference, u, here)
        frame = law(u, moved, there, past)
        if follows(law):
            for _ in range(ROUNDS):
                frame = law(frame, law.advance(reference, frame, here), there, past)
            moved = law.advance(reference, frame, here)
        reference = moved
        frames.append(frame)
    return torch.stack(frames, 1), reference


def follows(law: Constraint) -> bool:
    """Whether the budgets of a law depend on the frames, so that they are known only where every frame is."""
    return bool(getattr(law, "follows", False))


def bundle_defects(
    law: Constraint, future: Float[Tensor, "B T C *X"], reference: Float[Tensor, "G R"], conditions: Conditions
) -> tuple[Float[Tensor, "G T K"], Float[Tensor, "G R"]]:
    """The defects of the frames of a bundle, each by the reference that has come to it, and the reference behind the last."""
    defects = []
    for j, u in enumerate(future.unbind(1)):
        reference = law.advance(reference, u, conditions.after(j))
        defects.append(law.defect(u, reference, conditions.after(j + 1)))
    return torch.stack(defects, 1), reference


def where(members: Bool[Tensor, " G"], yes: Float[Tensor, "B C *X"], no: Float[Tensor, "B C *X"], domain: Domain) -> Tensor:
    """`yes` on the points of the members that are so, else `no`."""
    return torch.where(domain.expand(members[:, None].to(yes.dtype)) > 0.5, yes, no)


def none(members: Bool[Tensor, " G"], made: int) -> bool:
    """Whether surely no member is so after `made` sweeps. "Perhaps" costs a sweep, and the answer stalls a device: see `asked`."""
    return asked(members.device.type, made) and not bool(members.any())


def asked(kind: str, made: int) -> bool:
    """Whether to ask a device after so many sweeps: the CPU always, others now and then, and none in compiled code or a captured graph."""
    if torch.compiler.is_compiling():
        return False
    if kind == "cpu":
        return True
    return made > 0 and made % EVERY == 0 and not (kind == "cuda" and torch.cuda.is_current_stream_capturing())
