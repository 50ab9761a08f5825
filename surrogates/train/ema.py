"""The exponential moving average of the weights: e <- e + (1 - d) (w - e) after every step, with d = min(decay, (1 + n) / (10 + n)).

The ramp lets the first averages forget the initial weights. Only what is trained is averaged: buffers and frozen parts stay as they
are (averaging copies of them is what Lightning's own callback would do). The average is validated and saved; training goes on from w.
Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30, 1992.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn


class EMA(Callback):
    """Keeps the average of a module's trainable parameters; in checkpoints, exactly. decay = 0 keeps none."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.average: list[Tensor] = []

    def update(self, weights: list[nn.Parameter]) -> None:
        """One step of the average."""
        if not self.average:
            self.average = [w.detach().clone() for w in weights]
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.average, [w.detach() for w in weights], 1 - decay)
        self.count += 1

    def swap(self, weights: list[nn.Parameter]) -> None:
        """Exchange weights and average; twice is nothing, bit for bit."""
        for k, w in enumerate(weights if self.average else ()):
            w.data, self.average[k] = self.average[k], w.data

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.average = [a.to(w) for a, w in zip(self.average, weights_of(pl_module), strict=False)]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.decay:
            self.update(weights_of(pl_module))

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count, self.average = state_dict["count"], [a.clone() for a in state_dict["average"]]


def weights_of(module: Any) -> list[nn.Parameter]:
    """What a Training trains."""
    weights: list[nn.Parameter] = module.weights
    return weights
