"""The sections of a recipe, each checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from surrogates.data.distribution import Distribution
from surrogates.data.parse import parse
from surrogates.domains import Box, Sphere
from surrogates.domains.box import AXES, PERIODIC, WALL
from surrogates.domains.sphere import CELLS, GAUSS, GRIDS
from surrogates.errors import nearest


@dataclass(frozen=True)
class Space:
    """A periodic box [0, length) on each axis; with `walls` a `Layer` instead, with `radius` a `Globe`, with `upper` an `Interval`."""

    lengths: tuple[float, ...]
    units: str = "1"

    @classmethod
    def read(cls, entry: Any) -> Any:
        for key, kind in (("radius", Globe), ("upper", Interval), ("walls", Layer)):
            if isinstance(entry, Mapping) and key in entry:
                return parse(kind, entry, kind.__name__.lower())
        return NotImplemented

    @property
    def axes(self) -> str:
        return f"domain.lengths {list(self.lengths)}"

    @property
    def dim(self) -> int:
        return len(self.lengths)

    def box(self, resolution: tuple[int, ...]) -> Box:
        """Where frames are stored."""
        return Box.periodic(resolution, self.lengths, self.units)

    def solver(self, resolution: tuple[int, ...]) -> Box:
        """Where the solver works."""
        return self.box(resolution)


@dataclass(frozen=True)
class Globe:
    """A sphere. Solvers work on Gauss grids, frames are stored on `grid`."""

    radius: float
    units: str = "m"
    grid: str = CELLS
    north_first: bool = True
    axes: ClassVar[str] = "latitude and longitude"
    dim: ClassVar[int] = 2

    def __post_init__(self) -> None:
        positive(radius=self.radius)
        one_of("grid", self.grid, GRIDS)

    def box(self, resolution: tuple[int, ...]) -> Sphere:
        return Sphere(resolution, self.grid, self.north_first, radius=self.radius, units=self.units)

    def solver(self, resolution: tuple[int, ...]) -> Sphere:
        return Sphere(resolution, GAUSS, radius=self.radius, units=self.units)


@dataclass(frozen=True)
class Interval:
    """A line from `lower` to `upper` between walls, in equal cells."""

    lower: float
    upper: float
    units: str = "1"
    axes: ClassVar[str] = "the line"
    dim: ClassVar[int] = 1

    def box(self, resolution: tuple[int, ...]) -> Box:
        return Box(resolution, (self.lower,), (self.upper,), (WALL,), units=self.units)

    def solver(self, resolution: tuple[int, ...]) -> Box:
        return self.box(resolution)


@dataclass(frozen=True)
class Layer:
    """A box [0, length] on each axis, between walls on the axes that `walls` names ("y"), in equal cells; periodic on the others."""

    lengths: tuple[float, ...]
    walls: tuple[str, ...]
    units: str = "1"

    def __post_init__(self) -> None:
        for axis in self.walls:
            one_of("walls", axis, AXES[: self.dim])

    @property
    def axes(self) -> str:
        return f"domain.lengths {list(self.lengths)}"

    @property
    def dim(self) -> int:
        return len(self.lengths)

    def box(self, resolution: tuple[int, ...]) -> Box:
        kinds = tuple(WALL if axis in self.walls else PERIODIC for axis in AXES[: self.dim])
        return Box(resolution, (0.0,) * self.dim, self.lengths, kinds, units=self.units)

    def solver(self, resolution: tuple[int, ...]) -> Box:
        return self.box(resolution)


@dataclass(frozen=True)
class Solver:
    """The truth solver: its grid, its longest time step, its precision, and its scheme where the equation has a choice."""

    resolution: tuple[int, ...]
    dt: float
    dtype: str = "float64"
    scheme: str | None = None

    def __post_init__(self) -> None:
        positive(dt=self.dt)
        one_of("dtype", self.dtype, ("float32", "float64"))
        one_of("scheme", self.scheme or "etdrk4", ("etdrk2", "etdrk4"))


@dataclass(frozen=True)
class BurnIn:
    """What runs before the first frame: `time` with a solver of its own (coarse will do), then `settle` with the truth solver."""

    time: float
    solver: Solver
    settle: float = 0.0

    def __post_init__(self) -> None:
        if self.time < 0 or self.settle < 0:
            raise ValueError(f"burn-in times cannot be negative, got time={self.time}, settle={self.settle}")


@dataclass(frozen=True)
class Frames:
    """What is stored: `count` frames `step` time units apart on a grid `resolution`."""

    count: int
    step: float
    resolution: tuple[int, ...]

    def __post_init__(self) -> None:
        positive(step=self.step)
        if self.count < 2:
            raise ValueError(f"a trajectory has at least 2 frames, got count={self.count}")


@dataclass(frozen=True)
class Split:
    """How many trajectories, and distributions of its own for some parameters (a split by parameter range)."""

    trajectories: int
    parameters: Mapping[str, Distribution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.trajectories < 1:
            raise ValueError(f"a split has at least one trajectory, got {self.trajectories}; leave the split out instead")

    @classmethod
    def read(cls, entry: Any) -> Any:
        """From a count of trajectories."""
        if isinstance(entry, Mapping):
            return NotImplemented
        if isinstance(entry, bool) or not isinstance(entry, int):
            raise ValueError(f"expected a count of trajectories, or {{trajectories: 4, parameters: {{...}}}}, got {entry!r}")
        return cls(entry)


def keep_apart(parameters: Mapping[str, Distribution], splits: Mapping[str, Split]) -> None:
    """Raises ValueError where a split has a range for a parameter that is none, or one that meets that of another split."""
    for split, entry in splits.items():
        for name, own in entry.parameters.items():
            if name not in parameters:
                known = f"{list(parameters)}{nearest(name, parameters)}"
                raise ValueError(f"splits.{split}.parameters.{name} is not among the parameters {known}")
            for other, theirs in splits.items():
                (lo, hi), (a, b) = own.bounds, theirs.parameters.get(name, parameters[name]).bounds
                if other != split and lo <= b and a <= hi:
                    raise ValueError(
                        f"the ranges of {name!r} in the splits {split!r} [{lo:g}, {hi:g}] and {other!r} [{a:g}, {b:g}] overlap; "
                        "a split by parameter range keeps them apart"
                    )


@dataclass(frozen=True)
class Members:
    """Of an equation that draws noise: initial states of their own, each gone on from `count` times over `frames` frames, itself the
    first. What a forecast's members are compared with, beside the splits: `open_dataset(name, "members")`."""

    trajectories: int
    count: int
    frames: int

    def __post_init__(self) -> None:
        positive(trajectories=self.trajectories)
        if self.count < 2 or self.frames < 2:
            raise ValueError(f"members are at least 2, over at least 2 frames, got count={self.count}, frames={self.frames}")


@dataclass(frozen=True)
class Check:
    """The solver certificate: how many test trajectories are run again, for how long; `lyapunov` is the time over which the
    exponent is measured with the burn-in's solver in float64, 0 for an equation without chaos."""

    trajectories: int
    time: float
    lyapunov: float = 0.0

    def __post_init__(self) -> None:
        positive(trajectories=self.trajectories, time=self.time)
        if self.lyapunov < 0:
            raise ValueError(f"lyapunov cannot be negative, got {self.lyapunov}")


def positive(**values: int | float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is unknown; write one of {list(known)}{nearest(value, known)}")
