"""Nodes of named boundaries keep the values that they have: steady walls and inflows, whatever their profile is.

    u[n] = u[past] at the nodes of the boundaries, for the channels of the field

A profile that differs from one trajectory to the next needs no numbers in a file: it is in the initial state, and every frame has it from
the one before, as MeshGraphNets' rollouts take it (Pfaff et al., 2021, A.1, https://arxiv.org/abs/2010.03409). Values that change in time,
or are the same for all, are those of `BoundaryValues`.

What is remembered are the mean and the mean square of each channel over these nodes, weighed by their measure. The defect compares them
with those of u, so that it sees a boundary that drifts; two profiles of equal moments look alike to it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.constraints.channels import Channels
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Mesh
from surrogates.errors import nearest
from surrogates.fields import Fields
from surrogates.record import recorded


@recorded
class HeldBoundary:
    """`field` stays as the newest past frame has it on the `boundaries` of a Mesh; meshes that lack some of them hold the others.

    Raises KeyError for an unknown field, ValueError for no boundaries and, when called, without past frames, for another domain than a Mesh
    and for one that has none of the boundaries.
    """

    def __init__(self, fields: Fields, field: str, boundaries: tuple[str, ...]) -> None:
        if not boundaries:
            raise ValueError("HeldBoundary needs the names of boundaries, such as ('inflow', 'walls')")
        self.channels, self.boundaries = Channels.of(fields, field), tuple(boundaries)
        self.references = 2 * self.channels.size

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """Mean and mean square of each channel over the held nodes, float64."""
        mesh = conditions.domain
        v, held = self.channels.cut(u).double(), self.held(mesh).to(u.device, torch.float64)
        assert isinstance(mesh, Mesh)
        size = mesh.integral(held.expand(len(u), 1, -1)).clamp_min(torch.finfo(torch.float64).tiny)
        return torch.cat([mesh.integral(v * held), mesh.integral(v.square() * held)], 1) / size

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        return reference

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]:
        """How far the moments of each channel are from those remembered, over the root mean square that is remembered of the field."""
        now = self.reference(u, conditions)
        scale = reference[:, self.channels.size :].sum(1, keepdim=True).clamp_min(1e-300)
        apart, size = (now - reference).abs(), self.channels.size
        return torch.cat([apart[:, :size] / scale.sqrt(), apart[:, size:] / scale], 1)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        if past is None:
            raise ValueError("HeldBoundary keeps the values of the frames before; pass past, as a rollout does")
        v = torch.where(self.held(conditions.domain).to(u.device), self.channels.cut(past[:, -1]).to(u.dtype), self.channels.cut(u))
        return self.channels.put(u, v)

    def held(self, domain: Domain) -> Bool[Tensor, " node"]:
        """The nodes that are held."""
        if not isinstance(domain, Mesh):
            raise ValueError(f"a {type(domain).__name__} has no boundaries by name; HeldBoundary needs a Mesh")
        names = [n for n in self.boundaries if n in domain.names]
        if not names:
            near = nearest(self.boundaries[0], domain.names)
            raise ValueError(
                f"this Mesh has none of the boundaries {', '.join(self.boundaries)}; it has {', '.join(domain.names) or 'none'}{near}"
            )
        return torch.stack([domain.boundary(n) for n in names]).any(0)
