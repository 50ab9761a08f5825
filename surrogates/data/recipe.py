"""A recipe says everything that decides the bits of a data set: equation, parameters, solver, burn-in, frames, splits and seed.

It is read from `recipe.yaml` into frozen dataclasses. `sizes` holds changes laid over the rest: `tiny` for tests, `small` for an
afternoon, `full` for results. Trajectory i of a recipe always has the same parameters and initial state, whatever the others are:
both are drawn from a generator keyed by (seed, i). Splits are by trajectory, or by parameter range where a split has a
distribution of its own for a parameter; such ranges must not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surrogates import catalog
from surrogates.data.parse import load_yaml, merge, parse
from surrogates.domains import Box
from surrogates.errors import nearest
from surrogates.noise import splitmix

SIZES = ("tiny", "small", "full")
SPLITS = ("train", "valid", "test")
KINDS = ("constant", "uniform", "log_uniform", "choice")
MAY_VANISH = ("drag", "forcing")


@dataclass(frozen=True)
class Distribution:
    """One parameter: a number, or `{uniform: [a, b]}`, `{log_uniform: [a, b]}`, `{choice: [a, b, ...]}`."""

    kind: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"distribution {self.kind!r} is unknown; the distributions are {list(KINDS)}{nearest(self.kind, KINDS)}")
        if not all(math.isfinite(v) and v >= 0 for v in self.values) or not self.values:
            raise ValueError(f"coefficients are finite and not negative, got {list(self.values)}; the equation holds the sign")
        if self.kind.endswith("uniform") and not (len(self.values) == 2 and self.values[0] < self.values[1]):
            raise ValueError(f"{self.kind} takes [lower, upper] with lower < upper, got {list(self.values)}")
        if self.kind == "log_uniform" and self.values[0] <= 0:
            raise ValueError(f"log_uniform needs a positive lower end, got {self.values[0]}")

    @classmethod
    def read(cls, entry: Any) -> Distribution:
        """From a number or a mapping of one kind to its values. Raises ValueError for anything else."""
        if isinstance(entry, Mapping) and len(entry) == 1:
            kind, values = next(iter(entry.items()))
            values = values if isinstance(values, list | tuple) else [values]
        else:
            kind, values = "constant", [entry]
        try:
            return cls(str(kind), tuple(float(v) for v in values))
        except TypeError as error:
            raise ValueError(f"expected a number or a mapping such as {{uniform: [1.0e-3, 2.0e-3]}}, got {entry!r}") from error

    @property
    def bounds(self) -> tuple[float, float]:
        return min(self.values), max(self.values)

    def draw(self, key: int) -> float:
        """The value that belongs to `key`."""
        p = np.random.default_rng(key).random()
        if self.kind == "uniform":
            return self.values[0] + p * (self.values[1] - self.values[0])
        if self.kind == "log_uniform":
            return float(self.values[0] * (self.values[1] / self.values[0]) ** p)
        return self.values[int(p * len(self.values))]


@dataclass(frozen=True)
class Space:
    """A periodic box [0, length) on each axis."""

    lengths: tuple[float, ...]
    units: str = "1"

    def box(self, resolution: tuple[int, ...]) -> Box:
        return Box.periodic(resolution, self.lengths, self.units)


@dataclass(frozen=True)
class Solver:
    """The truth solver: its grid, its longest time step, its precision and its scheme."""

    resolution: tuple[int, ...]
    dt: float
    dtype: str = "float64"
    scheme: str = "etdrk4"

    def __post_init__(self) -> None:
        _positive(dt=self.dt)
        _one_of("dtype", self.dtype, ("float32", "float64"))
        _one_of("scheme", self.scheme, ("etdrk2", "etdrk4"))


@dataclass(frozen=True)
class BurnIn:
    """What runs before the first frame: `time` on a grid of its own, then `settle` on the solver's."""

    time: float
    resolution: tuple[int, ...]
    dt: float
    settle: float = 0.0

    def __post_init__(self) -> None:
        _positive(dt=self.dt)
        if self.time < 0 or self.settle < 0:
            raise ValueError(f"burn-in times cannot be negative, got time={self.time}, settle={self.settle}")


@dataclass(frozen=True)
class Frames:
    """What is stored: `count` frames `step` time units apart on a grid `resolution`."""

    count: int
    step: float
    resolution: tuple[int, ...]

    def __post_init__(self) -> None:
        _positive(step=self.step)
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
    def read(cls, entry: Any) -> Split:
        if isinstance(entry, bool) or not isinstance(entry, int):
            raise ValueError(f"expected a count of trajectories, or {{trajectories: 4, parameters: {{...}}}}, got {entry!r}")
        return cls(entry)


@dataclass(frozen=True)
class Check:
    """The solver certificate: how many test trajectories are run again, for how long, and when the Lyapunov time is measured."""

    trajectories: int
    time: float
    lyapunov: float

    def __post_init__(self) -> None:
        _positive(trajectories=self.trajectories, time=self.time, lyapunov=self.lyapunov)


