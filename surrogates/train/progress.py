"""How a run is watched: a bar on a terminal, elsewhere one line every few seconds. Both show the loss and the last scores."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import Trainer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from surrogates.train.log import TRAIN, VALID, Log
from surrogates.train.module import Training

SECONDS = 15.0


class Watch:
    """Shows the log of a run of `total` steps, from `begun` on; `seconds` between lines where standard error is no terminal."""

    def __init__(self, log: Log, begun: int, total: int, seconds: float = SECONDS) -> None:
        self.log, self.begun, self.total, self.seconds = log, begun, total, seconds
        self._bar: Progress | None = None
        self._task: Any = None
        self._last = self._began = time.monotonic()

    def __enter__(self) -> Watch:
        self._last = self._began = time.monotonic()
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
            self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), refresh_per_second=4)
            self._bar.start()
            self._task = self._bar.add_task("training", total=self.total, completed=self.begun)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def __call__(self, step: int, loss: Tensor, trainer: Trainer, training: Training) -> None:
        now = time.monotonic()
        if now - self._last < (0.2 if self._bar else self.seconds) and step != self.total:
            return
        self._last = now
        if self._bar:
            self._bar.update(self._task, completed=step, description=self.words() or "training")
            return
        rate = (now - self._began) / max(1, step - self.begun)
        left = f"{rate * (self.total - step):.0f} s left"
        print(f"step {step}/{self.total}  {self.words()}  {1e3 * rate:.0f} ms/step  {left}", file=sys.stderr, flush=True)

    def words(self) -> str:
        """The newest numbers."""
        shown = []
        for kind in (TRAIN, VALID):
            newest = self.log.rows[kind][-1] if self.log.rows[kind] else {}
            shown += [f"{kind} {k} {v:.3g}" for k, v in newest.items() if k not in ("step", "lr")]
        return "  ".join(shown)
