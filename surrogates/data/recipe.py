"""A recipe says everything that decides the bits of a data set: equation, parameters, solver, burn-in, frames, splits and seed.

It is read from `recipe.yaml` into frozen dataclasses. `sizes` holds changes laid over the rest: `tiny` for tests, `small` for an
afternoon, `full` for results. Trajectory i of a recipe always has the same parameters and initial state, whatever the others are:
both are drawn from a generator keyed by (seed, i). Splits are by trajectory, or by parameter range where a split has a
distribution of its own for a parameter; such ranges must not overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from surrogates import catalog
from surrogates.data.distribution import Distribution
from surrogates.data.layout import MEMBERS
from surrogates.data.parse import check_name, load_yaml, parse
from surrogates.data.sections import (
    BurnIn,
    Check,
    Frames,
    Globe,
    Interval,
    Layer,
    Members,
    Solver,
    Space,
    Split,
    keep_apart,
    one_of,
    positive,
)
from surrogates.data.sizes import declared, numbers, of_size
from surrogates.domains import Box, Sphere
from surrogates.noise import splitmix

SPLITS = ("train", "valid", "test")
MAY_VANISH = ("drag", "forcing", "rotation", "damping", "alpha", "beta", "gamma", "forcing_key", "jump")


@dataclass(frozen=True)
class Recipe:
    """A data set of one size. `group` trajectories are advanced together: the last bit depends on it, so it is part of the recipe.

    `initial` holds the arguments of the equation's random initial states, such as their `peak` wavenumber and `rms`; `options` those
    of the solver that are no coefficients, such as a filter.
    """

    name: str
    equation: str
    parameters: Mapping[str, Distribution]
    domain: Space | Globe | Interval | Layer
    solver: Solver
    frames: Frames
    splits: Mapping[str, Split]
    certificate: Check
    burn_in: BurnIn | None = None
    members: Members | None = None
    initial: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    group: int = 4
    size: str = "full"

    def __post_init__(self) -> None:
        check_name(self.name)
        for split in self.splits:
            one_of("split", split, SPLITS)
        if "train" not in self.splits:
            raise ValueError(f"splits must have 'train', got {list(self.splits)}")
        for label, resolution in (
            ("solver", self.solver.resolution),
            ("burn_in.solver", self.coarse.resolution),
            ("frames", self.frames.resolution),
        ):
            if len(resolution) != self.domain.dim:
                raise ValueError(f"{label}.resolution {list(resolution)} must have one entry for each of {self.domain.axes}")
        if any(s > t for s, t in zip(self.frames.resolution, self.solver.resolution, strict=True)):
            raise ValueError(f"frames.resolution {self.frames.resolution} is finer than solver.resolution {self.solver.resolution}")
        if self.certificate.time > self.span * (1 + 1e-9):
            raise ValueError(f"certificate.time {self.certificate.time:g} is longer than the trajectories, {self.span:g}")
        positive(group=self.group)
        self._check_parameters()

    def _check_parameters(self) -> None:
        keep_apart(self.parameters, self.splits)
        for split in self.splits:
            for name in self.parameters:
                if self.distribution(name, split).bounds[0] == 0 and name not in MAY_VANISH:
                    raise ValueError(f"parameters.{name} must be positive, got {list(self.distribution(name, split).values)}")

    # -- what follows from it ----------------------------------------------------------------------------------

    @property
    def box(self) -> Box | Sphere:
        """The domain at the stored resolution."""
        return self.domain.box(self.frames.resolution)

    @property
    def coarse(self) -> Solver:
        """The solver on whose grid the random initial states are drawn."""
        return self.solver if self.burn_in is None else self.burn_in.solver

    @property
    def span(self) -> float:
        """Time from the first stored frame to the last."""
        return (self.frames.count - 1) * self.frames.step

    @property
    def counts(self) -> dict[str, int]:
        """How many initial states each file holds: those of the splits, and of the members where there are any."""
        splits = {s: self.splits[s].trajectories for s in SPLITS if s in self.splits}
        return splits if self.members is None else {**splits, MEMBERS: self.members.trajectories}

    @property
    def summary(self) -> dict[str, str]:
        """What a list of data sets shows."""
        grid = " x ".join(map(str, self.frames.resolution))
        return {"equation": self.equation, "frames": str(self.frames.count), "grid": grid}

    def members_of(self, split: str) -> int:
        """How often each initial state is gone on from: once, but for the members."""
        return self.members.count if self.members is not None and split == MEMBERS else 1

    def frames_of(self, split: str) -> int:
        return self.members.frames if self.members is not None and split == MEMBERS else self.frames.count

    def distribution(self, name: str, split: str) -> Distribution:
        """What a parameter is drawn from in a split; for members, in the test split."""
        own = self.splits.get("test" if split == MEMBERS else split)
        return self.parameters[name] if own is None else own.parameters.get(name, self.parameters[name])

    def trajectories(self, split: str) -> range:
        """The ids of a split's trajectories; they run on through train, valid, test, members."""
        return numbers(self.counts, split, self.name)

    def groups(self, split: str) -> list[list[int]]:
        """The ids that are advanced together; the members of one initial state make a group."""
        ids, size = list(self.trajectories(split)), 1 if split == MEMBERS else self.group
        return [ids[i : i + size] for i in range(0, len(ids), size)]

    def split_of(self, trajectory: int) -> str:
        return next(s for s in self.counts if trajectory in self.trajectories(s))

    def values(self, trajectory: int) -> dict[str, float]:
        """The parameters of one trajectory."""
        split = self.split_of(trajectory)
        return {name: self.distribution(name, split).draw(splitmix(self.seed, trajectory, *name.encode())) for name in self.parameters}

    def to_json(self) -> dict[str, Any]:
        """What a file keeps, and is known by: a section that most recipes lack is left out, so that their files are still theirs."""
        return {k: v for k, v in asdict(self).items() if k not in ("members", "options") or v}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], file: str = "recipe") -> Recipe:
        return parse(cls, entry, file)


def load_recipe(name_or_path: str | Path, size: str | None = None) -> Recipe:
    """The recipe of a data set known by name, or of a `recipe.yaml` (or its folder), in one of its sizes.

    Without `size` it is "small" where the recipe declares that, else "full". Raises ValueError naming file and key.
    """
    path = path_of(name_or_path)
    return of_size(Recipe, path, load_yaml(path), size)


def path_of(name_or_path: str | Path) -> Path:
    """The `recipe.yaml` of a data set known by name, or a path to it or its folder.

    A folder without one, such as that of a data set that was made here, hides no name. Raises ValueError for what is neither.
    """
    path, name = Path(name_or_path), str(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    if (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    if path.is_dir() and name not in catalog.names("datasets"):
        raise ValueError(f"{path} is a folder without a recipe.yaml; give a data set by name, or the path of its recipe")
    return catalog.find("datasets", name)


def sizes_of(name_or_path: str | Path) -> list[str]:
    """The sizes that a recipe declares, of an equation known by name or the path of a `recipe.yaml`."""
    return declared(path_of(name_or_path))
