"""A tensor-product box in 1-3 dimensions, each axis periodic or walled.

Periodic axes hold N points lower + i h, h = (upper - lower)/N: the end point is the first point again and is never stored.
Walled axes hold the centres of N cells between `edges` (equal cells unless edges are given). The measure of a cell is the
product of its widths, and every integral and average is taken with it, in float64.

A walled axis has two ends, "x_lower" and "x_upper". `open_ends` names those that are no walls: something passes them (an inlet, an outlet,
a value that is held there, the cut of a larger box). Points lie as between walls; laws and heads know that what is inside is not all.

Spectral derivatives use i k with the *derivative wavenumber* zeroed at the Nyquist index of an even axis: its sine is not
represented there, so the derivative of a real field stays real and a projection built on it stays idempotent.
Walled axes are differentiated by second-order differences at the cell centres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains.regular import Regular

PERIODIC, WALL, OPEN = "periodic", "wall", "open"
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Box(Regular):
    """Geometry of fields (B, C, *X) on a box. Lengths are in `units`; `edges` stretch a walled axis, None elsewhere; `open_ends` are kept
    in the order of `ends`. Raises ValueError for what does not fit together."""

    shape: tuple[int, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    boundary: tuple[str, ...]
    edges: tuple[tuple[float, ...] | None, ...] = ()
    units: str = "1"
    open_ends: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        d = len(self.shape)
        if not 1 <= d <= 3:
            raise ValueError(f"a Box has 1 to 3 axes, got shape {self.shape}")
        if not self.edges:
            object.__setattr__(self, "edges", (None,) * d)
        for name in ("lower", "upper", "boundary", "edges"):
            if len(getattr(self, name)) != d:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries but shape {self.shape} has {d} axes")
        for n, lo, hi, kind, edges in zip(self.shape, self.lower, self.upper, self.boundary, self.edges, strict=True):
            if kind not in (PERIODIC, WALL):
                hint = ", and name the ends that are open: open_ends=('x_lower', 'x_upper')" if kind == OPEN else ""
                raise ValueError(f"boundary {kind!r} is unknown; write 'periodic' or 'wall'{hint}")
            if n < 1 or not hi > lo:
                raise ValueError(f"an axis needs at least one point and upper > lower, got {n} points on [{lo}, {hi}]")
            if edges is not None:
                self._check_edges(n, lo, hi, kind, edges)
        if self.open_ends:
            unknown = sorted(set(self.open_ends) - set(self.ends))
            if unknown:
                known = ", ".join(self.ends) or "none, as it repeats on every axis"
                raise ValueError(f"open end {unknown[0]!r} is not among the ends of this Box: {known}")
            object.__setattr__(self, "open_ends", tuple(end for end in self.ends if end in self.open_ends))

    @staticmethod
    def _check_edges(n: int, lo: float, hi: float, kind: str, edges: tuple[float, ...]) -> None:
        rising = all(b > a for a, b in pairwise(edges))
        if kind != WALL or len(edges) != n + 1 or not rising or (edges[0], edges[-1]) != (lo, hi):
            raise ValueError(f"edges must be {n + 1} rising numbers from {lo} to {hi} on a walled axis")

    @classmethod
    def periodic(cls, shape: Sequence[int], lengths: float | Sequence[float], units: str = "1") -> Box:
        """[0, L) in every direction."""
        sizes = tuple(float(v) for v in lengths) if isinstance(lengths, Sequence) else (float(lengths),) * len(shape)
        return cls(tuple(shape), (0.0,) * len(shape), sizes, (PERIODIC,) * len(shape), units=units)

    def measured(self, device: torch.device) -> Float[Tensor, "*X"]:
        """Cell volumes, float64, in units^D; made once for a device, and not to be written to."""
        return _measure(self, device)

    @property
    def total(self) -> float:
        return self.volume

    # -- geometry ----------------------------------------------------------------------------------------------

    @property
    def axes(self) -> tuple[str, ...]:
        return AXES[: self.dim]

    @property
    def lengths(self) -> tuple[float, ...]:
        return tuple(hi - lo for lo, hi in zip(self.lower, self.upper, strict=True))

    @property
    def volume(self) -> float:
        return prod(self.lengths)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Mean point distance per axis."""
        return tuple(length / n for length, n in zip(self.lengths, self.shape, strict=True))

    @property
    def all_periodic(self) -> bool:
        return all(kind == PERIODIC for kind in self.boundary)

    @property
    def ends(self) -> tuple[str, ...]:
        """x_lower, x_upper, y_lower and so on, of the axes that do not repeat."""
        walled = [name for name, kind in zip(self.axes, self.boundary, strict=True) if kind != PERIODIC]
        return tuple(f"{name}_{end}" for name in walled for end in ("lower", "upper"))

    @property
    def sides(self) -> tuple[tuple[str, str], ...]:
        """What lies at the lower and the upper end of each axis: "periodic", "wall" or "open"."""
        return tuple(
            (kind, kind) if kind == PERIODIC else (self._side(f"{name}_lower"), self._side(f"{name}_upper"))
            for name, kind in zip(self.axes, self.boundary, strict=True)
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The same in words, one an axis, such as "wall to open"."""
        return tuple(low if low == up else f"{low} to {up}" for low, up in self.sides)

    def _side(self, end: str) -> str:
        return OPEN if end in self.open_ends else WALL

    def coordinate(self, axis: int) -> Float[Tensor, " n"]:
        """Points of one axis, float64."""
        n, lo, h = self.shape[axis], self.lower[axis], self.spacing[axis]
        edges = self.edges[axis]
        if edges is not None:
            e = torch.tensor(edges, dtype=torch.float64)
            return (e[1:] + e[:-1]) / 2
        offset = 0.0 if self.boundary[axis] == PERIODIC else 0.5
        return lo + (torch.arange(n, dtype=torch.float64) + offset) * h

    def widths(self, axis: int) -> Float[Tensor, " n"]:
        """Cell widths of one axis, float64."""
        edges = self.edges[axis]
        if edges is not None:
            return torch.tensor(edges, dtype=torch.float64).diff()
        return torch.full((self.shape[axis],), self.spacing[axis], dtype=torch.float64)

    def grid(self) -> tuple[Float[Tensor, "*X"], ...]:
        """Coordinates of every point, one tensor an axis, float64."""
        return tuple(torch.meshgrid(*(self.coordinate(a) for a in range(self.dim)), indexing="ij"))

    def with_shape(self, shape: Sequence[int]) -> Box:
        """The same box at another resolution (equal cells only)."""
        if any(e is not None for e in self.edges):
            raise ValueError("a stretched Box has no other resolution; give the edges of the new one instead")
        return replace(self, shape=tuple(shape))

    # -- spectra -----------------------------------------------------------------------------------------------

    def wavenumbers(self, device: torch.device | str = "cpu", *, derivative: bool = False) -> tuple[Tensor, ...]:
        """2 pi / L times the integers of the rfftn layout, float64, broadcastable; `derivative` zeroes even Nyquists.

        Raises ValueError on a walled axis, which has none.
        """
        if not self.all_periodic:
            raise ValueError(f"wavenumbers need periodic axes, this Box has {self.boundary}")
        return _wavenumbers(self, torch.device(device), derivative)

    def derivative(self, u: Float[Tensor, "B C *X"], axis: int, order: int = 1) -> Float[Tensor, "B C *X"]:
        """d^order u / dx_axis^order: spectral on a periodic axis, second-order differences on a walled one."""
        self.check(u)
        if self.boundary[axis] != PERIODIC:
            x = self.coordinate(axis).to(u.device, u.dtype)
            for _ in range(order):
                (u,) = torch.gradient(u, spacing=(x,), dim=2 + axis)
            return u
        n = self.shape[axis]
        k = torch.fft.rfftfreq(n, self.lengths[axis] / (2 * torch.pi * n), dtype=torch.float64, device=u.device)
        if n % 2 == 0 and order % 2:
            k[-1] = 0
        symbol = ((1j * k) ** order).to(u.dtype.to_complex()).reshape(-1, *(1,) * (self.dim - 1 - axis))
        derivative: Tensor = torch.fft.irfft(torch.fft.rfft(u, dim=2 + axis) * symbol, n=n, dim=2 + axis)
        return derivative

    def gradient(self, u: Float[Tensor, "B 1 *X"]) -> Float[Tensor, "B D *X"]:
        """The gradient of a scalar."""
        return torch.cat([self.derivative(u, axis) for axis in range(self.dim)], dim=1)

    def divergence(self, u: Float[Tensor, "B D *X"]) -> Float[Tensor, "B 1 *X"]:
        """The divergence of a vector, components in the order of the axes."""
        return torch.stack([self.derivative(u[:, a : a + 1], a) for a in range(self.dim)]).sum(0)

    def laplacian(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C *X"]:
        """Sum of second derivatives."""
        return torch.stack([self.derivative(u, a, order=2) for a in range(self.dim)]).sum(0)

    def vorticity(self, u: Float[Tensor, "B 2 *X"]) -> Float[Tensor, "B 1 *X"]:
        """dv/dx - du/dy of a plane velocity. Raises ValueError in other dimensions."""
        if self.dim != 2:
            raise ValueError(f"vorticity is a scalar in two dimensions; this Box has {self.dim}")
        return self.derivative(u[:, 1:2], 0) - self.derivative(u[:, 0:1], 1)

    def resample(self, u: Float[Tensor, "B C *X"], shape: Sequence[int]) -> Float[Tensor, "B C *Y"]:
        """Spectral restriction or interpolation to another resolution of a periodic box; means are kept exactly.

        Modes at or above the smaller Nyquist are dropped, so restriction after interpolation is the identity on
        fields without a Nyquist mode.
        """
        self.check(u)
        if not self.all_periodic:
            raise ValueError(f"spectral resampling needs periodic axes, this Box has {self.boundary}")
        if tuple(shape) == self.shape:
            return u
        dims = tuple(range(2, 2 + self.dim))
        spectrum = resize_spectrum(torch.fft.rfftn(u, dim=dims, norm="forward"), self.shape, tuple(shape))
        resampled: Tensor = torch.fft.irfftn(spectrum, s=tuple(shape), dim=dims, norm="forward")
        return resampled

    # -- storage -----------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {
            "type": "box",
            "shape": list(self.shape),
            "lower": list(self.lower),
            "upper": list(self.upper),
            "boundary": list(self.boundary),
            "edges": [None if e is None else list(e) for e in self.edges],
            "units": self.units,
            **({"open_ends": list(self.open_ends)} if self.open_ends else {}),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Box:
        if entry.get("type") != "box":
            raise ValueError(f"a Box is stored with type 'box', got {entry.get('type')!r}")
        return cls(
            tuple(entry["shape"]),
            tuple(float(v) for v in entry["lower"]),
            tuple(float(v) for v in entry["upper"]),
            tuple(entry["boundary"]),
            tuple(None if e is None else tuple(float(v) for v in e) for e in entry["edges"]),
            entry["units"],
            tuple(entry.get("open_ends", ())),
        )


def resize_spectrum(spectrum: Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Cut or zero-pad an rfftn spectrum (..., *K), norm "forward", from grid `old` to grid `new`; shared Nyquists are dropped."""
    d = len(old)
    out = spectrum
    for axis, (n, m) in enumerate(zip(old, new, strict=True)):
        dim = out.ndim - d + axis
        keep = (min(n, m) - 1) // 2
        half = axis == d - 1
        size = m // 2 + 1 if half else m
        target = out.new_zeros(*out.shape[:dim], size, *out.shape[dim + 1 :])
        target.narrow(dim, 0, keep + 1).copy_(out.narrow(dim, 0, keep + 1))
        if not half and keep:
            target.narrow(dim, size - keep, keep).copy_(out.narrow(dim, out.shape[dim] - keep, keep))
        out = target
    return out


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _measure(box: Box, device: torch.device) -> Tensor:
    out = torch.ones((), dtype=torch.float64)
    for axis in range(box.dim):
        out = out[..., None] * box.widths(axis)
    return out.to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _wavenumbers(box: Box, device: torch.device, derivative: bool) -> tuple[Tensor, ...]:
    out = []
    for axis, (n, length) in enumerate(zip(box.shape, box.lengths, strict=True)):
        last = axis == box.dim - 1
        integers = torch.fft.rfftfreq(n, 1 / n, dtype=torch.float64) if last else torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
        if derivative and n % 2 == 0:
            integers[n // 2] = 0
        k = integers * (2 * torch.pi / length)
        out.append(k.reshape(-1, *(1,) * (box.dim - 1 - axis)).to(device))
    return tuple(out)
