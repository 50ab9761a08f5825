"""A grid of which only some cells are wet: a sea with land and islands, a channel with obstacles, the part of the Earth that was observed.

Fields keep the shape of the grid (`box`: a Box, a Patch of the sphere or a whole Sphere), so that networks see a grid; what they hold in
dry cells has no meaning, may be anything (missing values of a file are often NaN), and enters no integral: the measure there is zero. A
coast runs along the faces between wet and dry cells; on a Sphere, coasts lie at the poles too, over which no difference is taken, and in a
row on a pole, where east is no direction, the eastward slope is 0.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from surrogates.domains.box import PERIODIC, Box
from surrogates.domains.kept import kept
from surrogates.domains.patch import Patch, on_pole
from surrogates.domains.sphere import Sphere

Grid = Box | Patch | Sphere
GRIDS: dict[Any, type[Box] | type[Patch] | type[Sphere]] = {"box": Box, "patch": Patch, "sphere": Sphere}


@dataclass(frozen=True, eq=False, repr=False)
class Masked:
    """Geometry of fields (B, C, *X) on the cells of `box` where `wet` is true. Equal where box and wet cells are.

    Raises ValueError for a `wet` of another shape than the box, or without a wet cell.
    """

    box: Grid
    wet: Bool[Tensor, "*X"]

    def __post_init__(self) -> None:
        if tuple(self.wet.shape) != self.box.shape:
            kind = type(self.box).__name__.lower()
            raise ValueError(f"wet has shape {tuple(self.wet.shape)} but the {kind} {self.box.shape}; one truth value a cell is needed")
        if not bool(self.wet.any()):
            raise ValueError("no cell is wet; true means water (or whatever flows), false means land")
        object.__setattr__(self, "wet", self.wet.detach().cpu().clone())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masked) and self.box == other.box and self._bits == other._bits

    def __hash__(self) -> int:
        return hash((self.box, self._bits))

    def __repr__(self) -> str:
        return f"Masked({len(self.cells)} of {self.wet.numel()} cells of {self.box})"

    # -- what every Domain has ---------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.box.shape

    @property
    def members(self) -> int:
        """Independent members in one batch row: always one on a grid, so G = B."""
        return 1

    @property
    def mask(self) -> Bool[Tensor, "*X"]:
        """Where fields mean something."""
        return self.wet

    @property
    def measure(self) -> Float[Tensor, "*X"]:
        """Volumes of wet cells, float64, in units^D; zero in dry ones."""
        return self.box.measure * self.wet

    def integral(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C"]:
        """The integral over the wet cells, in float64; NaN in dry ones does no harm."""
        self.check(u)
        volume, at = _wet(self, u.device)
        return u.double().flatten(2).index_select(2, at) @ volume

    def average(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C"]:
        """The mean over the wet cells, in float64."""
        return self.integral(u) / self.volume

    def expand(self, values: Float[Tensor, "B P"]) -> Float[Tensor, "B P *X"]:
        """A member's values, spread over its points, dry ones too (a view)."""
        return self.box.expand(values)

    # -- geometry ----------------------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        return self.box.dim

    @property
    def axes(self) -> tuple[str, ...]:
        return self.box.axes

    @property
    def units(self) -> str:
        return self.box.units

    @property
    def lengths(self) -> tuple[float, ...]:
        """Of the grid: in degrees where it lies on a sphere."""
        return (180.0, 360.0) if isinstance(self.box, Sphere) else self.box.lengths

    @cached_property
    def volume(self) -> float:
        """Of the wet cells."""
        return float(self.measure.sum())

    @cached_property
    def cells(self) -> Int[Tensor, " cell"]:
        """Which cells are wet, counted along the last axis first."""
        with kept():
            return self.wet.flatten().nonzero()[:, 0]

    def coordinate(self, axis: int) -> Float[Tensor, " n"]:
        """Points of one axis, float64."""
        return self.box.coordinate(axis)

    def check(self, u: Tensor) -> None:
        """Raise ValueError unless u is (B, C, *shape)."""
        self.box.check(u)

    def derivative(self, u: Float[Tensor, "B C *X"], axis: int) -> Float[Tensor, "B C *X"]:
        """The slope along an axis, a length (on a sphere to the north, then to the east), by second-order differences, one-sided at
        coasts and walls; zero in dry cells and where no neighbour is wet."""
        self.check(u)
        wet = self.wet.to(u.device)
        u = torch.where(wet, u, 0.0)
        before, after, back, ahead = _neighbours(self, axis, u.device, u.dtype)
        slope_back, slope_ahead = (u - u.roll(1, 2 + axis)) / back, (u.roll(-1, 2 + axis) - u) / ahead
        both = (back * slope_ahead + ahead * slope_back) / (back + ahead)
        one = torch.where(after, slope_ahead, torch.where(before, slope_back, 0.0))
        return torch.where(wet, torch.where(before & after, both, one), 0.0)

    def gradient(self, u: Float[Tensor, "B 1 *X"]) -> Float[Tensor, "B D *X"]:
        """The gradient of a scalar."""
        return torch.cat([self.derivative(u, axis) for axis in range(self.dim)], dim=1)

    # -- storage -----------------------------------------------------------------------------------------------

    @cached_property
    def _bits(self) -> bytes:
        return np.packbits(self.wet.numpy()).tobytes()

    def to_json(self) -> dict[str, Any]:
        """The grid, and one bit a cell (1 is wet, the last axis first) in base 64."""
        return {"type": "masked", "box": self.box.to_json(), "wet": b64encode(self._bits).decode()}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Masked:
        if entry.get("type") != "masked":
            raise ValueError(f"a Masked domain is stored with type 'masked', got {entry.get('type')!r}")
        kind = entry["box"].get("type")
        if kind not in GRIDS:
            raise ValueError(f"a Masked domain lies on one of {list(GRIDS)}, got {kind!r}")
        box, bits = GRIDS[kind].from_json(entry["box"]), np.frombuffer(b64decode(entry["wet"]), np.uint8)
        cells = prod(box.shape)
        if len(bits) != -(-cells // 8):
            raise ValueError(f"wet has {len(bits)} bytes but a {kind} {box.shape} needs one bit for each of {cells} cells")
        return cls(box, torch.from_numpy(np.unpackbits(bits, count=cells).astype(bool)).reshape(box.shape))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _wet(domain: Masked, device: torch.device) -> tuple[Tensor, Tensor]:
    """Volumes and places of the wet cells."""
    return domain.box.measure[domain.wet].to(device), domain.cells.to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _neighbours(domain: Masked, axis: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Whether the neighbours before and after along an axis are wet, and how far away they lie."""
    n = domain.shape[axis]
    before, after = domain.wet.roll(1, axis), domain.wet.roll(-1, axis)
    step = steps(domain.box, axis)
    if not goes_round(domain.box, axis):
        before.select(axis, 0).fill_(False)
        after.select(axis, n - 1).fill_(False)
    if axis == 1 and not isinstance(domain.box, Box):
        lat = domain.box.coordinate(0)
        off = ~on_pole(lat, 180.0 / len(lat) if isinstance(domain.box, Sphere) else domain.box.spacing[0])[:, None]
        before, after = before & off, after & off
    back = step.roll(1, axis - domain.dim)
    return before.to(device), after.to(device), back.to(device, dtype), step.to(device, dtype)


def goes_round(grid: Grid, axis: int) -> bool:
    """Whether the last point of an axis has the first for a neighbour."""
    return axis % 2 == 1 if isinstance(grid, Sphere) else grid.boundary[axis] == PERIODIC


def steps(grid: Grid, axis: int) -> Float[Tensor, "*Y"]:
    """How far it is from each point to the next along an axis (from the last: to the first beyond the end), broadcastable to the grid;
    negative where latitudes fall."""
    x = grid.coordinate(axis)
    size = 360.0 if isinstance(grid, Sphere) else grid.lengths[axis]
    step = torch.cat([x.diff(), x.new_tensor([size - float(x[-1] - x[0])])]).reshape(-1, *(1,) * (grid.dim - 1 - axis))
    if isinstance(grid, Box):
        return step
    arc = torch.deg2rad(step) * grid.radius
    return arc if axis == 0 else arc[None] * torch.deg2rad(grid.coordinate(0)).cos().clamp_min(1e-9)[:, None]
