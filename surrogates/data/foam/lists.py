"""N ( ... ): lists of numbers and of small tensors, read by NumPy as one block.

    3(1.5 2 3e-4)                   as text: numbers, or (x y z) each
    3 ( <3 x 8 bytes> )             binary: a view of the file, nothing is copied
    3{0}                            N times the same: one value, repeated without memory
    faces                           4(0 1 5 4) ..., binary: where each begins, then all their corners (faceCompactList)

A declared N is believed only once the file is known to hold that much. Of text, in which comments may stand anywhere, a block of `PIECE`
bytes at a time is turned into numbers.
"""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from surrogates.data.foam.tokens import Cursor

if TYPE_CHECKING:
    from surrogates.data.foam.header import Header

TYPES = {"label": 1, "scalar": 1, "vector": 3, "sphericalTensor": 1, "symmTensor": 6, "tensor": 9}
"""Numbers of each. symmTensor: xx xy xz yy yz zz; tensor: by rows."""
PIECE = 4 << 20
END, CLOSE = re.compile(rb"\)\s*\)"), re.compile(rb"\)")
INNER = re.compile(rb"\([^()]*\)")
BLANK = bytes.maketrans(b"()", b"  ")


def read(cursor: Cursor, kind: str, header: Header | None) -> NDArray[Any]:
    """(N,) of labels or scalars, (N, k) of others. Raises ValueError where the file does not hold what it declares."""
    start, width = cursor.at, TYPES[kind]
    count = cursor.count(f"of a List<{kind}>")
    shape = (count,) if width == 1 else (count, width)
    char = cursor.peek()
    real = np.dtype(np.int64) if kind == "label" else np.dtype(np.float64)
    if char == b"{":
        return _repeated(cursor, shape, width, real)
    if count == 0 and char != b"(":
        return np.zeros(shape, real)  # binary files write an empty list as a bare 0
    cursor.take(b"(", f"after the length {count}")
    if header is not None and header.binary:
        return binary(cursor, count * width, header.label if kind == "label" else header.scalar, start).reshape(shape)
    return text(cursor, shape, real, kind not in ("label", "scalar"), start)


def binary(cursor: Cursor, size: int, dtype: np.dtype[Any], start: int) -> NDArray[Any]:
    """`size` numbers from here to the closing bracket, a view."""
    stop = cursor.at + size * dtype.itemsize
    if stop >= len(cursor.data) or cursor.data[stop : stop + 1] != b")":
        room = (len(cursor.data) - cursor.at) // dtype.itemsize
        why = f"{room} at most are left in the file" if stop >= len(cursor.data) else "no ) follows them"
        cursor.fail(
            f"a binary list of {size} numbers ({dtype.str}) is not there: {why}; is the file truncated, or `arch` in its header wrong?",
            start,
        )
    found = np.frombuffer(cursor.data, dtype, size, cursor.at)
    cursor.at = stop + 1
    return found


def text(outer: Cursor, shape: tuple[int, ...], dtype: np.dtype[Any], nested: bool, start: int) -> NDArray[Any]:
    """Numbers as text from here to the closing bracket; where they are `nested`, each row is in brackets of its own."""
    size, left = prod(shape), len(outer.data) - outer.at
    if 2 * size > left + 1:
        outer.fail(f"a list of {size} numbers does not fit into the {left} bytes left; is the file truncated?", start)
    cursor, end, after = _end(outer, nested and size > 0, start)
    out, filled, at = np.empty(size, dtype), 0, cursor.at
    while at < end:
        stop = _seam(cursor, min(at + PIECE, end), end, nested)
        block = cursor.data[at:stop]
        if nested and not _in_rows(block, shape[-1] if len(shape) > 1 else 1):
            cursor.fail(f"the rows of this list are not all {shape[-1] if len(shape) > 1 else 1} numbers in brackets", at)
        values = numbers(block, dtype, cursor, at)
        if filled + len(values) > size:
            cursor.fail(f"the list declares {size} numbers and holds more", start)
        out[filled : filled + len(values)] = values
        filled, at = filled + len(values), stop
    if filled != size:
        cursor.fail(f"the list declares {size} numbers and holds {filled}", start)
    outer.at = after
    return out.reshape(shape)


def _seam(cursor: Cursor, at: int, end: int, nested: bool) -> int:
    """Where a piece may end: behind a row, or between two numbers."""
    found = cursor.data.find(b")", at, end) + 1 if nested else at
    while not nested and found < end and not cursor.data[found : found + 1].isspace():
        found += 1
    return found if found > 0 and at < end else end


