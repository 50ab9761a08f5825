"""The curves of a run: rows in memory, as CSV files, and for TensorBoard where it is installed.

A row belongs to a step, and holds nothing that two equal runs would not share (no clock), so that a run resumed from step n drops the
rows after n and ends with the same files, byte for byte, as one that was never stopped.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TRAIN, VALID = "train", "valid"
Row = dict[str, int | float]


class Log:
    """Rows of `train` and `valid`, each {"step": ..., name: value}; written to `folder` where one is given."""

    def __init__(self, folder: Path | None = None, *, tensorboard: bool = True) -> None:
        self.folder = folder
        self.rows: dict[str, list[Row]] = {TRAIN: [], VALID: []}
        self._tensorboard = tensorboard and folder is not None and find_spec("tensorboard") is not None
        self._writer: Any = None

    def start(self, step: int) -> None:
        """Take up the rows up to `step`; the files lose those after it."""
        for kind in self.rows if self.folder else ():
            self.rows[kind] = [r for r in read(self._file(kind)) if r["step"] <= step]
            self._write(kind)
        if self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=step + 1)

    def add(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """One row, on disk when this returns."""
        row = {"step": step, **values}
        self.rows[kind].append(row)
        if self.folder:
            file = self._file(kind)
            fresh = not file.exists()
            with file.open("a", newline="") as f:
                writer = csv.DictWriter(f, list(row))
                if fresh:
                    writer.writeheader()
                writer.writerow({k: repr(v) for k, v in row.items()})
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def _file(self, kind: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{kind}.csv"

    def _write(self, kind: str) -> None:
        file, rows = self._file(kind), self.rows[kind]
        if not rows:
            file.unlink(missing_ok=True)
            return
        part = file.with_suffix(".part")
        with part.open("w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows({k: repr(v) for k, v in row.items()} for row in rows)
        os.replace(part, file)


def read(file: Path) -> list[Row]:
    """The rows of a CSV file, a last one cut by a kill left out; none where there is no file."""
    if not file.is_file():
        return []
    with file.open(newline="") as f:
        return [{k: int(v) if k == "step" else float(v) for k, v in row.items()} for row in csv.DictReader(f) if _whole(row)]


def _whole(row: Mapping[str, Any]) -> bool:
    try:
        return all(isinstance(v, str) and float(v) is not None for v in row.values())
    except ValueError:
        return False
