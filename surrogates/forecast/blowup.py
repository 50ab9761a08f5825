"""When a member has blown up: a value that is not finite, or an amplitude far beyond where it began.

The limit is on the root mean square of each row, `LIMIT` times that of its initial state: turbulence and weather stay within a
factor of a few of their own amplitude, and a diverging network crosses 100 long before float32 overflows.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

LIMIT = 100.0
NONE, NOT_FINITE, AMPLITUDE = 0, 1, 2
REASONS = ("none", "not finite", f"amplitude beyond {LIMIT:g} times the initial")


def judge(frames: Float[Tensor, "B T C *X"], scale: Float[Tensor, " B"]) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
    """The first bad frame of each row (T where none) and the reason code. `scale` is the rms of the initial state."""
    rms = frames.double().flatten(2).square().mean(-1).sqrt()
    reason = torch.where(~rms.isfinite(), NOT_FINITE, torch.where(rms > LIMIT * scale[:, None], AMPLITUDE, NONE))
    bad = reason > 0
    first = torch.where(bad.any(1), bad.int().argmax(1), frames.shape[1])
    code = reason.gather(1, first.clamp(max=frames.shape[1] - 1)[:, None])[:, 0]
    return first, code
