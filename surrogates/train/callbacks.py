"""What happens between training steps, in this order: the loss is summed, the average is scored, the run is stored.

They are plain callbacks rather than `self.curves`, ModelCheckpoint and a validation loop of Lightning's: together those cost more than a
step of a small network, and Lightning skips a validation that a resumed run still owes. Everything here is a function of the step.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from surrogates.train.ema import EMA, weights_of
from surrogates.train.log import TRAIN, VALID, Log


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


class Curve(Callback):
    """The mean loss since the last row, every `every` steps. Raises ValueError where it is not finite."""

    def __init__(self, log: Log, every: int) -> None:
        self.curves, self.every = log, every
        self.total: Tensor | None = None
        self.count = 0

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
        self.ema.swap(weights_of(pl_module))
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            scores = pl_module.scores()  # type: ignore[operator]
        self.ema.swap(weights_of(pl_module))
        pl_module.train()
        self.curves.add(VALID, step, scores)


class Checkpoints(Callback):
    """The state of the run every `every` steps, at the end, and when it is asked to stop; each whole or not at all."""

    def __init__(self, file: Path, every: int, stop: Stop) -> None:
        self.file, self.every, self.stop = file, every, stop

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
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
