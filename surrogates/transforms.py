"""Changes of variable for quantities that no normal law resembles, applied to a field before it is centred and scaled; all with inverses.

    Log            z = ln(1 + u/eps)                       u > -eps         rain, concentrations: many zeros, a long tail
    BoxCox         z = ((u + shift)^p - 1)/p               u > -shift       a tail between that of Log (p -> 0) and none (p = 1)
    SignedPower    z = sign(u) |u/scale|^p                 any u            tails on both sides
    Asinh          z = asinh(u/scale)                      any u            linear below `scale`, logarithmic above

ln(1 + u/eps) is ln(eps + u) less a constant, written so that neither way loses digits of a small u. What a network makes may lie where
the inverse has no value: BoxCox gives -shift there. Powers have no finite slope where their base is 0, and none is passed on from there:
networks learn from the other points. Source: Box and Cox, An analysis of transformations, J. R. Stat. Soc. B 26 (1964) 211.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from surrogates.errors import nearest
from surrogates.record import recorded

CLASS = "class"


@runtime_checkable
class Transform(Protocol):
    """A strictly increasing function of one number, elementwise, and its inverse; `floor` is what u must lie above."""

    @property
    def floor(self) -> float: ...
    def __call__(self, u: Tensor) -> Tensor: ...
    def inverse(self, z: Tensor) -> Tensor: ...


@recorded
@dataclass(frozen=True)
class Log:
    """ln(1 + u/eps), eps in the units of u."""

    eps: float = 1.0

    def __post_init__(self) -> None:
        _positive(eps=self.eps)

    @property
    def floor(self) -> float:
        return -self.eps

    def __call__(self, u: Tensor) -> Tensor:
        return torch.log1p(u / self.eps)

    def inverse(self, z: Tensor) -> Tensor:
        return self.eps * torch.expm1(z)


@recorded
@dataclass(frozen=True)
class BoxCox:
    """((u + shift)^power - 1)/power, the logarithm for power 0; `shift` in the units of u."""

    power: float = 0.5
    shift: float = 0.0

    def __post_init__(self) -> None:
        if self.power < 0:
            raise ValueError(f"BoxCox has a power of at least 0, got {self.power}")

    @property
    def floor(self) -> float:
        return -self.shift

    def __call__(self, u: Tensor) -> Tensor:
        x = u + self.shift
        if self.power == 1:
            return x - 1
        off, inside = torch.where(x > 0, 0.0, x), torch.where(x > 0, x, 1.0)  # apart: what is not taken has no slope that counts
        taken, left = (torch.log(v) if self.power == 0 else (v**self.power - 1) / self.power for v in (inside, off.detach()))
        return torch.where(x > 0, taken, left)

    def inverse(self, z: Tensor) -> Tensor:
        if self.power == 0:
            return z.exp() - self.shift
        x = self.power * z + 1
        return torch.where(x > 0, torch.where(x > 0, x, 1.0) ** (1 / self.power), 0.0) - self.shift


@recorded
@dataclass(frozen=True)
class SignedPower:
    """sign(u) |u/scale|^power, `scale` in the units of u."""

    power: float = 0.5
    scale: float = 1.0

    def __post_init__(self) -> None:
        _positive(power=self.power, scale=self.scale)

    @property
    def floor(self) -> float:
        return -float("inf")

    def __call__(self, u: Tensor) -> Tensor:
        return _power(u / self.scale, self.power)

    def inverse(self, z: Tensor) -> Tensor:
        return self.scale * _power(z, 1 / self.power)


@recorded
@dataclass(frozen=True)
class Asinh:
    """asinh(u/scale), `scale` in the units of u."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        _positive(scale=self.scale)

    @property
    def floor(self) -> float:
        return -float("inf")

    def __call__(self, u: Tensor) -> Tensor:
        return torch.asinh(u / self.scale)

    def inverse(self, z: Tensor) -> Tensor:
        return self.scale * torch.sinh(z)


KINDS: dict[str, type] = {"Log": Log, "BoxCox": BoxCox, "SignedPower": SignedPower, "Asinh": Asinh}


def transform_of(entry: Any, key: str) -> Transform:
    """The transform that a file writes as {class: Log, eps: 0.001}, or by its name alone. Raises ValueError, naming the key."""
    entry = {CLASS: entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping) or entry.get(CLASS) not in KINDS:
        got = entry.get(CLASS) if isinstance(entry, Mapping) else entry
        raise ValueError(
            f"{key}: a transform is one of {list(KINDS)}, such as {{class: Log, eps: 0.001}}, got {got!r}{nearest(str(got), KINDS)}"
        )
    given = {str(k): v for k, v in entry.items() if k != CLASS}
    bad = [k for k, v in given.items() if isinstance(v, bool) or not isinstance(v, int | float)]
    if bad:
        raise ValueError(f"{key}.{bad[0]}: {given[bad[0]]!r} is no number")
    try:
        made: Transform = KINDS[entry[CLASS]](**{k: float(v) for k, v in given.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key}: {error}") from error
    return made


def _power(x: Tensor, p: float) -> Tensor:
    """sign(x) |x|^p, without a slope at 0 but for p = 1."""
    if p == 1:
        return x
    return torch.where(x == 0, 0.0, x.sign() * torch.where(x == 0, 1.0, x.abs()) ** p)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
