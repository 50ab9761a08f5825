"""What instruments see of a state: y = A(u) + error, the error independent and normal with a known deviation for each value.

    Sensors       values at points: of the grid or the mesh by index, or anywhere by coordinates
    BlockMeans    averages over blocks of a Box, under its measure: a coarser field
    Budgets       integrals over the domain
    Derived       another measurement of a function of the state, point by point: a speed, a density

A is differentiable, takes physical states (B, C, *X) and gives one row of N numbers a state. The first three are linear. Between grid
points a field is read multilinearly (on a Sphere in latitude and longitude, constant beyond its last row), inside a mesh's simplices
linearly, and in a cloud without cells at the nearest node; that is of second order in the spacing (a cloud: first), which belongs to the
error that is stated. An `Observation` is a measurement with what it read, and its misfit

    r(u) = (y - A(u)) / error,    0 where y is NaN: not read,

has unit variance at the true state; -|r|^2/2 is the logarithm of its likelihood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.refine.locate import locate

Error = float | Tensor
"""A standard deviation in the units of what is read: one number, or one a value."""


@runtime_checkable
class Measurement(Protocol):
    """A, and the deviation of its error."""

    @property
    def error(self) -> Error: ...
    def __call__(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B N"]: ...


@dataclass(frozen=True, eq=False)
class Sensors:
    """Value n is sum_k weights[n, k] u[channels[n], index[n, k]], with points counted in row-major order; `at` finds them.

    Raises ValueError for an error that is not positive and for channels and points that do not pair up.
    """

    index: Int[Tensor, "N K"]
    weights: Float[Tensor, "N K"]
    channels: Int[Tensor, " N"]
    error: Error

    def __post_init__(self) -> None:
        check_error(self.error, len(self.index))
        if not len(self.index) == len(self.weights) == len(self.channels) > 0 or self.index.shape != self.weights.shape:
            raise ValueError(
                f"points, weights and channels must be as many, and at least one; got {tuple(self.index.shape)}, "
                f"{tuple(self.weights.shape)} and {tuple(self.channels.shape)}"
            )
        if int(self.index.min()) < 0 or int(self.channels.min()) < 0:
            raise ValueError("points and channels count from 0; a negative one names none")

    @classmethod
    def at(cls, domain: Domain, coordinates: Sequence[Sequence[float]] | Tensor, channels: int | Sequence[int], error: Error) -> Sensors:
        """Sensors anywhere: one row of coordinates each, in the order and units of the domain's axes (latitude, longitude in degrees).

        channels: one for all, or one each. Raises ValueError for a sensor off the domain (where an axis repeats, none is).
        """
        where = torch.as_tensor(coordinates, dtype=torch.float64)
        index, weights = locate(domain, where.reshape(len(where), -1))
        return cls(index, weights, _each(channels, len(index)), error)

    @classmethod
    def points(
        cls, domain: Domain, points: Sequence[int] | Sequence[Sequence[int]], channels: int | Sequence[int], error: Error
    ) -> Sensors:
        """Sensors at points of the grid (one index an axis, or row-major ones) or at nodes. Raises ValueError for points it has not."""
        index = torch.as_tensor(points, dtype=torch.long).reshape(len(points), -1)
        sizes = torch.tensor(domain.shape if index.shape[1] == len(domain.shape) else (prod(domain.shape),))
        if index.shape[1] != len(sizes) or bool(((index < 0) | (index >= sizes)).any()):
            raise ValueError(f"a sensor's point must lie in a grid of shape {tuple(domain.shape)}, got {index.tolist()}")
        flat = torch.zeros(len(index), dtype=torch.long)
        for axis, size in enumerate(sizes.tolist()):
            flat = flat * size + index[:, axis]
        return cls(flat[:, None], torch.ones(len(flat), 1, dtype=torch.float64), _each(channels, len(flat)), error)

    def __call__(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B N"]:
        """Raises ValueError for a channel or a point that u has not."""
        flat = u.flatten(2)
        if int(self.channels.max()) >= u.shape[1] or int(self.index.max()) >= flat.shape[2]:
            raise ValueError(
                f"these sensors read channel {int(self.channels.max())} at point {int(self.index.max())} but u has {u.shape[1]} channels "
                f"of {flat.shape[2]} points, both counted from 0"
            )
        index, channels = self.index.to(u.device), self.channels.to(u.device)
        return (flat[:, channels[:, None], index] * self.weights.to(u)).sum(-1)


@dataclass(frozen=True)
class BlockMeans:
    """Averages over blocks of `factors` points an axis, of the given channels (all, if none are), row-major like the coarse field.

    Raises ValueError for factors that do not divide the grid.
    """

    domain: Box
    factors: tuple[int, ...]
    error: Error
    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_error(self.error)
        shape = self.domain.shape
        if len(self.factors) != len(shape) or any(f < 1 or n % f for n, f in zip(shape, self.factors, strict=False)):
            raise ValueError(f"blocks of {self.factors} points do not tile a Box of shape {shape}; write one divisor an axis")

    def __call__(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B N"]:
        u = select(u, self.channels)
        self.domain.check(u)
        split = [k for n, f in zip(self.domain.shape, self.factors, strict=True) for k in (n // f, f)]
        inner = tuple(range(3, 3 + 2 * self.domain.dim, 2))
        m = self.domain.measure.to(u)
        total = (u * m).reshape(*u.shape[:2], *split).sum(inner)
        return (total / m.reshape(1, 1, *split).sum(inner)).flatten(1)


@dataclass(frozen=True)
class Budgets:
    """Integrals over the domain of the given channels (all, if none are), taken in float64; a mesh's members one after the other."""

    domain: Domain
    error: Error
    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_error(self.error)

    def __call__(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B N"]:
        return self.domain.integral(select(u, self.channels)).reshape(len(u), -1).to(u.dtype)


@dataclass(frozen=True)
class Derived:
    """What `measurement` sees of `function`(u), which maps (B, C, *X) to (B, C', *X) point by point and is differentiable."""

    function: Callable[[Tensor], Tensor]
    measurement: Measurement

    @property
    def error(self) -> Error:
        return self.measurement.error

    def __call__(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B N"]:
        return self.measurement(self.function(u))


@dataclass(frozen=True, eq=False)
class Observation:
    """What a measurement read: one row a state, or one for all; (N,), (B, N) or any shape that flattens to these."""

    measurement: Measurement
    values: Tensor

    def misfit(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B N"]:
        """(y - A(u)) / error. Raises ValueError where the values are not as many as the measurement makes."""
        predicted = self.measurement(u)
        rows, count = predicted.shape
        y = self.values.to(predicted)
        if y.numel() not in (count, rows * count):
            raise ValueError(
                f"{y.numel()} values were observed but the measurement makes {count} in each of {rows} rows; give N, or (B, N)"
            )
        y = y.reshape(-1, count)
        error = torch.as_tensor(self.measurement.error).to(predicted)
        read = y.isfinite()
        return torch.where(read, (torch.where(read, y, 0.0) - predicted) / error, 0.0)


def check_error(error: Error, count: int | None = None) -> None:
    """Raise ValueError unless every deviation is positive and finite, and there is one, or `count` of them."""
    e = torch.as_tensor(error, dtype=torch.float64)
    if not bool((e.isfinite() & (e > 0)).all()):
        raise ValueError(f"error is {error} but a standard deviation is positive; what holds without any error is a law, made a constraint")
    if e.ndim and (e.ndim > 1 or (count is not None and len(e) != count)):
        raise ValueError(f"error has shape {tuple(e.shape)} but there are {count} values; give one number, or one a value")


def select(u: Float[Tensor, "B C *X"], channels: tuple[int, ...] | None) -> Float[Tensor, "B C1 *X"]:
    """The given channels. Raises ValueError for one that u has not."""
    if channels is None:
        return u
    if not channels or not all(0 <= c < u.shape[1] for c in channels):
        raise ValueError(f"channels {channels} are measured but u has those from 0 to {u.shape[1] - 1}")
    return u[:, list(channels)]


def _each(channels: int | Sequence[int], count: int) -> Int[Tensor, " N"]:
    c = torch.as_tensor(channels, dtype=torch.long)
    if c.ndim and c.shape != (count,):
        raise ValueError(f"channels must be as many as the {count} sensors, or one for all; got {channels}")
    return c.expand(count)
