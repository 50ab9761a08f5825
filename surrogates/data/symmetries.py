"""The symmetries that an equation really has: g with step(g u) = g step(u), from which new training windows are made.

    Translate     u(x) -> u(x - a), a whole points along axes that repeat; a multiple of the forcing's wave length where there is one
    Reflect       one coordinate changes its sign, and with it that component of vectors; half a wave's shift along another axis, if need be
    Turn          by a right angle or two, components with it
    Galilean      u(x, t) -> u(x - c t, t) + gain c

What `declared` says of the equations of this package is tested on their solvers. All act on the frames of a window alike (Galilean: on each
at its time) and on static fields, whose vectors turn too. Points stay points: nothing is interpolated but by Galilean, spectrally.
Source of the practice: Brandstetter, Welling and Worrall, Lie point symmetry data augmentation for neural PDE solvers, 2022,
https://arxiv.org/abs/2202.07643.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.data.windows import Batch
from surrogates.domains import Box, Sphere
from surrogates.domains.box import PERIODIC
from surrogates.errors import nearest
from surrogates.fields import Fields
from surrogates.noise import splitmix

KEY = 0x73796D6D  # of these draws
Grid = Box | Sphere


@runtime_checkable
class Symmetry(Protocol):
    """A group: its elements are drawn, and act on states (..., C, *X); `seconds` is the time of each frame where that matters."""

    def draw(self, grid: Grid, generator: torch.Generator) -> Any: ...
    def act(
        self, element: Any, u: Float[Tensor, "F C *X"], fields: Fields, grid: Grid, seconds: Float[Tensor, " F"]
    ) -> Float[Tensor, "F C *X"]: ...


@dataclass(frozen=True)
class Translate:
    """Along `axes` (all that repeat, unless given), by multiples of the length of one of `waves[a]` in the box: 0 for any shift."""

    axes: tuple[int, ...] | None = None
    waves: tuple[int, ...] = ()

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

    def draw(self, grid: Grid, generator: torch.Generator) -> float:
        return self.speed * float(2 * torch.rand((), generator=generator, dtype=torch.float64) - 1)

    def act(self, element: float, u: Tensor, fields: Fields, grid: Grid, seconds: Tensor) -> Tensor:
        assert isinstance(grid, Box)
        k = grid.wavenumbers(u.device, derivative=True)[0]
        turn = torch.exp(-1j * k * (element * seconds.to(u.device)).reshape(-1, 1, 1))
        moved: Tensor = torch.fft.irfft(torch.fft.rfft(u.double()) * turn, n=u.shape[-1])
        return (moved + self.gain * element).to(u.dtype)


@dataclass(frozen=True)
class Augment:
    """Batches under random elements of all of `symmetries`, one draw a row, keyed by (seed, step)."""

    symmetries: tuple[Symmetry, ...]
    fields: Fields
    static: Fields | None = None

    def __call__(self, batch: Batch, seed: int, step: int) -> Batch:
        c = batch.conditions
        grid, H = c.domain, batch.past.shape[1]
        assert isinstance(grid, Box | Sphere)
        generator = torch.Generator().manual_seed(splitmix(seed, KEY, step) >> 1)
        frames = torch.cat([batch.past, batch.future], 1)
        count = torch.arange(frames.shape[1], dtype=torch.float64) - (H - 1)
        static = None if c.static is None else c.static.clone()
        for b in range(len(batch)):
            for g in self.symmetries:
                element = g.draw(grid, generator)
                frames[b] = g.act(element, frames[b], self.fields, grid, count * c.dt[b])
                if static is not None and self.static is not None:
                    static[b] = g.act(element, static[b : b + 1], self.static, grid, count[:1] * 0)[0]
        return replace(batch, past=frames[:, :H], future=frames[:, H:], conditions=replace(c, static=static))


def declared(equation: str, parameters: Mapping[str, Sequence[float]] | None = None) -> dict[str, Symmetry]:
    """The symmetries of an equation of `surrogates.pde`, by names of their own, for the values that its parameters take; {} if unknown."""
    values = dict(parameters or {})
    line: dict[str, Symmetry] = {"translate": Translate(), "reflect": Reflect(0, flips=("u",)), "galilean": Galilean()}
    if equation in ("kuramoto_sivashinsky", "burgers"):
        return line
    if equation == "forced_burgers":  # in law: the noise knows no place and no side, but it stands still
        return {"translate": Translate(), "reflect": Reflect(0, flips=("u",))}
    if equation == "kdv":
        return {"translate": Translate(), "galilean": Galilean(gain=1 / 6)}
    plane: dict[str, Symmetry] = {"translate": Translate(), "reflect": Reflect(0), "reflect_y": Reflect(1), "turn": Turn()}
    if equation in ("gray_scott", "wave", "riemann2d", "kelvin_helmholtz"):
        return plane
    if equation == "isotropic_turbulence":
        return {**plane, "reflect_z": Reflect(2)}
    if equation == "filtered_turbulence":  # the stress is a tensor, which reflects but does not turn here
        return {**{k: g for k, g in plane.items() if k != "turn"}, "reflect_z": Reflect(2)}
    if equation == "rayleigh_benard":
        return {"translate": Translate((0,)), "reflect": Reflect(0)}
    if equation == "richtmyer_meshkov":
        return {"translate": Translate((1,)), "reflect_y": Reflect(1)}
    if equation == "channel":
        return {"translate": Translate((0,)), "reflect_y": Reflect(1)}
    if equation == "advection":
        return {"translate": Translate()}
    if equation in ("kolmogorov2d", "passive_scalar2d"):
        return _kolmogorov(values)
    if equation in ("shallow_water", "barotropic_jet"):
        return {"translate": Translate((1,)), "reflect": Reflect(0, flips=("vorticity",))}
    return {}


def _kolmogorov(values: Mapping[str, Sequence[float]]) -> dict[str, Symmetry]:
    """Forced by (A sin(k y), 0): any shift along x, whole waves along y, half a turn, and x -> -x with half a wave along y."""
    if not any(values.get("forcing", (1.0,))):
        return {"translate": Translate(), "reflect": Reflect(0), "turn": Turn()}
    waves = {round(w) for w in values.get("wavenumber", (4,))}
    if len(waves) > 1:
        return {"translate": Translate((0,)), "turn": Turn(2, tuple(sorted(waves)))}
    k = waves.pop()
    return {"translate": Translate((0, 1), (0, k)), "turn": Turn(2, (k,)), "reflect": Reflect(0, shift=(1, k))}


GENERAL: dict[str, Callable[[Grid, tuple[str, ...]], list[Symmetry]]] = {
    "translate": lambda grid, flips: [Translate()],
    "reflect": lambda grid, flips: [Reflect(a, flips) for a in range(grid.dim if isinstance(grid, Box) else 1)],
    "turn": lambda grid, flips: [Turn()],
}
"""What may be claimed by name for data whose equation is not known here; `flips` are the scalars that change sign in a reflection."""
PSEUDO = re.compile(r"(.*_)?(vorticity|stream_?function|helicity|coriolis|psi|zeta|omega|curl)(_.*)?")
COMPONENT = re.compile(r"[uvw]|[vum]_?[xyz]|.*_[xyz]")


def chosen(
    wanted: bool | Sequence[str],
    equation: str,
    parameters: Mapping[str, Sequence[float]],
    grid: object,
    static: Fields | None,
    forcing: Fields | None,
    *,
    fields: Fields | None = None,
    flips: Sequence[str] | None = None,
) -> tuple[Symmetry, ...]:
    """The symmetries to train with: all of the equation (True), or those named. Raises ValueError where they are not those of the data.

    `flips`, of data whose equation is not known: the scalars of `fields` and `static` that change sign in a reflection.
    """
    if not isinstance(grid, Box | Sphere):
        raise ValueError(f"augment works on a Box or a Sphere, whose symmetries are known, not on a {type(grid).__name__}; leave it out")
    if forcing is not None:
        raise ValueError("the data have forcings, which a symmetry of the equation alone does not leave as they are; leave augment out")
    known: dict[str, list[Symmetry]] = {name: [g] for name, g in declared(equation, parameters).items()}
    if not equation or not known:
        if wanted is True:
            which = f"the symmetries of {equation!r} are not known" if equation else "the data do not say which equation they solve"
            raise ValueError(f"{which}; name those that hold, such as augment: [translate], out of {list(GENERAL)}")
        scalars = [f.name for kind in (fields, static) for f in kind or () if not f.components]
        check_scalars(scalars, () if wanted is False else wanted, grid.dim, flips)
        known = {name: make(grid, tuple(flips or ())) for name, make in GENERAL.items()}
    elif flips is not None:
        raise ValueError(f"flips says which scalars of an unknown equation change sign, and those of {equation} are known; leave it out")
    names = list(known) if wanted is True else list(wanted or ())
    for name in names:
        if name not in known:
            raise ValueError(f"{equation or 'this equation'} has no symmetry {name!r} here; it has {list(known)}{nearest(name, known)}")
    out = tuple(g for name in names for g in known[name])
    if wanted is True:
        return tuple(g for g in out if fits(g, grid))
    for g in out:
        check(g, grid)
    return out


def check_scalars(scalars: Sequence[str], wanted: Sequence[str], dim: int, flips: Sequence[str] | None) -> None:
    """Raise ValueError for scalars whose names say that they may turn or change sign, where nobody says whether they do."""
    for name in flips or ():
        if name not in scalars:
            raise ValueError(
                f"flips names {name!r}, which is no scalar field of the data; they have {list(scalars)}{nearest(name, scalars)}"
            )
    if flips is not None:
        return
    parts = [name for name in scalars if COMPONENT.fullmatch(name.lower())]
    if parts and {"reflect", "turn"} & set(wanted):
        vector = f"declare the vector, such as fields: {{velocity: {parts}}} in source.yaml, or " if dim > 1 else ""
        raise ValueError(
            f"{parts} are scalars in these data, and their names are those of components, which reflections and turns change; {vector}say "
            f"`flips: {parts if dim == 1 else []}`, the scalars that change sign in a reflection"
        )
    pseudo = [name for name in scalars if PSEUDO.fullmatch(name.lower())]
    if pseudo and "reflect" in wanted:
        raise ValueError(f"{pseudo} may change sign in a reflection; say which scalars do: `flips: {pseudo}`, or `flips: []` for none")


def fits(g: Symmetry, grid: Grid) -> bool:
    """Whether a symmetry of the equation is one of the grid too."""
    try:
        check(g, grid)
    except ValueError:
        return False
    return True


def check(g: Symmetry, grid: Grid) -> None:
    """Raise ValueError for a grid that a symmetry does not map to itself."""
    if isinstance(g, Turn) and g.quarters % 2:
        square = (
            isinstance(grid, Box) and grid.dim > 1 and len({(*z,) for z in zip(grid.shape, grid.lengths, grid.boundary, strict=True)}) == 1
        )
        if not square or (isinstance(grid, Box) and any(grid.edges)):
            raise ValueError(f"quarter turns need a square box with equal cells and the same kind of ends on all sides, not {grid}")
    if isinstance(g, Turn) and g.odd and isinstance(grid, Box):
        check_odd(g.odd, grid)
    if isinstance(g, Reflect) and isinstance(grid, Box) and (e := grid.edges[g.axis]) is not None:
        widths = grid.widths(g.axis)
        if not torch.allclose(widths, widths.flip(0)):
            raise ValueError(f"axis {g.axis} is stretched unevenly ({e[0]} to {e[-1]}), so its mirror image is another grid")
    if isinstance(g, Galilean) and not (isinstance(grid, Box) and grid.dim == 1 and grid.all_periodic):
        raise ValueError(f"a Galilean frame moves along a periodic line here, not on {grid}")


def check_odd(odd: Sequence[int], box: Box) -> None:
    """Raise ValueError unless so many waves along axis 1, which begin at coordinate 0, are odd about point 0 of the box."""
    for waves in odd:
        half = 2 * waves * box.lower[1] / box.lengths[1]
        if abs(half - round(half)) > 1e-6:
            raise ValueError(
                f"a half turn about a point at {box.lower[1]:g} does not map a forcing of {waves} waves that begin at 0 to itself "
                "(averages of cells lie between the points of the fine grid); leave `turn` out, or coarsen by: spectral"
            )


def repeats(grid: Grid, axis: int) -> bool:
    """Whether an axis is a circle."""
    return axis == 1 if isinstance(grid, Sphere) else grid.boundary[axis] == PERIODIC


def mirrored(u: Tensor, axis: int, grid: Grid) -> Tensor:
    """The points of an axis in the other order: about point 0 of a circle, else about the middle."""
    dim = u.ndim - grid.dim + axis
    turned = u.flip(dim)
    return turned.roll(1, dim) if repeats(grid, axis) else turned


def quarter(u: Tensor, fields: Fields, grid: Grid) -> Tensor:
    """By a right angle from x to y: v(x, y) = R u(R^-1 (x, y)), with R (a, b) = (-b, a). Raises ValueError for tensors."""
    first = u.ndim - grid.dim
    u = mirrored(u.transpose(first, first + 1), 0, grid)
    parts = list(u.unbind(first - 1))
    for f in fields:
        span, levels = fields.slice(f.name), max(1, len(f.levels))
        if len(f.components) not in (0, grid.dim):
            raise ValueError(f"field {f.name!r} has components {f.components}; vectors and scalars turn here, tensors do not")
        for n in range(levels if f.components else 0):
            x, y = span.start + n, span.start + levels + n
            parts[x], parts[y] = -parts[y], parts[x]
    return torch.stack(parts, first - 1)


def signs(fields: Fields, axis: int, dim: int, flips: Sequence[str] = ()) -> Float[Tensor, " C"]:
    """What a reflection multiplies each channel with. Raises ValueError for components that are neither a vector's nor a tensor's."""
    out: list[float] = []
    for f in fields:
        levels, n = max(1, len(f.levels)), len(f.components)
        if n not in (0, dim, dim**2):
            raise ValueError(f"field {f.name!r} has {n} components in {dim} dimensions, of which it is not known how they reflect")
        own = [-1.0 if f.name in flips else 1.0] if not n else []
        for i in range(n):
            odd = (i == axis) if n == dim else (i // dim == axis) != (i % dim == axis)
            own.append(-1.0 if odd else 1.0)
        out += [s for s in own for _ in range(levels)]
    return torch.tensor(out, dtype=torch.float64)
