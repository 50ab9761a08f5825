"""One training run from beginning to end: claim the folder, resume or begin, train, save. In Python,

    run = train(Training(data, partial(FNO, width=16, modes=(16,))), steps=500, out="runs/guess")

gives run.surrogate and its curves, run.log.rows["train"]. At the same number of threads, a run that was stopped at any step and resumed
ends with the same bits as one that was not.
"""

from __future__ import annotations

import logging
import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

import surrogates
from surrogates.record import describe
from surrogates.saved import fit, load_surrogate, save
from surrogates.surrogate import Surrogate
from surrogates.train.callbacks import After, Checkpoints, Course, Curve, Stop, Validation
from surrogates.train.ema import EMA
from surrogates.train.folder import RunFolder
from surrogates.train.log import TRAIN, VALID, Log, read
from surrogates.train.module import Training
from surrogates.train.progress import Watch


@dataclass(frozen=True)
class Settings:
    """How a run is carried out; none of it changes what an uninterrupted run on the same machine learns, but for `precision`.

    precision and accelerator are Lightning's ("32-true", "bf16-mixed"; "auto", "cpu", "cuda"); the others count steps.
    """

    precision: str = "32-true"
    accelerator: str = "auto"
    log_every: int = 20
    validate_every: int = 400
    checkpoint_every: int = 200
    tensorboard: bool = True
    progress: bool = True

    def __post_init__(self) -> None:
        if self.precision not in ("32-true", "bf16-mixed"):
            raise ValueError(f"precision is {self.precision!r}; write '32-true' or 'bf16-mixed' (spectra stay in float32 either way)")
        if min(self.log_every, self.checkpoint_every) < 1 or self.validate_every < 0:
            raise ValueError(f"log_every and checkpoint_every must be at least 1 and validate_every at least 0 (never): {self}")


@dataclass(frozen=True)
class Run:
    """What training made: the surrogate (averaged weights, evaluation mode, CPU), its curves, and how many steps this call took."""

    surrogate: Surrogate
    log: Log
    folder: Path | None
    steps: int


def train(training: Training, *, steps: int, out: str | os.PathLike[str] | None = None, settings: Settings | None = None) -> Run:
    """Train for `steps` optimiser steps. With `out` the run is stored there, and the same call goes on where it was stopped.

    Raises FileExistsError where `out` holds another run, ValueError where its checkpoint is damaged or of another architecture or the
    loss stops being finite, and KeyboardInterrupt, with everything stored, when Ctrl-C asked to stop.
    """
    settings = settings or Settings()
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    folder = RunFolder(out, fingerprint(training, steps, settings)) if out is not None else None
    log = Log(folder.path if folder else None, tensorboard=settings.tensorboard)
    if folder and folder.finished:
        for kind in (TRAIN, VALID):
            log.rows[kind] = read(folder.path / f"{kind}.csv")
        return Run(load_surrogate(folder.path), log, folder.path, 0)
    stored = folder.stored() if folder else None
    if stored is not None and folder:
        fit(training, stored["state_dict"], str(folder.checkpoint))
    begun = stored["global_step"] if stored else 0
    log.start(begun)
    ema, stop, watch = EMA(training.optimiser.ema), Stop(), Watch(log, begun, steps)
    others: list[After] = [Validation(log, settings.validate_every, ema)] if settings.validate_every else []
    others += [watch] if settings.progress else []
    others += [Checkpoints(folder.checkpoint, settings.checkpoint_every, stop)] if folder else []
    course = Course(ema, Curve(log, settings.log_every), others)
    with quiet(), stop, watch if settings.progress else nullcontext():
        trainer = Trainer(**arguments(steps, settings), callbacks=[course])
        try:
            trainer.fit(training, datamodule=training.data, ckpt_path=folder.checkpoint if stored and folder else None, weights_only=True)
        except SystemExit as left:  # what Lightning makes of a second Ctrl-C
            raise KeyboardInterrupt("stopped at once") from left
    log.close()
    if stop.asked and trainer.global_step < steps:
        raise KeyboardInterrupt(f"stopped after step {trainer.global_step} of {steps}")
    ema.swap(training.weights)
    surrogate = training.surrogate.cpu().eval()
    surrogate.requires_grad_(True)  # as it is when loaded: torch.matmul folds batches by this flag, and rounds differently
    if folder:
        save(surrogate, folder.path, provenance(training, steps, log))
        folder.finish()
    return Run(surrogate, log, folder.path if folder else None, steps - begun)


def arguments(steps: int, settings: Settings) -> dict[str, Any]:
    """Lightning's Trainer, less all that is done here: its own loops cost more a step than a small network."""
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    one = {"accelerator": settings.accelerator, "devices": 1, "precision": settings.precision}
    return {**off, **one, "max_steps": steps, "max_epochs": -1, "limit_val_batches": 0, "num_sanity_val_steps": 0}


def fingerprint(training: Training, steps: int, settings: Settings) -> dict[str, Any]:
    """What makes this run the same run."""
    data = training.data
    windows = {n: getattr(data, n) for n in ("history", "bundle", "batch_size", "seed", "stride", "subsample", "fold")}
    windows |= {} if data.max_nodes is None else {"max_nodes": data.max_nodes}
    return {
        "model": _plain(describe(training.surrogate)),
        "guess": training.origins,
        "strategy": describe(training.strategy),
        "optimiser": asdict(training.optimiser),
        "rollouts": asdict(training.rollouts),
        "data": {**windows, **data.settings, "checksum": data.checksum},
        "seed": training.seed,
        "steps": steps,
        "precision": settings.precision,
    }


def _plain(model: dict[str, Any]) -> dict[str, Any]:
    """Without a scaling that is none, so that runs begun before there were any go on."""
    arguments = {k: v for k, v in model["arguments"].items() if k != "scaling" or v is not None}
    return {**model, "arguments": arguments}


def provenance(training: Training, steps: int, log: Log) -> dict[str, Any]:
    """Where a surrogate comes from: data, recipe, seed, commit, and the scores it ended with."""
    data = training.data
    attrs = data.windows("train").attrs
    known = {
        "dataset": attrs.get("dataset") or "in memory",
        "size": attrs.get("size"),
        "recipe_seed": attrs.get("seed"),
        "checksum": data.checksum,
    }
    last = {f"valid_{k}": v for k, v in log.rows[VALID][-1].items() if k != "step"} if log.rows[VALID] else {}
    loss = {"train_loss": log.rows[TRAIN][-1]["loss"]} if log.rows[TRAIN] else {}
    own = {"steps": steps, "seed": training.seed, "fold": data.fold and list(data.fold), "commit": commit(), **training.origins}
    return {k: v for k, v in {**known, **own, **loss, **last}.items() if v is not None}


def commit() -> str | None:
    """The commit of the checkout that this package runs from; None outside one."""
    home = Path(surrogates.__file__).parent
    try:
        out = subprocess.run(["git", "-C", str(home), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip()


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's tips and its advice about loaders that are not DataLoaders."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = {n: logging.getLogger(n).level for n in names}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        warnings.filterwarnings("ignore", message=".*(tensorboard|isinstance.treespec|num_workers).*")
        for n in names:
            logging.getLogger(n).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for n, level in levels.items():
                logging.getLogger(n).setLevel(level)
