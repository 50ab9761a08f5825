"""What is kept of a forecast: which fields, where, how often, in which type; and diagnostics beside the fields or instead of them.

A frame is kept where its number n = 1, 2, ... is a multiple of `every`; a point where its coordinate lies in `region`, then every
`stride`-th of these. A region of a Box is a Box again, with walls around its outer points; of a Sphere, a Patch or a Mesh a part is no
domain, so a Dataset of it has coordinates and no attribute "domain". Longitudes and periodic axes are taken round the end: (-10, 30) is
Europe on a grid from 0 to 360.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surrogates.domains import Box, Masked, Mesh, Patch, Sphere, layout
from surrogates.domains.box import AXES, PERIODIC, WALL
from surrogates.domains.layout import AnyDomain
from surrogates.domains.sphere import POLES
from surrogates.errors import nearest
from surrogates.fields import Fields
from surrogates.forecast.diagnostics import Running, Series, diagnostic
from surrogates.record import recorded

TYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
COMPRESSIONS = (None, "zstd", "gzip", "blosc")


@recorded
@dataclass(frozen=True)
class Keep:
    """`fields` None: all, (): none. `region`: (lowest, highest) by coordinate. `diagnostics`: names, or objects (`forecast.diagnostics`).

    `dtype` and `compression` are those of the fields in a file: turbulence in float32 hardly compresses, and trying costs five times the
    write. Raises ValueError for what is unknown or below one.
    """

    fields: tuple[str, ...] | None = None
    region: Mapping[str, tuple[float | int, float | int]] = field(default_factory=dict)
    stride: int = 1
    every: int = 1
    diagnostics: tuple[str | Series | Running, ...] = ()
    dtype: str = "float32"
    compression: str | None = None

    def __post_init__(self) -> None:
        if self.stride < 1 or self.every < 1:
            raise ValueError(f"stride and every must be at least 1, got {self.stride} and {self.every}")
        if self.dtype not in TYPES:
            raise ValueError(f"dtype {self.dtype!r} is unknown; write one of {', '.join(TYPES)}")
        if self.compression not in COMPRESSIONS:
            raise ValueError(f"compression {self.compression!r} is unknown; write one of {', '.join(map(str, COMPRESSIONS))}")
        names = [type(diagnostic(d)).__name__ for d in self.diagnostics]
        if len(set(names)) < len(names):
            raise ValueError(f"a diagnostic is asked for twice: {', '.join(names)}")

    @property
    def thins(self) -> bool:
        """Whether a frame is kept in part only."""
        return self.fields is not None or bool(self.region) or self.stride > 1

    def of(self, fields: Fields) -> Fields:
        """The fields that are kept. Raises ValueError for one that is not among them."""
        if self.fields is None:
            return fields
        for name in self.fields:
            if name not in fields.names:
                raise ValueError(f"field {name!r} cannot be kept: the step makes {', '.join(fields.names)}{nearest(name, fields.names)}")
        return Fields(tuple(f for f in fields if f.name in self.fields))

    def points(self, domain: AnyDomain) -> dict[str, Int[Tensor, " n"]]:
        """Which points are kept, by dim, of dims that are cut. Raises ValueError for an axis or a region that is not there."""
        known = AXES[: domain.dim] if isinstance(domain, Mesh) else domain.axes
        for name in self.region:
            if name not in known:
                raise ValueError(f"region names {name!r} but the domain has the coordinates {', '.join(known)}{nearest(name, known)}")
        if isinstance(domain, Mesh):
            inside = torch.ones(domain.shape, dtype=torch.bool)
            for name, (low, high) in self.region.items():
                x = domain.points[:, AXES.index(name)].cpu()
                inside &= (x >= low) & (x <= high)
            cut = {layout.NODE: inside.nonzero()[:, 0]}
        else:
            cut = {name: self._along(domain, axis) for axis, name in enumerate(domain.axes)}
        cut = {name: index[:: self.stride] for name, index in cut.items()}
        for name, index in cut.items():
            if not len(index):
                raise ValueError(f"region {dict(self.region)} holds no point along {name!r}")
        sizes = dict(zip(layout.axes(domain), domain.shape, strict=True))
        return {name: index for name, index in cut.items() if len(index) < sizes[name] or not index.equal(torch.arange(sizes[name]))}

    def _along(self, domain: Box | Masked | Patch | Sphere, axis: int) -> Int[Tensor, " n"]:
        name, x = domain.axes[axis], domain.coordinate(axis)
        if name not in self.region:
            return torch.arange(len(x))
        low, high = self.region[name]
        period = _period(domain, axis)
        if period is None:
            return ((x >= low) & (x <= high)).nonzero()[:, 0]
        beyond = (x - low) % period
        inside = (beyond <= high - low).nonzero()[:, 0]
        return inside[beyond[inside].argsort()]


def coordinates(domain: AnyDomain, keep: Keep) -> tuple[dict[str, Any], AnyDomain | None]:
    """The coordinates of the points that are kept, and the domain that they are, None where they are none."""
    points, whole = keep.points(domain), layout.coords(domain)
    part = _part(domain, points, keep)
    if part is not None:
        return layout.coords(part), part
    if isinstance(domain, Mesh):
        index = points[layout.NODE].numpy()
        return {n: (dims, v[index], a) for n, (dims, v, a) in whole.items() if n in AXES}, None
    for axis, name in enumerate(domain.axes):
        if name in points:
            dims, _, attrs = whole[name]
            whole[name] = (dims, _unwrapped(domain, axis, points[name], keep).numpy(), attrs)
    return whole, None


def _period(domain: Box | Masked | Patch | Sphere, axis: int) -> float | None:
    box = domain.box if isinstance(domain, Masked) else domain
    if isinstance(box, Sphere):
        return 360.0 if axis == 1 else None
    return box.lengths[axis] if box.boundary[axis] == PERIODIC else None


def _unwrapped(domain: Box | Masked | Patch | Sphere, axis: int, index: Tensor, keep: Keep) -> Float[Tensor, " n"]:
    """The coordinates of these points, rising from the region's lower end on."""
    x, period = domain.coordinate(axis)[index], _period(domain, axis)
    if period is None or domain.axes[axis] not in keep.region:
        return x
    low = keep.region[domain.axes[axis]][0]
    return low + (x - low) % period


