"""A velocity in space from a vector potential: divergence-free whatever the network says, u = curl A, on a Box with or without walls.
The network gives the change of A in a step. Derivatives are those of `curl`, units and the mean flow of `potential`. No gauge is fixed:
A + grad chi makes the same velocity, and the network may choose. Source: Batchelor, An Introduction to Fluid Dynamics, 1967, section 2.4.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.heads.curl import spatial
from surrogates.heads.potential import Potential
from surrogates.record import recorded


@recorded
class VectorPotential(Potential):
    """A Head for the three components of `field`, in the order of the axes, on a Box.

    y: the change of A in units of velocity times length, then with `mean_flow` that of the mean flow along each periodic axis in units of
    velocity. Raises KeyError for an unknown field and ValueError for one that is not a vector of three components on a single level, or,
    when called, for another domain or number of channels.
    """

    dim, components = 3, 3

    def curl(self, A: Float[Tensor, "B 3 *X"], domain: Domain) -> Float[Tensor, "B 3 *X"]:
        assert isinstance(domain, Box)
        return spatial(A, domain)