def _in_rows(block: bytes, width: int) -> bool:
    """Whether it is rows (x y z) of `width` numbers and nothing else."""
    char = np.frombuffer(block, np.uint8)
    blank = (char <= ord(" ")) | (char == ord("(")) | (char == ord(")"))
    begins = ~blank
    begins[1:] &= blank[:-1]
    words = np.cumsum(begins)
    opened, closed = (words[char == ord(c)] for c in "()")
    full = np.arange(1, len(closed) + 1) * width
    return np.array_equal(closed, full) and np.array_equal(opened, full - width) and int(words[-1:].sum()) == int(full[-1:].sum())


def numbers(block: bytes, dtype: np.dtype[Any], cursor: Cursor, at: int) -> NDArray[Any]:
    """What a piece of text holds, brackets read as blanks. Raises ValueError for anything that is no number."""
    plain = block.translate(BLANK)
    if not plain.strip():
        return np.zeros(0, dtype)
    try:
        return np.fromstring(plain, dtype, sep=" ")
    except (ValueError, DeprecationWarning, OverflowError):  # a warning in older NumPy
        wrong = next((word for word in plain.split() if not _numeric(word)), b"")
        cursor.fail(f"{wrong[:40].decode('latin-1')!r} in a list of numbers", at + max(block.find(wrong), 0))


def faces(outer: Cursor, header: Header) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(F + 1,) where each face begins, and the points of all of them. Raises ValueError as `read` does."""
    if header.binary and header.kind != "faceCompactList":
        outer.fail(f"a binary {header.kind} is of another layout; write the mesh again with `foamFormatConvert`", 0)
    if header.binary:
        begins, corners = (read(outer, "label", header).astype(np.int64) for _ in range(2))
        if not len(begins) or begins[0] != 0 or begins[-1] != len(corners) or (np.diff(begins) < 0).any():
            outer.fail(f"the faces do not begin where they should: {len(begins)} places for {len(corners)} corners", 0)
        return begins, corners
    start, count = outer.at, outer.count("of the list of faces")
    outer.take(b"(", f"after the length {count}")
    if 4 * count > len(outer.data) - outer.at:
        outer.fail(f"{count} faces do not fit into the {len(outer.data) - outer.at} bytes left; is the file truncated?", start)
    cursor, end, after = _end(outer, count > 0, start)
    block = cursor.data[cursor.at : end]
    integer = np.dtype(np.int64)
    sizes = numbers(INNER.sub(b" ", block), integer, cursor, cursor.at)
    flat = numbers(block, integer, cursor, cursor.at)
    begins = np.concatenate([[0], np.cumsum(sizes)])
    if len(sizes) != count or (sizes < 0).any() or len(flat) != begins[-1] + count:
        cursor.fail(f"{count} faces are declared, and {len(sizes)} with {len(flat) - len(sizes)} corners are there", start)
    heads = begins[:-1] + np.arange(count)
    if not np.array_equal(flat[heads], sizes):
        cursor.fail("a face has another number of corners than it declares", start)
    outer.at = after
    return begins, np.delete(flat, heads)


def _end(cursor: Cursor, nested: bool, start: int) -> tuple[Cursor, int, int]:
    """The bytes to read the numbers from, where they end, and where the file goes on: without comments where one may stand before that."""
    pattern = END if nested else CLOSE
    found = pattern.search(cursor.data, cursor.at)
    if cursor.data.find(b"/", cursor.at, found.end() if found else len(cursor.data)) >= 0:
        cursor = cursor.bare()
        found = pattern.search(cursor.data, cursor.at)
    if found is None:
        cursor.fail("this list does not close; is the file truncated?", start)
    return cursor, found.start() + (1 if nested else 0), found.end()


def _repeated(cursor: Cursor, shape: tuple[int, ...], width: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """N{value}"""
    start = cursor.at
    cursor.take(b"{", "before a repeated value")
    close = cursor.data.find(b"}", cursor.at)
    data = cursor.data
    if data.find(b"/", cursor.at, close if close >= 0 else len(data)) >= 0:
        data = cursor.bare().data
        close = data.find(b"}", cursor.at)
    value = numbers(data[cursor.at : max(close, cursor.at)], dtype, cursor, start) if close >= 0 else np.zeros(0)
    if len(value) != width:
        cursor.fail(f"N{{...}} repeats one value of {width} numbers, and {len(value)} are there", start)
    cursor.at = close + 1
    return np.broadcast_to(value if len(shape) > 1 else value[0], shape)


def _numeric(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
