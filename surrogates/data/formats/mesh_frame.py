"""One frame of a mesh file, whichever library read it."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray


class Frame(NamedTuple):
    """What one frame holds: cells as (kind, corners), data by name; those in cells with an array for each block of cells."""

    points: NDArray[Any]
    cells: list[tuple[str, NDArray[Any]]]
    point_data: dict[str, NDArray[Any]]
    cell_data: dict[str, list[NDArray[Any]]]
    sets: dict[str, list[NDArray[Any]]]
    """Named cells, a list of numbers for each block."""
    point_sets: dict[str, NDArray[Any]]
