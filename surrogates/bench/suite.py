"""A suite says what is compared on what: a data set, an ensemble, baselines, a classical solver at several resolutions, one clock.

It is read from `suite.yaml` into frozen dataclasses; errors name the file, the key and the nearest key that exists.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from surrogates import catalog, pde
from surrogates.data import open_dataset
from surrogates.data.parse import load_yaml, parse
from surrogates.data.truth.work import STAGES
from surrogates.errors import nearest

BASELINES = ("persistence", "climatology")


@dataclass(frozen=True)
class Solver:
    """A class of `surrogates.pde` at several resolutions; `max_dt` is its longest substep, one for all or one a resolution."""

    equation: str
    resolutions: tuple[int, ...]
    max_dt: tuple[float, ...]
    scheme: str = "etdrk4"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        equations = [n for n in pde.__all__ if isinstance(getattr(pde, n), type) and issubclass(getattr(pde, n), pde.Spectral)]
        equations.remove("Spectral")
        if self.equation not in equations:
            raise ValueError(f"no equation {self.equation!r} in surrogates.pde; it has {equations}{nearest(self.equation, equations)}")
        if self.scheme not in STAGES:
            raise ValueError(f"scheme {self.scheme!r} is unknown; write one of {list(STAGES)}{nearest(self.scheme, STAGES)}")
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype {self.dtype!r} is unknown; write float32 or float64{nearest(self.dtype, ('float32', 'float64'))}")
        if not self.resolutions or len(set(self.resolutions)) < len(self.resolutions) or min(self.resolutions) < 4:
            raise ValueError(f"resolutions must be different whole numbers of at least 4, got {list(self.resolutions)}")
        if len(self.max_dt) not in (1, len(self.resolutions)) or min(self.max_dt) <= 0:
            raise ValueError(
                f"max_dt takes one positive number, or one for each of the resolutions {list(self.resolutions)}, got {list(self.max_dt)}"
            )

    @property
    def runs(self) -> tuple[tuple[int, float], ...]:
        """(resolution, max_dt), coarse to fine."""
        steps = self.max_dt * len(self.resolutions) if len(self.max_dt) == 1 else self.max_dt
        return tuple(sorted(zip(self.resolutions, steps, strict=True)))


@dataclass(frozen=True)
class Timing:
    """Costs are medians over `repeats` interleaved rounds of `frames` frames each."""

    frames: int = 10
    repeats: int = 5

    def __post_init__(self) -> None:
        if self.frames < 1 or self.repeats < 1:
            raise ValueError(f"frames and repeats must be at least 1, got {self.frames} and {self.repeats}")


@dataclass(frozen=True)
class Suite:
    """`frames` are forecast from frame `start` of every trajectory of a split; `surrogates` are folders of saved ones.

    `seeds` are those of the ensemble's noise, one contender each; seeds of training are different `surrogates`.
    """

    dataset: str
    frames: int
    solver: Solver
    size: str | None = None
    split: str = "test"
    start: int = 0
    members: int = 16
    seeds: tuple[int, ...] = (0,)
    group: int = 16
    baselines: tuple[str, ...] = BASELINES
    surrogates: tuple[str, ...] = ()
    timing: Timing = Timing()
    name: str = ""

    def __post_init__(self) -> None:
        for name in self.baselines:
            if name not in BASELINES:
                raise ValueError(f"baseline {name!r} is unknown; the baselines are {list(BASELINES)}{nearest(name, BASELINES)}")
        if self.frames < 1 or self.members < 2 or self.group < 1 or self.start < 0:
            raise ValueError(
                f"frames and group must be at least 1, members at least 2 and start at least 0, got frames={self.frames}, "
                f"group={self.group}, members={self.members}, start={self.start}"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be one or more different whole numbers, got {list(self.seeds)}")
        if "climatology" not in self.baselines:
            raise ValueError("baselines must hold 'climatology': skill is the time to half of its error")

    def with_surrogates(self, folders: tuple[str, ...]) -> Suite:
        return replace(self, surrogates=folders)


def load_suite(name_or_path: str | Path) -> Suite:
    """The suite known by name, or of a `suite.yaml` (or its folder). Raises ValueError naming file and key."""
    path = Path(name_or_path)
    if path.is_dir():
        path = path / "suite.yaml"
    if path.suffix not in (".yaml", ".yml"):
        path = catalog.find("benchmarks", str(name_or_path))
    entry = load_yaml(path)
    return parse(Suite, {"name": path.resolve().parent.name, **entry}, str(path))


def check_data(suite: Suite, file: str = "suite") -> None:
    """Raise ValueError where the suite's data set is unknown or not made, or a split has fewer frames than are forecast."""
    for split in ("train", suite.split):
        data = open_dataset(suite.dataset, split=split, size=suite.size)
    have = data.sizes["time"] - 1 - suite.start
    if suite.frames > have:
        raise ValueError(
            f"{file}: frames: {suite.frames} frames from frame {suite.start} but trajectories hold {have}; write at most {have}"
        )
