"""constant/polyMesh/boundary: the patches of the boundary, each a run of faces with a type.

    2 ( inlet { type patch; nFaces 20; startFace 760; } walls { type wall; inGroups 1(wall); nFaces 60; startFace 780; } )

Of the types only those matter here that say what lies behind a face: nothing (`empty`, `wedge`), another processor, the other side of a
cyclic pair, or else the end of the flow. Source: OpenFOAM User Guide v1912, 4.2 "Boundaries".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surrogates.data.foam import source
from surrogates.data.foam.dictionary import Dictionary
from surrogates.data.foam.grammar import Parser
from surrogates.data.foam.header import read_header
from surrogates.data.foam.tokens import Cursor

FLAT, HALO = ("empty", "wedge"), ("processor", "processorCyclic")
CYCLIC = ("cyclic", "cyclicSlip")


@dataclass(frozen=True, eq=False)
class Patch:
    """Faces start ... start + size - 1 of the mesh; `entry` is what the file `boundary` says of it."""

    name: str
    type: str
    start: int
    size: int
    entry: Dictionary

    @property
    def faces(self) -> slice:
        return slice(self.start, self.start + self.size)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names under which several patches are known together."""
        named = self.entry.get("inGroups", [])
        return tuple(str(n) for n in (named if isinstance(named, list | tuple) else [named]))


def read_patches(path: Path) -> tuple[Patch, ...]:
    """N ( name { type ...; nFaces ...; startFace ...; } ... )"""
    cursor = Cursor(source.load(path), path)
    read_header(cursor)
    count, out = cursor.count("of the patches"), []
    cursor.take(b"(", "after it")
    entries, parser = Dictionary(path), Parser(cursor, None)
    while (char := cursor.peek()) != b")":
        if not char:
            cursor.fail("the list of patches does not close; is the file truncated?")
        name = parser.entry(entries, 0)
        entry = entries.dictionary(name)
        start, size = entry["startFace"], entry["nFaces"]
        if not all(isinstance(n, int) and 0 <= n < 2**62 for n in (start, size)):
            cursor.fail(f"patch {name!r} has startFace {start!r} and nFaces {size!r}; they are whole numbers")
        out.append(Patch(name, str(entry["type"]), start, size, entry))
    if len(out) != count or len({p.name for p in out}) != count:
        cursor.fail(f"{count} patches are declared and {len({p.name for p in out})} different ones are there")
    return tuple(out)
