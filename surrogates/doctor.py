"""`surrogates doctor`: what a bug report needs: versions, devices, threads, allocator, extras, data folder."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import surrogates
from surrogates import _machine
from surrogates.catalog import data_root

DISTRIBUTION = "pde-surrogates"
REPORTED = ("torch", "numpy", "scipy", "xarray", "zarr", "h5py", "lightning", "neuraloperator", "torch-geometric")


def gather() -> dict[str, Any]:
    """Everything `surrogates doctor` prints, as plain values by section."""
    import torch

    root = data_root()
    return {
        "versions": {
            "surrogates": surrogates.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            **{name: _version(name) for name in REPORTED},
        },
        "devices": {
            "cpu": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
            **{f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())},
            "torch built for": f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU",
        },
        "threads": {
            "torch": torch.get_num_threads(),
            **{name: os.environ.get(name, "unset") for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")},
        },
        "memory": {
            "allocator": _machine.allocator,
            "THP_MEM_ALLOC_ENABLE": os.environ.get("THP_MEM_ALLOC_ENABLE", "unset"),
        },
        "extras": extras(_requirements()),
        "data": {
            "folder": str(root),
            "exists": root.is_dir(),
            "free": f"{shutil.disk_usage(_existing(root)).free / 2**30:.1f} GiB",
        },
    }


def extras(requirements: Sequence[str]) -> dict[str, str]:
    """{extra: "present" or "missing: its packages that are not installed"} from a distribution's requirements."""
    absent: dict[str, list[str]] = {}
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if name and extra:
            absent.setdefault(extra[1], []).extend([name[0]] if _version(name[0]) == "missing" else [])
    return {extra: f"missing: {', '.join(names)}" if names else "present" for extra, names in absent.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Print the report, or with --json the same as JSON."""
    parser = argparse.ArgumentParser(prog="surrogates doctor", description="Print what a bug report needs.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    options = parser.parse_args(argv)
    report = gather()
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for section, entries in report.items():
        print(section)
        for name, value in entries.items():
            print(f"  {name:<22} {value}")


def _requirements() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # a checkout that was never installed
        return []


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def _existing(path: Path) -> Path:
    """The nearest folder at or above `path` that exists: its disk is the one that will be written."""
    return next(p for p in (path, *path.parents) if p.exists())
