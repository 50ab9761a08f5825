"""Running the programs of OpenFOAM and gmsh: found before any work starts, logged, and quoted where they fail.

Debian's OpenFOAM (package `openfoam`, v1912) has its programs in the path and its `etc` in /usr/share/openfoam, which they find through
WM_PROJECT_DIR; another OpenFOAM is used where its environment is set (its own `etc/bashrc` sourced).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from surrogates.data.cases.stopping import recorded

DEBIAN = Path("/usr/share/openfoam")
INSTALL = "apt-get install --no-install-recommends openfoam gmsh"
TAIL = 25  # lines of a log that an error quotes


def need(programs: Sequence[str]) -> None:
    """Raises FileNotFoundError, with the line that installs them, where programs are not in the path."""
    missing = [p for p in programs if shutil.which(p) is None]
    if missing:
        raise FileNotFoundError(
            f"this data set is made by {' and '.join(missing)}, not found in the path. On Debian or Ubuntu (as root): {INSTALL}. "
            "An OpenFOAM of your own is found when its etc/bashrc is sourced first"
        )


def missing(programs: Sequence[str]) -> str:
    """Why the programs cannot run here; empty where they can."""
    try:
        need(programs)
    except FileNotFoundError as error:
        return str(error)
    return ""


def environment() -> dict[str, str]:
    """That of this process, where OpenFOAM finds its `etc`; one thread each."""
    own = {"OMP_NUM_THREADS": "1", **os.environ}
    if "WM_PROJECT_DIR" not in own and (DEBIAN / "etc").is_dir():
        own["WM_PROJECT_DIR"] = str(DEBIAN)
    return own


@contextmanager
def running(command: Sequence[str], case: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program at work in the folder `case`, what it says in `log.<program>` there; ended, with all that it started,
    when the block is left."""
    with open(_log(case, command), "wb") as log:
        process = subprocess.Popen(list(command), cwd=case, stdout=log, stderr=subprocess.STDOUT, env=environment(), start_new_session=True)
        with recorded(process, case):
            yield process


def checked(command: Sequence[str], case: Path, code: int) -> str:
    """The log of a program that ended with `code`. Raises ValueError, quoting the end of the log, unless that is 0."""
    log = _log(case, command)
    text = log.read_text(encoding="utf-8", errors="replace")
    if code:
        end = "\n    ".join(text.splitlines()[-TAIL:])
        raise ValueError(f"{command[0]} failed (exit status {code}) in {case}; the log {log.name} ends:\n    {end}")
    return text


def run(command: Sequence[str], case: Path) -> str:
    """Run a program to its end; returns its log. Raises ValueError as `checked` does."""
    with running(command, case) as process:
        code = process.wait()
    return checked(command, case, code)


def reached(case: Path, solver: str) -> float:
    """The last time that a solver's log tells; 0 before the first."""
    with open(_log(case, (solver,)), "rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - 8192))
        found = re.findall(rb"^Time = (\S+)", log.read(), re.M)
    return float(found[-1]) if found else 0.0


def version_in(log: str) -> str:
    """The version of OpenFOAM that wrote a log, such as "v1912 (patch 200626)"; "unknown" where it does not say."""
    found = re.search(r"Build\s*:\s*\S*?OPENFOAM=(\d+)(?:\s+patch=(\d+))?", log)
    if not found:
        return "unknown"
    return f"v{found[1]}" + (f" (patch {found[2]})" if found[2] else "")


def _log(case: Path, command: Sequence[str]) -> Path:
    return case / f"log.{Path(command[0]).name}"
