"""Adam with decoupled weight decay, and a learning rate that is a pure function of the step:

    lr(n) = lr [f + (1 - f) (1 + cos(pi (n - w) / (N - w))) / 2]   for n >= w,      lr (n + 1) / w   before,

with w steps of linear warm-up, N steps in all and f the floor as a fraction. Sources: Loshchilov and Hutter, "Decoupled weight decay
regularization", 2019, https://arxiv.org/abs/1711.05101; the same, "SGDR", 2017, https://arxiv.org/abs/1608.03983.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import nn


@dataclass(frozen=True)
class Optimiser:
    """lr: the highest learning rate; warmup: steps; floor: the last rate as a fraction; clip: the largest norm of a gradient;
    ema: decay of the averaged weights, a step (0: no average)."""

    lr: float = 1e-3
    warmup: int = 50
    floor: float = 0.01
    weight_decay: float = 1e-5
    clip: float = 1.0
    ema: float = 0.995

    def __post_init__(self) -> None:
        if not (
            self.lr > 0 and self.warmup >= 0 and 0 <= self.floor <= 1 and self.weight_decay >= 0 and self.clip > 0 and 0 <= self.ema < 1
        ):
            raise ValueError(f"lr and clip must be positive, warmup and weight_decay at least 0, floor in [0, 1] and ema in [0, 1): {self}")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0, ..., steps - 1."""
        warmup = min(self.warmup, steps - 1)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        phase = (step - warmup) / max(1, steps - warmup)
        return self.lr * (self.floor + (1 - self.floor) * (1 + cos(pi * min(phase, 1.0))) / 2)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """One fused kernel for all parameters, where they are real: complex ones, as peers have them, know no such kernel."""
        every = list(parameters)
        fused = not any(p.is_complex() for p in every)
        return torch.optim.AdamW(every, lr=self.lr, weight_decay=self.weight_decay, fused=fused)
