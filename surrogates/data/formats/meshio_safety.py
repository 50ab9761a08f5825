"""What is looked at before a mesh file is handed to meshio: XML that says no more than it should, names that stay in the folder, and arrays
that are as large in the file as they declare.

meshio reads what a file tells it to. XML may define entities that blow up, XDMF names other files and the shapes of arrays in them, a
collection of ParaView names files too, and the binary form of Gmsh's says in text how many lines follow. All of that is checked here;
compressed arrays expand at most by DEFLATE's factor (`checks`).
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from math import prod
from pathlib import Path

from surrogates.data.formats import checks

XML = (".vtu", ".vtp", ".pvd", ".xdmf", ".xmf", ".xml", ".pvtu")
XDMF, GMSH = (".xdmf", ".xmf"), ".msh"
HEAD = 1 << 16  # bytes in which a document type would stand
_COUNTED = re.compile(rb"^\$(PhysicalNames|(?!End)\w*Data)[ \t]*\r?\n", re.MULTILINE)


def checked(path: Path) -> Path:
    """The path of a file whose XML and names are sound; others as they are. Raises ValueError with the place."""
    if path.suffix.lower() in XML:
        plain(path)
    if path.suffix.lower() in XDMF:
        _xdmf(path, parse(path))
    if path.suffix.lower() == GMSH and path.is_file():
        _gmsh(path)
    return path


def plain(path: Path) -> None:
    """Raises ValueError for XML with a document type, by which entities are defined: no mesh file has one but XDMF's bare name."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    kind = head.partition(b"<!DOCTYPE")[2].partition(b">")[0]
    if b"<!ENTITY" in head or b"[" in kind or b"SYSTEM" in kind.upper().replace(b'SYSTEM "XDMF.DTD"', b""):
        raise ValueError(f"{path} defines XML entities, which no mesh file needs; it is not read")


def parse(path: Path) -> ET.Element:
    """The root. Raises ValueError where it is none."""
    plain(path)
    try:
        return ET.parse(path).getroot()
    except ET.ParseError as error:
        raise ValueError(f"{path} is not sound XML ({error}); write or copy it again") from error


def _gmsh(path: Path) -> None:
    """Names of groups, and of data strings, reals and integers: each list is its number and as many lines."""
    content = path.read_bytes()
    lines = io.BytesIO(content)
    for section in _COUNTED.finditer(content):
        name = section.group(1).decode()
        lines.seek(section.end())
        for _ in range(1 if name == "PhysicalNames" else 3):
            told = lines.readline().strip()
            if not told.isdigit() or len(told) > len(str(len(content))) or int(told) > len(content):
                raise ValueError(f"{path}: ${name} declares {told[:20].decode(errors='replace')!r} lines; it is damaged, copy it again")
            for _ in range(int(told)):
                lines.readline()


def _xdmf(path: Path, root: ET.Element) -> None:
    for item in root.iter("DataItem"):
        told = item.get("Dimensions", "")
        try:
            shape = tuple(int(n) for n in told.split())
        except ValueError as error:
            raise ValueError(f"{path} has a DataItem with Dimensions {told!r}, which are no numbers") from error
        place, text = f"{path}: a DataItem of {shape}", (item.text or "").strip()
        kind = item.get("Format", "XML")
        if kind == "XML":
            if prod(shape) > len(text) // 2 + 1 or min(shape, default=0) < 0:
                raise ValueError(f"{place} has text for {len(text) // 2 + 1} numbers at most; it is truncated or damaged")
        elif kind == "HDF":
            name, _, inner = text.partition(":")
            if not checks.inside(path.parent, name).is_file():
                raise ValueError(f"{place} lies in {name}, which is not there; copy it beside the XDMF file")
            try:
                with checks.open_hdf5(checks.inside(path.parent, name)) as f:
                    checks.array(f, inner.lstrip("/"), path.parent / name)
            except ValueError as error:
                raise ValueError(f"{place} lies in an array that is not sound: {error}") from error
        else:
            raise ValueError(f"{place} has the format {kind!r}; only XML and HDF are read, since others name files of anywhere")
