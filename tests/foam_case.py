"""OpenFOAM cases on boxes of hexahedra, written for the tests by the rules of the user guide: as text, binary, packed, cut into processors.

The writer shares no code with the reader.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SIDES = ("xmin", "xmax", "ymin", "ymax", "zmin", "zmax")
BANNER = "/*---- C++ ----*\\\n| a banner; { ( |\n\\*------*/\n"
KINDS = {1: "Scalar", 3: "Vector", 6: "SymmTensor", 9: "Tensor"}
FLAT = {"zmin": "empty", "zmax": "empty"}


@dataclass(frozen=True)
class Style:
    """How files are written: text or binary, byte order, bits, packed."""

    binary: bool = False
    order: str = "LSB"
    label: int = 32
    scalar: int = 64
    packed: bool = False

    def head(self, kind: str, name: str) -> bytes:
        form = "binary" if self.binary else "ascii"
        arch = f'    arch "{self.order};label={self.label};scalar={self.scalar}";\n' if self.binary else ""
        entries = f"    version 2.0;\n    format {form};\n{arch}    class {kind};\n    object {name};\n"
        return f"{BANNER}FoamFile\n{{\n{entries}}}\n// * * //\n\n".encode()

    def numbers(self, values: np.ndarray) -> bytes:
        """N ( ... )"""
        n = len(values)
        if self.binary:
            bits, letter = (self.label, "i") if values.dtype.kind == "i" else (self.scalar, "f")
            kind = f"{'<' if self.order == 'LSB' else '>'}{letter}{bits // 8}"
            return f"{n}\n".encode() + (b"(" + values.astype(kind).tobytes() + b")" if n else b"")
        rows = [f"({' '.join(map(repr, row))})" for row in values.tolist()] if values.ndim == 2 else list(map(repr, values.tolist()))
        return f"{n}\n(\n{chr(10).join(rows)}\n)\n".encode()

    def save(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.packed:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, mtime=0))
        else:
            path.write_bytes(data)


@dataclass
class Block:
    """A mesh: points (P, 3), faces as lists of points, owner, neighbour, patches {name: (type, faces, more)}."""

    points: np.ndarray
    faces: list[list[int]]
    owner: list[int]
    neighbour: list[int]
    patches: dict[str, tuple[str, list[int], str]] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        return max(self.owner) + 1

    def save(self, folder: Path, style: Style = Style()) -> None:
        """points, faces, owner, neighbour, boundary; the faces of the patches must come last, in order."""
        style.save(folder / "points", style.head("vectorField", "points") + style.numbers(self.points))
        if style.binary:
            begins = np.cumsum([0, *map(len, self.faces)])
            body = style.numbers(begins) + b"\n" + style.numbers(np.concatenate([np.array(f) for f in self.faces]))
            style.save(folder / "faces", style.head("faceCompactList", "faces") + body)
        else:
            rows = "\n".join(f"{len(f)}({' '.join(map(str, f))})" for f in self.faces)
            style.save(folder / "faces", style.head("faceList", "faces") + f"{len(self.faces)}\n(\n{rows}\n)\n".encode())
        style.save(folder / "owner", style.head("labelList", "owner") + style.numbers(np.array(self.owner, dtype=int)))
        style.save(folder / "neighbour", style.head("labelList", "neighbour") + style.numbers(np.array(self.neighbour, dtype=int)))
        rows, at = "", len(self.neighbour)
        for name, (kind, faces, more) in self.patches.items():
            rows += (
                f"    {name}\n    {{\n        type {kind};\n        nFaces {len(faces)};\n        startFace {at};\n        {more}\n    }}\n"
            )
            at += len(faces)
        style.save(folder / "boundary", style.head("polyBoundaryMesh", "boundary") + f"{len(self.patches)}\n(\n{rows})\n".encode())


def block(
    shape: Sequence[int] = (3, 2, 1),
    lengths: Sequence[float] = (3.0, 2.0, 1.0),
    types: Mapping[str, str] | None = None,
    holes: Sequence[int] = (),
) -> Block:
    """Boxes in x fastest, six patches named by SIDES, or by `types` (all "patch" else); cyclic ones pair min with max.

    Cells in `holes` are left out; the faces around them are a patch "hole".
    """
    kinds = {side: (types or {}).get(side, "patch") for side in SIDES}
    n = np.array(shape)
    grid = np.stack(np.meshgrid(*(np.linspace(0, le, m + 1) for le, m in zip(lengths, shape, strict=True)), indexing="ij"), -1)
    points = grid.transpose(2, 1, 0, 3).reshape(-1, 3)
    kept = [c for c in range(int(np.prod(n))) if c not in holes]
    number = {c: i for i, c in enumerate(kept)}

    def point(p: np.ndarray) -> int:
        return int(p[0] + (n[0] + 1) * (p[1] + (n[1] + 1) * p[2]))

    def quad(axis: int, cell: np.ndarray, up: bool) -> list[int]:
        b, c = (axis + 1) % 3, (axis + 2) % 3
        out = []
        for db, dc in ((0, 0), (1, 0), (1, 1), (0, 1)):
            p = cell.copy()
            p[axis] += up
            p[b] += db
            p[c] += dc
            out.append(point(p))
        return out if up else out[::-1]

    inside, outside = [], {side: [] for side in (*SIDES, "hole")}
    for c in range(int(np.prod(n))):
        cell = np.array([c % n[0], c // n[0] % n[1], c // (n[0] * n[1])])
        for axis in range(3):
            step = int(np.prod(n[:axis]))
            ends = [cell[axis] == 0, cell[axis] == n[axis] - 1]
            for up in (False, True):
                other = c + (step if up else -step)
                if c not in number:
                    continue
                if ends[up]:
                    outside[SIDES[2 * axis + up]].append((quad(axis, cell, up), number[c]))
                elif other not in number:
                    outside["hole"].append((quad(axis, cell, up), number[c]))
                elif up:
                    inside.append((quad(axis, cell, up), number[c], number[other]))
    made = Block(points, [f for f, *_ in inside], [o for _, o, _ in inside], [m for *_, m in inside])
    for side, found in outside.items():
        if side == "hole" and not found:
            continue
        pair = {"min": "max", "max": "min"}.get(side[1:], "")
        more = f"neighbourPatch {side[0]}{pair};" if kinds.get(side) == "cyclic" else "inGroups 1(sides);"
        made.patches[side] = (kinds.get(side, "wall"), list(range(len(made.faces), len(made.faces) + len(found))), more)
        made.faces += [f for f, _ in found]
        made.owner += [o for _, o in found]
    return made


def centres(mesh: Block) -> np.ndarray:
    """(N, 3): of boxes the mean of their corners."""
    corners: list[set[int]] = [set() for _ in range(mesh.cells)]
    for n, face in enumerate(mesh.faces):
        for cell in (mesh.owner[n], *(mesh.neighbour[n : n + 1])):
            corners[cell].update(face)
    return np.array([mesh.points[sorted(c)].mean(0) for c in corners])


def text_of(value: np.ndarray | float | Sequence[float]) -> str:
    flat = np.ravel(value).tolist()
    return repr(flat[0]) if np.ndim(value) == 0 else f"({' '.join(map(repr, flat))})"


def write_field(
    path: Path,
    values: np.ndarray,
    mesh: Block,
    style: Style = Style(),
    *,
    dimensions: str = "[0 1 -1 0 0 0 0]",
    patches: Mapping[str, str] | None = None,
    location: str = "vol",
    uniform: bool = False,
) -> None:
    """values: (N,) or (N, k), or where `uniform` one value; `patches` the body of each patch, zeroGradient else."""
    kind = KINDS[int(values.size) if uniform else values.shape[1] if values.ndim == 2 else 1]
    body = (
        f"uniform {text_of(values)}".encode()
        if uniform
        else f"nonuniform List<{kind[0].lower() + kind[1:]}> ".encode() + style.numbers(values)
    )
    default = {
        name: "type empty;" if t == "empty" else "type cyclic;" if t == "cyclic" else "type zeroGradient;"
        for name, (t, *_) in mesh.patches.items()
    }
    rows = "".join(f"    {name}\n    {{\n        {text}\n    }}\n" for name, text in {**default, **(patches or {})}.items())
    head = style.head(f"{location}{kind}Field", path.name)
    style.save(path, head + f"dimensions {dimensions};\n\ninternalField ".encode() + body + f";\n\nboundaryField\n{{\n{rows}}}\n".encode())


Function = Callable[[np.ndarray, float], np.ndarray]


def velocity(x: np.ndarray, t: float) -> np.ndarray:
    """A field that tells cells, components and times apart; nothing across z = 0.5."""
    return np.stack([x[:, 0] + 10 * t, 2 * x[:, 1] - t, 0.0 * x[:, 2]], 1)


def pressure(x: np.ndarray, t: float) -> np.ndarray:
    return x[:, 0] * x[:, 1] + t


def write_case(
    path: Path,
    mesh: Block | None = None,
    style: Style = Style(),
    *,
    times: Sequence[str] = ("0", "0.5", "1"),
    nu: str = "nu [0 2 -1 0 0 0 0] 0.01",
    wall: str = "type fixedValue; value uniform (1 0 0);",
) -> Block:
    """A case with U and p; `ymax` has a fixed velocity."""
    mesh = mesh or block(types=FLAT)
    mesh.save(path / "constant" / "polyMesh", style)
    text = Style()
    text.save(path / "system" / "controlDict", text.head("dictionary", "controlDict") + b"application icoFoam;\n")
    text.save(path / "constant" / "transportProperties", text.head("dictionary", "transportProperties") + f"nu {nu};\n".encode())
    x = centres(mesh)
    for name in times:
        write_field(
            path / name / "U", velocity(x, float(name)), mesh, style, patches={"ymax": wall} if mesh.patches["ymax"][0] == "patch" else {}
        )
        write_field(path / name / "p", pressure(x, float(name)), mesh, style, dimensions="[0 2 -2 0 0 0 0]")
    return mesh


def cut(mesh: Block, processor: np.ndarray) -> list[tuple[Block, np.ndarray]]:
    """The parts of a mesh, and the cells of the whole that theirs are; faces between two parts in the same order on both sides.

    Of cyclic pairs cut apart the faces are "processorCyclic" patches, as decomposePar writes them.
    """
    count, out = int(processor.max()) + 1, []
    for here in range(count):
        (cells,) = np.nonzero(processor == here)
        local = {int(c): i for i, c in enumerate(cells)}
        inside, towards = [], {there: [] for there in range(count)}
        for n, m in enumerate(mesh.neighbour):
            o = mesh.owner[n]
            if o in local and m in local:
                inside.append((mesh.faces[n], local[o], local[m]))
            elif o in local:
                towards[int(processor[m])].append((mesh.faces[n], local[o]))
            elif m in local:
                towards[int(processor[o])].append((mesh.faces[n][::-1], local[m]))
        part = Block(mesh.points, [f for f, *_ in inside], [o for _, o, _ in inside], [m for *_, m in inside])
        sides = {
            name: (kind, [(mesh.faces[f], local[mesh.owner[f]]) for f in fs if mesh.owner[f] in local], more)
            for name, (kind, fs, more) in mesh.patches.items()
        }
        for name, (kind, found, more) in list(sides.items()):
            if kind == "cyclic":  # the faces whose pair lies elsewhere leave the patch
                pair = mesh.patches[more.removeprefix("neighbourPatch ").rstrip(";")][1]
                beyond = [int(processor[mesh.owner[g]]) for f, g in zip(mesh.patches[name][1], pair, strict=True) if mesh.owner[f] in local]
                sides[name] = (kind, [f for f, there in zip(found, beyond, strict=True) if there == here], more)
                for there in sorted({*beyond} - {here}):
                    apart = [f for f, p in zip(found, beyond, strict=True) if p == there]
                    entry = f"myProcNo {here}; neighbProcNo {there}; referPatch {name};"
                    sides[f"procBoundary{here}to{there}through{name}"] = ("processorCyclic", apart, entry)
        for there, found in towards.items():
            if found:
                sides[f"procBoundary{here}to{there}"] = ("processor", found, f"myProcNo {here}; neighbProcNo {there};")
        for name, (kind, found, more) in sides.items():
            part.patches[name] = (kind, list(range(len(part.faces), len(part.faces) + len(found))), more)
            part.faces += [f for f, _ in found]
            part.owner += [o for _, o in found]
        out.append((part, cells))
    return out


def write_parallel(
    path: Path,
    mesh: Block,
    processor: np.ndarray,
    style: Style = Style(),
    *,
    times: Sequence[str] = ("0", "0.5", "1"),
    addressing: bool = True,
) -> None:
    """processor<i> folders; with `addressing` also cellProcAddressing and the whole mesh."""
    if addressing:
        mesh.save(path / "constant" / "polyMesh", style)
    whole = centres(mesh)
    for n, (part, cells) in enumerate(cut(mesh, processor)):
        folder = path / f"processor{n}"
        part.save(folder / "constant" / "polyMesh", style)
        if addressing:
            style.save(
                folder / "constant/polyMesh/cellProcAddressing",
                style.head("labelList", "cellProcAddressing") + style.numbers(cells.astype(int)),
            )
        for name in times:
            write_field(folder / name / "U", velocity(whole[cells], float(name)), part, style)
            write_field(folder / name / "p", pressure(whole[cells], float(name)), part, style, dimensions="[0 2 -2 0 0 0 0]")
