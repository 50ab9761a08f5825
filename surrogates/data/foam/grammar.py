"""The grammar of a dictionary: bytes -> `Dictionary`, macros resolved, directives refused, lists of numbers read as blocks.

    entry       keyword value ;  |  keyword { entry* }  |  $dictionary ;  |  #directive argument
    value       item*, of words, numbers, "strings", ( item* ), [ dimensions ], { entry* }, List<type> N ( ... ), $macro, #{ code #}

Macros are looked up above them in the file: $name in the nearest dictionary that has it, $:a.b from the top, $.a here, $..a around.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surrogates.data.foam import lists
from surrogates.data.foam.dictionary import Code, Dictionary, Dimensions, Refused
from surrogates.data.foam.tokens import DIRECTIVE, MACRO, STRING, VERBATIM, Cursor
from surrogates.data.foam.units import BASE, exponents

if TYPE_CHECKING:
    from surrogates.data.foam.header import Header

DEEP, LONG, ENTRIES = 64, 10_000, 1_000_000
"""Brackets within brackets; items of one value; items of one file: more is no case but an attack on memory."""
LIST = re.compile(rb"List<(\w+)>")
SYMBOLS = re.compile(rb"[A-Za-z1][\w^+\-.*/ ]{0,80}")
MODES = ("merge", "overwrite", "protect", "warn", "error", "default")
EXPAND = "`foamDictionary -expand FILE` prints it as plain text; save that instead, or set the value by hand"


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
            if self.entry(found, 0) == until:
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

    def _list(self, scope: Dictionary, depth: int) -> list[Any] | Refused:
        """( item* ); refused as a whole where one item is."""
        start, items = self.cursor.at, []
        self.cursor.take(b"(", "before a list")
        while (char := self.cursor.peek()) != b")":
            if not char or char in b";}":
                self.cursor.fail("the ( of this list does not close; is the file truncated?", start)
            items.extend(self.item(scope, depth + 1))
        self.cursor.at += 1
        return next((i for i in items if isinstance(i, Refused)), items)

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
            self._skip()
        return Refused(f"{name} would run code and is not followed; {EXPAND}")

    def _skip(self) -> None:
        """{ ... }, whatever is in it."""
        cursor, start, depth = self.cursor, self.cursor.at, 0
        while True:
            char = cursor.peek()
            if not char:
                cursor.fail("the { of this code does not close", start)
            if not cursor.match(STRING) and not cursor.match(VERBATIM):
                depth += {b"{": 1, b"}": -1}.get(char, 0)
                cursor.at += 1
                if not depth:
                    return

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
    """[0 1 -1 0 0 0 0], or by symbols, [m s^-1], [m/s], [Pa]; [] has none."""
    start = cursor.at
    found: list[int | float] = []
    cursor.take(b"[", "before dimensions")
    while (number := cursor.number()) is not None and len(found) <= len(BASE):
        found.append(number)
    if not found:
        symbols = cursor.match(SYMBOLS)
        try:
            found = list(exponents(symbols.group().decode() if symbols else ""))
        except ValueError as error:
            cursor.fail(str(error), start)
    cursor.take(b"]", "after dimensions")
    return Dimensions(tuple(found))
