"""No solver outlives its run unseen: SIGTERM ends it, and what a killed run left is ended by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from surrogates.data.cases import stopping

pytestmark = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are looked at through /proc")

RUN = """
from pathlib import Path
from surrogates.data import cases
from surrogates.data.cases.recipe import CaseRecipe, Frames
from surrogates.data.distribution import Distribution
from surrogates.data.sections import Split
reynolds = {"reynolds": Distribution("constant", (50.0,))}
recipe = CaseRecipe("wake", "channel", reynolds, {"near": 0.2}, Frames(3, 1.0, 1.0), {"train": Split(1)})
cases.make(recipe, Path("made"), quiet=True)
"""
PROGRAMS = {
    "gmsh": "true",
    "gmshToFoam": "mkdir -p constant/polyMesh && touch constant/polyMesh/boundary",
    "pimpleFoam": "echo Time = 0.1; sleep 300 & echo $! > ../../child; echo $$ > ../../solver; wait",
}


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def until(happened: object, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


@pytest.fixture
def run(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A run whose solver works for ever, and has started a program of its own."""
    for name, body in PROGRAMS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    paths = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen([sys.executable, "-c", RUN], cwd=tmp_path, env={**os.environ, **paths})


def started(folder: Path) -> list[int]:
    both = [folder / "made" / name for name in ("child", "solver")]
    until(lambda: all(p.exists() and p.read_text() for p in both))
    return [int(p.read_text()) for p in both]


def test_a_run_that_is_asked_to_end_ends_its_solver(run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pids = started(tmp_path)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 128 + signal.SIGTERM
    until(lambda: not any(map(alive, pids)), 10)


def test_what_a_killed_run_left_is_ended_before_its_folder_goes(run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pids = started(tmp_path)
    run.kill()
    run.wait(60)
    assert all(map(alive, pids))
    (folder,) = (tmp_path / "made" / "scratch").glob("0000.*")
    (folder / stopping.PIDS / str(os.getpid())).touch()  # a number that another process has by now: not at work there
    assert stopping.end_left(folder) == [pids[1]]
    until(lambda: not any(map(alive, pids)), 10)
    assert not any((folder / stopping.PIDS).iterdir())


def test_signals_are_as_they_were_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as told, stopping.ended_by_signals():
        if before is signal.SIG_DFL:
            signal.raise_signal(signal.SIGTERM)
        raise SystemExit(143)
    assert told.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
