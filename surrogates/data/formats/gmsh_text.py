"""Gmsh's meshes as text (.msh, formats 2 and 4.1): points, cells, physical groups by name, data at nodes and in elements.

    $MeshFormat 2.2 0 8    $PhysicalNames dim tag "name"    $Entities (4.1) dim, tag -> physical tags
    $Nodes                 2: tag x y z           4.1: blocks of an entity, [u v w] after x y z where it is parametric
    $Elements              2: tag type number-of-tags tags nodes    4.1: blocks of an entity and a type, tag nodes
    $NodeData, $ElementData    strings, reals, integers (step, components, rows), then rows of a tag and its values

Data go to nodes and elements by their tags, whatever the order; where a view has none they are missing (NaN). meshio reads such files too,
but takes rows in their order, no parametric nodes, and no data that it wrote itself under NumPy 2, which stand there as `np.float64(1.5)`.
Of a view with several steps in one file none is chosen. Sections of other names are passed over.

Source: https://gmsh.info/doc/texinfo/gmsh.html#MSH-file-format.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.data.formats.gmsh_words import Ints, Places, Words
from surrogates.data.formats.mesh_frame import Frame
from surrogates.data.mesh_cells import DIMENSION

KINDS = {
    1: ("line", 2), 2: ("triangle", 3), 3: ("quad", 4), 4: ("tetra", 4), 5: ("hexahedron", 8), 6: ("wedge", 6), 7: ("pyramid", 5),
    8: ("line", 3), 9: ("triangle", 6), 10: ("quad", 9), 11: ("tetra", 10), 12: ("hexahedron", 27), 13: ("wedge", 18),
    14: ("pyramid", 14), 15: ("vertex", 1), 16: ("quad", 8), 17: ("hexahedron", 20), 18: ("wedge", 15), 19: ("pyramid", 13),
    21: ("triangle", 10), 26: ("line", 4), 29: ("tetra", 20), 36: ("quad", 16), 92: ("hexahedron", 64),
}  # fmt: skip
"""Plain kind and number of nodes by Gmsh's number of an element's type; the corners come first."""
Floats = NDArray[np.float64]
_SECTION = re.compile(rb"^\$(\w+)[ \t]*\r?\n(.*?)^\$End\1[ \t]*\r?$", re.MULTILINE | re.DOTALL)
_NUMPY = re.compile(rb"np\.\w+\(([^()]*)\)")


def is_text(path: Path) -> bool:
    """Whether it is one of Gmsh's own formats from 2 on, as text."""
    with open(path, "rb") as file:
        head = file.read(4096).split()
    return b"$MeshFormat" in head and head[head.index(b"$MeshFormat") + 2 :][:1] == [b"0"]


class Block(NamedTuple):
    """Elements of one kind: their nodes (element, corner) and own tags, and the physical groups (element, group) that they are in."""

    kind: str
    nodes: Ints
    tags: Ints
    physical: Ints


def read(path: Path) -> Frame:
    """Raises ValueError, with file and section, for what is not sound, and for another format."""
    sections = [(name.decode(), body) for name, body in _SECTION.findall(path.read_bytes())]
    found = dict(sections)
    if "ParametricNodes" in found:  # of format 2: places on their curves and surfaces follow
        found["Nodes"] = b"\n".join(b" ".join(line.split()[:4]) for line in found["ParametricNodes"].splitlines())
    for needed in ("MeshFormat", "Nodes", "Elements"):
        if needed not in found:
            raise ValueError(f"{path} has no whole section ${needed}; it is truncated, or was saved without a mesh")
    version = (found["MeshFormat"].split() or [b"none"])[0].decode()
    if version.partition(".")[0] != "2" and version != "4.1":
        raise ValueError(f"{path} has format {version}, and 2.2 and 4.1 are read: gmsh -0 {path.name} -format msh41 -o new.msh")
    words = {n: Words(found[n], f"{path}: ${n}") for n in ("Nodes", "Elements", "Entities") if n in found}
    if version == "4.1":
        tags, points = _nodes_4(words["Nodes"])
        blocks = _elements_4(words["Elements"], _entities(words["Entities"]) if "Entities" in words else {})
    else:
        tags, points = _nodes_2(words["Nodes"])
        blocks = _elements_2(words["Elements"])
    node = Places(tags, f"{path}: $Elements names node")
    cells = [(b.kind, node(b.nodes.reshape(-1)).reshape(b.nodes.shape)) for b in blocks]
    sets = {
        n: [_in_group(b, *key) for b in blocks] for key, n in _names(found.get("PhysicalNames", b""), f"{path}: $PhysicalNames").items()
    }
    elements = np.concatenate([b.tags for b in blocks]) if blocks else np.zeros(0, np.int64)
    ends = np.cumsum([len(b.tags) for b in blocks])[:-1]
    in_cells = {n: np.split(u, ends) for n, u in _data(sections, "ElementData", elements, path).items()}
    return Frame(points, cells, _data(sections, "NodeData", tags, path), in_cells, sets, {})


