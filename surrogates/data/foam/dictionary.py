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
from typing import TYPE_CHECKING, Any

from surrogates.data.foam import lists
from surrogates.data.foam.tokens import DIRECTIVE, MACRO, VERBATIM, Cursor
from surrogates.data.foam.units import BASE
from surrogates.errors import nearest

if TYPE_CHECKING:
    from surrogates.data.foam.header import Header

DEEP, LONG, ENTRIES = 64, 10_000, 1_000_000
"""Brackets within brackets; items of one value; items of one file: more is no case but an attack on memory."""
LIST = re.compile(rb"List<(\w+)>")
PATTERN = re.compile(r"(?:[\w:\-,|() ]|\\\.|\[[\w\-]+\][*+]?|\.[*+]?)+")
SYMBOLS = re.compile(rb"[A-Za-z][A-Za-z0-9^\- ]{0,80}")
MODES = ("merge", "overwrite", "protect", "warn", "error", "default")
EXPAND = "`foamDictionary -expand FILE` prints it as plain text; save that instead, or set the value by hand"


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


def parse_dictionary(text: bytes, path: Path) -> Dictionary:
    """The dictionary in the text of a file without binary lists. Raises ValueError, with file and line, for what breaks the grammar."""
    return Parser(Cursor(text, path), None).top()


class Parser:
    """From the place of a cursor on; `header` says how lists are written (None: as text)."""

    def __init__(self, cursor: Cursor, header: Header | None) -> None:
        self.cursor, self.header, self.items = cursor, header, 0

    def top(self, until: str | None = None) -> Dictionary:
        """Entries to the end of the file, or up to and with `until`."""
        found = Dictionary(self.cursor.path)
        while self.cursor.peek():
            if self.cursor.data[self.cursor.at : self.cursor.at + 1] == b"}":
                self.cursor.fail("a } that nothing opened")
            if self.entry(found, 0) == until is not None:
                break
        return found

    def braces(self, parent: Dictionary, name: str, depth: int) -> Dictionary:
        """{ ... }"""
        start = self.cursor.at
        found = Dictionary(self.cursor.path, name, parent)
        self.cursor.take(b"{", f"after {name!r}")
        while (char := self.cursor.peek()) != b"}":
            if not char:
                self.cursor.fail(f"the {{ of {name!r} does not close; is the file truncated?", start)
            self.entry(found, depth + 1)
        self.cursor.at += 1
        return found

    def entry(self, into: Dictionary, depth: int) -> str:
        """One entry, put where it belongs. Returns its keyword."""
        self._counted(depth)
        char = self.cursor.peek()
        if char == b"#":
            return self._directive(into)
        if char == b"$":
            return self._merged(into)
        if char == b";":
            self.cursor.at += 1
            return ""
        home = into.patterns if char == b'"' else into.entries
        name = self.cursor.string() if char == b'"' else self.cursor.word()
        if self.cursor.peek() == b"{":
            found = self.braces(into, name, depth)
            before = home.get(name)
            if isinstance(before, Dictionary):  # written twice: the later entries win
                before.entries.update(found.entries)
                before.patterns.update(found.patterns)
                before.included = before.included or found.included
            else:
                home[name] = found
        else:
            home[name] = self.value(into, name, depth)
        return name

    def value(self, scope: Dictionary, name: str, depth: int) -> Any:
        """Items up to the semicolon."""
        start, items = self.cursor.at, []
        while (char := self.cursor.peek()) != b";":
            if not char or char in b"}":
                self.cursor.fail(f"the entry {name!r} has no ; at its end", start)
            items.extend(self.item(scope, depth))
            if len(items) > LONG:
                self.cursor.fail(f"the entry {name!r} has more than {LONG} items", start)
        self.cursor.at += 1
        refused = [i for i in items if isinstance(i, Refused)]
        return refused[0] if refused else items[0] if len(items) == 1 else tuple(items)

    def item(self, scope: Dictionary, depth: int) -> list[Any]:
        """What stands here: one item, or as many as a macro stands for."""
        self._counted(depth)
        cursor, char = self.cursor, self.cursor.peek()
        if char == b"(":
            return [self._list(scope, depth)]
        if char == b"{":
            return [self.braces(scope, "{...}", depth)]
        if char == b"[":
            return [_dimensions(cursor)]
        if char == b'"':
            return [cursor.string()]
        if char == b"$":
            found = cursor.match(MACRO)
            return _resolved(scope, _name(found)) if found else cursor.fail("a $ without a name")
        if char == b"#":
            return [self._code()]
        number = cursor.number()
        if number is not None:
            after = cursor.data[cursor.at : cursor.at + 1]
            return [] if isinstance(number, int) and number >= 0 and after == b"(" else [number]  # 3(a b c): the length, then the list
        kind = cursor.match(LIST)
        if kind is not None:
            return [self._typed(scope, kind.group(1).decode(), depth)]
        return [cursor.word()]

    def _typed(self, scope: Dictionary, kind: str, depth: int) -> Any:
        if kind in lists.TYPES:
            return lists.read(self.cursor, kind, self.header)
        if self.header is not None and self.header.binary and kind not in ("word", "string"):
            self.cursor.fail(f"a binary List<{kind}> is not read; write the case as text with `foamFormatConvert`")
        count = self.cursor.count(f"of a List<{kind}>")
        return self._list(scope, depth) if count or self.cursor.peek() == b"(" else []

    def _list(self, scope: Dictionary, depth: int) -> list[Any]:
        start, items = self.cursor.at, []
        self.cursor.take(b"(", "before a list")
        while (char := self.cursor.peek()) != b")":
            if not char or char in b";}":
                self.cursor.fail("the ( of this list does not close; is the file truncated?", start)
            items.extend(self.item(scope, depth + 1))
        self.cursor.at += 1
        return items

    def _directive(self, into: Dictionary) -> str:
        """A # where a keyword might stand: what it could have set is unknown from here on."""
        found = self.cursor.match(DIRECTIVE)
        name = found.group().decode() if found else self.cursor.fail("a # without a name")
        if name == "#inputMode" and self.cursor.word() in MODES:
            return ""
        end = self.cursor.data.find(b"\n", self.cursor.at)
        argument = self.cursor.data[self.cursor.at : end if end >= 0 else len(self.cursor.data)].decode("latin-1").strip()[:80]
        line = self.cursor.line()
        self.cursor.at = end if end >= 0 else len(self.cursor.data)
        into.included = f"line {line} says {name} {argument}, which is not followed; {EXPAND}"
        into.entries.update({key: Refused(into.included) for key in into.entries})
        return ""

    def _merged(self, into: Dictionary) -> str:
        """$name; puts the entries of another dictionary here."""
        found = self.cursor.match(MACRO)
        name = _name(found) if found else self.cursor.fail("a $ without a name")
        if self.cursor.peek() == b";":
            self.cursor.at += 1
        (value,) = (*_resolved(into, name), None)[:1]
        if isinstance(value, Dictionary):
            into.entries.update(value.entries)
            into.patterns.update(value.patterns)
            into.included = into.included or value.included
        else:
            into.included = f"${name} stands where a keyword is needed and is no dictionary"
        return ""

    def _code(self) -> Any:
        """A # within a value: code, which is text, or what would run, which is refused."""
        cursor = self.cursor
        text = cursor.match(VERBATIM)
        if text is not None:
            return Code(text.group(1).decode("latin-1"))
        found = cursor.match(DIRECTIVE)
        name = found.group().decode() if found else cursor.fail("a # that begins neither a directive nor #{ code #}")
        if cursor.peek() == b"{":
            self.braces(Dictionary(cursor.path), name, 0)
        return Refused(f"{name} would run code and is not followed; {EXPAND}")

    def _counted(self, depth: int) -> None:
        self.items += 1
        if depth > DEEP:
            self.cursor.fail(f"brackets are nested deeper than {DEEP}")
        if self.items > ENTRIES:
            self.cursor.fail(f"more than {ENTRIES} words outside of lists of numbers")


