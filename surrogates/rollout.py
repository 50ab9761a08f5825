"""The rollout: a step is called on its own output until enough frames have come. Pure, differentiable, counts frames.

Gradients flow through it to the initial state, to parameters in the conditions and to weights. `checkpointed` is the same rollout for
long ones: it keeps only the states between segments and makes what is inside them again on the way back (Griewank and Walther, ACM Trans.
Math. Softw. 26, 2000). Segments of sqrt(n) calls keep the least: memory grows like sqrt(n), and the cost is one more rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from surrogates.contracts import Conditions, Noise, State, Step


def rollout(
    step: Step,
    past: Float[Tensor, "B H Cin *X"],
    frames: int,
    at: Callable[[int], Conditions],
    noise: Noise | None = None,
) -> Iterator[Float[Tensor, "B Cout *X"]]:
    """Yield `frames` frames (B, Cout, *X) after `past`.

    `at(n)` gives the conditions when n frames have been made. A bundle longer than what is left is cut.
    Raises ValueError where `past` is not what the step takes.
    """
    made = 0
    for bundle, _ in bundles(step, begin(step, past, at(0)), frames, at, noise):
        for frame in bundle.unbind(1)[: frames - made]:
            made += 1
            yield frame


def begin(step: Step, past: Float[Tensor, "B H Cin *X"], conditions: Conditions) -> State:
    """The state that a rollout starts from. Raises ValueError where `past` has the wrong frames or channels."""
    if past.shape[1] != step.history or past.shape[2] != step.inputs.count:
        raise ValueError(
            f"past has {past.shape[1]} frames of {past.shape[2]} channels but the step takes {step.history} of "
            f"{step.inputs.count} {step.inputs.channels}; did you forget a frame or a field?"
        )
    return step.begin(past, conditions)


def bundles(
    step: Step, state: State, frames: int, at: Callable[[int], Conditions], noise: Noise | None = None, made: int = 0
) -> Iterator[tuple[Float[Tensor, "B T Cout *X"], State]]:
    """Yield whole bundles and the state behind each, from `made` frames on, until `frames` are reached or passed."""
    while made < frames:
        bundle, state = step(state, at(made), noise)
        made += bundle.shape[1]
        yield bundle, state


def checkpointed(
    step: Step,
    past: Float[Tensor, "B H Cin *X"],
    frames: int,
    at: Callable[[int], Conditions],
    noise: Noise | None = None,
    *,
    every: int = 1,
) -> Iterator[Float[Tensor, "B Cout *X"]]:
    """`rollout`, its frames and gradients alike, with memory for the state after each `every` calls alone.

    `at` and `noise` are asked twice and must answer alike, as all of ours do. Raises ValueError for `every` below 1, and as `rollout`.
    """
    if every < 1:
        raise ValueError(f"a segment has at least one call, got every={every}; the square root of the number of calls keeps the least")
    state, made = begin(step, past, at(0)), 0

    def segment(state: State, made: int) -> tuple[Tensor, State]:
        parts = list(bundles(step, state, min(frames, made + every * step.bundle), at, noise, made))
        return torch.cat([bundle for bundle, _ in parts], 1), parts[-1][1]

    while made < frames:
        block, state = checkpoint(segment, state, made, use_reentrant=False)
        yield from block.unbind(1)[: frames - made]
        made += block.shape[1]
