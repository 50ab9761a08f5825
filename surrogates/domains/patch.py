"""A part of a sphere between two parallels and two meridians, on a grid of equal steps in latitude and longitude.

Values lie at the centres of K x N cells whose outer borders are `south`, `north`, `west` and `east` in degrees; the measure of a cell is

    R^2 dlambda (sin phi_upper - sin phi_lower)

and sums to the area of the part. Where east - west = 360 the longitudes are a circle and go round; the other borders are open. A row of
points on a pole is the centre of a cell that ends there: its border may lie up to half a step beyond +-90 degrees and is cut at the pole.

Derivatives are second-order differences along parallels and meridians, one-sided at the borders; in a row on a pole, where east is no
direction and the parallel has no length, the eastward one is 0. Vectors are northward, then eastward, in
the order of the axes, whichever way up the rows are stored, as on a `Sphere`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.domains.box import PERIODIC, WALL, Box
from surrogates.domains.regular import Regular

FULL_CIRCLE = 360.0


@dataclass(frozen=True)
class Patch(Regular):
    """Geometry of fields (B, C, lat, lon). Borders in degrees; `radius` in `units` (of the Earth: 6.37122e6 m).

    Raises ValueError for borders that are out of order or beyond a pole by more than half a step.
    """

    shape: tuple[int, ...]
    south: float
    north: float
    west: float
    east: float
    north_first: bool = False
    radius: float = 1.0
    units: str = "1"

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ValueError(f"a Patch has shape (lat, lon), at least (1, 1), got {self.shape}")
        borders = (self.south, self.north, self.west, self.east)
        if not all(map(isfinite, borders)) or not self.south < self.north or not self.west < self.east <= self.west + FULL_CIRCLE + 1e-9:
            raise ValueError(f"a Patch needs south < north and west < east <= west + 360 degrees, got {borders}")
        reach = 90 + (self.north - self.south) / self.shape[0] / 2 + 1e-9
        if max(-self.south, self.north) > reach:
            raise ValueError(f"the borders {self.south} to {self.north} lie beyond a pole; a cell around a pole ends half a step beyond it")
        if not (self.radius > 0 and isfinite(self.radius)):
            raise ValueError(f"a Patch needs a positive radius, got {self.radius}")

    def measured(self, device: torch.device) -> Float[Tensor, "lat lon"]:
        """Cell areas, float64, in units^2; made once for a device, and not to be written to."""
        return _measure(self, device)

    @property
    def total(self) -> float:
        return self.area

    # -- geometry ----------------------------------------------------------------------------------------------

    @property
    def axes(self) -> tuple[str, ...]:
        return ("lat", "lon")

    @property
    def boundary(self) -> tuple[str, str]:
        """ "periodic" along a full circle of longitudes, else "wall", as a Box calls an axis that ends."""
        return (WALL, PERIODIC if self.east - self.west > FULL_CIRCLE - 1e-9 else WALL)

    @property
    def lengths(self) -> tuple[float, float]:
        """The sides, in degrees."""
        return (self.north - self.south, self.east - self.west)

    @property
    def spacing(self) -> tuple[float, float]:
        """The steps, in degrees."""
        return (self.lengths[0] / self.shape[0], self.lengths[1] / self.shape[1])

    @property
    def area(self) -> float:
        return float(self.measure.sum())

    @property
    def flat(self) -> Box:
        """A Box of the same points in degrees: what a network for plane grids sees. It has no metric, so nothing is integrated on it."""
        return Box(self.shape, (self.south, self.west), (self.north, self.east), self.boundary, units="degrees")

    def coordinate(self, axis: int) -> Float[Tensor, " n"]:
        """Latitudes (axis 0) or longitudes (axis 1) in degrees, float64; longitudes go on from `west` and are not wrapped."""
        lower = self.west if axis % 2 else self.south
        x = lower + (torch.arange(self.shape[axis % 2], dtype=torch.float64) + 0.5) * self.spacing[axis % 2]
        return x.flip(0) if axis % 2 == 0 and self.north_first else x

    def with_shape(self, shape: Sequence[int]) -> Patch:
        """The same part at another resolution."""
        return replace(self, shape=tuple(shape))

    # -- calculus ----------------------------------------------------------------------------------------------

    def derivative(self, u: Float[Tensor, "B C lat lon"], axis: int) -> Float[Tensor, "B C lat lon"]:
        """The component of a scalar's gradient to the north (axis 0) or to the east (axis 1), a length.

        Zero along an axis of one point, and to the east on a pole.
        """
        self.check(u)
        if self.shape[axis % 2] == 1:
            return torch.zeros_like(u)
        step = torch.deg2rad(torch.tensor(self.spacing[axis % 2], dtype=torch.float64)).item() * self.radius
        if axis % 2 == 0:
            (slope,) = torch.gradient(u, spacing=-step if self.north_first else step, dim=2)
            return slope
        if self.boundary[1] == PERIODIC:
            slope = (u.roll(-1, 3) - u.roll(1, 3)) / (2 * step)
        else:
            (slope,) = torch.gradient(u, spacing=step, dim=3)
        phi = self.coordinate(0)
        longer = torch.where(on_pole(phi, self.spacing[0]), 0.0, 1 / torch.deg2rad(phi).cos())
        return slope * longer.to(u.device, u.dtype)[:, None]

    def gradient(self, u: Float[Tensor, "B 1 lat lon"]) -> Float[Tensor, "B 2 lat lon"]:
        """The gradient of a scalar: northward, then eastward, in the order of the axes."""
        return torch.cat([self.derivative(u, 0), self.derivative(u, 1)], dim=1)

    # -- storage -----------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        borders = {"south": self.south, "north": self.north, "west": self.west, "east": self.east}
        return {
            "type": "patch",
            "shape": list(self.shape),
            **borders,
            "north_first": self.north_first,
            "radius": self.radius,
            "units": self.units,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Patch:
        if entry.get("type") != "patch":
            raise ValueError(f"a Patch is stored with type 'patch', got {entry.get('type')!r}")
        south, north, west, east = (float(entry[side]) for side in ("south", "north", "west", "east"))
        return cls(tuple(entry["shape"]), south, north, west, east, bool(entry["north_first"]), float(entry["radius"]), entry["units"])


def on_pole(latitudes: Float[Tensor, " lat"], step: float) -> Bool[Tensor, " lat"]:
    """Which rows, in degrees, lie on a pole: closer than a quarter of a step (the first row of whole cells lies half a step away)."""
    return latitudes.abs() > 90.0 - step / 4


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _measure(patch: Patch, device: torch.device) -> Tensor:
    rows, columns = patch.shape
    border = patch.south + torch.arange(rows + 1, dtype=torch.float64) * patch.spacing[0]
    band = torch.deg2rad(border.clamp(-90.0, 90.0)).sin().diff()
    band = band.flip(0) if patch.north_first else band
    turn = torch.deg2rad(torch.tensor(patch.spacing[1], dtype=torch.float64))
    return (band * turn * patch.radius**2)[:, None].expand(rows, columns).contiguous().to(device)
