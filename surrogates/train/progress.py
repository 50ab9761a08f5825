"""How a run is watched: a bar on a terminal, elsewhere one line every few seconds. Both show the loss and the last scores."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from surrogates.train.log import TRAIN, VALID, Log

SECONDS = 15.0


class Watch(Callback):
    """Shows the log; `seconds` between lines where standard error is no terminal."""

    def __init__(self, log: Log, seconds: float = SECONDS) -> None:
        self.curves, self.seconds = log, seconds
        self._bar: Progress | None = None
        self._task: Any = None
        self._last = self._began = 0.0
        self._first = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = self._last = time.monotonic()
        self._first = trainer.global_step
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
            self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), refresh_per_second=4)
            self._bar.start()
            self._task = self._bar.add_task("training", total=trainer.max_steps, completed=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        now, step = time.monotonic(), trainer.global_step
        if self._bar:
            if now - self._last > 0.2 or step == trainer.max_steps:
                self._last = now
                self._bar.update(self._task, completed=step, description=self.words() or "training")
        elif now - self._last > self.seconds or step == trainer.max_steps:
            self._last = now
            rate = (now - self._began) / max(1, step - self._first)
            left = rate * (trainer.max_steps - step)
            print(
                f"step {step}/{trainer.max_steps}  {self.words()}  {1e3 * rate:.0f} ms/step  {left:.0f} s left", file=sys.stderr, flush=True
            )

    def words(self) -> str:
        """The newest numbers."""
        shown = []
        for kind in (TRAIN, VALID):
            newest = self.curves.rows[kind][-1] if self.curves.rows[kind] else {}
            shown += [f"{kind} {k} {v:.3g}" for k, v in newest.items() if k not in ("step", "lr")]
        return "  ".join(shown)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
