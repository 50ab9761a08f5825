"""Training through the rollout: the model makes n steps from the truth and is judged on all of them,

    loss = mean_{j <= n} loss(v_{t+j-1} -> u_{t+j}),      v_t = u_t,   v_{t+1} = model(v_t),

with gradients through every step before (no stop-gradient, unlike the pushforward), so that a correction learns what it leads to later. For
deterministic surrogates and hybrids; a refiner draws, and its loss is of one step. `checkpointed` makes the steps again on the way back
instead of keeping what is inside them. Sources: Um et al., 2020, https://arxiv.org/abs/2007.00016; List, Chen, Bali and Thuerey,
"Differentiability in unrolled training of neural physics simulators on transient dynamics", 2024, https://arxiv.org/abs/2402.12971.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from surrogates.contracts import Conditions, Noise
from surrogates.noise import AtStep
from surrogates.record import recorded


@recorded
class Unrolled:
    """A strategy: `steps` steps with gradient. Raises ValueError for less than one, and for a model that is generative."""

    def __init__(self, steps: int = 2, checkpointed: bool = False) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps, self.checkpointed = steps, checkpointed

    @property
    def bundles(self) -> int:
        return self.steps

    def __call__(
        self,
        surrogate: Any,
        past: Float[Tensor, "B H C *X"],
        future: Float[Tensor, "B T C *X"],
        conditions: Conditions,
        noise: Noise,
        step: int,
        guess: nn.Module | None = None,
    ) -> Float[Tensor, " G"]:
        if surrogate.generative:
            raise ValueError("an unrolled loss judges a deterministic model; train the guess by it, and the refiner by another strategy")
        T, losses = surrogate.bundle, []
        state = surrogate.begin(past, conditions)
        for n in range(self.steps):
            now, ahead = conditions.after(n * T), future[:, n * T : (n + 1) * T]
            losses.append(surrogate.loss(state["past"], ahead, now, AtStep(noise, n), guess))
            if n + 1 < self.steps:
                once = partial(checkpoint, surrogate, use_reentrant=False) if self.checkpointed else surrogate
                _, state = once(state, now, None)
        return torch.stack(losses).mean(0)
