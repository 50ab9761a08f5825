"""A monitor judges frames by what can be known without the truth, and stops a member, or hands it to another step (`Guarded`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.contracts import Conditions


@runtime_checkable
class Monitor(Protocol):
    """`reason` is why a member stopped, for the record; `together` says that the members of a trajectory must share a group of rows."""

    reason: str
    together: bool

    def judge(
        self, last: Float[Tensor, "B C *X"], frames: Float[Tensor, "B T C *X"], conditions: Conditions, trajectories: Sequence[int]
    ) -> Bool[Tensor, "B T"]:
        """Which frames are not to be trusted; `last` is the frame before them and `conditions` those at `last`."""
