"""VTK's XML files of polygons and lines (.vtp), which meshio does not read: points, lines and data at points.

    <VTKFile type="PolyData" byte_order="LittleEndian" header_type="UInt64" compressor="vtkZLibDataCompressor">
      <PolyData><Piece NumberOfPoints NumberOfLines>
        <Points><DataArray/></Points>  <PointData><DataArray Name/></PointData>  <Lines>connectivity, offsets</Lines>
      </Piece></PolyData>
      <AppendedData encoding="base64" or "raw">_...</AppendedData>

A DataArray is ascii, binary (base64 here) or appended (at `offset` below, in base64 or raw bytes). Its bytes are [size] data or,
compressed, [blocks, block size, last size, sizes...] zlib blocks; the head is base64 of its own. Sizes are those of the piece and of the
bytes that are there: no array declares more than it can hold, and no block is expanded beyond its size.

Source: https://docs.vtk.org/en/latest/vtk_file_formats/vtkxml_file_format.html.
"""

from __future__ import annotations

import base64
import binascii
import re
import xml.etree.ElementTree as ET
import zlib
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.data.formats import checks, meshio_safety

TYPES = {f"{sign}{bits}": f"{k}{bits // 8}" for sign, k in (("Int", "i"), ("UInt", "u")) for bits in (8, 16, 32, 64)}
TYPES |= {"Float32": "f4", "Float64": "f8"}
ZLIB = "vtkZLibDataCompressor"
Array = NDArray[np.generic]


class PolyData(NamedTuple):
    """Points (point, 3), lines as pairs of points, and data at points."""

    points: Array
    lines: NDArray[np.int64]
    point_data: dict[str, Array]


def read(path: Path) -> PolyData:
    """Raises ValueError, with file and array, for what is not sound."""
    root, appended, encoding = _parsed(path)
    if root.get("type") != "PolyData":
        raise ValueError(f"{path} holds {root.get('type')!r}, and PolyData is needed")
    reader = _Reader(path, root, appended, encoding)
    pieces = list(root.iter("Piece"))
    if len(pieces) != 1:
        raise ValueError(f"{path} has {len(pieces)} pieces, and one is read; merge them")
    piece = pieces[0]
    count, lines = reader.number(piece, "NumberOfPoints"), reader.number(piece, "NumberOfLines")
    where = piece.find("Points/DataArray")
    if where is None:
        raise ValueError(f"{path} has no Points")
    points = reader.array(where, count, 3)
    data = {a.get("Name", ""): reader.array(a, count) for a in piece.findall("PointData/DataArray") if a.get("type") in TYPES}
    return PolyData(points, _lines(piece, lines, count, reader), data)


def _lines(piece: ET.Element, count: int, points: int, reader: _Reader) -> NDArray[np.int64]:
    """Polylines as pairs of neighbours."""
    arrays = {a.get("Name"): a for a in piece.findall("Lines/DataArray")}
    if not count or "connectivity" not in arrays or "offsets" not in arrays:
        return np.zeros((0, 2), np.int64)
    ends = reader.array(arrays["offsets"], count).astype(np.int64)
    if len(ends) and ((np.diff(ends) < 0).any() or ends[0] < 0):
        raise ValueError(f"{reader.path}: the offsets of lines do not rise")
    corners = reader.array(arrays["connectivity"], int(ends[-1])).astype(np.int64)
    if len(corners) and (corners.min() < 0 or corners.max() >= points):
        raise ValueError(f"{reader.path}: a line names point {int(corners.max())}, and there are {points}, 0 up")
    inner = np.ones(max(len(corners) - 1, 0), bool)
    inner[ends[:-1] - 1] = False
    return np.stack([corners[:-1][inner], corners[1:][inner]], 1)


