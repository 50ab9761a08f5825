"""Lateral boundaries of a limited area: towards its edge a field is relaxed to that of the larger model around it (Davies),

    u <- (1 - alpha_j) u + alpha_j g,    alpha_j = 1 - tanh(4 j / width)  for j < width,  0 beyond,

j points from the boundary: g itself on the outermost row (j = 0), a twentieth of it and less from j = width/2 on. Waves that leave meet no
wall, waves that enter are those of the surroundings. A relaxation is no projection: outside the outermost row a second one moves the
field again, so it belongs after the step, once a frame, and not inside a sampler.

Sources: Davies, A lateral boundary formulation for multi-level prediction models, QJRMS 102 (1976),
https://doi.org/10.1002/qj.49710243210; the profile, with width 8, is Kallberg's, Test of a lateral boundary relaxation scheme, 1977.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.boundary_values import given_values
from surrogates.constraints.channels import Channels
from surrogates.constraints.fixed import Fixed, distance
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box, Masked, Mesh
from surrogates.domains.kept import kept
from surrogates.fields import Fields
from surrogates.record import recorded


@recorded
class LateralBoundaries(Fixed):
    """All of `fields` relax to `conditions.boundary(t)`, fields (B, C, *X) at the frame's own time, within `width` points of the boundary:
    the walled axes of a Box (Masked or not), or the nodes `names` of a Mesh (all its named ones by default), counted along edges.

    Raises ValueError for a width below 1 and, when called, where there is no boundary or nothing given.
    """

    def __init__(self, fields: Fields, width: int = 8, names: tuple[str, ...] = ()) -> None:
        if width < 1:
            raise ValueError(f"the zone must be at least 1 point wide, got width={width}")
        self.channels, self.width, self.names = Channels.of(fields, *fields.names), width, tuple(names)

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G 0"], conditions: Conditions) -> Float[Tensor, "G 1"]:
        """||u - g|| / max of both norms on the outermost row, where alone it must vanish: non-negative, dimensionless, float64."""
        v, domain = self.channels.cut(u).double(), conditions.domain
        edge = (zone(domain, self.width, self.names, u.device) == 1).double()
        return distance(edge * v, edge * given_values(self.channels, v, conditions), domain)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G 0"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        v = self.channels.cut(u).double()
        alpha = zone(conditions.domain, self.width, self.names, u.device)
        return self.channels.put(u, torch.lerp(v, given_values(self.channels, v, conditions), alpha))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def zone(domain: Domain, width: int, names: tuple[str, ...], device: torch.device) -> Float[Tensor, "*X"]:
    """alpha at every point, float64."""
    return _zone(domain, width, names, device)  # type: ignore[arg-type]  # all domains can be hashed


@lru_cache(maxsize=32)
def _zone(domain: Domain, width: int, names: tuple[str, ...], device: torch.device) -> Float[Tensor, "*X"]:
    domain = domain.box if isinstance(domain, Masked) else domain
    with kept():
        if isinstance(domain, Box) and not domain.all_periodic and not names:
            j = _from_walls(domain)
        elif isinstance(domain, Mesh) and (names or domain.names):
            j = _from_boundaries(domain, width, names or domain.names)
        else:
            raise ValueError(f"no lateral boundary {names or ''} on {domain}: they are the walls of a Box or named boundaries of a Mesh")
        return torch.where(j < width, 1 - torch.tanh(4 * j / width), 0.0).to(device)


def _from_walls(box: Box) -> Float[Tensor, "*X"]:
    """Points between each point and the nearest wall."""
    far = torch.full(box.shape, torch.inf, dtype=torch.float64)
    for axis, (n, kind) in enumerate(zip(box.shape, box.boundary, strict=True)):
        if kind != "periodic":
            i = torch.arange(n, dtype=torch.float64)
            far = torch.minimum(far, torch.minimum(i, i.flip(0)).reshape(-1, *(1,) * (box.dim - 1 - axis)))
    return far


def _from_boundaries(mesh: Mesh, width: int, names: tuple[str, ...]) -> Float[Tensor, " node"]:
    """Edges between each node and the nearest of the boundaries, infinite from `width` on."""
    reached = torch.stack([mesh.boundary(name) for name in names]).any(0)
    j = torch.where(reached, 0.0, torch.inf).double()
    sender, receiver = mesh.edges
    for step in range(1, width):
        reached = reached.index_put((receiver[reached[sender]],), torch.ones((), dtype=torch.bool, device=reached.device))
        j = torch.where(reached & j.isinf(), float(step), j)
    return j
