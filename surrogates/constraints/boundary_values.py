"""Values that the surroundings prescribe at the boundary.

Dirichlet u = g, with no-slip (g = 0) and inflow (g given) its common cases: on a Mesh at the nodes of a named boundary, on a Box at a wall,
half a cell beyond the nearest points, to which u is extrapolated linearly (`walls`). Either way the field comes back that is nearest in
the domain's norm. Where two walls meet and disagree, as under a sliding lid, the one named last holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.channels import Channels
from surrogates.constraints.fixed import Fixed, distance
from surrogates.constraints.walls import wall
from surrogates.contracts import Conditions
from surrogates.domains import Box, Mesh
from surrogates.fields import Fields
from surrogates.record import recorded

Value = float | tuple[float, ...] | None


@recorded
class BoundaryValues(Fixed):
    """`field` takes `values` at the boundaries that they name: x_lower, x_upper, y_lower and so on of a Box, `mesh.names` of a Mesh.

    A value is one number for all channels, one number a channel, or None for those of `conditions.boundary(t)` at the frame's own time:
    fields (B, C, *X) on the same domain, read at the boundary as u is. Raises KeyError for an unknown field, ValueError for no values or
    for another count of them than of channels and, when called, for a boundary that the domain does not have.
    """

    def __init__(self, fields: Fields, field: str, values: Mapping[str, Value]) -> None:
        self.channels = Channels.of(fields, field)
        if not values:
            raise ValueError("BoundaryValues needs at least one boundary, such as {'x_lower': 0.0}")
        self.values: dict[str, tuple[float, ...] | None] = {}
        for name, value in values.items():
            given = (float(value),) * self.channels.size if isinstance(value, int | float) else value
            if given is not None and len(given) != self.channels.size:
                raise ValueError(f"boundary {name!r} has {len(given)} values but {field!r} {self.channels.size} channels")
            self.values[name] = None if given is None else tuple(given)

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G 0"], conditions: Conditions) -> Float[Tensor, "G 1"]:
        """||u - nearest field that holds|| / max of both norms: non-negative, dimensionless, float64."""
        v = self.channels.cut(u).double()
        return distance(v, self._held(v, conditions), conditions.domain)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G 0"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """The nearest field that holds, in float64, rounded once to the type of u."""
        return self.channels.put(u, self._held(self.channels.cut(u).double(), conditions))

    def _held(self, v: Float[Tensor, "B c *X"], conditions: Conditions) -> Float[Tensor, "B c *X"]:
        domain = conditions.domain
        given = given_values(self.channels, v, conditions) if None in self.values.values() else v
        for name, value in self.values.items():
            if isinstance(domain, Box):
                side = wall(domain, name)
                v = side.imposed(v, side.trace(given) if value is None else _constant(value, side.trace(v)))
            elif isinstance(domain, Mesh):
                there = domain.boundary(name).to(v.device)
                v = torch.where(there, given if value is None else _constant(value, v), v)
            else:
                raise ValueError(f"a {type(domain).__name__} has no boundary {name!r}; boundary values need walls of a Box or a Mesh")
        return v


def given_values(channels: Channels, v: Tensor, conditions: Conditions) -> Float[Tensor, "B c *X"]:
    """The surroundings at `conditions.time`, float64. Raises ValueError where there are none, or on another grid than the field's."""
    boundary: Callable[[Tensor], Tensor] | None = conditions.boundary
    if boundary is None:
        raise ValueError("values are to come from the surroundings but the conditions have no boundary; pass Conditions(boundary=...)")
    given = channels.cut(boundary(conditions.time).to(v.device, torch.float64))
    if given.shape != v.shape:
        raise ValueError(f"boundary(t) gave fields of shape {tuple(given.shape)} where {tuple(v.shape)} is needed: (B, channels, *X)")
    return given


def _constant(value: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.stack([torch.full_like(like[:, 0], x) for x in value], 1)
