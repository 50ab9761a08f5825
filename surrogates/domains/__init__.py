"""Where fields live: `Box` (tensor-product grids in 1-3 dimensions), `Sphere` (latitude-longitude grids), `Patch` (a part of one),
`Masked` (any of these with land), `Mesh` (nodes and edges)."""

from surrogates.domains.box import Box
from surrogates.domains.masked import Masked
from surrogates.domains.mesh import Mesh
from surrogates.domains.patch import Patch
from surrogates.domains.sphere import Sphere

__all__ = ["KINDS", "Box", "Masked", "Mesh", "Patch", "Sphere"]

KINDS: dict[str, type[Box] | type[Masked] | type[Mesh] | type[Patch] | type[Sphere]] = {
    "box": Box,
    "masked": Masked,
    "mesh": Mesh,
    "patch": Patch,
    "sphere": Sphere,
}
"""What `to_json` calls each kind of domain."""