def _names(body: bytes, place: str) -> dict[tuple[int, int], str]:
    """Of physical groups, by dimension and tag."""
    out = {}
    for line in body.decode(errors="replace").splitlines()[1:]:
        words = shlex.split(line)
        if len(words) == 3:
            out[int(words[0]), int(words[1])] = words[2]
        elif words:
            raise ValueError(f"{place} has the line {line!r}, and not a dimension, a tag and a name in quotes")
    return out


def _in_group(block: Block, dimension: int, tag: int) -> Ints:
    if DIMENSION.get(block.kind, 0) != dimension:
        return np.zeros(0, np.int64)
    return np.flatnonzero((block.physical == tag).any(1))


def _nodes_2(words: Words) -> tuple[Ints, Floats]:
    rows = words.take(4 * words.one(), np.float64).reshape(-1, 4)
    return rows[:, 0].astype(np.int64), rows[:, 1:]


def _nodes_4(words: Words) -> tuple[Ints, Floats]:
    blocks, tags, points = words.take(4)[0], [np.zeros(0, np.int64)], [np.zeros((0, 3))]
    for _ in range(int(blocks)):
        dimension, _, parametric, count = words.take(4).tolist()
        tags.append(words.take(count))
        wide = 3 + (dimension if parametric else 0)
        points.append(words.take(count * wide, np.float64).reshape(count, wide)[:, :3])
    return np.concatenate(tags), np.concatenate(points)


def _entities(words: Words) -> dict[tuple[int, int], Ints]:
    """The physical tags of each entity, by dimension and tag."""
    out = {}
    for dimension, count in enumerate(words.take(4).tolist()):
        for _ in range(count):
            tag = words.one()
            words.take(3 if dimension == 0 else 6, np.float64)  # the box around it
            out[dimension, tag] = words.take(words.one())
            if dimension:
                words.take(words.one())  # what bounds it
    return out


def _elements_2(words: Words) -> list[Block]:
    """Neighbours of one type make a block."""
    runs: list[tuple[int, list[tuple[int, int, Ints]]]] = []
    for _ in range(words.one()):
        tag, kind, count = words.take(3).tolist()
        tags, nodes = words.take(count), words.take(_kind(kind, words.place)[1])
        if not runs or runs[-1][0] != kind:
            runs.append((kind, []))
        runs[-1][1].append((tag, int(tags[0]) if count else 0, nodes))
    out = []
    for kind, run in runs:
        tags, groups = np.array([r[0] for r in run]), np.array([r[1] for r in run])
        out.append(Block(_kind(kind, words.place)[0], np.stack([r[2] for r in run]), tags, groups[:, None]))
    return out


def _elements_4(words: Words, entities: Mapping[tuple[int, int], Ints]) -> list[Block]:
    out = []
    for _ in range(int(words.take(4)[0])):
        dimension, entity, number, count = words.take(4).tolist()
        kind, wide = _kind(number, words.place)
        rows = words.take(count * (1 + wide)).reshape(count, 1 + wide)
        groups = np.abs(entities.get((dimension, entity), np.zeros(0, np.int64)))  # negative where it is turned
        out.append(Block(kind, rows[:, 1:], rows[:, 0], np.broadcast_to(groups, (count, len(groups)))))
    return out


def _kind(number: int, place: str) -> tuple[str, int]:
    if number not in KINDS:
        raise ValueError(f"{place} has elements of type {number}, which are not read; write them with Mesh.ElementOrder = 1 or 2")
    return KINDS[number]


def _data(sections: Sequence[tuple[str, bytes]], kind: str, tags: Ints, path: Path) -> dict[str, Floats]:
    """Values by the name of their view, a row a tag."""
    out: dict[str, Floats] = {}
    for body in (b for n, b in sections if n == kind):
        lines = body.split(b"\n")
        count = int(lines[0])
        name = lines[1].decode(errors="replace").strip().strip('"') if count else kind
        place = f"{path}: ${kind} {name!r}"
        words = Words(_NUMPY.sub(rb"\1", b"\n".join(lines[1 + count :])), place)
        words.take(words.one(), np.float64)  # its time
        about = words.take(words.one()).tolist()
        if len(about) < 3 or not 1 <= about[1] <= 9:
            raise ValueError(f"{place} needs its step, components (1, 3 or 9) and rows, and says {about}")
        if name in out:
            raise ValueError(f"{place} has several steps in one file; save each step in a file of its own, or as VTU with a .pvd")
        rows = words.take(about[2] * (1 + about[1]), np.float64).reshape(about[2], 1 + about[1])
        values = np.full((len(tags), about[1]), np.nan)
        values[Places(tags, f"{place} has a value at tag")(rows[:, 0].astype(np.int64))] = rows[:, 1:]
        out[name] = values[:, 0] if about[1] == 1 else values
    return out
