"""Straight through: the value of a law with the gradient of doing nothing, u + stopgradient(law(u) - u).

A clip has no gradient where it acts, so a network whose output lies beyond a bound never learns to come back. Source: Bengio, Leonard
and Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013, https://arxiv.org/abs/1308.3432.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.compose import Law, follows
from surrogates.contracts import Conditions
from surrogates.record import recorded


@recorded
class StraightThrough:
    """`law`, but for its gradient."""

    def __init__(self, law: Law) -> None:
        self.law, self.references, self.follows = law, law.references, follows(law)

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        return self.law.reference(u, conditions)

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        return self.law.advance(reference, u, conditions)

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]:
        return self.law.defect(u, reference, conditions)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        held = self.law(u.detach(), reference, conditions, past)
        return held + (u - u.detach())  # held itself, to the last bit
