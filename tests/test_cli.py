"""The command line: quick, clear about mistakes, and set up before OpenMP is loaded."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType

import pytest

import surrogates
from surrogates import _machine, cli
from surrogates.cli import Command, Group

RUN = [sys.executable, "-m", "surrogates"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` sets variables; they go when the test is over."""
    for name in (*_machine.ENVIRONMENT, "SURROGATES_DEBUG"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Make a function the only command, `try`, as if a module of this package held it."""

    def install(function: Callable[..., object], *, reads_argv: bool = False) -> None:
        module = ModuleType("surrogates.tried")
        module.__dict__["tried"] = function
        monkeypatch.setitem(sys.modules, "surrogates.tried", module)
        monkeypatch.setattr(cli, "ROOT", Group("", {"try": Command("", "surrogates.tried:tried", reads_argv)}))

    return install


def commands(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    for name, entry in group.commands.items():
        if isinstance(entry, Group):
            yield from commands(entry, (*path, name))
        else:
            yield (*path, name), entry


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["data"], ["bench", "--help"]])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    group = cli.ROOT.commands[words[0]] if words and not words[0].startswith("-") else cli.ROOT
    assert isinstance(group, Group)
    out = capsys.readouterr().out
    assert all(name in out and entry.summary in out for name, entry in group.commands.items())


def test_help_and_version_load_no_torch() -> None:
    code = "import sys; from surrogates.cli import main; main([]); main(['--version']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"surrogates {surrogates.__version__}\n")


@pytest.mark.parametrize(("path", "entry"), list(commands(cli.ROOT)), ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_every_command_leads_to_a_function(path: tuple[str, ...], entry: Command) -> None:
    module, _, name = entry.target.partition(":")
    function = getattr(import_module(module), name)
    assert callable(function)
    assert function.__doc__, f"`surrogates {' '.join(path)} --help` has nothing to say"
    if entry.reads_argv:
        signature(function).bind([])


@pytest.mark.parametrize("path", [path for path, _ in commands(cli.ROOT)], ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([*path, "--help"])
    assert left.value.code in (0, None)
    assert f"surrogates {' '.join(path)}" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "near"), [(["dotor"], "doctor"), (["data", "mkae"], "make"), (["bench", "lits"], "list")])
def test_an_unknown_command_names_the_nearest(words: list[str], near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert f"did you mean {near!r}?" in err
    assert err.count("\n") == 1


def test_a_mistake_is_one_line_and_a_traceback_only_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "ROOT", Group("", {"find": Command("", "surrogates.catalog:find")}))
    assert cli.main(["find", "datasets", "kolmogorov2"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("surrogates: error: no 'kolmogorov2'") and "did you mean 'kolmogorov2d'?" in err
    assert err.count("\n") == 1
    monkeypatch.setenv("SURROGATES_DEBUG", "1")
    with pytest.raises(ValueError, match="kolmogorov2d"):
        cli.main(["find", "datasets", "kolmogorov2"])


def test_a_key_error_is_told_without_its_quotes() -> None:
    with pytest.raises(KeyError) as caught:
        surrogates.Fields.of()["velocity"]
    assert cli.is_users(caught.value)
    assert not cli.is_users(KeyError("velocity"))
    assert cli.explain(caught.value) == "no field 'velocity' among ()"


def test_an_error_of_our_own_making_keeps_its_traceback(command: Callable[..., None]) -> None:
    def broken() -> None:
        int("seven")  # raised outside the package: nothing that the user wrote

    command(broken)
    with pytest.raises(ValueError, match="seven"):
        cli.main(["try"])


def test_a_full_disk_says_how_to_go_on(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "data/kolmogorov2d")

    command(full)
    assert cli.main(["try"]) == 2
    err = capsys.readouterr().err
    assert "data/kolmogorov2d" in err and cli.RESUME in err


def test_interrupting_exits_130_and_says_how_to_go_on(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    command(interrupted)
    assert cli.main(["try"]) == 130
    assert cli.RESUME in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "want"),
    [
        ([], (False, 1)),
        (["--force"], (True, 1)),
        (["--force", "--size", "2"], (True, 2)),
        (["--size", "3", "--force", "false"], (False, 3)),
    ],
)
def test_options_are_the_parameters_of_the_function(words: list[str], want: tuple[bool, int], command: Callable[..., None]) -> None:
    seen = []

    def take(*, force: bool = False, size: int = 1) -> None:
        seen.append((force, size))

    command(take)
    assert cli.main(["try", *words]) == 0
    assert seen == [want]


@pytest.mark.parametrize(
    ("words", "told"), [(["--siz", "3"], "did you mean '--size'?"), (["--size", "three"], "three"), (["3"], "unrecognized arguments: 3")]
)
def test_a_wrong_option_is_one_line(words: list[str], told: str, command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def take(*, size: int = 1) -> None:
        raise AssertionError("called all the same")

    command(take)
    assert cli.main(["try", *words]) == 2
    err = capsys.readouterr().err
    assert told in err and "surrogates try --help" in err
    assert err.count("\n") == 1


def test_a_command_that_parses_itself_gets_its_words(command: Callable[..., None]) -> None:
    seen: list[str] = []

    def take(words: Sequence[str]) -> None:
        seen.extend(words)

    command(take, reads_argv=True)
    assert cli.main(["try", "fit", "--config", "a.yaml"]) == 0
    assert seen == ["fit", "--config", "a.yaml"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    listing = subprocess.Popen([*RUN, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert listing.stdout is not None and listing.stderr is not None
    listing.stdout.close()
    assert listing.stderr.read() == b""
    assert listing.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP comes with torch on Linux")
@pytest.mark.parametrize(("chosen", "seen"), [(None, "10000"), ("77", "77")])
def test_openmp_reads_the_spin_count(chosen: str | None, seen: str) -> None:
    """libgomp reads its variables when torch loads it, so the command must have set them by then."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"} | {"OMP_DISPLAY_ENV": "verbose"}
    if chosen is not None:
        environment["GOMP_SPINCOUNT"] = chosen
    done = subprocess.run([*RUN, "doctor"], env=environment, capture_output=True, text=True, check=True)
    if "GOMP_" not in done.stderr:
        pytest.skip("this build of torch uses another OpenMP")
    assert f"GOMP_SPINCOUNT = '{seen}'" in done.stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--count", "x"], "--count takes a whole number, got x"),
        (["--share", "half"], "--share takes a number, got half"),
        (["--split", "half"], "--split takes a mapping, as '{key: value}', got half"),
    ],
)
def test_a_value_of_another_type_is_told_in_words(
    given: list[str], says: str, command: Callable[[Callable[..., object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def tried(count: int | None = None, share: float = 0.5, split: dict[str, float] | None = None, quick: bool = False) -> None:
        """Try."""

    command(tried)
    assert cli.main(["try", *given]) == 2
    assert f"error: {says} (`surrogates try --help` tells the options)" in capsys.readouterr().err


def test_a_device_that_is_not_here_is_told_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "make", "kdv", "--size", "tiny", "--device", "tpu", "--out", str(tmp_path / "made")]) == 2
    assert "nothing can be computed on the device 'tpu'" in capsys.readouterr().err and not (tmp_path / "made").exists()
    assert cli.main(["rollout", str(tmp_path), "kdv", "--device", "tpu"]) == 2
    assert "the device 'tpu'" in capsys.readouterr().err