@dataclass(frozen=True)
class Recipe:
    """A data set of one size. `group` trajectories are advanced together: the last bit depends on it, so it is part of the recipe."""

    name: str
    equation: str
    parameters: Mapping[str, Distribution]
    domain: Space
    solver: Solver
    burn_in: BurnIn
    frames: Frames
    splits: Mapping[str, Split]
    certificate: Check
    seed: int = 0
    group: int = 4
    size: str = "full"

    def __post_init__(self) -> None:
        for split in self.splits:
            _one_of("split", split, SPLITS)
        if "train" not in self.splits:
            raise ValueError(f"splits must have 'train', got {list(self.splits)}")
        for label, part in (("solver", self.solver), ("burn_in", self.burn_in), ("frames", self.frames)):
            resolution = part.resolution
            if len(resolution) != len(self.domain.lengths):
                raise ValueError(
                    f"{label}.resolution {list(resolution)} must have one entry for each of domain.lengths {list(self.domain.lengths)}"
                )
        if any(s > t for s, t in zip(self.frames.resolution, self.solver.resolution, strict=True)):
            raise ValueError(f"frames.resolution {self.frames.resolution} is finer than solver.resolution {self.solver.resolution}")
        _positive(group=self.group)
        self._check_parameters()

    def _check_parameters(self) -> None:
        for split, entry in self.splits.items():
            for name, own in entry.parameters.items():
                if name not in self.parameters:
                    known = f"{list(self.parameters)}{nearest(name, self.parameters)}"
                    raise ValueError(f"splits.{split}.parameters.{name} is not among the parameters {known}")
                for other in self.splits:
                    (lo, hi), (a, b) = own.bounds, self.distribution(name, other).bounds
                    if other != split and lo <= b and a <= hi:
                        raise ValueError(
                            f"the ranges of {name!r} in the splits {split!r} [{lo:g}, {hi:g}] and {other!r} [{a:g}, {b:g}] overlap; "
                            "a split by parameter range keeps them apart"
                        )
        for split in self.splits:
            for name in self.parameters:
                if self.distribution(name, split).bounds[0] == 0 and name not in MAY_VANISH:
                    raise ValueError(f"parameters.{name} must be positive, got {list(self.distribution(name, split).values)}")

    # -- what follows from it ----------------------------------------------------------------------------------

    @property
    def box(self) -> Box:
        """The domain at the stored resolution."""
        return self.domain.box(self.frames.resolution)

    @property
    def span(self) -> float:
        """Time from the first stored frame to the last."""
        return (self.frames.count - 1) * self.frames.step

    def distribution(self, name: str, split: str) -> Distribution:
        return self.splits[split].parameters.get(name, self.parameters[name])

    def trajectories(self, split: str) -> range:
        """The ids of a split's trajectories; they run on through train, valid, test."""
        start = 0
        for name in SPLITS:
            count = self.splits[name].trajectories if name in self.splits else 0
            if name == split:
                return range(start, start + count)
            start += count
        raise ValueError(f"no split {split!r} in recipe {self.name!r}; it has {list(self.splits)}")

    def groups(self, split: str) -> list[list[int]]:
        """The ids that are advanced together."""
        ids = list(self.trajectories(split))
        return [ids[i : i + self.group] for i in range(0, len(ids), self.group)]

    def split_of(self, trajectory: int) -> str:
        return next(s for s in self.splits if trajectory in self.trajectories(s))

    def values(self, trajectory: int) -> dict[str, float]:
        """The parameters of one trajectory."""
        split = self.split_of(trajectory)
        return {name: self.distribution(name, split).draw(splitmix(self.seed, trajectory, *name.encode())) for name in self.parameters}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], file: str = "recipe") -> Recipe:
        return parse(cls, entry, file)


def load_recipe(name_or_path: str | Path, size: str = "full") -> Recipe:
    """The recipe of a data set known by name, or of a `recipe.yaml` (or its folder). Raises ValueError naming file and key."""
    path = Path(name_or_path)
    if path.is_dir():
        path = path / "recipe.yaml"
    if path.suffix not in (".yaml", ".yml"):
        path = catalog.find("datasets", str(name_or_path))
    entry = load_yaml(path)
    sizes = entry.pop("sizes", None) or {}
    if not isinstance(sizes, dict):
        raise ValueError(f"{path}: sizes: expected a mapping of {list(SIZES)} to changes, got {sizes!r}")
    for key, changes in sizes.items():
        if key not in SIZES or not isinstance(changes, dict | None):
            raise ValueError(f"{path}: sizes.{key}: the sizes are {list(SIZES)}, each a mapping of changes{nearest(str(key), SIZES)}")
    known = [s for s in SIZES if s == "full" or s in sizes]
    if size not in known:
        raise ValueError(f"{path}: no size {size!r}; it has {known}{nearest(size, known)}")
    if "size" in entry:
        raise ValueError(f"{path}: size: unknown key; the size is chosen when the data set is made")
    every = {s: parse(Recipe, merge({**entry, "size": s}, sizes.get(s) or {}), f"{path} (size {s})") for s in known}
    return every[size]


def sizes_of(name: str) -> list[str]:
    """The sizes that a named recipe declares."""
    sizes = load_yaml(catalog.find("datasets", name)).get("sizes") or {}
    return [s for s in SIZES if s == "full" or s in sizes]


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is unknown; write one of {list(known)}{nearest(value, known)}")