def _part(domain: AnyDomain, points: Mapping[str, Tensor], keep: Keep) -> AnyDomain | None:
    if not points:
        return domain
    if isinstance(domain, Sphere) and domain.grid == POLES and not keep.region:
        k, n = domain.shape
        whole = (k - 1) % keep.stride == 0 and n % keep.stride == 0
        return domain.with_shape(((k - 1) // keep.stride + 1, n // keep.stride)) if whole else None
    if not isinstance(domain, Box):
        return None
    axes = [_cut_axis(domain, axis, points.get(name), keep) for axis, name in enumerate(domain.axes)]
    if any(a is None for a in axes):
        return None
    shape, lower, upper, boundary, edges = zip(*(a for a in axes if a is not None), strict=True)
    ends = [f"{name}_{end}" for axis, name in enumerate(domain.axes) if name in points for end in _cuts(domain, axis, points[name], keep)]
    return replace(domain, shape=shape, lower=lower, upper=upper, boundary=boundary, edges=edges, open_ends=(*domain.open_ends, *ends))


def _cuts(box: Box, axis: int, index: Tensor, keep: Keep) -> list[str]:
    """At which ends something of an axis is left out: it is open there."""
    if box.axes[axis] not in keep.region:
        return ["lower", "upper"] if box.boundary[axis] == PERIODIC and box.shape[axis] % keep.stride else []
    around = box.boundary[axis] == PERIODIC
    beyond = {"lower": int(index[0]) > 0, "upper": int(index[-1]) + keep.stride < box.shape[axis]}
    return [end for end, some in beyond.items() if some or around]


def _cut_axis(box: Box, axis: int, index: Tensor | None, keep: Keep) -> tuple[Any, ...] | None:
    """(points, lower, upper, boundary, edges) of what is left of an axis; None where no cells lie around it."""
    n, s = box.shape[axis], keep.stride
    edges, kind = box.edges[axis], box.boundary[axis]
    if index is None:
        return n, box.lower[axis], box.upper[axis], kind, edges
    if kind == PERIODIC and box.axes[axis] not in keep.region and n % s == 0:
        return n // s, box.lower[axis], box.upper[axis], kind, None
    if edges is not None:
        if s > 1:
            return None
        mine = edges[int(index[0]) : int(index[-1]) + 2]
        return len(index), mine[0], mine[-1], WALL, mine
    half = s * box.spacing[axis] / 2
    x = _unwrapped(box, axis, index, keep)
    return len(index), float(x[0]) - half, float(x[-1]) + half, WALL, None
