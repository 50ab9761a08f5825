"""A plane velocity from a stream function: divergence-free whatever the network says, u = (d psi/dy, -d psi/dx), on a Box with or without
walls and on a Sphere. The network gives the change of psi in a step. Derivatives are those of `curl`, units and the mean flow of
`potential`. Source: Batchelor, An Introduction to Fluid Dynamics, 1967, section 2.2.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box, Sphere
from surrogates.heads.curl import planar, wind
from surrogates.heads.potential import Potential
from surrogates.record import recorded


@recorded
class StreamFunction(Potential):
    """A Head for the two components of `field`, in the order of the axes, on a plane Box or on a Sphere (northward, eastward).

    y: the change of psi in units of velocity times length, then with `mean_flow` that of the mean flow along each periodic axis in units
    of velocity. Raises KeyError for an unknown field and ValueError for one that is not a vector of two components on a single level, or,
    when called, for another domain or number of channels.
    """

    dim, components = 2, 1

    def curl(self, A: Float[Tensor, "B 1 *X"], domain: Domain) -> Float[Tensor, "B 2 *X"]:
        if isinstance(domain, Sphere):
            return wind(A, domain)
        assert isinstance(domain, Box)
        return planar(A, domain)

    def means(self, domain: Domain) -> list[int]:
        if not isinstance(domain, Sphere):
            return super().means(domain)
        if self.mean_flow:
            raise ValueError("a Sphere has no mean flow beside its stream function; leave mean_flow out")
        return []
