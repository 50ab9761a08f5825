"""The doctor tells the truth about this process and this machine."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import surrogates
from surrogates import _machine, doctor

GLIBC = platform.libc_ver()[0] == "glibc"


def test_json_holds_what_the_text_shows(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.main([])
    text = capsys.readouterr().out
    doctor.main(["--json"])
    report = json.loads(capsys.readouterr().out)
    shown = text.splitlines()
    for section, entries in report.items():
        assert section in shown
        for name, value in entries.items():
            assert any(line.split() == [*name.split(), *str(value).split()] for line in shown)


def test_it_reports_this_process(data_root: Path) -> None:
    report = doctor.gather()
    assert report["versions"]["surrogates"] == surrogates.__version__
    assert report["versions"]["torch"] == torch.__version__
    assert report["threads"]["torch"] == torch.get_num_threads()
    assert report["data"] == {"folder": str(data_root), "exists": True, "free": report["data"]["free"]}


def test_a_data_folder_that_does_not_exist_yet_is_measured_where_it_will_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path / "deep" / "down"))
    data = doctor.gather()["data"]
    assert not data["exists"] and float(data["free"].split()[0]) > 0


def test_extras_are_present_or_name_what_is_missing() -> None:
    requirements = ["torch>=2", 'numpy>=1; extra == "here"', "no-such-thing>=1; extra == 'half'", "scipy; extra == 'half'"]
    assert doctor.extras(requirements) == {"here": "present", "half": "missing: no-such-thing"}


def test_an_unknown_option_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        doctor.main(["--jsn"])
    assert left.value.code == 2
    assert "--jsn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "state"),
    [({}, "tuned" if GLIBC else "untouched (not glibc)"), ({"SURROGATES_ALLOCATOR": "0"}, "untouched (SURROGATES_ALLOCATOR=0)")],
)
def test_importing_tunes_the_allocator_unless_told_not_to(variable: dict[str, str], state: str) -> None:
    assert fresh("from surrogates import _machine; print(_machine.allocator)", **variable) == state


@pytest.mark.skipif(not GLIBC, reason="mallopt is glibc's")
def test_freed_blocks_are_used_again_without_page_faults() -> None:
    """The effect itself: a block of 64 MB faults in its 16384 pages each time under the defaults, and once when tuned."""
    code = """
import resource, surrogates
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(4)][-1])
"""
    pages = (64 << 20) // resource.getpagesize()
    assert int(fresh(code)) < pages / 100
    assert int(fresh(code, SURROGATES_ALLOCATOR="0")) > pages / 2


def test_another_platform_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "allocator", "untouched")
    monkeypatch.delenv("SURROGATES_ALLOCATOR", raising=False)

    def no_library(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    _machine.tune_allocator()
    assert _machine.allocator == "untouched (not glibc)"


def test_the_environment_is_prepared_without_overriding_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "")
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    _machine.prepare_environment()
    assert os.environ["GOMP_SPINCOUNT"] == "5"
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"


def fresh(code: str, **environment: str) -> str:
    """What a new interpreter prints."""
    env = {name: value for name, value in os.environ.items() if name != "SURROGATES_ALLOCATOR"} | environment
    root = str(Path(__file__).parent.parent)
    return subprocess.run([sys.executable, "-c", code], env=env, cwd=root, check=True, capture_output=True, text=True).stdout.strip()
