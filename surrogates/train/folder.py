"""The folder of a run: one run and no other, resumed where it stopped.

    run.json          the fingerprint of the run (model, data, optimiser, seed, steps) and whether it is finished
    checkpoint.ckpt   everything a resumed run needs; removed when the run is finished
    train.csv, valid.csv, events...              curves
    config.json, weights.safetensors, card.md    the surrogate (`surrogates.saved`), when the run is finished

Folders inside it may be other runs (the guess of a refiner, a benchmark of the result); files of others are not put up with.
Checkpoints are read with weights_only=True: they hold tensors and plain values, never code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from surrogates.saved import CONFIG

RUN, CHECKPOINT = "run.json", "checkpoint.ckpt"


class RunFolder:
    """A folder claimed for the run with this fingerprint. Raises FileExistsError where it holds another run, or something else."""

    def __init__(self, path: str | os.PathLike[str], fingerprint: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.fingerprint: dict[str, Any] = json.loads(json.dumps(fingerprint))
        if (self.path / RUN).is_file() and (self.checkpoint.is_file() or self.finished):
            self._same_run()
        elif (self.path / RUN).is_file():  # nothing was stored yet
            self._save(finished=False)
        elif self.path.is_file() or (self.path.exists() and any(p.is_file() for p in self.path.iterdir())):  # folders in it may stay
            raise FileExistsError(f"{self.path} exists and is no training run; choose another output folder")
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            self._save(finished=False)

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    @property
    def finished(self) -> bool:
        return bool(json.loads((self.path / RUN).read_text())["finished"]) and (self.path / CONFIG).is_file()

    def finish(self) -> None:
        """Mark the run as finished; its checkpoint is no longer needed."""
        self._save(finished=True)
        self.checkpoint.unlink(missing_ok=True)

    def stored(self) -> dict[str, Any] | None:
        """The checkpoint to go on from. Raises ValueError where it is damaged or holds more than tensors and plain values."""
        if not self.checkpoint.is_file():
            return None
        try:
            stored: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"{self.checkpoint} is damaged or no checkpoint of ours ({type(error).__name__}); remove it to start this run again"
            ) from error
        return stored

    def _same_run(self) -> None:
        old, new = (dict(flat(f)) for f in (json.loads((self.path / RUN).read_text())["fingerprint"], self.fingerprint))
        differing = [f"{k} ({old.get(k)} there, {new.get(k)} here)" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
        if differing:
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise FileExistsError(
                f"{self.path} holds another run: it differs in {', '.join(differing[:3])}{more}; choose another output folder or remove it"
            )

    def _save(self, *, finished: bool) -> None:
        file = self.path / RUN
        part = file.with_suffix(".part")
        part.write_text(json.dumps({"fingerprint": self.fingerprint, "finished": finished}, indent=1))
        os.replace(part, file)


def flat(entry: Any, key: str = "") -> list[tuple[str, Any]]:
    """Nested mappings and lists as (dotted key, plain value)."""
    items = entry.items() if isinstance(entry, Mapping) else enumerate(entry) if isinstance(entry, list) else None
    if items is None:
        return [(key, entry)]
    return [pair for k, v in items for pair in flat(v, f"{key}.{k}" if key else str(k))]
