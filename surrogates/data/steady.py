"""Steady data have one frame a trajectory, and a window needs two: a past and what follows it.

A map from what is given to the steady state is learnt from two frames with dt = 1, a first guess and the solution (`datasets/darcy`): then
windows, training, rollout and scores work as for evolutions, and persistence is the guess.
"""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from surrogates.interchange import TIME


def not_steady(parts: Sequence[xr.Dataset]) -> None:
    """Raises ValueError for trajectories of one frame each."""
    if max(int(p.sizes.get(TIME, 1)) for p in parts) > 1:
        return
    name = parts[0].attrs.get("dataset", "the data")
    raise ValueError(
        f"{name}: these data are steady: every trajectory has one frame, and a window needs a past and a future. Write each as two frames "
        "with dt = 1, a first guess and the solution, as datasets/darcy/README.md says; AirfRANS is opened so with options: {guess: inflow}"
    )
