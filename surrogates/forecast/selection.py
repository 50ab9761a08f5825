"""`Keep` applied to the frames of one step: which variables there are, and their values from a block of frames, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor

from surrogates.domains import layout
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Fields
from surrogates.forecast.diagnostics import Held, Running, Series, diagnostic
from surrogates.forecast.keep import TYPES, Keep, coordinates
from surrogates.interchange import LEVEL, TIME, describe_attrs, variables

NAMED = tuple[str, slice, bool, dict[str, Any]]


@dataclass(frozen=True)
class Variable:
    """One array of a forecast; `dims` and `shape` are those after trajectory and member."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    attrs: Mapping[str, Any]
    dtype: str = "float64"


@dataclass(frozen=True)
class Selection:
    """What `keep` makes of `fields` on `domain`. Raises ValueError where it asks for what is not there."""

    keep: Keep
    fields: Fields
    domain: AnyDomain
    kept: Fields = field(init=False)
    points: Mapping[str, Tensor] = field(init=False)
    series: tuple[Series, ...] = field(init=False)
    running: tuple[Running, ...] = field(init=False)

    def __post_init__(self) -> None:
        asked = [diagnostic(d) for d in self.keep.diagnostics]
        found = {
            "kept": self.keep.of(self.fields),
            "points": self.keep.points(self.domain),
            "series": tuple(d for d in asked if isinstance(d, Series)),
            "running": tuple(d for d in asked if isinstance(d, Running)),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    # -- what there will be ------------------------------------------------------------------------------------

    def variables(self, frames: int) -> dict[str, Variable]:
        """Every array of a forecast of `frames` frames, without its values."""
        axes = tuple(layout.axes(self.domain))
        sizes = tuple(len(self.points[a]) if a in self.points else n for a, n in zip(axes, self.domain.shape, strict=True))
        steps = frames // self.keep.every
        out: dict[str, Variable] = {}
        for name, level, _, meta in self._named(self.kept):
            out[name] = Variable((TIME, *level, *axes), (steps, *level.values(), *sizes), meta, self.keep.dtype)
        for s in self.series:
            extra = {d: len(values) for d, (values, _) in s.dims(self.domain).items()}
            for name, level, _, meta in self._named(self.fields):
                attrs = {**meta, "units": s.units(meta["units"], self.domain), "long_name": f"{s.name} of {meta['long_name']}"}
                out[f"{s.name}_{name}"] = Variable((TIME, *level, *extra), (steps, *level.values(), *extra.values()), attrs)
        for r in self.running:
            for suffix in r.names:
                for name, level, _, meta in self._named(self.fields):
                    attrs = {**meta, "units": r.units(meta["units"], suffix), "cell_methods": f"time: {suffix}"}
                    out[f"{name}_{suffix}"] = Variable((*level, *axes), (*level.values(), *sizes), attrs)
        return out

    def coordinates(self) -> dict[str, Any]:
        """Of space, of levels and of what diagnostics run over."""
        out = dict(self._place[0])
        for s in self.series:
            out |= {d: (d, values, dict(attrs)) for d, (values, attrs) in s.dims(self.domain).items()}
        levels = {f.levels for f in self.fields if f.levels}
        if len(levels) > 1:
            raise ValueError(f"fields on different levels {sorted(levels)} do not fit one forecast; keep one of them")
        for values in levels:
            out[LEVEL] = (LEVEL, list(values), {"long_name": "level"})
        return out

    def attrs(self) -> dict[str, str]:
        """Fields, and the domain where what is kept is one."""
        part = self._place[1]
        attrs = describe_attrs(self.kept, self.domain if part is None else part)
        if part is None:
            del attrs["domain"]
        return attrs

    # -- values ------------------------------------------------------------------------------------------------

    def frames(self, block: Float[Tensor, "B T C *X"], made: int) -> dict[str, Tensor]:
        """What is kept of a block that begins after `made` frames: (B, kept frames, ...) by variable."""
        first = -(made + 1) % self.keep.every
        u = block[:, first :: self.keep.every]
        out: dict[str, Tensor] = {}
        if u.shape[1] and self.kept.entries:
            v = self._cut(u).to(TYPES[self.keep.dtype])
            out |= {name: v[:, :, c] if level else v[:, :, c.start] for name, level, c, _ in self._named(self.kept, self.fields)}
        for s in self.series if u.shape[1] else ():
            v = s(u, self.domain)
            out |= {f"{s.name}_{name}": v[:, :, c] if level else v[:, :, c.start] for name, level, c, _ in self._named(self.fields)}
        return out

    def update(self, held: Held, block: Float[Tensor, "B T C *X"]) -> dict[str, Tensor]:
        """The running sums with a block more."""
        u = self._cut(block) if self.running else block
        new: dict[str, Tensor] = {}
        for i, r in enumerate(self.running):
            mine = {k.partition("/")[2]: v for k, v in held.items() if k.partition("/")[0] == str(i)}
            new |= {f"{i}/{k}": v for k, v in r.update(mine, u).items()}
        return new

    def values(self, held: Held) -> dict[str, Tensor]:
        """(B, ...) of each variable that runs over time."""
        out: dict[str, Tensor] = {}
        for i, r in enumerate(self.running):
            mine = {k.partition("/")[2]: v for k, v in held.items() if k.partition("/")[0] == str(i)}
            for suffix, v in r.value(mine).items():
                for name, level, c, _ in self._named(self.fields):
                    out[f"{name}_{suffix}"] = v[:, c] if level else v[:, c.start]
        return out

    # -- within ------------------------------------------------------------------------------------------------

    @cached_property
    def _place(self) -> tuple[dict[str, Any], AnyDomain | None]:
        return coordinates(self.domain, self.keep)

    def _named(self, fields: Fields, of: Fields | None = None) -> Iterator[tuple[str, dict[str, int], slice, dict[str, Any]]]:
        """(variable, its level dim, its channels in `of`, attributes)."""
        for f in fields:
            start = (of or fields).slice(f.name).start
            for i, (name, meta) in enumerate(variables(f, self.domain)):
                n = max(1, len(f.levels))
                yield name, {LEVEL: n} if f.levels else {}, slice(start + i * n, start + (i + 1) * n), meta

    def _cut(self, u: Float[Tensor, "B T C *X"]) -> Float[Tensor, "B T C *Y"]:
        for axis, name in enumerate(layout.axes(self.domain)):
            if name in self.points:
                u = u.index_select(3 + axis, self.points[name].to(u.device))
        return u
