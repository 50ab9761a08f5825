"""FoamFile { version 2.0; format binary; arch "LSB;label=32;scalar=64"; class volVectorField; object U; }

What the rest of a file is, and how its numbers are written. `arch` gives the byte order (LSB: little-endian) and the bits of whole and
real numbers; files from before it existed (2013) are what machines wrote then, LSB;label=32;scalar=64.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogates.data.foam.tokens import Cursor

ARCH = re.compile(r"(LSB|MSB);label=(32|64);scalar=(32|64)")
OLD = "LSB;label=32;scalar=64"


@dataclass(frozen=True)
class Header:
    """`kind` is the class, such as "volVectorField"; label and scalar are the types of binary numbers."""

    kind: str
    binary: bool
    label: np.dtype[Any]
    scalar: np.dtype[Any]


def read_header(cursor: Cursor) -> Header:
    """The header, taken. Raises ValueError where the file does not begin with one, or with one of another world."""
    from surrogates.data.foam.dictionary import Dictionary
    from surrogates.data.foam.grammar import Parser

    if not cursor.peek().isalpha() or cursor.word() != "FoamFile":
        cursor.fail("an OpenFOAM file begins with FoamFile { format ...; class ...; }; is this one, and is it whole?", 0)
    cursor.peek()
    entry = Parser(cursor, None).braces(Dictionary(cursor.path), "FoamFile", 0)
    form, arch = str(entry["format"]), str(entry.get("arch", OLD))
    if form not in ("ascii", "binary"):
        cursor.fail(f"format is {form!r}; it is 'ascii' or 'binary'", 0)
    found = ARCH.fullmatch(arch.replace(" ", ""))
    if found is None:
        cursor.fail(f'arch is {arch!r}; it looks like "LSB;label=32;scalar=64" or "MSB;..."', 0)
    order = "<" if found[1] == "LSB" else ">"
    label, scalar = (np.dtype(f"{order}{kind}{int(bits) // 8}") for kind, bits in (("i", found[2]), ("f", found[3])))
    return Header(str(entry["class"]), form == "binary", label, scalar)
