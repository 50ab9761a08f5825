"""Numbers of a field that a nonlinear law fixes, one a member and differentiable:

    Total       the integral of each channel                Energy       1/2 the integral of |u|^2
    Product     the integral of a . b (cross helicity)      Enstrophy    1/2 the integral of (dv/dx - du/dy)^2
    Function    any function h of a field and its conditions

A quantity is asked for its value, and for a scale that its defect is measured by: what the value could be at most in a field of that
size (Cauchy and Schwarz). Those that are `remembered` keep the values of the initial state; the others are to vanish.
Euler's equations in the plane keep energy and enstrophy, ideal magnetohydrodynamics energy and cross helicity: Kraichnan and Montgomery,
"Two-dimensional turbulence", Rep. Prog. Phys. 43, 1980, https://doi.org/10.1088/0034-4885/43/5/001.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.record import recorded


@runtime_checkable
class Quantity(Protocol):
    """K numbers a member. `remembered`: whether the initial state's are kept, else they are to be 0."""

    @property
    def remembered(self) -> bool: ...
    def count(self, fields: Fields) -> int:
        """K. Raises KeyError or ValueError for fields that it is not made for."""
        ...

    def __call__(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G K"]: ...
    def scale(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G K"]: ...


@recorded
@dataclass(frozen=True)
class Total:
    """The integral of every channel of `field`, in its units times volume."""

    field: str
    remembered = True

    def count(self, fields: Fields) -> int:
        return len(fields[self.field].channels)

    def __call__(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G K"]:
        return conditions.domain.integral(u[:, fields.slice(self.field)])

    def scale(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G K"]:
        v = u[:, fields.slice(self.field)]
        volume = conditions.domain.integral(torch.ones_like(v[:, :1]))
        size2 = volume * conditions.domain.integral(v.square()).sum(1, keepdim=True)
        return root(size2).expand(-1, v.shape[1])


@recorded
@dataclass(frozen=True)
class Energy:
    """1/2 the integral of |u|^2 of `field`, all its components and levels together, in its units squared times volume."""

    field: str = "velocity"
    remembered = True

    def count(self, fields: Fields) -> int:
        fields.slice(self.field)
        return 1

    def __call__(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G 1"]:
        return conditions.domain.integral(u[:, fields.slice(self.field)].square()).sum(1, keepdim=True) / 2

    def scale(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G 1"]:
        return self(u, fields, conditions)


@recorded
@dataclass(frozen=True)
class Product:
    """The integral of a . b, two fields of as many channels: cross helicity for velocity and magnetic field."""

    field: str
    other: str
    remembered = True

    def count(self, fields: Fields) -> int:
        sizes = [len(fields[name].channels) for name in (self.field, self.other)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"{self.field!r} has {sizes[0]} channels but {self.other!r} {sizes[1]}; a product pairs them off")
        return 1

    def __call__(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G 1"]:
        a, b = (u[:, fields.slice(name)] for name in (self.field, self.other))
        return conditions.domain.integral(a * b).sum(1, keepdim=True)

    def scale(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G 1"]:
        a, b = (conditions.domain.integral(u[:, fields.slice(name)].square()).sum(1, keepdim=True) for name in (self.field, self.other))
        return root(a * b)


@recorded
@dataclass(frozen=True)
class Enstrophy:
    """1/2 the integral of the squared vorticity of a plane velocity, on a Box of two dimensions."""

    field: str = "velocity"
    remembered = True

    def count(self, fields: Fields) -> int:
        if len(fields[self.field].components) != 2 or fields[self.field].levels:
            raise ValueError(f"{self.field!r} has components {fields[self.field].components} but a plane velocity has two, on one level")
        return 1

    def __call__(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G 1"]:
        box = conditions.domain
        if not isinstance(box, Box):
            raise ValueError(f"this enstrophy is taken on a Box of two dimensions, not on a {type(box).__name__}")
        return box.integral(box.vorticity(u[:, fields.slice(self.field)]).square()) / 2

    def scale(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G 1"]:
        return self(u, fields, conditions)


@recorded
@dataclass(frozen=True)
class Function:
    """h(u, conditions) -> (G, `counts`), float64, which is to vanish (dimensionless then), or to keep its value if `remembered`.

    `function` maps (B, C, *X) in float64 member by member and is differentiable. A function of this package can be saved; one's own
    serves in Python.
    """

    function: Callable[[Tensor, Conditions], Tensor]
    counts: int = 1
    remembered: bool = False

    def count(self, fields: Fields) -> int:
        return self.counts

    def __call__(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G K"]:
        return self.function(u, conditions).double()

    def scale(self, u: Float[Tensor, "B C *X"], fields: Fields, conditions: Conditions) -> Float[Tensor, "G K"]:
        value = self(u, fields, conditions)
        return value.abs() if self.remembered else torch.ones_like(value)


def root(size2: Float[Tensor, "G 1"]) -> Float[Tensor, "G 1"]:
    """The square root, at least 1e-150: of a field that vanishes its derivative is 0, where that of the root alone has no value."""
    return size2.clamp_min(1e-300).sqrt()
