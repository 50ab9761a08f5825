"""Where fields live: `Box` (tensor-product grids in 1-3 dimensions)."""

from surrogates.domains.box import Box
from surrogates.domains.mesh import Mesh

__all__ = ["Box", "Mesh"]
