"""A step around a step: it takes and makes what the inner one does, but for what it says otherwise."""

from __future__ import annotations

from abc import ABC, abstractmethod

from surrogates.contracts import Step
from surrogates.fields import Fields


class Around(ABC):
    """The half of the `Step` contract that follows from the inner step, `within`; `begin` and the call are left to write."""

    @property
    @abstractmethod
    def within(self) -> Step:
        """The inner step."""

    @property
    def inputs(self) -> Fields:
        return self.within.inputs

    @property
    def outputs(self) -> Fields:
        return self.within.outputs

    @property
    def history(self) -> int:
        return self.within.history

    @property
    def bundle(self) -> int:
        return self.within.bundle
