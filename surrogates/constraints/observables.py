"""Fixed weights w of linear functionals L(u) = integral of sum_c w_c u_c: the mass or momentum of a region, the flow rate through a
section, or whatever weights are given. Weights are of the field, (C, *X): the domain's measure comes from the integral.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box, Masked, Mesh, Patch, Sphere
from surrogates.fields import Fields
from surrogates.record import recorded


@runtime_checkable
class Functional(Protocol):
    """`count` weights of the channels of one field, on any domain they make sense on."""

    @property
    def field(self) -> str: ...
    def count(self, fields: Fields) -> int: ...
    def weights(self, fields: Fields, domain: Domain) -> Float[Tensor, "K C *X"]: ...


@recorded
@dataclass(frozen=True)
class Within:
    """The integral of every channel of `field` over the points with lower <= x < upper, in the coordinates of the domain (degrees of
    latitude and longitude on a Sphere). Where an axis repeats, so does the region: lower = 350, upper = 370 spans longitude 0."""

    field: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def count(self, fields: Fields) -> int:
        return len(fields[self.field].channels)

    def weights(self, fields: Fields, domain: Domain) -> Float[Tensor, "K C *X"]:
        """1 inside, 0 outside. Raises ValueError for a region of other dimension than the domain."""
        inside = _inside(domain, tuple(self.lower), tuple(self.upper)).double()
        a, n = fields.slice(self.field).start, self.count(fields)
        out = inside.new_zeros(n, fields.count, *inside.shape)
        for k in range(n):
            out[k, a + k] = inside
        return out


@recorded
@dataclass(frozen=True)
class Through:
    """The flow rate of the vector `field` through the section x_axis = at of a Box, or of the wet part of a Masked one: the integral over
    it of the component `axis`, linear between the two nearest layers of points."""

    field: str
    axis: int
    at: float

    def count(self, fields: Fields) -> int:
        return 1

    def weights(self, fields: Fields, domain: Domain) -> Float[Tensor, "K C *X"]:
        """1/width on the layers about the section. Raises ValueError where there is no such section or no component for it."""
        domain = domain.box if isinstance(domain, Masked) else domain
        if not isinstance(domain, Box) or not 0 <= self.axis < domain.dim:
            raise ValueError(f"a section across axis {self.axis} needs a Box with that axis, not {domain}")
        components = fields[self.field].components
        if len(components) != domain.dim or fields[self.field].levels:
            raise ValueError(f"a flow rate needs a vector of {domain.dim} components without levels, {self.field!r} has {components}")
        layer = _interpolation(domain, self.axis, self.at) / domain.widths(self.axis)
        out = layer.new_zeros(1, fields.count, *domain.shape)
        out[0, fields.slice(self.field).start + self.axis] = layer.reshape(-1, *(1,) * (domain.dim - 1 - self.axis))
        return out


@recorded
@dataclass(frozen=True)
class Observable:
    """The integral of sum_c w_c u_c over the channels c of `field`, with `values` = w (channels, *X), or (*X) for one channel: nested
    sequences, arrays or tensors, kept as nested tuples so that they can be written down."""

    field: str
    values: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _nested(torch.as_tensor(self.values, dtype=torch.float64).tolist()))

    def count(self, fields: Fields) -> int:
        return 1

    def weights(self, fields: Fields, domain: Domain) -> Float[Tensor, "K C *X"]:
        """Raises ValueError for values of another shape than the domain and the field have."""
        w = torch.tensor(self.values, dtype=torch.float64)
        c, shape = fields.slice(self.field), tuple(domain.shape)
        wanted = (c.stop - c.start, *shape)
        if tuple(w.shape) != wanted and not (wanted[0] == 1 and tuple(w.shape) == shape):
            raise ValueError(f"the values of this Observable have shape {tuple(w.shape)}, {self.field!r} here needs {wanted}")
        out = w.new_zeros(1, fields.count, *shape)
        out[0, c] = w.reshape(wanted)
        return out


def _inside(domain: Domain, lower: tuple[float, ...], upper: tuple[float, ...]) -> Bool[Tensor, "*X"]:
    coordinates, periods = _coordinates(domain)
    if not len(lower) == len(upper) == len(coordinates):
        raise ValueError(f"a region from {lower} to {upper} needs one number an axis; this {type(domain).__name__} has {len(coordinates)}")
    inside = torch.ones(domain.shape, dtype=torch.bool, device=coordinates[0].device)
    for x, period, lo, hi in zip(coordinates, periods, lower, upper, strict=True):
        inside &= (x >= lo) & (x < hi) if period is None else (x - lo) % period < hi - lo
    return inside


def _coordinates(domain: Domain) -> tuple[Sequence[Tensor], Sequence[float | None]]:
    """Of every point, one tensor an axis, and the periods."""
    domain = domain.box if isinstance(domain, Masked) else domain
    if isinstance(domain, Box):
        return domain.grid(), [n if kind == "periodic" else None for n, kind in zip(domain.lengths, domain.boundary, strict=True)]
    if isinstance(domain, Sphere | Patch):
        return torch.meshgrid(domain.coordinate(0), domain.coordinate(1), indexing="ij"), (None, 360.0)
    if isinstance(domain, Mesh):
        return domain.points.unbind(1), domain.periods
    raise ValueError(f"regions are known on a Box, a Sphere and a Mesh, not on {domain}")


def _interpolation(box: Box, axis: int, at: float) -> Float[Tensor, " n"]:
    """Weights that sum to 1 and interpolate to `at`; beyond the outermost points of a walled axis, theirs."""
    x, n = box.coordinate(axis), box.shape[axis]
    lo, hi = box.lower[axis], box.upper[axis]
    if not lo <= at <= hi:
        raise ValueError(f"a section at {at:g} does not lie in {lo:g}..{hi:g} of axis {axis}")
    i = int(torch.searchsorted(x, at, right=True)) - 1
    out = x.new_zeros(n)
    if box.boundary[axis] != "periodic" and not 0 <= i < n - 1:
        out[min(max(i, 0), n - 1)] = 1.0
        return out
    right = x[i + 1] if i + 1 < n else hi
    share = (at - x[i]) / (right - x[i])
    out[i] += 1 - share
    out[(i + 1) % n] += share
    return out


def _nested(values: Any) -> Any:
    return tuple(_nested(v) for v in values) if isinstance(values, list) else values
