"""What a recipe may say of a parameter: a constant, a uniform or log-uniform range, whole numbers, a choice.

Inverse transform sampling: with p uniform on (0, 1), a + p (b - a) is uniform and a (b/a)^p is log-uniform on [a, b].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogates.errors import nearest

KINDS = ("constant", "uniform", "log_uniform", "integer", "choice")


@dataclass(frozen=True)
class Distribution:
    """A number, or `{uniform: [a, b]}`, `{log_uniform: [a, b]}`, `{integer: [a, b]}` (b counts), `{choice: [a, b, ...]}`."""

    kind: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"distribution {self.kind!r} is unknown; the distributions are {list(KINDS)}{nearest(self.kind, KINDS)}")
        if not all(math.isfinite(v) and v >= 0 for v in self.values) or not self.values:
            raise ValueError(f"coefficients are finite and not negative, got {list(self.values)}; the equation holds the sign")
        if self.kind.endswith("uniform") and not (len(self.values) == 2 and self.values[0] < self.values[1]):
            raise ValueError(f"{self.kind} takes [lower, upper] with lower < upper, got {list(self.values)}")
        if self.kind == "integer" and not (
            len(self.values) == 2 and self.values[0] <= self.values[1] and all(v % 1 == 0 for v in self.values)
        ):
            raise ValueError(f"integer takes whole numbers [lower, upper], got {list(self.values)}")
        if self.kind == "log_uniform" and self.values[0] <= 0:
            raise ValueError(f"log_uniform needs a positive lower end, got {self.values[0]}")

    @classmethod
    def read(cls, entry: Any) -> Any:
        """From a number or a mapping of one kind to its values. Raises ValueError for anything else."""
        if isinstance(entry, Mapping) and set(entry) == {"kind", "values"}:
            return NotImplemented
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
        if self.kind == "integer":
            return float(self.values[0] + p * (self.values[1] - self.values[0] + 1) // 1)
        if self.kind == "log_uniform":
            return float(self.values[0] * (self.values[1] / self.values[0]) ** p)
        return self.values[int(p * len(self.values))]
