"""What is wrong with frames: values that are not finite, and frames that nobody wrote.

A frame that is the same everywhere in every channel may be a flow at rest, or the fill of a file that was never finished. Flows begin at
rest and do not come to it in every digit, so that only flat frames *after* one that varies are refused, and trajectories without any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.data.starts import Flags
from surrogates.interchange import GAPS, NAN

Frames = npt.NDArray[np.float32]  # (T, C, *X)


def check_finite(
    row: Frames,
    label: str,
    times: npt.NDArray[Any],
    channels: Sequence[str],
    *,
    wet: Flags | None = None,
    gaps: bool = False,
    first: int = 0,
) -> tuple[Flags, Flags]:
    """Which frames of a trajectory are missing, (T,): those with NaN in a wet cell, where the data declare `gaps`; and which are flat.

    `first` is the number of its first frame. Raises ValueError for the first frame that is not finite else.
    """
    flat = row.reshape(*row.shape[:2], -1)
    flat = flat if wet is None else flat[..., wet.ravel()]
    low, high = flat.min(-1), flat.max(-1)
    missing = np.isnan(low).any(1) if gaps else np.zeros(len(row), bool)
    wrong = np.logical_or.reduce(np.isinf(flat), axis=-1) if missing.any() else ~np.isfinite(low + high)
    if wrong.any():
        t = int(wrong.any(1).argmax())
        names = [c for c, bad in zip(channels, wrong[t], strict=True) if bad]
        where = f"at time {times[t]:g} (frame {first + t}), channels {names}"
        missed = "" if gaps or np.isinf(flat[t]).any() else f'; where NaN means missing, set dataset.attrs["{GAPS}"] = "{NAN}"'
        raise ValueError(f"{label} has values that are not finite {where}{missed}")
    return missing, (low == high).all(1)


def check_written(flat: Flags, missing: Flags, label: str, times: npt.NDArray[Any]) -> None:
    """Raise ValueError for the first frame of a whole trajectory that is flat after one that varies, or at all where none does."""
    known = ~missing
    varies = known & ~flat
    begun = np.cumsum(varies) > 0 if varies.any() else np.ones(len(flat), bool)
    bad = flat & known & begun
    if bad.any():
        t = int(bad.argmax())
        raise ValueError(f"{label} is constant over all space at time {times[t]:g} (frame {t}); was that frame ever written?")
