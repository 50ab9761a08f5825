"""Bytes -> words, numbers, strings and punctuation, by the rules of OpenFOAM's ISstream.

    // to the end of the line, /* ... */   comments            "..."        strings, with \\" inside
    { } ( ) [ ] ;                          punctuation         #{ ... #}    code, kept as text and never run
    $name, ${name}                         macros              #include     directives
    div(phi,U)                             a word may hold brackets if they close

A cursor is a place in the bytes; each call takes what stands there and moves on. Errors name file and line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from surrogates.data.foam.source import Bytes

SPACE = re.compile(rb"(?:[\s\x00]++|//[^\n]*+|/\*.*?\*/)*+", re.DOTALL)
NUMBER = re.compile(rb"[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?(?=[\s;(){}\[\]\"#]|//|/\*|\Z)")
STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
VERBATIM = re.compile(rb"#\{(.*?)#\}", re.DOTALL)
DIRECTIVE = re.compile(rb"#[A-Za-z]\w*")
MACRO = re.compile(rb"\$(?:\{([^{}\s]*)\}|([\w:.+\-]+))")
REMARK = re.compile(rb'"(?:[^"\\]|\\.)*+"|//[^\n]*+|/\*.*?\*/', re.DOTALL)
CHUNK = re.compile(rb"(?:[^\s\"'/;{}()$\x00]|/(?![/*]))++")
SHORT = 300
"""Bytes of the longest number or word: those who write longer ones want to fill memory."""


class Cursor:
    """A place in the bytes of the file `path`."""

    def __init__(self, data: Bytes, path: Path, at: int = 0) -> None:
        self.data, self.path, self.at = data, path, at
        self._bare: bytes | None = None

    def bare(self) -> Cursor:
        """This place in the bytes with blanks for comments, so that each byte and line stays where it is."""
        if self._bare is None:
            self._bare = REMARK.sub(lambda m: m.group() if m.group()[:1] == b'"' else re.sub(rb"[^\n]", b" ", m.group()), self.data)
        return Cursor(self._bare, self.path, self.at)

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        """ValueError, with file and line."""
        raise ValueError(f"{self.path}: line {self.line(at)}: {message}")

    def line(self, at: int | None = None) -> int:
        """Lines are counted from 1."""
        end, block = self.at if at is None else at, 1 << 24
        return 1 + sum(self.data[start : min(start + block, end)].count(b"\n") for start in range(0, end, block))

    def peek(self) -> bytes:
        """The next byte after space and comments, b"" at the end."""
        found = SPACE.match(self.data, self.at)
        assert found is not None
        self.at = found.end()
        char = self.data[self.at : self.at + 1]
        if char == b"/" and self.data[self.at : self.at + 2] == b"/*":
            self.fail("a comment begins here and does not end")
        return char

    def take(self, expected: bytes, where: str) -> None:
        """One byte of punctuation."""
        found = self.peek()
        if found != expected:
            self.fail(f"expected {expected.decode()!r} {where}, found {self.shown()}")
        self.at += 1

    def shown(self) -> str:
        """What stands here, for an error."""
        text = self.data[self.at : self.at + 20]
        return repr(text.decode("latin-1")) if text else "the end of the file (is it truncated?)"

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """What the pattern matches right here, taken; None for nothing."""
        found = pattern.match(self.data, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def number(self) -> int | float | None:
        """A number, taken; None where none stands here."""
        self.peek()
        start, found = self.at, self.match(NUMBER)
        if found is None:
            return None
        text = found.group()
        if len(text) > SHORT:
            self.fail(f"a number of {len(text)} digits", start)
        return int(text) if text.lstrip(b"+-").isdigit() else float(text)

    def count(self, where: str) -> int:
        """A number of entries. Raises ValueError for anything else, and for more than there are bytes in the file."""
        value = self.number()
        if not isinstance(value, int) or value < 0:
            self.fail(f"expected the number of entries {where}, found {self.shown() if value is None else value}")
        return value

    def word(self) -> str:
        """A word, with the brackets that close within it. Raises ValueError where none stands here."""
        self.peek()
        start, depth = self.at, 0
        while True:
            self.match(CHUNK)
            char = self.data[self.at : self.at + 1]
            if char == b"(" and self.at > start:
                depth += 1
            elif char != b")" or not depth:
                break
            else:
                depth -= 1
            self.at += 1
        if self.at == start:
            self.fail(f"expected a word, found {self.shown()}")
        if depth or self.at - start > SHORT:
            self.fail("a bracket in this word does not close" if depth else f"a word of {self.at - start} letters", start)
        return self.data[start : self.at].decode("latin-1")

    def string(self) -> str:
        """A quoted string."""
        found = self.match(STRING)
        if found is None:
            self.fail("a string begins here and does not end")
        return found.group(1).decode("utf-8", "replace").replace('\\"', '"')