def _name(found: re.Match[bytes]) -> str:
    return (found.group(1) or found.group(2) or b"").decode("latin-1")


def _resolved(scope: Dictionary, name: str) -> list[Any]:
    """What $name stands for, as items: from the top (:), from here (.), from around (..), else from the nearest dictionary that has it."""
    home: Dictionary | None = scope
    if name.startswith(":"):
        while home is not None and home.parent is not None:
            home = home.parent
        around = False
    else:
        around = not name.startswith(".")
        for _ in range(len(name) - len(name.lstrip(".")) - 1):
            home = home and home.parent
    key = name.lstrip(":.")
    while home is not None:
        value = _look_up(home, key)
        if value is not None:
            return list(value) if isinstance(value, tuple) else [value]
        if home.included:
            return [Refused(f"${name} is not known; {home.included}")]
        home = home.parent if around else None
    return [Refused(f"${name} is not defined above it in the file (environment variables are not read); {EXPAND}")]


def _look_up(home: Dictionary, key: str) -> Any:
    if key in home.entries:
        return home.entries[key]
    head, dot, rest = key.partition(".")
    below = home.entries.get(head)
    return _look_up(below, rest) if dot and isinstance(below, Dictionary) else None


def _dimensions(cursor: Cursor) -> Dimensions:
    """[0 1 -1 0 0 0 0], or by symbols, [m s^-1]."""
    start = cursor.at
    exponents: list[int | float] = []
    cursor.take(b"[", "before dimensions")
    while (number := cursor.number()) is not None and len(exponents) <= len(BASE):
        exponents.append(number)
    if not exponents and (found := cursor.match(SYMBOLS)):
        powers = dict.fromkeys(BASE, 0)
        for symbol, power in re.findall(r"(\w+?)(?:\^(-?\d+))?(?:\s+|$)", found.group().decode()):
            if symbol not in powers:
                cursor.fail(f"the unit {symbol!r} is not among {list(BASE)}; write 7 exponents", start)
            powers[symbol] += int(power or 1)
        exponents = list(powers.values())
    cursor.take(b"]", "after dimensions")
    return Dimensions(tuple(exponents))
