"""A mesh that is read when it is looked at, and of which only the size is known before: so a thousand files can lie open at once.

In a Dataset it is one coordinate without dims, `mesh_later`, whose value is the Mesh; `x`, `y`, `z` are lazy too. How many edges and
cells there are is known only when they are read, so they have no variables of their own: `interchange.settled` makes these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from surrogates.domains.mesh import Mesh

LATER = "mesh_later"


@dataclass(frozen=True, eq=False)
class LaterMesh:
    """`nodes` in `dim` dimensions with boundaries `names`, lengths in `units`; `load` reads it, and keeps no more than it likes."""

    nodes: int
    dim: int
    names: tuple[str, ...]
    units: str
    load: Callable[[], Mesh]
    place: str = "the mesh"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.nodes,)

    def read(self) -> Mesh:
        """Raises ValueError where it is not what was said of it."""
        mesh = self.load()
        for what, said, found in (
            ("nodes", self.nodes, mesh.shape[0]),
            ("dimensions", self.dim, mesh.dim),
            ("boundaries", self.names, mesh.names),
            ("units", self.units, mesh.units),
        ):
            if said != found:
                raise ValueError(f"{self.place} was opened with {what} {said}, and has {found}; did it change? Open it again")
        return mesh

    def to_json(self) -> dict[str, Any]:
        """What `domains.layout.entry` says of the Mesh."""
        known = {"names": list(self.names), "members": 1, "periods": [None] * self.dim, "units": self.units}
        return {"type": "mesh", "nodes": self.nodes, **known}
