"""What a file does not say and a person does: step, extent, boundary conditions, units, parameters.

    name: channel                      # the data set's name (default: that of the file)
    dt: 0.05                           # time between frames; `time: 0` is that of the first
    lengths: [6.28, 2.0]               # of the axes; `lower: [0, -1]` where they do not begin at 0
    boundary: [periodic, wall]
    units: {velocity: m/s, time: s, length: m, others: "1"}     # `others`: of all that neither the file nor this names
    fields: {velocity: [u, v]}         # a vector, and the arrays that are its components in the order of the axes
    parameters: {viscosity: 1.0e-3}    # or one value a trajectory: [...]
    split: {train: 0.8, valid: 0.1, test: 0.1, by: trajectory}    # or by order, or by time with a `gap` of frames (data/cuts.py)
    options: {}                        # what one format asks for beside this

It is written in `source.yaml` (or `source.json`) beside the data, or in any file told by `--given`; the latter goes first. A reader that
needs a thing asks for it with `Given.need`, whose error holds the line to write. Nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from surrogates.data.cuts import Split
from surrogates.data.parse import load_yaml, merge, parse
from surrogates.domains import Box

T = TypeVar("T")
SIDECARS = ("source.yaml", "source.json")
EXAMPLES = {
    "name": "channel",
    "dt": "0.1",
    "time": "0.0",
    "units": "{velocity: m/s}",
    "fields": "{velocity: [u, v]}",
    "lengths": "[1.0, 1.0]",
    "lower": "[0.0, 0.0]",
    "boundary": "[periodic, wall]",
    "parameters": "{viscosity: 0.001}",
    "split": "{train: 0.8, valid: 0.1, test: 0.1}",
}


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
    parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    split: Split | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dt is not None and not self.dt > 0:
            raise ValueError(f"dt is {self.dt} but must be positive")
        if any(length <= 0 for length in self.lengths):
            raise ValueError(f"lengths are {list(self.lengths)} but must be positive")

    @classmethod
    def load(cls, path: Path) -> Given:
        """From a YAML or JSON file. Raises ValueError for unknown keys and values of another type."""
        return parse(cls, load_yaml(path), str(path))

    @classmethod
    def beside(cls, path: Path) -> Given:
        """From the sidecar in a folder, or in the folder of a file; empty where there is none."""
        folder = path if path.is_dir() else path.parent
        found = [folder / name for name in SIDECARS if (folder / name).is_file()]
        return cls.load(found[0]) if found else cls()

    def over(self, other: Given) -> Given:
        """This, and what it leaves open from the other."""
        said = {k: v for k, v in asdict(self).items() if not _absent(v)}
        return parse(Given, merge(asdict(other), said), "given")

    def need(self, value: T | None, key: str, path: Path, why: str) -> T:
        """`value`, unless it is None or empty: then ValueError, naming file, key and the line to write.

        `key` is a name above, or "units.pressure", "parameters.viscosity", "options.columns=[...]" for one entry of a mapping, where
        what follows "=" is the example that the error shows.
        """
        if not _absent(value):
            assert value is not None
            return value
        key, _, example = key.partition("=")
        head, _, entry = key.partition(".")
        shown = example or EXAMPLES.get(head, "...")
        if entry:
            shown = f"{{{entry}: {example or {'units': 'm/s', 'parameters': '0.001', 'fields': '[u, v]'}.get(head, '...')}}}"
        raise ValueError(
            f"{path}: {key} is not known: {why}. Write the line `{head}: {shown}` (with your values) in {SIDECARS[0]} beside the data, "
            "or in a file told by --given FILE (in Python: given=Given(...))"
        )

    def unit(self, name: str, path: Path, known: str | None = None) -> str:
        """The unit of a field, of "time" or of "length": as given, else as the file says (`known`). Raises ValueError for neither."""
        unit = self.units.get(name) or known or self.units.get("others")
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
        return Box(tuple(shape), tuple(map(float, start)), upper, tuple(kinds), units=unit)

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
