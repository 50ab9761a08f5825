"""The exponential moving average of the weights: e <- e + (1 - d) (w - e) after every step, with d = min(decay, (1 + n) / (10 + n)).

The ramp lets the first averages forget the initial weights. Only what is trained is averaged: buffers and frozen parts stay as they
are (averaging copies of them is what Lightning's own callback would do). The average is validated and saved; training goes on from w.
Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30, 1992.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class EMA:
    """The average of some weights; decay = 0 keeps none. Its state is exact."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.average: list[Tensor] = []

    def update(self, weights: list[nn.Parameter]) -> None:
        """One step of the average."""
        if not self.decay:
            return
        if not self.average:
            self.average = [w.detach().clone() for w in weights]
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.average, [w.detach() for w in weights], 1 - decay)
        self.count += 1

    def swap(self, weights: list[nn.Parameter]) -> None:
        """Exchange weights and average; twice is nothing, bit for bit."""
        for k, w in enumerate(weights if self.average else ()):
            w.data, self.average[k] = self.average[k].to(w), w.data

    def to(self, device: torch.device) -> None:
        """Move the average, which a checkpoint gives back on the CPU."""
        self.average = [a.to(device) for a in self.average]

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count, self.average = state["count"], [a.clone() for a in state["average"]]
