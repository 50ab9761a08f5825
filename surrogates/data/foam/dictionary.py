"""keyword value; and keyword { ... }: the dictionaries that every OpenFOAM file is made of.

    nu              [0 2 -1 0 0 0 0] 1e-05;            (Dimensions, 1e-05)
    internalField   nonuniform List<vector> 2 (...);   ("nonuniform", an array)
    inlet           { type fixedValue; value $internalField; }
    "wall.*"        { type noSlip; }                   a pattern, tried where no name fits

A value is one item, or a tuple of several; ( ... ) is a list. Macros ($name, $:a.b from the top, $..a from the dictionary around) stand for
what they name. What would read another file or run code is never done: the entry (`#calc`, `#eval`, `#codeStream`), or all that an
`#include` may have set, is refused when it is asked for, and everything else in the file can still be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surrogates.errors import nearest

PATTERN = re.compile(r"(?:[\w:\-,|() ]|\\\.|\[[\w\-]+\][*+]?|\.[*+]?)+")


@dataclass(frozen=True)
class Dimensions:
    """[kg m s K mol A cd]: the exponents."""

    exponents: tuple[int | float, ...]


@dataclass(frozen=True)
class Refused:
    """An entry that is not read, and why."""

    why: str


@dataclass(frozen=True)
class Code:
    """#{ ... #}: text that OpenFOAM would compile; here it is only text."""

    text: str


@dataclass(eq=False)
class Dictionary:
    """Entries by keyword, in the order of the file. `d["inlet"]`, or `d.at("inlet.value")` through several."""

    path: Path
    name: str = ""
    parent: Dictionary | None = None
    entries: dict[str, Any] = field(default_factory=dict)
    patterns: dict[str, Any] = field(default_factory=dict)
    included: str = ""

    @property
    def place(self) -> str:
        """The file, and the keywords that lead here."""
        return str(self.path) if self.parent is None else f"{self.parent.place}: {self.name}"

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (key in self.entries or self._pattern(key) is not None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __getitem__(self, key: str) -> Any:
        """The value. Raises ValueError where there is none, or where it is refused."""
        value = self.entries.get(key)
        if value is None:
            value = self._pattern(key)
        if value is None:
            why = f"; {self.included}" if self.included else nearest(key, self.entries)
            raise ValueError(f"{self.place}: there is no entry {key!r} among {list(self.entries)[:40]}{why}")
        if isinstance(value, Refused):
            raise ValueError(f"{self.place}: {key}: {value.why}")
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default where there is no entry. Raises ValueError where it is refused."""
        return self[key] if key in self or self.included else default

    def at(self, path: str) -> Any:
        """The value at "a.b.c"; keywords may hold dots themselves. Raises ValueError as `[]` does."""
        if path in self.entries or "." not in path:
            return self[path]
        for cut in (n for n, char in enumerate(path) if char == "."):
            below = self.entries.get(path[:cut])
            if isinstance(below, Dictionary):
                return below.at(path[cut + 1 :])
        return self[path]

    def dictionary(self, key: str) -> Dictionary:
        """The dictionary of that keyword. Raises ValueError for another kind of value."""
        value = self[key]
        if not isinstance(value, Dictionary):
            raise ValueError(f"{self.place}: {key} is a value, and a dictionary {{ ... }} is needed")
        return value

    def _pattern(self, key: str) -> Any:
        """The last pattern that fits wins, as in OpenFOAM."""
        for pattern, value in reversed(self.patterns.items()):
            simple = PATTERN.fullmatch(pattern) and sum(map(pattern.count, "*+")) <= 3 and len(pattern) < 300 and len(key) < 300
            if not simple or re.search(r"\)[*+]", pattern):
                return Refused(f"the pattern {pattern!r} might be meant; only names, |, (...), [...], . and at most three * or + are tried")
            try:
                if re.fullmatch(pattern, key):
                    return value
            except re.error as error:
                return Refused(f"the pattern {pattern!r} is not sound: {error}")
        return None
