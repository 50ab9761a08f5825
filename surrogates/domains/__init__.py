"""Where fields live: `Box` (tensor-product grids in 1-3 dimensions), `Sphere` (latitude-longitude grids), `Mesh` (nodes and edges)."""

from surrogates.domains.box import Box
from surrogates.domains.mesh import Mesh
from surrogates.domains.sphere import Sphere

__all__ = ["Box", "Mesh", "Sphere"]
