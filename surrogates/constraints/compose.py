"""Several laws, one after the other: u -> law_n(... law_1(u)), with their references and defects side by side.

The last law holds exactly. All of them do where the projections commute, as the divergence-free projection (wavenumbers k != 0) and
the mean flow (k = 0) do: then the composition is itself the nearest field that holds every law (von Neumann, 1933).
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Constraint
from surrogates.record import recorded


class Law(Constraint, Protocol):
    """A Constraint that says how many references R it keeps, so that several can share one tensor."""

    references: int


@recorded
class InOrder:
    """The laws in the order given. Raises ValueError without any."""

    def __init__(self, laws: tuple[Law, ...]) -> None:
        if not laws:
            raise ValueError("InOrder needs at least one law, such as InOrder((DivergenceFree(fields),))")
        self.laws = tuple(laws)
        self.references = sum(law.references for law in laws)

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        return torch.cat([law.reference(u, conditions) for law in self.laws], dim=1)

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        parts = zip(self.laws, self._split(reference), strict=True)
        return torch.cat([law.advance(part, u, conditions) for law, part in parts], dim=1)

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]:
        parts = zip(self.laws, self._split(reference), strict=True)
        return torch.cat([law.defect(u, part, conditions) for law, part in parts], dim=1)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        for law, part in zip(self.laws, self._split(reference), strict=True):
            u = law(u, part, conditions, past)
        return u

    def _split(self, reference: Tensor) -> tuple[Tensor, ...]:
        if reference.shape[1] != self.references:
            raise ValueError(f"{reference.shape[1]} references but the laws keep {self.references}; make it with reference(u, conditions)")
        return torch.split(reference, [law.references for law in self.laws], dim=1)


def over_bundle(
    law: Constraint,
    future: Float[Tensor, "B T C *X"],
    reference: Float[Tensor, "G R"],
    conditions: Conditions,
    past: Float[Tensor, "B H C *X"] | None = None,
) -> tuple[Float[Tensor, "B T C *X"], Float[Tensor, "G R"]]:
    """The frames of a bundle under a law, each by the reference that has come to it, and the reference behind the last."""
    frames = []
    for j, u in enumerate(future.unbind(1)):
        reference = law.advance(reference, u, conditions.after(j))
        frames.append(law(u, reference, conditions.after(j + 1), past))
    return torch.stack(frames, 1), reference
