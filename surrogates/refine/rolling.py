"""Windows of T frames, each at a noise level of its own: which levels are visited together, and which are trained together.

    staggered(levels, T, lag)    frame j follows the levels lag j evaluations behind frame 0: all together for lag = 0, one after the
                                 other for lag = steps, a pyramid between
    rolling(levels, T)           from (j + 1)/T of the way to noise down to j/T: frame 0 becomes clean, and once it has left and a frame
                                 of pure noise has come, the window is as before

    EachFrame                    every frame's s is drawn on its own: any matrix of levels may be visited
    Ramp                         s_j = clip(j/T + t, 0, 1): only what opens (t > 1/T), rolls (0 < t < 1/T) and closes (t < 0) a window

Sources: Chen et al., "Diffusion forcing: next-token prediction meets full-sequence diffusion", 2024, https://arxiv.org/abs/2407.01392
(independent levels, sampling by a matrix); Ruhe et al., "Rolling diffusion models", 2024, https://arxiv.org/abs/2402.09470 (the ramp, its
opening t_j = clip(j/T + t), and the share of training that each gets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Draws
from surrogates.noise import uniform
from surrogates.record import recorded
from surrogates.refine.schedule import Schedule

Matrix = tuple[tuple[float, ...], ...]
"""A row for each evaluation and one more for the end; a level for each frame. Levels never rise along a column."""


def staggered(levels: Sequence[float], frames: int, lag: int) -> Matrix:
    """All frames from the first level to the last, each `lag` evaluations behind the one before."""
    end = len(levels) - 1
    return tuple(tuple(levels[min(max(m - lag * j, 0), end)] for j in range(frames)) for m in range(end + lag * (frames - 1) + 1))


def opening(levels: Sequence[float], frames: int) -> Matrix:
    """From pure noise to a window whose frame 0 is clean and whose frame j is j/T of the way to noise. Raises ValueError where the
    number of steps is no multiple of the frames."""
    steps = len(levels) - 1
    return staggered(levels, frames, _lag(steps, frames))[: steps + 1]


def rolling(levels: Sequence[float], frames: int) -> Matrix:
    """One frame's way down for every frame of such a window, once frame 0 has left and pure noise has come."""
    lag = _lag(len(levels) - 1, frames)
    return tuple(tuple(levels[lag * (frames - 1 - j) + k] for j in range(frames)) for k in range(lag + 1))


def _lag(steps: int, frames: int) -> int:
    if steps % frames:
        raise ValueError(f"{steps} steps are not a multiple of {frames} frames; a window rolls by an equal number of steps a frame")
    return steps // frames


@runtime_checkable
class FrameTimes(Protocol):
    """How the times of a window's frames are drawn for training, and which rows of a matrix that covers."""

    def draw(self, schedule: Schedule, noise: Draws, like: Float[Tensor, "B M"], frames: int, *, draw: int) -> Float[Tensor, "B MT"]: ...
    def trains(self, schedule: Schedule, row: Sequence[float]) -> bool: ...


@recorded
@dataclass(frozen=True)
class EachFrame:
    """Every frame on its own, as the schedule draws."""

    def draw(self, schedule: Schedule, noise: Draws, like: Float[Tensor, "B M"], frames: int, *, draw: int) -> Float[Tensor, "B MT"]:
        return schedule.draw(noise, like.new_empty(like.shape[0], like.shape[1] * frames), draw=draw)

    def trains(self, schedule: Schedule, row: Sequence[float]) -> bool:
        return all(schedule.trains(s) for s in row)


@recorded
@dataclass(frozen=True)
class Ramp:
    """s_j = clip(j/T + t, 0, 1) with t uniform on (0, 1/T), or, in a share `ends` of the draws, on (1/T - 1, 1). The schedule's own way
    of drawing is not used: its levels must be uniform."""

    ends: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.ends <= 1:
            raise ValueError(f"ends is {self.ends} but a share lies between 0 and 1")

    def draw(self, schedule: Schedule, noise: Draws, like: Float[Tensor, "B M"], frames: int, *, draw: int) -> Float[Tensor, "B MT"]:
        u = uniform(noise, like, draw=draw)
        at_ends = u < self.ends  # one number decides which, and, stretched, where
        wide = 1 / frames - 1 + (2 - 1 / frames) * u / max(self.ends, 1e-9)
        t = torch.where(at_ends, wide, (u - self.ends) / max(1 - self.ends, 1e-9) / frames)
        steps = torch.arange(frames, dtype=t.dtype, device=t.device) / frames
        return (t[:, :, None] + steps).clamp(0, 1).flatten(1)

    def trains(self, schedule: Schedule, row: Sequence[float]) -> bool:
        frames = len(row)
        shifts = [s - j / frames for j, s in enumerate(row)]
        rolls = [t for t in shifts if -1e-9 <= t <= 1 / frames + 1e-9]
        allowed = shifts if self.ends > 0 else rolls
        return any(all(abs(s - min(max(j / frames + t, 0), 1)) < 1e-9 for j, s in enumerate(row)) for t in allowed)


EACH_FRAME = EachFrame()
"""The usual way, shared since it holds nothing."""
