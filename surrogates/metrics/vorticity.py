"""Vorticity, the curl of a velocity: dv/dx - du/dy in a plane, (dw/dy - dv/dz, du/dz - dw/dx, dv/dx - du/dy) in space."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.fields import Fields


def vector_slice(fields: Fields, field: str, domain: Domain) -> slice:
    """Where the components of a vector lie. Raises ValueError unless there is one an axis of a Box of two or three dimensions."""
    components = fields[field].components
    if not isinstance(domain, Box) or domain.dim not in (2, 3) or fields[field].levels or len(components) != domain.dim:
        axes = domain.axes if isinstance(domain, Box) else type(domain).__name__
        raise ValueError(f"{field!r} has components {components} but the domain {axes}; a curl or divergence needs one component an axis")
    return fields.slice(field)


def curl(u: Float[Tensor, "B T D *X"], domain: Domain) -> Float[Tensor, "B T W *X"]:
    """One component (W = 1) in two dimensions, three in three; spectral on periodic axes."""
    if not isinstance(domain, Box) or domain.dim not in (2, 3):
        raise ValueError(f"the curl needs a Box of two or three dimensions, not {domain}")
    v = u.flatten(0, 1)
    w = domain.vorticity(v) if domain.dim == 2 else _curl3(v, domain)
    return w.reshape(*u.shape[:2], *w.shape[1:])


def _curl3(v: Tensor, box: Box) -> Tensor:
    def d(component: int, axis: int) -> Tensor:
        return box.derivative(v[:, component : component + 1], axis)

    return torch.cat([d(2, 1) - d(1, 2), d(0, 2) - d(2, 0), d(1, 0) - d(0, 1)], 1)
