"""Where fields live: `Box` (tensor-product grids in 1-3 dimensions), `Masked` (boxes with land), `Sphere` (latitude-longitude
grids), `Mesh` (nodes and edges)."""

from surrogates.domains.box import Box
from surrogates.domains.masked import Masked
from surrogates.domains.mesh import Mesh
from surrogates.domains.sphere import Sphere

__all__ = ["KINDS", "Box", "Masked", "Mesh", "Sphere"]

KINDS: dict[str, type[Box] | type[Masked] | type[Mesh] | type[Sphere]] = {"box": Box, "masked": Masked, "mesh": Mesh, "sphere": Sphere}
"""What `to_json` calls each kind of domain."""
