"""Perturbed initial states: what makes the members of an ensemble differ before the first step.

A `Perturbation` is called once for a group of rows, with all frames that the initial state holds (the last is the present) and the
rows' noise, whose `trajectories` and `members` say which row is which. Draws are made at a step number that no rollout uses (`STEP`),
so a row depends on (seed, trajectory, member) alone.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.noise import SeededNoise

STEP = -1


@runtime_checkable
class Perturbation(Protocol):
    """Other initial states for the rows of a group; physical, as many frames as came in. `arguments` describe it (`@recorded`)."""

    def __call__(self, past: Float[Tensor, "B H C *X"], conditions: Conditions, noise: SeededNoise) -> Float[Tensor, "B H C *X"]: ...
