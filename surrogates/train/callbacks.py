"""What happens after a training step, in this order: average, sum the loss, score the average, show, store.

Lightning sees one callback, `Course`, which calls these in turn. Its own `self.log`, ModelCheckpoint, EMA and validation loop cost
more together than a step of a small network, and it skips a validation that a resumed run still owes. Everything here is a function
of the step and of what a checkpoint keeps.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from surrogates.train.ema import EMA
from surrogates.train.log import TRAIN, VALID, Log
from surrogates.train.module import Training


class Stop:
    """While entered, the first Ctrl-C asks to stop after the current step (`asked`); the second raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Stop:
        def ask(number: int, frame: Any) -> None:
            self.asked = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        if threading.current_thread() is threading.main_thread():  # elsewhere no Ctrl-C comes, and no handler may be set
            self._before = signal.signal(signal.SIGINT, ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


After = Callable[[int, Tensor, Trainer, Training], None]
"""Something that is done after each step: (step, its loss without gradient, trainer, training)."""


class Course(Callback):
    """The average, then the others in order; the average and the curve's sums go into checkpoints."""

    def __init__(self, ema: EMA, curve: Curve, others: Sequence[After]) -> None:
        self.ema, self.curve, self.others = ema, curve, others

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ema.to(pl_module.device)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        assert isinstance(pl_module, Training)
        self.ema.update(pl_module.weights)
        step, loss = trainer.global_step, outputs["loss"]
        self.curve(step, loss, trainer, pl_module)
        for other in self.others:
            other(step, loss, trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"ema": self.ema.state_dict(), "curve": self.curve.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.ema.load_state_dict(state_dict["ema"])
        self.curve.load_state_dict(state_dict["curve"])


class Curve:
    """The mean loss since the last row, every `every` steps. Raises ValueError where it is not finite."""

    def __init__(self, log: Log, every: int) -> None:
        self.log, self.every = log, every
        self.total: Tensor | None = None
        self.count = 0

    def __call__(self, step: int, loss: Tensor, trainer: Trainer, training: Training) -> None:
        loss = loss.double()
        self.total = loss if self.total is None else self.total.to(loss) + loss
        self.count += 1
        if step % self.every and step != trainer.max_steps:
            return
        mean = float(self.total) / self.count
        self.total, self.count = None, 0
        if not mean < float("inf"):
            raise ValueError(
                f"the loss is {mean} by step {step}; lower the learning rate, or clip more (optimiser: {{lr: ..., clip: ...}})"
            )
        self.log.add(TRAIN, step, {"loss": mean, "lr": trainer.optimizers[0].param_groups[0]["lr"]})

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total, self.count = state["total"], state["count"]


class Validation:
    """Scores of the averaged weights every `every` steps and at the end (0: never)."""

    def __init__(self, log: Log, every: int, ema: EMA) -> None:
        self.log, self.every, self.ema = log, every, ema

    def __call__(self, step: int, loss: Tensor, trainer: Trainer, training: Training) -> None:
        if not self.every or (step % self.every and step != trainer.max_steps):
            return
        training.eval()
        self.ema.swap(training.weights)
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            scores = training.scores()
        self.ema.swap(training.weights)
        training.train()
        self.log.add(VALID, step, scores)


class Checkpoints:
    """The state of the run every `every` steps, at the end, and when it is asked to stop; each whole or not at all."""

    def __init__(self, file: Path, every: int, stop: Stop) -> None:
        self.file, self.every, self.stop = file, every, stop

    def __call__(self, step: int, loss: Tensor, trainer: Trainer, training: Training) -> None:
        if self.stop.asked or step % self.every == 0 or step == trainer.max_steps:
            part = self.file.with_suffix(".part")
            try:
                trainer.save_checkpoint(part)
                os.replace(part, self.file)
            except OSError:  # a full disk: the last checkpoint is still there
                part.unlink(missing_ok=True)
                raise
        if self.stop.asked:
            trainer.should_stop = True
