"""What cases are made of: a family is a module with the names of `Family`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from surrogates.data.cases.history import Histories
from surrogates.data.foam import Case
from surrogates.domains import Box, Masked, Mesh
from surrogates.errors import nearest
from surrogates.fields import Field

if TYPE_CHECKING:
    from surrogates.data.cases.recipe import Frames, Solver

FAMILIES = ("channel", "cavity", "dam")
Values = Mapping[str, float]


@runtime_checkable
class Family(Protocol):
    """`parameters` and `mesh` name what a recipe may say, with defaults; None is what it must say. `programs` are needed; the last solves.

    refusal     why parameters make no case; empty where they do          complete    the parameters, and what follows from them
    build       writes and meshes a case in an empty folder               report      numbers and tables of a run; ValueError: not sound
    domain      where its fields lie, and the cell of each place there    static      fields known beside the state, by name, in cells

    `fields` and `statics` say what is kept: OpenFOAM's names of the former, ours of both.
    """

    equation: str
    scheme: str
    programs: tuple[str, ...]
    parameters: Mapping[str, float | None]
    mesh: Mapping[str, float | None]
    fields: Mapping[str, Field]
    statics: Sequence[Field]

    def grid(self, meshing: Values) -> str: ...
    def refusal(self, values: Values, meshing: Values) -> str: ...
    def complete(self, values: Values) -> dict[str, float]: ...
    def build(self, case: Path, values: Values, meshing: Values, frames: Frames, solver: Solver) -> None: ...
    def report(self, case: Path, values: Values, frames: Frames) -> tuple[dict[str, float], Histories]: ...
    def domain(self, case: Case) -> tuple[Mesh | Box | Masked, NDArray[np.int64]]: ...
    def static(self, case: Case, values: Values) -> dict[str, NDArray[np.float64]]: ...


def family_of(name: str) -> Family:
    """Raises ValueError for an unknown one."""
    if name not in FAMILIES:
        raise ValueError(f"family {name!r} is unknown; the families are {list(FAMILIES)}{nearest(name, FAMILIES)}")
    return cast(Family, import_module(f"surrogates.data.cases.{name}"))
