"""How fields become numbers near one: which channels share statistics, where these differ, and what is done to a field before.

    data:
      normalise:
        by: level                   channel (each by itself), level (components of a vector together), field (levels too)
        transforms: {precipitation: {class: Log, eps: 1.0e-4}}
        regions: land_mask          a static field of whole numbers: statistics of each region of its own

A vector whose components share statistics keeps its direction when normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.errors import nearest
from surrogates.fields import Fields
from surrogates.record import recorded
from surrogates.transforms import Transform, transform_of

CHANNEL, LEVEL, FIELD = "channel", "level", "field"
KEYS = ("by", "transforms", "regions")


@recorded
@dataclass(frozen=True)
class Scaling:
    """What a `Normaliser` does. `regions` names the static field that tells regions apart, `count` how many there are, once that is known.

    Raises ValueError for another `by`.
    """

    by: str = CHANNEL
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    regions: str = ""
    count: int = 0

    def __post_init__(self) -> None:
        if self.by not in (CHANNEL, LEVEL, FIELD):
            raise ValueError(
                f"statistics by {self.by!r} are unknown; write {CHANNEL!r}, {LEVEL!r} or {FIELD!r}{nearest(self.by, (LEVEL, FIELD))}"
            )

    def groups(self, fields: Fields) -> list[list[int]]:
        """The channels that share statistics."""
        if self.by == CHANNEL:
            return []
        out = []
        for f in fields:
            span, levels = fields.slice(f.name), max(1, len(f.levels))
            every = list(range(span.start, span.stop))
            out += [every] if self.by == FIELD else [every[n::levels] for n in range(levels)]
        return out

    def of_channels(self, fields: Fields) -> list[tuple[slice, Transform]]:
        """The transforms and the channels they act on. Raises ValueError for a field that is not there."""
        for name in self.transforms:
            if name not in fields.names:
                raise ValueError(f"normalise.transforms names {name!r}, which is none of {list(fields.names)}{nearest(name, fields.names)}")
        return [(fields.slice(name), transform) for name, transform in self.transforms.items()]


def scaling_of(entry: Any) -> Scaling | None:
    """From what a file says under `normalise`; None for nothing. Raises ValueError, naming the key, for what does not fit."""
    if entry is None or isinstance(entry, Scaling):
        return entry
    if not isinstance(entry, Mapping):
        raise ValueError(f"normalise: expected a mapping with {', '.join(KEYS)}, such as {{by: field}}, got {entry!r}")
    for key in entry:
        if key not in KEYS:
            raise ValueError(f"normalise.{key}: unknown key; it has {', '.join(KEYS)}{nearest(str(key), KEYS)}")
    written = entry.get("transforms") or {}
    if not isinstance(written, Mapping):
        raise ValueError(f"normalise.transforms: expected a mapping of fields to transforms, got {written!r}")
    transforms = {str(name): transform_of(t, f"normalise.transforms.{name}") for name, t in written.items()}
    return Scaling(str(entry.get("by") or CHANNEL), transforms, str(entry.get("regions") or ""))


def warped(u: Float[Tensor, "*B C *X"], warps: Sequence[tuple[slice, Callable[[Tensor], Tensor]]], dim: int) -> Float[Tensor, "*B C *X"]:
    """Functions on some of the channels of fields on `dim` axes of space, as a new tensor where there are any."""
    if not warps:
        return u
    axis = u.ndim - 1 - dim
    parts = list(u.unbind(axis))
    for span, function in warps:
        for c in range(span.start, span.stop):
            parts[c] = function(parts[c])
    return torch.stack(parts, axis)
