"""When a member has blown up: a value that is not finite, or an amplitude far beyond where it began.

The limit is on the root mean square of each row, `amplitude` times that of its initial state: turbulence and weather stay within a
factor of a few of their own amplitude, and a diverging network crosses 100 long before float32 overflows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.fields import Fields
from surrogates.record import recorded

LIMIT = 100.0
NONE, NOT_FINITE, AMPLITUDE = 0, 1, 2
REASONS = ("none", "not finite", f"amplitude beyond {LIMIT:g} times the initial")


@recorded
@dataclass(frozen=True)
class Limits:
    """What a member may not do and still be called a forecast."""

    amplitude: float | None = LIMIT

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the codes of `judge` mean, in order; 0 is "none"."""
        return ("none", "not finite", f"amplitude beyond {self.amplitude:g} times the initial")

    def judge(
        self, frames: Float[Tensor, "B T C *X"], start: Float[Tensor, "B C *X"], fields: Fields, domain: Domain
    ) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
        """The first bad frame of each row (T where none) and the reason's code; `start` is the initial frame, on the same device."""
        return judge(frames, start.double().flatten(1).square().mean(1).sqrt())


def judge(frames: Float[Tensor, "B T C *X"], scale: Float[Tensor, " B"]) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
    """The first bad frame of each row (T where none) and the reason code. `scale` is the rms of the initial state."""
    rms = frames.double().flatten(2).square().mean(-1).sqrt()
    reason = torch.where(~rms.isfinite(), NOT_FINITE, torch.where(rms > LIMIT * scale[:, None], AMPLITUDE, NONE))
    bad = reason > 0
    first = torch.where(bad.any(1), bad.int().argmax(1), frames.shape[1])
    code = reason.gather(1, first.clamp(max=frames.shape[1] - 1)[:, None])[:, 0]
    return first, code
