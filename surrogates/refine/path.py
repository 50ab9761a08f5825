"""Paths between data and source: z(s) = a(s) x + b(s) e, with x the data at s = 0 and e the source at s = 1.

The velocity is v = dz/ds = a'(s) x + b'(s) e. Since (z, v) is linear in (x, e) with determinant W = a b' - a' b, a velocity
contains both ends,

    x = (b' z - b v) / W,        e = (a v - a' z) / W,

without any singular s, whereas a prediction of x alone gives v only where b > 0, and one of e only where a > 0.
Sources: Lipman et al., "Flow matching for generative modeling", 2023, https://arxiv.org/abs/2210.02747 (paths and velocities);
Liu et al., "Flow straight and fast", 2022, https://arxiv.org/abs/2209.03003 (the linear path); Albergo and Vanden-Eijnden,
"Building normalizing flows with stochastic interpolants", 2023, https://arxiv.org/abs/2209.15571 (the trigonometric path).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.record import recorded

Time = float | Tensor
"""Refinement time s: a number, or a tensor that broadcasts against "B C *X"."""


class Path(ABC):
    """a(s), b(s) and their derivatives; everything else follows. x is data, e the source, z the state between, v the velocity."""

    @abstractmethod
    def coefficients(self, s: Time) -> tuple[Time, Time, Time, Time]:
        """(a, b, a', b') at s."""

    def interpolate(self, x: Float[Tensor, "B C *X"], e: Float[Tensor, "B C *X"], s: Time) -> Float[Tensor, "B C *X"]:
        """z = a x + b e."""
        a, b, _, _ = self.coefficients(s)
        return a * x + b * e

    def velocity(self, x: Float[Tensor, "B C *X"], e: Float[Tensor, "B C *X"], s: Time) -> Float[Tensor, "B C *X"]:
        """v = a' x + b' e, the target of flow matching."""
        _, _, da, db = self.coefficients(s)
        return da * x + db * e

    def data(self, z: Float[Tensor, "B C *X"], v: Float[Tensor, "B C *X"], s: Time) -> Float[Tensor, "B C *X"]:
        """The end point x that a velocity points to."""
        a, b, da, db = self.coefficients(s)
        return (db * z - b * v) / (a * db - da * b)

    def noise(self, z: Float[Tensor, "B C *X"], v: Float[Tensor, "B C *X"], s: Time) -> Float[Tensor, "B C *X"]:
        """The source e that a velocity comes from."""
        a, b, da, db = self.coefficients(s)
        return (a * v - da * z) / (a * db - da * b)

    def velocity_from_data(self, z: Float[Tensor, "B C *X"], x: Float[Tensor, "B C *X"], s: Time) -> Float[Tensor, "B C *X"]:
        """v from a prediction of the data; needs b(s) > 0, that is s > 0."""
        a, b, da, db = self.coefficients(s)
        return da * x + (db / b) * (z - a * x)

    def velocity_from_noise(self, z: Float[Tensor, "B C *X"], e: Float[Tensor, "B C *X"], s: Time) -> Float[Tensor, "B C *X"]:
        """v from a prediction of the source; needs a(s) > 0, that is s < 1."""
        a, b, da, db = self.coefficients(s)
        return (da / a) * (z - b * e) + db * e


@recorded
@dataclass(frozen=True)
class Linear(Path):
    """Rectified flow: z = (1 - s) x + s e, v = e - x, x = z - s v."""

    def coefficients(self, s: Time) -> tuple[Time, Time, Time, Time]:
        return 1 - s, s, -1.0, 1.0


@recorded
@dataclass(frozen=True)
class VariancePreserving(Path):
    """z = cos(pi s / 2) x + sin(pi s / 2) e: unit variance at every s where x and e are independent and have it."""

    def coefficients(self, s: Time) -> tuple[Time, Time, Time, Time]:
        w = math.pi / 2
        if isinstance(s, Tensor):
            a: Time = torch.cos(w * s)
            b: Time = torch.sin(w * s)
        else:
            a, b = math.cos(w * s), math.sin(w * s)
        return a, b, -w * b, w * a


LINEAR = Linear()
"""The usual path, shared since it holds nothing."""
