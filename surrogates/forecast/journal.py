"""How a run that was cut knows where it was: `run.json`, and for each group of rows a log of blocks and the state behind the last two.

    run.json               the fingerprint: what makes this run the same run
    .state/<g>.log         a line a block: frames made, the files that hold them with their sizes, and the size of the state
    .state/<g>-<n>.safetensors   all that the next block of group g follows from, after n frames

A block's frames are written first, then the state, then the line. So a run killed at any moment goes on from its last line and writes
the same bytes again where it was cut; half a line counts as none. A group's log is its own: groups may run in different processes. Where
a file, or the last state, is missing or shorter than its line says (a disk that lost what it had promised), the group goes back to
before that block.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from surrogates.contracts import State

RUN, STATES = "run.json", ".state"
Line = tuple[int, dict[str, int], int | None]
"""Frames made, the files that hold them with their sizes, and the size of the state."""


class Journal:
    """Of the run in `folder`; `files` is where the paths of its log begin. Raises FileExistsError where it is another run's."""

    def __init__(self, folder: Path, files: Path, fingerprint: Mapping[str, Any]) -> None:
        self.folder, self.files, self.fingerprint = folder, files, dict(fingerprint)
        self._lines: dict[int, list[Line]] = {}
        if (folder / RUN).is_file():
            check_same(folder, json.loads((folder / RUN).read_text())["fingerprint"], fingerprint)

    def begin(self, folder: Path | None = None) -> None:
        """Write `run.json`, which makes the folder a run's."""
        replace(((folder or self.folder) / RUN), json.dumps({"fingerprint": self.fingerprint}, indent=1).encode())
        ((folder or self.folder) / STATES).mkdir(exist_ok=True)

    def made(self, group: int) -> int:
        """How many frames of a group are safe."""
        if group not in self._lines:
            self._lines[group] = self._sound(group, self._read(group))
        lines = self._lines[group]
        return lines[-1][0] if lines else 0

    def state(self, group: int) -> dict[str, Tensor]:
        """What `mark` was given last."""
        file = self._state(group, self.made(group))
        with safe_open(file, "pt") as opened:
            keys = json.loads((opened.metadata() or {}).get("complex", "[]"))
        return {k: torch.view_as_complex(v) if k in keys else v for k, v in load_file(file).items()}

    def mark(self, group: int, made: int, written: Mapping[str, int], state: State) -> None:
        """After `made` frames these files are written, and this is the state behind them."""
        before = self.made(group)
        keys = sorted(k for k, v in state.items() if v.is_complex())
        tensors = {k: (torch.view_as_real(v) if v.is_complex() else v).detach().cpu().clone().contiguous() for k, v in state.items()}
        file = self._state(group, made)
        part = file.with_suffix(f".{os.getpid()}.part")
        save_file(tensors, part, metadata={"complex": json.dumps(keys)})
        os.replace(part, file)
        with self._log(group).open("ab") as log:
            log.write(json.dumps([made, dict(written), file.stat().st_size]).encode() + b"\n")
        self._lines[group].append((made, dict(written), file.stat().st_size))
        for old in self._log(group).parent.glob(f"{group}-*.safetensors"):
            if old not in (file, self._state(group, before)):
                old.unlink(missing_ok=True)

    def finish(self) -> None:
        """Drop the states, which only a resume needs."""
        for old in (self.folder / STATES).glob("*.safetensors"):
            old.unlink(missing_ok=True)

    def _read(self, group: int) -> list[Line]:
        log = self._log(group)
        if not log.is_file():
            return []
        whole = log.read_bytes().rpartition(b"\n")[0]
        return [(int(made), files, int(rest[0]) if rest else None) for made, files, *rest in map(json.loads, whole.splitlines())]

    def _sound(self, group: int, lines: list[Line]) -> list[Line]:
        """The lines whose files are all there, as far as there is a state to go on from."""
        damage = next(
            ((n, self.files / f, size) for n, line in enumerate(lines) for f, size in line[1].items() if _size(self.files / f) != size),
            None,
        )
        sound = lines if damage is None else lines[: damage[0]]
        if damage is not None or (sound and sound[-1][0] < self.fingerprint.get("frames", 0)):  # a group that is done needs no state
            while sound and not self._has_state(group, sound[-1]):
                file = self._state(group, sound[-1][0])
                damage = damage or (0, file, sound[-1][2] or 1)
                sound = sound[:-1]
        if damage is not None:
            _, file, size = damage
            what = f"{file} is damaged: {max(_size(file), 0)} bytes of {size}"
            warnings.warn(f"{what}; its rows are made again from frame {sound[-1][0] if sound else 0} on", stacklevel=2)
        text = "".join(json.dumps([made, files, *([] if size is None else [size])]) + "\n" for made, files, size in sound)
        if self._log(group).is_file() and self._log(group).read_text() != text:
            replace(self._log(group), text.encode())
        return sound

    def _has_state(self, group: int, line: Line) -> bool:
        """Whether the state behind a line is whole; a line of an older version does not tell its size."""
        there = _size(self._state(group, line[0]))
        return there > 0 if line[2] is None else there == line[2]

    def _log(self, group: int) -> Path:
        return self.folder / STATES / f"{group}.log"

    def _state(self, group: int, made: int) -> Path:
        return self.folder / STATES / f"{group}-{made}.safetensors"


def check_same(where: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise FileExistsError unless both fingerprints are one run's."""
    here = json.loads(json.dumps(dict(new)))
    differing = sorted(k for k in {*old, *here} if old.get(k) != here.get(k))
    if differing:
        raise FileExistsError(f"{where} holds another run: it differs in {', '.join(differing)}; choose another output folder or remove it")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Nobody else writes to `out` meanwhile; by a lock on a file beside it. Raises FileExistsError if one does."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_name(f".{out.name}.lock")
    with file.open("wb") as lock:
        busy = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = True
        except OSError:  # a disk that knows no locks
            pass
        if busy or not os.fstat(lock.fileno()).st_nlink:
            raise FileExistsError(f"{out} is being written by another process; wait for it, or choose another output")
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def replace(file: Path, content: bytes) -> None:
    """Write a file at once or not at all."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, file)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1
