"""How many points a VTK unstructured grid in XML (.vtu) has, from the head of its file.

    <VTKFile type="UnstructuredGrid" ...><UnstructuredGrid><Piece NumberOfPoints="179761" NumberOfCells="178480">

Source: https://docs.vtk.org/en/latest/vtk_file_formats/vtkxml_file_format.html.
"""

from __future__ import annotations

import re
from pathlib import Path

from surrogates.data.formats import meshio_safety

HEAD = 1 << 20  # bytes: data of the whole grid may stand before its piece
_PIECE = re.compile(rb"<Piece\s[^>]*>")
_POINTS = re.compile(rb"NumberOfPoints\s*=\s*[\"'](\d{1,18})[\"']")


def points(path: Path) -> int:
    """Raises ValueError where the head has no piece, with its number of points."""
    meshio_safety.plain(path)
    with open(path, "rb") as file:
        piece = _PIECE.search(file.read(HEAD))
    found = _POINTS.search(piece.group()) if piece else None
    if found is None:
        raise ValueError(f"{path} has no Piece with NumberOfPoints in its first {HEAD} bytes; is it whole, and a .vtu file?")
    if not int(found.group(1)):
        raise ValueError(f"{path} has no points")
    return int(found.group(1))