class _Reader:
    """The arrays of one file."""

    def __init__(self, path: Path, root: ET.Element, appended: bytes, encoding: str) -> None:
        self.path, self.appended, self.encoding = path, appended, encoding
        self.order = "<" if root.get("byte_order", "LittleEndian") == "LittleEndian" else ">"
        head = root.get("header_type", "UInt32")
        if head not in ("UInt32", "UInt64"):
            raise ValueError(f"{path} has header_type {head!r}; UInt32 and UInt64 are read")
        self.head = np.dtype(self.order + TYPES[head])
        compressor = root.get("compressor")
        if compressor not in (None, ZLIB):
            raise ValueError(f"{path} is compressed with {compressor}; only {ZLIB} is read: write it with that, or without")
        self.compressed = compressor == ZLIB

    def number(self, element: ET.Element, name: str) -> int:
        text = element.get(name, "0")
        if not text.isdigit():
            raise ValueError(f"{self.path}: {name} is {text!r}, and no number")
        return int(text)

    def array(self, element: ET.Element, count: int, width: int | None = None) -> Array:
        """(count[, components]). Raises ValueError where the bytes do not hold that many."""
        name, kind, form = element.get("Name", "Points"), element.get("type", ""), element.get("format", "ascii")
        place = f"{self.path}: {name!r}"
        if kind not in TYPES:
            raise ValueError(f"{place} has type {kind!r}; {', '.join(TYPES)} are read")
        wide = width or self.number(element, "NumberOfComponents") or 1
        dtype, shape = np.dtype(self.order + TYPES[kind]), (count, wide) if wide > 1 else (count,)
        need = prod(shape) * dtype.itemsize
        if form == "ascii":
            values = self._ascii(element.text or "", dtype, prod(shape), place)
        else:
            source, base = self._bytes(element, form, place)
            values = np.frombuffer(self._decoded(source, base, need, place), dtype)
        return values.reshape(shape).astype(dtype.newbyteorder("="))

    def _ascii(self, text: str, dtype: np.dtype[np.generic], count: int, place: str) -> Array:
        words = text.split()
        if len(words) != count:
            raise ValueError(f"{place} holds {len(words)} numbers, and {count} are declared")
        try:
            return np.array(words, dtype)
        except ValueError as error:
            raise ValueError(f"{place} holds words that are no numbers ({error})") from error

    def _bytes(self, element: ET.Element, form: str, place: str) -> tuple[bytes, bool]:
        """The bytes from where the array begins, and whether they are base64."""
        if form == "binary":
            return (element.text or "").strip().encode(), True
        offset = self.number(element, "offset")
        if form != "appended" or offset >= len(self.appended):
            raise ValueError(
                f"{place} is {form!r} at byte {offset}, and {len(self.appended)} bytes are appended; it is truncated or damaged"
            )
        return self.appended[offset:], self.encoding == "base64"

    def _decoded(self, source: bytes, base: bool, need: int, place: str) -> bytes:
        if not self.compressed:
            size = self.head.itemsize
            whole = self._base(source, size + need, place) if base else source[: size + need]
            self._holds(whole, size + need, place)
            told = int(np.frombuffer(whole[:size], self.head)[0])
            if told != need:
                raise ValueError(f"{place} says that it has {told} bytes, and {need} are declared")
            return whole[size:]
        return self._inflated(source, base, need, place)

    def _inflated(self, source: bytes, base: bool, need: int, place: str) -> bytes:
        size = self.head.itemsize
        first = self._base(source, 3 * size, place) if base else source[: 3 * size]
        self._holds(first, 3 * size, place)
        blocks, each, last = (int(v) for v in np.frombuffer(first, self.head))
        told = blocks * each - (each - last if last else 0)
        if told != need or blocks * size > len(source) or need > checks.DEFLATE * len(source):
            raise ValueError(f"{place} says that it has {told} bytes in {blocks} blocks, {need} are declared and {len(source)} are there")
        long = (3 + blocks) * size
        head = self._base(source, long, place) if base else source[:long]
        self._holds(head, long, place)
        sizes = [int(v) for v in np.frombuffer(head, self.head)[3:]]
        if sum(sizes) > len(source):
            raise ValueError(f"{place} says that its blocks have {sum(sizes)} bytes, and {len(source)} are there")
        start = 4 * -(-long // 3) if base else long
        body = self._base(source[start:], sum(sizes), place) if base else source[start : start + sum(sizes)]
        self._holds(body, sum(sizes), place)
        out, at = [], 0
        for n, length in enumerate(sizes):
            want = last if n == blocks - 1 and last else each
            try:
                block = zlib.decompressobj().decompress(body[at : at + length], want)
            except zlib.error as error:
                raise ValueError(f"{place}: block {n} is damaged ({error})") from error
            self._holds(block, want, place)
            out.append(block)
            at += length
        return b"".join(out)

    def _base(self, source: bytes, count: int, place: str) -> bytes:
        """The first `count` bytes of base64."""
        text = source[: 4 * -(-count // 3)]
        try:
            return base64.b64decode(text, validate=True)[:count]
        except binascii.Error as error:
            raise ValueError(f"{place} is no base64 ({error})") from error

    def _holds(self, found: bytes, need: int, place: str) -> None:
        if len(found) != need:
            raise ValueError(f"{place} needs {need} bytes, and {len(found)} are there; it is truncated or damaged")


def _parsed(path: Path) -> tuple[ET.Element, bytes, str]:
    """The XML, the bytes appended to it, which may be no XML at all, and how these are encoded."""
    meshio_safety.plain(path)
    whole = path.read_bytes()
    begin = whole.find(b"<AppendedData")
    if begin < 0:
        return meshio_safety.parse(path), b"", ""
    tag = re.match(rb'<AppendedData[^>]*encoding="(\w+)"[^>]*>\s*_', whole[begin : begin + 1000])
    if tag is None:
        raise ValueError(f"{path}: the appended data have no encoding, or do not begin with an underscore")
    end = whole.rfind(b"</AppendedData>")
    if end < 0 or b"</VTKFile>" not in whole[end:]:
        raise ValueError(f"{path} ends within its appended data; it is truncated: copy it again")
    appended, encoding = whole[begin + tag.end() : end], tag.group(1).decode()
    try:
        root = ET.fromstring(whole[:begin] + b"</VTKFile>")
    except ET.ParseError as error:
        raise ValueError(f"{path} is not sound XML ({error}); copy it again") from error
    return root, appended.strip() if encoding == "base64" else appended, encoding
