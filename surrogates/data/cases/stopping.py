"""Solvers end with the run that started them, and where it was killed outright, with the run that comes after it.

    SIGTERM, SIGHUP     raise SystemExit in the main thread, so that what Ctrl-C does is done: solvers are ended, errors are told
    <case>/pids/4711    program 4711 is at work in this folder; gone when it has ended

A program is a session of its own, and its whole process group is ended. A run that finds a folder of an earlier one ends what is still at
work there before it removes the folder: a number alone is no proof, so the process has to have the folder as its own (/proc/<pid>/cwd).
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

PIDS = "pids"
PATIENCE = 5.0  # s between asking a program to end and ending it
PROC = Path("/proc")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit within the block, where this is the main thread and nobody else has a say in them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]
    ours = [n for n in names if signal.getsignal(n) is signal.SIG_DFL]  # nohup ignores SIGHUP, and stays so
    for name in ours:
        signal.signal(name, _raise)
    try:
        yield
    finally:
        for name in ours:
            signal.signal(name, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def recorded(process: subprocess.Popen[bytes], folder: Path) -> Iterator[None]:
    """The program's number stands in its folder while the block lasts; it has ended when the block is left."""
    note = folder / PIDS / str(process.pid)
    try:
        note.parent.mkdir(exist_ok=True)
        note.touch()
        yield
    finally:
        end(process)
        note.unlink(missing_ok=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a program and what it started to end, and end them where they do not."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            _signal(process.pid, signal.SIGKILL)
            process.wait()


def end_left(folder: Path) -> list[int]:
    """End what an earlier run left at work in a folder; returns the numbers.

    Raises ValueError where a process has such a number and this system does not tell whether it is that one.
    """
    left = []
    for note in sorted((folder / PIDS).glob("*")):
        pid = int(note.name) if note.name.isdigit() else 0
        if pid and _alive(pid) and _works_in(pid, folder):
            left.append(pid)
            _signal(pid, signal.SIGTERM)
            for _ in range(int(PATIENCE / 0.05)):
                if not _alive(pid):
                    break
                time.sleep(0.05)
            else:
                _signal(pid, signal.SIGKILL)
        note.unlink(missing_ok=True)
    return left


def _works_in(pid: int, folder: Path) -> bool:
    if not PROC.is_dir():
        raise ValueError(f"process {pid} may be a solver that an earlier run left at work in {folder}; end it, and remove {folder}")
    try:
        return (PROC / str(pid) / "cwd").resolve() == folder.resolve()
    except OSError:
        return False  # it has ended meanwhile, or is another user's


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return ") Z" not in (PROC / str(pid) / "stat").read_text()  # one that has ended and was not waited for
    except OSError:
        return not PROC.is_dir()


def _signal(pid: int, number: int) -> None:
    """To the group that it leads, else to itself."""
    with suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
