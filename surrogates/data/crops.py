"""Random pieces of large boxes to train on: one place a batch, keyed by (seed, step).

A network that looks at neighbourhoods (convolutions) learns from pieces what it needs for the whole. A piece keeps `halo` points at every
cut out of the loss (`surrogates.domains.crop`). It may wrap around a periodic axis; where it is as long as the axis, there is no cut. Its
cuts are open ends of walled axes (`Box.open_ends`): build networks with what walls need, and forecast on the whole box, which has its own
ends. Waves of a box have no place in a piece: Fourier operators learn those of the piece, which are others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import OF_TIME
from surrogates.data.windows import Batch
from surrogates.domains import Box, Masked
from surrogates.domains.box import PERIODIC, WALL
from surrogates.domains.crop import Crop
from surrogates.domains.layout import AnyDomain
from surrogates.noise import splitmix

KEY, TRIES = 0x63726F70, 64  # the key of these draws; how often a piece is drawn anew that holds no wet cell


@dataclass(frozen=True)
class Crops:
    """Pieces of `size` points an axis, with a `halo` of so many points at every cut.

    Raises ValueError for sizes below one or no wider than the halo; when it is applied, for a piece larger than the box, or another domain.
    """

    size: tuple[int, ...]
    halo: int = 0

    def __post_init__(self) -> None:
        if not self.size or min(self.size) < 1 or self.halo < 0 or min(self.size) <= 2 * self.halo:
            raise ValueError(f"pieces of {list(self.size)} points with a halo of {self.halo} hold nothing; the size counts the halo twice")

    def __call__(self, batch: Batch, seed: int, step: int) -> Batch:
        """The piece of a batch that step `step` sees."""
        domain = batch.conditions.domain
        check(self, domain)
        assert isinstance(domain, Box | Masked)
        for attempt in range(TRIES):
            first = self.place(domain, splitmix(seed, KEY, step, attempt))
            index = [torch.arange(a, a + n) % full for a, n, full in zip(first, self.size, domain.shape, strict=True)]
            piece = self.domain(domain, first, index)
            if piece is not None:
                break
        else:
            raise ValueError(f"{TRIES} random pieces of {list(self.size)} points hold no wet cell inside their halo; crop larger")
        c = batch.conditions
        if c.inflow is not None:
            raise ValueError(
                "an inflow enters through the boundary of the whole box, and a piece has cuts of its own; leave crop or inflow out"
            )
        static = None if c.static is None else cut(c.static, index)
        functions: dict[str, Any] = {name: None if getattr(c, name) is None else Cut(getattr(c, name), index) for name in OF_TIME}
        conditions = replace(c, domain=piece, static=static, **functions)
        return replace(batch, past=cut(batch.past, index), future=cut(batch.future, index), conditions=conditions)

    def place(self, domain: Box | Masked, key: int) -> list[int]:
        """The first point along every axis."""
        generator, out, box = torch.Generator().manual_seed(key >> 1), [], _box(domain)
        for n, size, kind in zip(box.shape, self.size, box.boundary, strict=True):
            places = 1 if n == size else n if kind == PERIODIC else n - size + 1
            out.append(int(torch.randint(places, (), generator=generator)))
        return out

    def domain(self, whole: Box | Masked, first: list[int], index: list[Tensor]) -> Crop | None:
        """The geometry of a piece; None where no cell of it counts."""
        box, halo = _box(whole), []
        lower, upper, boundary, edges = list(box.lower), list(box.upper), list(box.boundary), list(box.edges)
        ends = list(box.open_ends)
        for a, (start, n, full) in enumerate(zip(first, self.size, box.shape, strict=True)):
            at = (start > 0, start + n < full) if box.boundary[a] == WALL else (n < full, n < full)
            halo.append((self.halo * at[0], self.halo * at[1]))
            ends += [f"{box.axes[a]}_{side}" for side, cut_here in zip(("lower", "upper"), at, strict=True) if cut_here]
            if n == full:
                continue
            given = box.edges[a]
            if given is not None:
                edges[a] = given[start : start + n + 1]
                lower[a], upper[a] = given[start], given[start + n]
                continue
            h = box.spacing[a]
            back = 0.5 * h if box.boundary[a] == PERIODIC else 0.0  # points become centres of cells
            lower[a] = box.lower[a] + start * h - back
            upper[a], boundary[a] = lower[a] + n * h, WALL
        grid = Box(self.size, tuple(lower), tuple(upper), tuple(boundary), tuple(edges), box.units, tuple(ends))
        piece: Box | Masked = grid
        if isinstance(whole, Masked):
            wet = cut(whole.wet, index)
            if not bool(wet.any()):
                return None
            piece = Masked(grid, wet)
        crop = Crop(piece, tuple(halo))
        return crop if bool(crop.measure.any()) else None


@dataclass(frozen=True)
class Cut:
    """A function of time on the whole box, at the points of a piece."""

    whole: Callable[[Tensor], Tensor]
    index: list[Tensor]

    def __call__(self, t: Float[Tensor, " G"]) -> Float[Tensor, "G C *X"]:
        values = self.whole(t)
        return values if set(values.shape[2:]) == {1} else cut(values, self.index)

    def at_rows(self, index: Tensor) -> Cut:
        """The function of these rows."""
        return Cut(getattr(self.whole, "at_rows", lambda _: self.whole)(index), self.index)


def cut(u: Tensor, index: list[Tensor]) -> Tensor:
    """The points `index` of the last axes."""
    for a, at in enumerate(index):
        u = u.index_select(u.ndim - len(index) + a, at.to(u.device))
    return u


def check(crops: Crops, domain: AnyDomain | object) -> None:
    """Raise ValueError unless pieces of this size fit the domain."""
    if not isinstance(domain, Box | Masked) or not isinstance(_box(domain), Box):
        raise ValueError(f"pieces are cut from a Box, with land or without, not from a {type(domain).__name__}; leave crop out")
    if len(crops.size) != domain.dim or any(n > full for n, full in zip(crops.size, domain.shape, strict=True)):
        raise ValueError(f"pieces of {list(crops.size)} points do not fit a grid of {list(domain.shape)}")


def _box(domain: Box | Masked) -> Box:
    box = domain.box if isinstance(domain, Masked) else domain
    assert isinstance(box, Box)
    return box
