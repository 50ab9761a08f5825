"""What a file does not say and a person does: step, extent, boundary conditions, units, parameters.

    name: channel                      # the data set's name (default: that of the file; once converted, of its folder)
    dt: 0.05                           # time between frames; `time: 0` is that of the first
    lengths: [6.28, 2.0]               # of the axes; `lower: [0, -1]` where they do not begin at 0
    boundary: [periodic, wall]         # `open_ends: [y_lower, y_upper]` names the ends that something passes
    units: {velocity: m/s, time: s, length: m, others: "1"}     # `others`: of all that neither the file nor this names
    fields: {velocity: [u, v]}         # a vector, and the arrays that are its components in the order of the axes
    parameters: {viscosity: 1.0e-3}    # or one value a trajectory: [...]
    split: {train: 0.8, valid: 0.1, test: 0.1, by: trajectory}    # or by order, or by time with a `gap` of frames (data/cuts.py)
    options: {}                        # what one format asks for beside this

It is written in `source.yaml` (or `source.json`) beside the data, or told by `--given`, which goes first. A reader that needs a thing asks
for it with `Given.need` or `Given.ask`, whose error holds the lines to write. Nothing is guessed. A sidecar comes with the data, from
strangers: an `options: {url: ...}` of its own leads to nothing but the folder below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeVar

import yaml

from surrogates.data.cuts import Split
from surrogates.data.formats import checks
from surrogates.data.formats.asking import SIDECARS, missing
from surrogates.data.parse import load_yaml, merge, parse
from surrogates.domains import Box

T = TypeVar("T")
OTHERS = "others"
URL = "url"


@dataclass(frozen=True)
class Given:
    """All of it may be absent. `units` also takes the names "time", "length" and "others"; `parameters` one value, or one a trajectory."""

    name: str = ""
    dt: float | None = None
    time: float | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lengths: tuple[float, ...] = ()
    lower: tuple[float, ...] = ()
    boundary: tuple[str, ...] = ()
    open_ends: tuple[str, ...] = ()
    parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    split: Split | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dt is not None and not 0 < self.dt < inf:
            raise ValueError(f"dt is {self.dt} but must be positive and finite")
        if not all(0 < length < inf for length in self.lengths):
            raise ValueError(f"lengths are {list(self.lengths)} but must be positive and finite")
        if not all(map(isfinite, self.lower)):
            raise ValueError(f"lower is {list(self.lower)} but must be finite")

    @classmethod
    def load(cls, path: Path) -> Given:
        """From a YAML or JSON file. Raises ValueError for unknown keys and values of another type."""
        return parse(cls, load_yaml(path), str(path))

    @classmethod
    def told(cls, text: str) -> Given:
        """From the command line: YAML in braces, or the name of such a file. Raises ValueError as `load` does."""
        if not text.lstrip().startswith("{"):
            return cls.load(Path(text).expanduser())
        try:
            return parse(cls, yaml.safe_load(text), "--given")
        except yaml.YAMLError as error:
            raise ValueError(f"--given: not readable as YAML: {error}") from error

    @classmethod
    def beside(cls, path: Path) -> Given:
        """From the sidecar in a folder, or in the folder of a file; empty where there is none."""
        folder = path if path.is_dir() else path.parent
        found = [folder / name for name in SIDECARS if (folder / name).is_file()]
        return cls.load(found[0])._within(folder, found[0]) if found else cls()

    def _within(self, folder: Path, told: Path) -> Given:
        """A folder may come from anywhere: its `options.url` opens nothing outside of it. Raises ValueError where it would."""
        if URL not in self.options:
            return self
        url = self.options[URL]
        try:
            if not isinstance(url, str) or ":" in url:
                raise ValueError("it is a URL")
            here = checks.inside(folder, url)
        except ValueError as error:
            raise ValueError(
                f"{told}: options.url is {url!r}, and a sidecar opens only what lies in its own folder ({error}). Where you mean it, say "
                f"it yourself: --given '{{options: {{url: {url!r}}}}}' --format weatherbench, or open the store by its own path"
            ) from error
        return replace(self, options={**self.options, URL: str(here)})

    def over(self, other: Given) -> Given:
        """This, and what it leaves open from the other."""
        said = {k: v for k, v in asdict(self).items() if not _absent(v)}
        return parse(Given, merge(asdict(other), said), "given")

    def need(self, value: T | None, key: str, path: Path, why: str) -> T:
        """`value`, unless it is None or empty: then ValueError, naming file, key and the line to write.

        `key` is a name above, or "units.pressure", "parameters.viscosity", "options.columns=[...]" for one entry of a mapping, where
        what follows "=" is the example that the error shows.
        """
        if _absent(value):
            raise missing(path, {key: why})
        assert value is not None
        return value

    def ask(self, path: Path, wanted: Mapping[str, str]) -> None:
        """Keys, as of `need`, that no file of a format has, and why: all that are not given are asked for in one ValueError."""
        lacking = {key: why for key, why in wanted.items() if _absent(self._held(key))}
        if lacking:
            raise missing(path, lacking)

    def _held(self, key: str) -> object:
        head, _, entry = key.partition("=")[0].partition(".")
        held = getattr(self, head)
        return (held.get(entry) or (held.get(OTHERS) if head == "units" else None)) if entry else held

    def unit(self, name: str, path: Path, known: str | None = None) -> str:
        """The unit of a field, of "time" or of "length": as given, else as the file says (`known`). Raises ValueError for neither."""
        unit = self.units.get(name) or known or self.units.get(OTHERS)
        return self.need(unit, f"units.{name}", path, f"the file has no unit for {name!r}; `others: '1'` says it of all that have none")

    def box(
        self,
        shape: Sequence[int],
        path: Path,
        *,
        lengths: Sequence[float] = (),
        lower: Sequence[float] = (),
        boundary: Sequence[str] = (),
        units: str | None = None,
    ) -> Box:
        """A Box of equal cells: as given, else as the file says (`lengths`, `lower`, `boundary`, `units`). `lower` is 0 by default.

        Raises ValueError for what neither says, and where the numbers of axes differ.
        """
        axes = len(shape)
        sizes = self.need(self.lengths or tuple(lengths), "lengths", path, f"the file does not say how long its {axes} axes are")
        kinds = self.need(self.boundary or tuple(boundary), "boundary", path, f"the file does not say how its {axes} axes end")
        start = self.lower or tuple(lower) or (0.0,) * axes
        for key, value in (("lengths", sizes), ("lower", start), ("boundary", kinds)):
            if len(value) != axes:
                raise ValueError(f"{path}: {key} has {len(value)} entries but the grid {tuple(shape)} has {axes} axes")
        upper = tuple(float(lo) + float(size) for lo, size in zip(start, sizes, strict=True))
        unit = self.unit("length", path, units)
        try:
            return Box(tuple(shape), tuple(map(float, start)), upper, tuple(kinds), units=unit, open_ends=self.open_ends)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def columns(self, count: int, path: Path) -> dict[str, list[float]]:
        """The parameters, one value for each of `count` trajectories. Raises ValueError for another number of values."""
        for name, values in self.parameters.items():
            if len(values) not in (1, count):
                raise ValueError(
                    f"{path}: parameter {name!r} has {len(values)} values but there are {count} trajectories; give 1 or {count}"
                )
        return {name: list(values) * (count if len(values) == 1 else 1) for name, values in self.parameters.items()}


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, Sized) and len(value) == 0)
