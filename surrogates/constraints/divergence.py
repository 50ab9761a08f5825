"""Leray projection: u - grad(inv_laplacian(div u)), the divergence-free field nearest to u in L2.

In Fourier space, u_hat - k (k . u_hat) / |k|^2 with the derivative wavenumber k, which is zero at the Nyquist index of an even axis.
There the mode itself stays: removing it would destroy fields that are divergence-free on the grid, and keeping k would take a real
field out of the reals and make the projection applied twice differ from once. At k = 0 nothing is removed: the mean flow stays.
Only the correction k (k . u_hat) / |k|^2 is transformed back, so a field that holds the law is changed by rounding of its defect,
not of itself. Source: Chorin and Marsden, A Mathematical Introduction to Fluid Mechanics, 1993, section 1.3 (Helmholtz-Hodge).
"""

from __future__ import annotations

from functools import reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.record import recorded


@recorded
class DivergenceFree:
    """div u = 0 for the vector field named `field` of `fields`, on a periodic Box of two or three dimensions.

    Other channels come back as they went in. Raises KeyError for an unknown field and ValueError for one that is not a vector of
    two or three components on a single level, or, when called, for a domain that is not a periodic Box of that dimension.
    """

    references = 0

    def __init__(self, fields: Fields, field: str = "velocity") -> None:
        entry = fields[field]
        if len(entry.components) not in (2, 3) or entry.levels:
            raise ValueError(
                f"{field!r} has components {entry.components} and levels {entry.levels}; a divergence needs the two or three components "
                f"of a vector, such as Field({field!r}, components=('x', 'y')), without levels"
            )
        self.field, self.count, self.channels = field, fields.count, fields.slice(field)

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "B 0"]:
        """Nothing is remembered: the law is the same for every initial state."""
        return torch.zeros(len(u), 0, dtype=torch.float64, device=u.device)

    def advance(self, reference: Float[Tensor, "B 0"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "B 0"]:
        return reference

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "B 0"], conditions: Conditions) -> Float[Tensor, "B 1"]:
        """||div u|| / ||grad u||, equal to ||k . u_hat|| / || |k||u_hat| ||: dimensionless, float64; 0 for a uniform flow."""
        box = self._box(u, conditions.domain)
        v = u[:, self.channels]
        gradient = torch.stack([box.derivative(v, axis) for axis in range(box.dim)], 2).double()  # du_i/dx_j
        divergence = torch.einsum("bii...->b...", gradient)
        return _norm(divergence) / _norm(gradient).clamp_min(1e-300)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "B 0"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """The nearest field that holds the law; transforms in u's own precision (float32 for half types)."""
        box = self._box(u, conditions.domain)
        a, b = self.channels.start, self.channels.stop
        v = u[:, a:b]
        full = v if v.dtype in (torch.float32, torch.float64) else v.float()
        return torch.cat([u[:, :a], (full - compressive(full, box)).to(u.dtype), u[:, b:]], dim=1)

    def _box(self, u: Tensor, domain: Domain) -> Box:
        d = self.channels.stop - self.channels.start
        if not isinstance(domain, Box) or not domain.all_periodic:
            boundary = f" with boundary {domain.boundary}" if isinstance(domain, Box) else ""
            raise ValueError(f"the spectral Leray projection needs a Box periodic on every axis, not a {type(domain).__name__}{boundary}")
        if domain.dim != d:
            raise ValueError(f"{self.field!r} has {d} components but the domain has {domain.dim} axes; one component an axis is needed")
        domain.check(u)
        if u.shape[1] != self.count:
            raise ValueError(f"u has {u.shape[1]} channels but this law was made for {self.count}; make it from the fields of u")
        return domain


def compressive(u: Float[Tensor, "B D *X"], box: Box) -> Float[Tensor, "B D *X"]:
    """grad(inv_laplacian(div u)): the part of a vector field that is a gradient."""
    dims = tuple(range(2, 2 + box.dim))
    k = [q.to(u.dtype) for q in box.wavenumbers(u.device, derivative=True)]
    k2 = reduce(add, (q.square() for q in k))
    u_hat = torch.fft.rfftn(u, dim=dims)
    potential = reduce(add, (q * u_hat[:, i] for i, q in enumerate(k))) * torch.where(k2 > 0, 1 / k2, 0.0)
    out: Tensor = torch.fft.irfftn(torch.stack([q * potential for q in k], 1), s=box.shape, dim=dims)
    return out


def _norm(u: Tensor) -> Float[Tensor, "B 1"]:
    out: Tensor = torch.linalg.vector_norm(u.flatten(1), dim=1, keepdim=True)  # its gradient is 0, not NaN, where the norm is
    return out
