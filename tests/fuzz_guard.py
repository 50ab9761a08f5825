"""Reading in a child process: what comes out of it, and that nothing else happened.

A child may take `ROOM` more memory than there was, `SECONDS` of time; it may die of a signal; hooks see what it runs, unpickles and opens.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import dask
import numpy as np

from surrogates.data.formats import Given, open_parts
from surrogates.data.parse import parse
from surrogates.interchange import domain_of

ROOM, SECONDS = 512 << 20, 20
RUNS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pickle.find_class", "socket.connect", "ctypes.dlopen")
POWERS = ("os", "posix", "subprocess", "sys", "shutil", "socket", "importlib", "runpy", "ctypes")
"""Modules that a hostile pickle would name, as it would getattr, eval, exec; dask pickles its own graphs to give them names."""
MARK = 123456.0
"""The value in every file that no reader should reach."""


class Outcome(NamedTuple):
    """kind: "ok", the name of an exception, or "signal". `values`: of what was read, a checksum of each variable."""

    kind: str
    message: str
    seen: tuple[str, ...] = ()
    values: Mapping[str, str] = MappingProxyType({})


def read_all(path: Path, format: str, given: dict[str, Any]) -> dict[str, str]:
    """Open, and look at the first and last frame of the first parts: a checksum of each variable, by split, part and name."""
    out: dict[str, str] = {}
    with dask.config.set(scheduler="synchronous"):
        for split, parts in open_parts(path, format, parse(Given, given, "given")).items():
            for number, part in enumerate(parts[:2]):
                domain_of(part)
                for name in part.data_vars:
                    told = sha256()
                    for frame in (0, -1):
                        seen = np.asarray(part[name].isel(time=frame).values if "time" in part[name].dims else part[name].values)
                        if (seen == MARK).any():
                            raise AssertionError(f"{name} was read from a file outside")
                        told.update(f"{seen.dtype.str} {seen.shape}".encode() + seen.tobytes())
                    out[f"{split}/{number}/{name}"] = told.hexdigest()[:16]
    return out


def _child(pipe: int, path: Path, format: str, given: dict[str, Any], secret: Path) -> None:
    seen: list[str] = []
    armed, values = True, {}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        own = event == "pickle.find_class" and arguments[0] not in POWERS and arguments[1] not in ("getattr", "eval", "exec", "__import__")
        if armed and not own and (event in RUNS or (event == "open" and str(arguments[0]).startswith(str(secret)))):
            seen.append(f"{event} {arguments[:2]}")

    sys.addaudithook(hook)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    try:
        values = read_all(path, format, given)
        kind, message = "ok", ""
    except OSError as error:
        kind, message = "OSError", f"{error} {error.filename or ''}"
    except BaseException as error:
        kind, message = type(error).__name__, str(error)
    armed = False
    os.write(pipe, json.dumps([kind, message[:1500], seen[:3], values]).encode())


def read_guarded(path: Path, format: str, given: dict[str, Any], secret: Path) -> Outcome:
    """What a child that reads it ends with."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(receive)
            _child(send, path, format, given, secret)
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as f:
        told = f.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Outcome("signal", signal.Signals(os.WTERMSIG(status)).name)
    kind, message, seen, values = json.loads(told) if told else ("silence", "", (), {})
    return Outcome(kind, message, tuple(seen), values)
