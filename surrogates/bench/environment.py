"""Where numbers come from: commit, versions, machine, threads, the command that was typed."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import surrogates

VERSIONED = ("torch", "numpy", "scipy", "xarray", "zarr", "lightning", "neuraloperator")


def environment() -> dict[str, Any]:
    """Plain values, fit for JSON and for a table."""
    return {
        "commit": commit(),
        "versions": {"surrogates": surrogates.__version__, "python": platform.python_version(), **{n: _version(n) for n in VERSIONED}},
        "machine": {"processor": processor(), "cores": os.cpu_count() or 0, "platform": platform.platform(), "devices": _devices()},
        "threads": {"torch": torch.get_num_threads(), **{n: os.environ.get(n, "unset") for n in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")}},
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def commit() -> str:
    """The commit of the checkout this package lies in, "+" where it has changes; "unknown" outside one."""
    root = Path(surrogates.__file__).resolve().parents[1]
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _devices() -> str:
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(names) or "CPU only"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
