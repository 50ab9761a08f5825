"""What happens between training steps, in this order: the loss is summed, the average is scored, the run is stored.

They are plain callbacks rather than `self.curves`, ModelCheckpoint and a validation loop of Lightning's: together those cost more than a
step of a small network, and Lightning skips a validation that a resumed run still owes. Everything here is a function of the step.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from surrogates.train.ema import EMA
from surrogates.train.log import TRAIN, VALID, Log


class Curve(Callback):
    """The mean loss since the last row, every `every` steps. Raises ValueError where it is not finite."""

    def __init__(self, log: Log, every: int) -> None:
        self.curves, self.every = log, every
        self.total: Tensor | None = None
        self.count = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.curves.start(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        loss = outputs["loss"].detach().double()
        self.total = loss if self.total is None else self.total.to(loss) + loss
        self.count += 1
        step = trainer.global_step
        if step % self.every and step != trainer.max_steps:
            return
        mean = float(self.total) / self.count
        self.total, self.count = None, 0
        if not mean < float("inf"):
            raise ValueError(
                f"the loss is {mean} by step {step}; lower the learning rate, or clip more (optimiser: {{lr: ..., clip: ...}})"
            )
        self.curves.add(TRAIN, step, {"loss": mean, "lr": trainer.optimizers[0].param_groups[0]["lr"]})

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.total, self.count = state_dict["total"], state_dict["count"]


class Validation(Callback):
    """Scores of the averaged weights every `every` steps and at the end (0: never)."""

    def __init__(self, log: Log, every: int, ema: EMA) -> None:
        self.curves, self.every, self.ema = log, every, ema

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if not self.every or (step % self.every and step != trainer.max_steps):
            return
        pl_module.eval()
        self.ema.swap(pl_module)
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            scores = pl_module.scores()  # type: ignore[operator]
        self.ema.swap(pl_module)
        pl_module.train()
        self.curves.add(VALID, step, scores)


class Checkpoints(Callback):
    """The state of the run every `every` steps, at the end, and when Ctrl-C asks to stop; each whole or not at all.

    The first Ctrl-C ends the run after its current step; the second at once.
    """

    def __init__(self, file: Path, every: int) -> None:
        self.file, self.every = file, every
        self.stop = False
        self._before: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def ask(number: int, frame: Any) -> None:
            self.stop = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        try:
            self._before = signal.signal(signal.SIGINT, ask)
        except ValueError:  # not the main thread: no handler, and no Ctrl-C comes here
            self._before = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if self.stop or step % self.every == 0 or step == trainer.max_steps:
            part = self.file.with_suffix(".part")
            trainer.save_checkpoint(part)
            os.replace(part, self.file)
        if self.stop:
            trainer.should_stop = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
