"""What surrounds a step as time goes on: forcing, boundary values, static fields, parameters and dt after n frames.

`begin` is called once for a group of rows, where something is chosen or drawn by row (the rows of a file, perturbed parameters); `at`
before each step, with what `begin` returned.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from surrogates.contracts import Conditions
from surrogates.noise import SeededNoise


@runtime_checkable
class Surroundings(Protocol):
    """`arguments` describe it (`@recorded`), so that a run knows itself by them."""

    def begin(self, conditions: Conditions, noise: SeededNoise) -> Conditions:
        """The conditions of the rows before the first step, `conditions` being those of the initial state, on the step's device."""

    def at(self, conditions: Conditions, n: int) -> Conditions:
        """The conditions when n frames have been made; `conditions` are those of `begin`."""
