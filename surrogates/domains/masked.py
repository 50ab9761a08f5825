"""A Box of which only some cells are wet: a sea with land and islands, a channel with obstacles.

Fields keep the shape of the box, so that networks see a grid; what they hold in dry cells has no meaning, may be anything (missing values
of a file are often NaN), and enters no integral: the measure there is zero. A coast runs along the faces between wet and dry cells.
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


@dataclass(frozen=True, eq=False, repr=False)
class Masked:
    """Geometry of fields (B, C, *X) on the cells of `box` where `wet` is true. Equal where box and wet cells are.

    Raises ValueError for a `wet` of another shape than the box, or without a wet cell.
    """

    box: Box
    wet: Bool[Tensor, "*X"]

    def __post_init__(self) -> None:
        if tuple(self.wet.shape) != self.box.shape:
            raise ValueError(f"wet has shape {tuple(self.wet.shape)} but the box {self.box.shape}; one truth value a cell is needed")
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
        """Of the box."""
        return self.box.lengths

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
        """du/dx_axis by second-order differences, one-sided at coasts and walls; zero in dry cells and where no neighbour is wet."""
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
        """The box, and one bit a cell (1 is wet, the last axis first) in base 64."""
        return {"type": "masked", "box": self.box.to_json(), "wet": b64encode(self._bits).decode()}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Masked:
        if entry.get("type") != "masked":
            raise ValueError(f"a Masked domain is stored with type 'masked', got {entry.get('type')!r}")
        box, bits = Box.from_json(entry["box"]), np.frombuffer(b64decode(entry["wet"]), np.uint8)
        cells = prod(box.shape)
        if len(bits) != -(-cells // 8):
            raise ValueError(f"wet has {len(bits)} bytes but a box {box.shape} needs one bit for each of {cells} cells")
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
    box, n = domain.box, domain.shape[axis]
    before, after = domain.wet.roll(1, axis), domain.wet.roll(-1, axis)
    x = box.coordinate(axis)
    step = torch.cat([x.diff(), x.new_tensor([box.lengths[axis] - float(x[-1] - x[0])])])  # from each point to the next
    if box.boundary[axis] != PERIODIC:
        before.select(axis, 0).fill_(False)
        after.select(axis, n - 1).fill_(False)
    line = (-1, *(1,) * (domain.dim - 1 - axis))
    return before.to(device), after.to(device), step.roll(1).reshape(line).to(device, dtype), step.reshape(line).to(device, dtype)
