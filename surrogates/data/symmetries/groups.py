"""The elements of a group are drawn, and act on the frames of a window: shifts, reflections, right angles, moving frames.

    Translate     u(x) -> u(x - a), a whole points along axes that repeat; a multiple of the forcing's wave length where there is one
    Reflect       one coordinate changes its sign, and with it that component of vectors; half a wave's shift along another axis, if need be
    Turn          by a right angle or two, components with it
    Galilean      u(x, t) -> u(x - c t, t) + gain c

Points stay points: nothing is interpolated but by Galilean, spectrally.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.data.symmetries.mirror import Grid, mirrored, quarter, repeats, signs
from surrogates.domains import Box
from surrogates.fields import Fields


@runtime_checkable
class Symmetry(Protocol):
    """A group: its elements are drawn, and act on states (..., C, *X); `seconds` is the time of each frame where that matters.

    `check` raises ValueError for a grid that they do not map to itself.
    """

    def check(self, grid: Grid) -> None: ...
    def draw(self, grid: Grid, generator: torch.Generator) -> Any: ...
    def act(
        self, element: Any, u: Float[Tensor, "F C *X"], fields: Fields, grid: Grid, seconds: Float[Tensor, " F"]
    ) -> Float[Tensor, "F C *X"]: ...


@dataclass(frozen=True)
class Translate:
    """Along `axes` (all that repeat, unless given), by multiples of the length of one of `waves[a]` in the box: 0 for any shift."""

    axes: tuple[int, ...] | None = None
    waves: tuple[int, ...] = ()

    def check(self, grid: Grid) -> None:
        """Axes that do not repeat are left alone."""

    def draw(self, grid: Grid, generator: torch.Generator) -> tuple[int, ...]:
        out = [0] * grid.dim
        for a in range(grid.dim) if self.axes is None else self.axes:
            if not repeats(grid, a):
                continue
            wave = self.waves[a] if self.waves else 0
            places = gcd(grid.shape[a], wave) if wave else grid.shape[a]
            out[a] = int(torch.randint(places, (), generator=generator)) * (grid.shape[a] // places)
        return tuple(out)

    def act(self, element: tuple[int, ...], u: Tensor, fields: Fields, grid: Grid, seconds: Tensor) -> Tensor:
        return u.roll(element, tuple(range(u.ndim - grid.dim, u.ndim)))


@dataclass(frozen=True)
class Reflect:
    """Coordinate `axis` changes its sign, and the scalars `flips` do too; with `shift` = (axis, waves), half a wave's length along that."""

    axis: int = 0
    flips: tuple[str, ...] = ()
    shift: tuple[int, int] | None = None

    def check(self, grid: Grid) -> None:
        if isinstance(grid, Box) and (e := grid.edges[self.axis]) is not None:
            widths = grid.widths(self.axis)
            if not torch.allclose(widths, widths.flip(0)):
                raise ValueError(f"axis {self.axis} is stretched unevenly ({e[0]} to {e[-1]}), so its mirror image is another grid")

    def draw(self, grid: Grid, generator: torch.Generator) -> bool:
        if self.shift is not None and grid.shape[self.shift[0]] % (2 * self.shift[1]):
            return False  # half a wave is no whole number of points here
        return bool(torch.randint(2, (), generator=generator))

    def act(self, element: bool, u: Tensor, fields: Fields, grid: Grid, seconds: Tensor) -> Tensor:
        if not element:
            return u
        u = mirrored(u, self.axis, grid) * signs(fields, self.axis, grid.dim, self.flips).to(u).reshape(-1, *(1,) * grid.dim)
        if self.shift is not None:
            a, waves = self.shift
            u = u.roll(grid.shape[a] // (2 * waves), u.ndim - grid.dim + a)
        return u


@dataclass(frozen=True)
class Turn:
    """In the plane of axes 0 and 1 by multiples of `quarters` right angles: 1 on square boxes, 2 on any.

    `odd` are numbers of waves along axis 1, sines that begin at coordinate 0, which a half turn about a point must leave odd.
    """

    quarters: int = 1
    odd: tuple[int, ...] = ()

    def check(self, grid: Grid) -> None:
        if self.quarters % 2 and not (isinstance(grid, Box) and grid.dim > 1 and square(grid)):
            raise ValueError(f"quarter turns need a square box with equal cells and the same kind of ends on all sides, not {grid}")
        if not isinstance(grid, Box):
            return
        for waves in self.odd:
            half = 2 * waves * grid.lower[1] / grid.lengths[1]
            if abs(half - round(half)) > 1e-6:
                raise ValueError(
                    f"a half turn about a point at {grid.lower[1]:g} does not map a forcing of {waves} waves that begin at 0 to itself "
                    "(averages of cells lie between the points of the fine grid); leave `turn` out, or coarsen by: spectral"
                )

    def draw(self, grid: Grid, generator: torch.Generator) -> int:
        return self.quarters * int(torch.randint(4 // self.quarters, (), generator=generator))

    def act(self, element: int, u: Tensor, fields: Fields, grid: Grid, seconds: Tensor) -> Tensor:
        if element == 2:
            for axis in (0, 1):
                u = mirrored(u, axis, grid) * signs(fields, axis, grid.dim).to(u).reshape(-1, *(1,) * grid.dim)
            return u
        for _ in range(element):
            u = quarter(u, fields, grid)
        return u


@dataclass(frozen=True)
class Galilean:
    """On a periodic line: a frame that moves with c, |c| <= `speed`, of which the field gains `gain` c."""

    speed: float = 1.0
    gain: float = 1.0

    def check(self, grid: Grid) -> None:
        if not (isinstance(grid, Box) and grid.dim == 1 and grid.all_periodic):
            raise ValueError(f"a Galilean frame moves along a periodic line here, not on {grid}")

    def draw(self, grid: Grid, generator: torch.Generator) -> float:
        return self.speed * float(2 * torch.rand((), generator=generator, dtype=torch.float64) - 1)

    def act(self, element: float, u: Tensor, fields: Fields, grid: Grid, seconds: Tensor) -> Tensor:
        assert isinstance(grid, Box)
        k = grid.wavenumbers(u.device, derivative=True)[0]
        turn = torch.exp(-1j * k * (element * seconds.to(u.device)).reshape(-1, 1, 1))
        moved: Tensor = torch.fft.irfft(torch.fft.rfft(u.double()) * turn, n=u.shape[-1])
        return (moved + self.gain * element).to(u.dtype)


def square(box: Box) -> bool:
    """Whether all axes have the same length, number of points and kind of ends, and cells that are equal."""
    return len(set(zip(box.shape, box.lengths, box.boundary, strict=True))) == 1 and not any(box.edges)
