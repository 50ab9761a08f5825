"""Overhead of training over a bare loop, per step: Lightning as it comes against ours (G15).

    python benchmarks/speed/training.py [--json training.json] [--rounds 5] [--steps 300]

All three take the same steps on the same windows with a network so small that little else is left: loss, gradient, clipping, fused
AdamW, learning rate of the step. `lightning` is a default Trainer around a module that logs its loss; `ours` is `surrogates.train`, whose
averaged weights, curves and checkpoint come on top. A loop's time is the median over its steps of the processor time of one thread from
step to step, which neither a neighbour's burst nor the rare logged step moves; an overhead is the difference to the bare loop of the
same round, and the ratio the median over rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
import xarray as xr
from lightning.pytorch import Callback, LightningModule, Trainer
from timing import machine, table
from torch import Tensor, nn

from surrogates.data.module import DataModule
from surrogates.data.windows import Batch
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray
from surrogates.operators import FNO
from surrogates.train import Optimiser, Rollouts, Settings, Training, train

G15 = 3.0


def waves() -> xr.Dataset:
    """80 trajectories of 40 frames on 16 points: one epoch is longer than the race."""
    box, t = Box.periodic((16,), 2 * math.pi), torch.arange(40, dtype=torch.float64) * 0.1
    phase = torch.rand(80, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 * math.pi
    u = torch.cos(box.coordinate(0) - t[None, :, None] + phase)
    return to_xarray(u[:, :, None].float(), Fields.of(Field("u")), box, time=t.tolist(), trajectories=range(80))


def training(cls: type[Training] = Training) -> Any:
    data = DataModule(waves(), batch_size=4)
    return cls(data, partial(FNO, width=4, modes=(3,), layers=1), optimiser=Optimiser(lr=1e-3, warmup=10), rollouts=Rollouts(leads=(2,)))


def bare(steps: int) -> list[float]:
    """The loop that anyone would write."""
    made, rate = training(), Optimiser(lr=1e-3, warmup=10).rate
    weights = list(made.parameters())
    optimiser = torch.optim.AdamW(weights, lr=1e-3, weight_decay=1e-5, fused=True)
    batches = iter(made.data.train_dataloader())
    marks = []
    for step in range(steps):
        loss = made.loss(next(batches), step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.param_groups[0]["lr"] = rate(step, steps)
        optimiser.step()
        marks.append(time.process_time())
    return marks


class Plain(LightningModule):
    """The module that Lightning's guide would have one write around the same loss."""

    def __init__(self, inner: Training, steps: int) -> None:
        super().__init__()
        self.surrogate, self.steps = inner.surrogate, steps
        self.inner = [inner]  # in a list: its weights are here once

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.inner[0].loss(batch, self.global_step)
        self.log("loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
        rate = partial(Optimiser(lr=1.0, warmup=10).rate, steps=self.steps)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, rate), "interval": "step"},
        }


class Clock(Callback):
    """Processor time at the end of every step."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.marks.append(time.process_time())


def lightning(steps: int) -> list[float]:
    """A Trainer with its defaults: progress bar, logger, checkpoints, model summary."""
    made, clock = training(), Clock()
    with tempfile.TemporaryDirectory() as root:
        trainer = Trainer(
            max_steps=steps, accelerator="cpu", gradient_clip_val=1.0, default_root_dir=root, callbacks=[clock], limit_val_batches=0
        )
        trainer.fit(Plain(made, steps), made.data.train_dataloader())
    return clock.marks


class Timed(Training):
    """Ours, with the same clock."""

    def on_train_start(self) -> None:
        super().on_train_start()
        self.marks: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.marks.append(time.process_time())


def ours(steps: int) -> list[float]:
    """`surrogates.train` into a folder: averaged weights, curves every 20 steps, a checkpoint at the end."""
    settings = Settings(accelerator="cpu", validate_every=0, checkpoint_every=steps, tensorboard=False, progress=False)
    made = training(Timed)
    with tempfile.TemporaryDirectory() as root:
        train(made, steps=steps, out=Path(root) / "run", settings=settings)
    marks: list[float] = made.marks
    return marks


def milliseconds(run: Callable[[int], list[float]], steps: int) -> float:
    """The median step; what a terminal would show is made and sent nowhere."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        marks = run(steps)
    return 1e3 * median(b - a for a, b in pairwise(marks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures, with commit, machine and versions, to this file")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds")
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    contenders = {"bare": bare, "lightning": lightning, "ours": ours}
    for run in contenders.values():
        milliseconds(run, 20)
    steps = arguments.steps
    rounds = [{name: milliseconds(run, steps) for name, run in contenders.items()} for _ in range(arguments.rounds)]
    over = {name: [r[name] - r["bare"] for r in rounds] for name in ("lightning", "ours")}
    ratio = median(a / b for a, b in zip(over["lightning"], over["ours"], strict=True))
    rows = [(n, median(r[n] for r in rounds), median(over[n]) if n in over else 0.0) for n in contenders]
    table("Training, milliseconds of processor time a step, one thread", ("loop", "ms a step", "over bare"), rows)
    table("Lightning's overhead over ours (G15)", ("ratio", "goal"), [(ratio, f">= {G15:g}")])
    if arguments.json:
        spread = {n: quantiles(v, n=4) for n, v in over.items()} if len(rounds) > 1 else {}
        arguments.json.write_text(
            json.dumps({"machine": machine(), "rounds": rounds, "overhead quartiles": spread, "G15": ratio}, indent=1)
        )


if __name__ == "__main__":
    main()
