"""Where declarations and generated data lie.

Recipes (`datasets/<name>/recipe.yaml`) and suites (`benchmarks/<name>/suite.yaml`) are shipped inside the wheel under
`surrogates/_share` and found beside the package in a checkout. Generated data live under `$SURROGATES_DATA`, by default in the
platform's folder for user data, never in site-packages.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from surrogates.errors import nearest

DECLARATIONS = {"datasets": "recipe.yaml", "benchmarks": "suite.yaml"}


def share(kind: str) -> Path:
    """The folder that holds the declarations of a kind, "datasets" or "benchmarks". Raises ValueError for another kind."""
    if kind not in DECLARATIONS:
        raise ValueError(f"there are no declarations of {kind!r}; the kinds are {list(DECLARATIONS)}{nearest(kind, DECLARATIONS)}")
    package = Path(__file__).resolve().parent
    root = package / "_share"
    return (root if root.is_dir() else package.parent) / kind


def names(kind: str) -> list[str]:
    """The names that declare something of this kind, sorted."""
    return sorted(path.parent.name for path in share(kind).glob(f"*/{DECLARATIONS[kind]}"))


def find(kind: str, name: str) -> Path:
    """The declaration file of `name`. Raises ValueError, with the nearest name, where there is none."""
    known = names(kind)
    if name not in known:
        raise ValueError(f"no {name!r} among the {kind} {known}{nearest(name, known)}")
    return share(kind) / name / DECLARATIONS[kind]


def data_root() -> Path:
    """`$SURROGATES_DATA`, or `surrogates` in the platform's folder for user data (XDG on Linux)."""
    chosen = os.environ.get("SURROGATES_DATA")
    if chosen:
        return Path(chosen).expanduser().resolve()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "surrogates"
