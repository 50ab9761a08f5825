"""Names, units, levels and vector ranks of the channels of a tensor (B, C, *X), said once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surrogates.errors import nearest


@dataclass(frozen=True)
class Field:
    """One physical quantity: a scalar, or a vector by its components, on one or several levels.

    `units` follow UDUNITS ("m s-1", "1" for none). Its channels run over components, then over levels.
    """

    name: str
    units: str = "1"
    components: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    long_name: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"field name {self.name!r} must be an identifier, such as 'velocity'")

    @property
    def variables(self) -> tuple[str, ...]:
        """One name a component, as an xarray variable has it: velocity_x, velocity_y."""
        return tuple(f"{self.name}_{c}" for c in self.components) or (self.name,)

    @property
    def channels(self) -> tuple[str, ...]:
        """One name a channel: velocity_x, or temperature_500 where there are levels."""
        if not self.levels:
            return self.variables
        return tuple(f"{v}_{level:g}" for v in self.variables for level in self.levels)


@dataclass(frozen=True)
class Fields:
    """The fields of a tensor in channel order."""

    entries: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = self.channels
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"channels {twice} appear twice; give every field its own name")

    @classmethod
    def of(cls, *entries: Field) -> Fields:
        return cls(tuple(entries))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.entries)

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(c for f in self.entries for c in f.channels)

    @property
    def units(self) -> tuple[str, ...]:
        """Units per channel."""
        return tuple(f.units for f in self.entries for _ in f.channels)

    @property
    def count(self) -> int:
        """The number of channels C."""
        return len(self.channels)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> Field:
        for f in self.entries:
            if f.name == name:
                return f
        raise KeyError(f"no field {name!r} among {self.names}{nearest(name, self.names)}")

    def slice(self, name: str) -> slice:
        """Where the channels of a field lie in C."""
        self[name]
        start = 0
        for f in self.entries:
            stop = start + len(f.channels)
            if f.name == name:
                return slice(start, stop)
            start = stop
        raise AssertionError("unreachable")

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {
                "name": f.name,
                "units": f.units,
                "components": list(f.components),
                "levels": list(f.levels),
                "long_name": f.long_name,
            }
            for f in self.entries
        ]

    @classmethod
    def from_json(cls, entries: Sequence[Mapping[str, Any]]) -> Fields:
        return cls(
            tuple(
                Field(
                    name=e["name"],
                    units=e.get("units", "1"),
                    components=tuple(e.get("components", ())),
                    levels=tuple(float(v) for v in e.get("levels", ())),
                    long_name=e.get("long_name", ""),
                )
                for e in entries
            )
        )
