"""The error that asks for what nobody said: what is missing, why, and the lines to write, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SIDECARS = ("source.yaml", "source.json")
EXAMPLES = {
    "name": "channel",
    "dt": "0.1",
    "time": "0.0",
    "units": "{velocity: m/s}",
    "fields": "{velocity: [u, v]}",
    "lengths": "[1.0, 1.0]",
    "lower": "[0.0, 0.0]",
    "boundary": "[periodic, wall]",
    "parameters": "{viscosity: 0.001}",
    "split": "{train: 0.8, valid: 0.1, test: 0.1}",
}
ENTRIES = {"units": "m/s", "units.time": "s", "units.length": "m", "parameters": "0.001", "fields": "[u, v]"}
"""What an entry of a mapping looks like."""


def missing(path: Path, wanted: Mapping[str, str]) -> ValueError:
    """`wanted`: keys of `Given` ("dt", "units.pressure", "options.columns=[a, b]" with an example) and why each is needed."""
    names = [key.partition("=")[0] for key in wanted]
    lines = [f"{head}: {shown}" for head, shown in _lines(wanted).items()]
    return ValueError(
        f"{path}: {', '.join(names)} {'is' if len(names) == 1 else 'are'} not known: {'; '.join(dict.fromkeys(wanted.values()))}. "
        f"Write the line{'s' if len(lines) > 1 else ''} {', '.join(f'`{line}`' for line in lines)} (with your values) in {SIDECARS[0]} "
        f"beside the data, or say --given '{{{', '.join(lines)}}}' or --given FILE (in Python: given=Given(...))"
    )


def _lines(wanted: Mapping[str, str]) -> dict[str, str]:
    """One line a key of the top level, the entries of a mapping together."""
    entries: dict[str, list[str]] = {}
    whole: dict[str, str] = {}
    for key in wanted:
        name, _, example = key.partition("=")
        head, _, entry = name.partition(".")
        if entry:
            entries.setdefault(head, []).append(f"{entry}: {example or ENTRIES.get(name, ENTRIES.get(head, '...'))}")
        else:
            whole[head] = example or EXAMPLES.get(head, "...")
    return {**whole, **{head: f"{{{', '.join(shown)}}}" for head, shown in entries.items()}}
