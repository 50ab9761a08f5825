"""OpenFOAM's dictionaries as text, from Python values; whatever comes from a recipe goes in as a number.

    {"ddtSchemes": {"default": "backward"}}       ddtSchemes { default backward; }
    ["uniform", (1.0, 0.0, 0.0)]                  uniform (1 0 0)         a list is a row of tokens, a tuple stands in parentheses
    1.5                                           1.5                     written so that it reads back exactly

Words are checked: no `#` (directives such as #codeStream compile and run what follows), `$`, `;`, quote, brace or new line gets through,
so a dictionary holds what the mapping holds and nothing else. Numbers are finite.

Source: OpenFOAM user guide 4.2, basic input/output file format, https://www.openfoam.com/documentation/user-guide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORD = re.compile(r"[A-Za-z0-9_.,:()|*\[\] -]+")


def number(value: Any) -> str:
    """A finite number, exactly. Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a case takes finite numbers, got {value!r}")
    return repr(value)


def tokens(value: Any) -> str:
    """A value in one line. Raises ValueError for words that OpenFOAM would read as more than a word."""
    if isinstance(value, str):
        if not WORD.fullmatch(value):
            raise ValueError(f"{value!r} is no word of a dictionary; letters, digits and .,:()|*[] - only")
        return value
    if isinstance(value, list):
        return " ".join(map(tokens, value))
    if isinstance(value, tuple):
        return f"({' '.join(map(tokens, value))})"
    if isinstance(value, Mapping):
        return f"{{ {' '.join(f'{tokens(k)} {tokens(v)};' for k, v in value.items())} }}"
    return number(value)


def block(entries: Mapping[str, Any], depth: int = 0) -> str:
    """`key value;` a line, mappings in braces; a key that is a pattern stands in quotes."""
    lines, indent = [], "    " * depth
    for key, value in entries.items():
        name = tokens(key) if re.fullmatch(r"\w+(\([\w,()*]+\))?", key) else f'"{tokens(key)}"'
        if isinstance(value, Mapping):
            lines.append(f"{indent}{name}\n{indent}{{\n{block(value, depth + 1)}{indent}}}\n")
        else:
            lines.append(f"{indent}{name} {tokens(value)};\n")
    return "".join(lines)


def write(case: Path, place: str, entries: Mapping[str, Any], kind: str = "dictionary") -> None:
    """The file `place` of a case, such as "system/controlDict", of the class `kind`."""
    path = case / place
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"version": 2.0, "format": "ascii", "class": kind, "object": path.name}
    path.write_text(block({"FoamFile": head, **entries}), encoding="ascii")


def field(case: Path, name: str, dimensions: str, value: Any, boundary: Mapping[str, Mapping[str, Any]]) -> None:
    """An initial field, uniform inside; `dimensions` are the seven exponents of SI. A value with components makes a vector."""
    kind = "volVectorField" if isinstance(value, tuple) else "volScalarField"
    entries = {"dimensions": f"[{dimensions}]", "internalField": ["uniform", value], "boundaryField": boundary}
    write(case, f"0/{name}", entries, kind)
