"""The command `surrogates`: a table of commands, each imported only when it is called.

Importing this module imports neither torch nor anything that does, so that `--help` is quick and `main` can still set what OpenMP
and torch read when they load. A command's options are the parameters of its function, parsed by jsonargparse.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from errno import ENOSPC
from importlib import import_module
from inspect import getdoc, signature
from itertools import pairwise
from types import TracebackType
from typing import Any

import surrogates
from surrogates._machine import prepare_environment
from surrogates.errors import nearest

USAGE, INTERRUPTED = 2, 130
TAKEN = {"int": "a whole number", "float": "a number", "bool": "true or false", "dict": "a mapping, as '{key: value}'"}
RESUME = "what was written stays readable, and the same command goes on from there"


@dataclass(frozen=True)
class Command:
    """`target` is "module:function"; `reads_argv` where that function takes the arguments unparsed."""

    summary: str
    target: str
    reads_argv: bool = False


@dataclass(frozen=True)
class Group:
    """Commands under one word: `surrogates data make`."""

    summary: str
    commands: Mapping[str, Command | Group]


ROOT = Group(
    "neural operators as flow and diffusion surrogates of PDEs",
    {
        "demo": Command("make turbulence, train a surrogate, roll it out, score it, write report.html", "surrogates.bench.demo:main"),
        "data": Group(
            "data sets",
            {
                "list": Command("the data sets that recipes declare", "surrogates.data.recipe_commands:list_datasets"),
                "make": Command("make a data set from its recipe; resumes where it was stopped", "surrogates.data.recipe_commands:make"),
                "convert": Command("files of another format into ours; resumes too", "surrogates.data.convert_command:convert_command"),
                "info": Command("describe a data set: fields, domain, splits, certificate", "surrogates.data.commands:info"),
                "certify": Command(
                    "for how long the truth of a made data set is the truth", "surrogates.data.certify_command:certify_command"
                ),
                "check": Command("verify the files of a data set against their checksums", "surrogates.data.commands:check"),
            },
        ),
        "train": Command("train a surrogate from a configuration file", "surrogates.train.cli:main", reads_argv=True),
        "calibrate": Command("fit the spread of an ensemble on the validation split", "surrogates.train.calibrate:calibrate_command"),
        "rollout": Command("roll out a saved surrogate into a Zarr folder", "surrogates.forecast.commands:rollout"),
        "trust": Command("measure how long a surrogate's forecasts can be trusted", "surrogates.forecast.trust_commands:trust"),
        "bench": Group(
            "benchmarks",
            {
                "list": Command("the suites that can be run", "surrogates.bench.commands:list_suites"),
                "run": Command("run a suite and write its report", "surrogates.bench.commands:run"),
            },
        ),
        "doctor": Command("print what a bug report needs: versions, devices, threads, extras", "surrogates.doctor:main", reads_argv=True),
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for what the user can mend, 130 for Ctrl-C."""
    prepare_environment()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        print(f"surrogates {surrogates.__version__}")
        return 0
    try:
        dispatch(ROOT, "surrogates", words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"\ninterrupted: {RESUME}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader went away, as in `surrogates data list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ImportError, KeyError, OSError, ValueError) as error:
        if os.environ.get("SURROGATES_DEBUG") == "1" or not is_users(error):
            raise
        print(f"surrogates: error: {explain(error)}", file=sys.stderr)
        return USAGE
    return 0


def dispatch(command: Command | Group, path: str, words: list[str]) -> None:
    """Follow the words down the table and call what they lead to."""
    if isinstance(command, Group):
        if not words or words[0] in ("-h", "--help"):
            print(overview(command, path))
        elif words[0] in command.commands:
            dispatch(command.commands[words[0]], f"{path} {words[0]}", words[1:])
        else:
            known = ", ".join(command.commands)
            raise ValueError(f"no command {words[0]!r} among {path} ({known}){nearest(words[0], command.commands)}")
        return
    module, _, name = command.target.partition(":")
    function = getattr(import_module(module), name)
    if command.reads_argv:
        function(words)
    else:
        function(**arguments(function, path, words))


def arguments(function: Callable[..., object], path: str, words: Sequence[str]) -> dict[str, Any]:
    """The words as the parameters of `function`: those without a default by place, the others as options, with its types and texts.

    Raises ValueError for an option that it does not have, with the nearest, and for a value of another type.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    summary = (getdoc(function) or "").partition("\n\nArgs:")[0]
    parser = ArgumentParser(prog=path, description=summary, exit_on_error=False, allow_abbrev=False)
    parser.add_function_arguments(function, as_group=False, as_positional=True)
    try:
        given: dict[str, Any] = parser.parse_args(_flags(function, words)).as_dict()
    except ArgumentError as error:
        options = [f"--{name}" for name in signature(function).parameters]
        strange = (word for word in words if word.startswith("--") and word.partition("=")[0] not in options)
        near = "".join(nearest(word, options) for word in strange)
        raise ValueError(f"{_plainly(error, function)}{near} (`{path} --help` tells the options)") from error
    return given


def _plainly(error: Exception, function: Callable[..., object]) -> str:
    """Of a value of another type what is wanted and what was given, without the parser's account of how it tried."""
    text = " ".join(str(error).split())
    found = re.match(r'Parser key "(\w+)":.*?(?:Given value|Got value): (.*)$', text)
    parameter = signature(function).parameters.get(found[1]) if found else None
    if found is None or parameter is None:
        return text
    wanted = next((words for kind, words in TAKEN.items() if str(parameter.annotation).startswith(kind)), str(parameter.annotation))
    return f"--{found[1]} takes {wanted}, got {found[2]}"


def overview(group: Group, path: str) -> str:
    """The help of a group: its commands in columns."""
    width = max(map(len, group.commands)) + 2
    rows = [f"  {name:<{width}}{command.summary}" for name, command in group.commands.items()]
    closing = f"`{path} COMMAND --help` tells the options of one. SURROGATES_DEBUG=1 shows the traceback of an error."
    return "\n".join([f"usage: {path} COMMAND ...", "", group.summary, "", *rows, "", closing])


def is_users(error: BaseException) -> bool:
    """Whether an error was raised by this package's own checks, or by the file system, and so is the user's to mend.

    A KeyError that holds only a key explains nothing: it is a mistake of ours, not an answer.
    """
    if isinstance(error, KeyError) and " " not in str(error.args[0] if error.args else ""):
        return False
    return isinstance(error, OSError) or _raised_in(error.__traceback__).partition(".")[0] == "surrogates"


def explain(error: BaseException) -> str:
    """One line. The text of a KeyError is its argument, not the quoted form that str() gives."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, OSError) and error.errno == ENOSPC:
        text += f"; {RESUME} once there is space"
    return " ".join(text.split()) or type(error).__name__


def _raised_in(traceback: TracebackType | None) -> str:
    name = ""
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__", ""))
        traceback = traceback.tb_next
    return name


def _flags(function: Callable[..., object], words: Sequence[str]) -> list[str]:
    """`--flag` alone means `--flag true` for the parameters of `function` that are booleans; `--keep-fields` is `--keep_fields`."""
    booleans = {f"--{p.name}" for p in signature(function).parameters.values() if p.annotation in (bool, "bool")}
    out = []
    known = {f"--{name}" for name in signature(function).parameters}
    for word, after in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        same = option.replace("-", "_").replace("__", "--", 1)
        word = f"{same}{equals}{value}" if same in known else word
        out.append(word)
        if word in booleans and after not in ("true", "false"):
            out.append("true")
    return out
