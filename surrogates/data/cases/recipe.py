"""A recipe whose trajectories are cases of a CFD code, each with a geometry and parameters of its own.

    kind: cases
    name: cylinder_wake
    family: channel                       # what a case is made of: geometry, mesh, boundary conditions, solver
    parameters: {reynolds: {uniform: [60, 180]}, corners: {choice: [0, 4]}, ...}
    mesh: {near: 0.06, wake: 0.25, far: 0.35}      # what the family says of its mesh
    solver: {courant: 1.0}
    frames: {start: 4.0, step: 0.02, count: 101}
    splits: {train: 24, valid: 4, test: 4}
    certificate: 1.0                      # s over which a test case is solved again, finer (`certificate`); left out: it is not
    sizes: {tiny: {...}}                  # laid over the rest, as in other recipes

Case i has the same parameters whatever the others are: attempt k of a parameter is drawn by (seed, i, k, name), and the case takes the
first attempt that its family can build (obstacles within the channel, apart from each other). A split with a range of its own for a
parameter keeps it apart from the others. The first frame is one that the solver has made: `frames.start` is not 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from surrogates import catalog
from surrogates.data.cases.certificate import checked_leads
from surrogates.data.cases.families import Family, family_of
from surrogates.data.distribution import Distribution
from surrogates.data.parse import check_name, load_yaml
from surrogates.data.sections import Split, keep_apart, one_of, positive
from surrogates.data.sizes import declared, numbers, of_size
from surrogates.errors import nearest
from surrogates.noise import splitmix

SIZES = ("tiny", "small", "full")
SPLITS = ("train", "valid", "test")
KIND = "cases"
ATTEMPTS = 200


@dataclass(frozen=True)
class Frames:
    """What is stored: `count` frames `step` seconds apart, the first `start` seconds after the flow began."""

    count: int
    step: float
    start: float = 0.0

    def __post_init__(self) -> None:
        positive(step=self.step)
        if self.count < 2 or self.start < 0:
            raise ValueError(f"a trajectory has at least 2 frames from a time that is not negative, got {self.count} from {self.start}")

    @property
    def end(self) -> float:
        """The time of the last one."""
        return self.start + (self.count - 1) * self.step


@dataclass(frozen=True)
class Solver:
    """The largest Courant number of a step (the step adapts), and the pressure corrections of each."""

    courant: float = 1.0
    correctors: int = 2

    def __post_init__(self) -> None:
        positive(courant=self.courant, correctors=self.correctors)


@dataclass(frozen=True)
class CaseRecipe:
    """A data set of one size."""

    name: str
    family: str
    parameters: Mapping[str, Distribution]
    mesh: Mapping[str, float]
    frames: Frames
    splits: Mapping[str, Split]
    solver: Solver = field(default_factory=Solver)
    seed: int = 0
    size: str = "full"
    kind: str = KIND
    certificate: float | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        for split in self.splits:
            one_of("split", split, SPLITS)
        if "train" not in self.splits:
            raise ValueError(f"splits must have 'train', got {list(self.splits)}")
        for what, given, known in (("parameters", self.parameters, self.made.parameters), ("mesh", self.mesh, self.made.mesh)):
            for name in given:
                if name not in known:
                    raise ValueError(f"{what}.{name}: the family {self.family!r} has {list(known)}{nearest(name, known)}")
            for name, default in known.items():
                if default is None and name not in given:
                    raise ValueError(f"{what}.{name} is missing; the family {self.family!r} needs it")
        positive(**{f"mesh.{k}": v for k, v in self.mesh.items()})
        keep_apart(self.parameters, self.splits)
        if self.frames.start == 0:
            raise ValueError(
                "frames.start: at 0 s nothing is solved yet, the pressure least of all; begin with the first step, `start: "
                f"{self.frames.step:g}`, or later"
            )
        if self.certificate is not None:
            checked_leads(self, self.certificate)

    # -- what follows from it ----------------------------------------------------------------------------------

    @property
    def made(self) -> Family:
        """What its cases are made of."""
        return family_of(self.family)

    @property
    def counts(self) -> dict[str, int]:
        """How many cases each split has."""
        return {s: self.splits[s].trajectories for s in SPLITS if s in self.splits}

    @property
    def summary(self) -> dict[str, str]:
        """For a table of data sets."""
        return {"equation": self.made.equation, "frames": str(self.frames.count), "grid": self.made.grid(self.meshing)}

    @property
    def meshing(self) -> dict[str, float]:
        """What is said of the mesh, defaults included."""
        return {**{k: v for k, v in self.made.mesh.items() if v is not None}, **self.mesh}

    def cases(self, split: str) -> range:
        """The ids of a split's cases; they run on through train, valid, test."""
        return numbers(self.counts, split, self.name)

    def split_of(self, case: int) -> str:
        return next(s for s in self.counts if case in self.cases(s))

    def values(self, case: int) -> dict[str, float]:
        """The parameters of one case. Raises ValueError where the ranges leave no case that can be built."""
        own = self.splits[self.split_of(case)].parameters
        why = ""
        for attempt in range(ATTEMPTS):
            drawn = {n: own.get(n, d).draw(splitmix(self.seed, case, attempt, *n.encode())) for n, d in self.parameters.items()}
            values = {**{k: v for k, v in self.made.parameters.items() if v is not None}, **drawn}
            why = self.made.refusal(values, self.meshing)
            if not why:
                return self.made.complete(values)
        raise ValueError(f"{self.name}: no case {case} in {ATTEMPTS} draws of its parameters; of the last one: {why}. Narrow the ranges")

    def to_json(self) -> dict[str, Any]:
        """What a file keeps, and is known by: what is examined afterwards changes no file."""
        return {k: v for k, v in asdict(self).items() if k != "certificate"}


def load(path: Path, size: str | None = None) -> CaseRecipe:
    """A recipe of kind `cases` in one of its sizes: "small" unless given, else "full". Raises ValueError naming file and key."""
    entry = load_yaml(path)
    if entry.get("kind") != KIND:
        raise ValueError(f"{path}: kind is {entry.get('kind')!r} but recipes of cases have `kind: {KIND}`")
    return of_size(CaseRecipe, path, entry, size)


def sizes(path: Path) -> list[str]:
    """The sizes that a recipe declares."""
    return declared(path)


def named(name: str, size: str | None = None) -> CaseRecipe:
    """The recipe of a data set that ships with the package."""
    return load(catalog.find("datasets", name), size)
