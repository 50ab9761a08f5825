"""Paths between data and source: z(s) = a(s) x + b(s) e, with x the data at s = 0 and e the source at s = 1.

The velocity is v = dz/ds = a'(s) x + b'(s) e. Since (z, v) is linear in (x, e) with determinant W = a b' - a' b, a velocity
contains both ends,

    x = (b' z - b v) / W,        e = (a v - a' z) / W,

without any singular s, whereas a prediction of x alone gives v only where b > 0, and one of e only where a > 0.
Sources: Lipman et al., "Flow matching for generative modeling", 2023, https://arxiv.org/abs/2210.02747 (paths and velocities);
Liu et al., "Flow straight and fast", 2022, https://arxiv.org/abs/2209.03003 (the linear path); Albergo and Vanden-Eijnden,
"Building normalizing flows with stochastic interpolants", 2023, https://arxiv.org/abs/2209.15571 (the trigonometric path);
Karras et al., 2022, https://arxiv.org/abs/2206.00364 (the variance-exploding path, whose time is the noise's deviation itself).
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

    @abstractmethod
    def at(self, ratio: float) -> float:
        """The time s in [0, 1) at which b/a, the noise over the data, is `ratio`."""

    def ends(self, s: float) -> tuple[float, float]:
        """(a, b) at one time."""
        a, b, _, _ = self.coefficients(s)
        return float(a), float(b)

    def told(self, s: Time) -> Time:
        """The number in [0, 1] by which a network is told s: s itself, where equal steps of it matter equally."""
        return s

    def heard(self, told: Time) -> Time:
        """The s that was told."""
        return told

    def deviation(self) -> float:
        """Of z at s = 1 for independent x and e of unit variance: what a sampler multiplies its source by to start."""
        return math.hypot(*self.ends(1.0))

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

    def at(self, ratio: float) -> float:
        return ratio / (1 + ratio)


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

    def at(self, ratio: float) -> float:
        return math.atan(ratio) / (math.pi / 2)


@recorded
@dataclass(frozen=True)
class VarianceExploding(Path):
    """z = x + sigma_max s e: the data stay and the noise grows until they drown in it, for data of unit variance.

    A network is told ln(sigma) between sigma_min (0; what is smaller is told as that) and sigma_max (1). The levels of `Karras`
    belong to it. Raises ValueError unless 0 < sigma_min < sigma_max.
    """

    sigma_max: float = 80.0
    sigma_min: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"expected 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}")

    def coefficients(self, s: Time) -> tuple[Time, Time, Time, Time]:
        return 1.0, self.sigma_max * s, 0.0, self.sigma_max

    def at(self, ratio: float) -> float:
        return ratio / self.sigma_max

    def told(self, s: Time) -> Time:
        least, span = self.sigma_min / self.sigma_max, math.log(self.sigma_max / self.sigma_min)
        if isinstance(s, Tensor):
            return torch.log(s.clamp(min=least) / least) / span
        return math.log(max(s, least) / least) / span

    def heard(self, told: Time) -> Time:
        least = self.sigma_min / self.sigma_max
        return least ** (1 - told)


LINEAR = Linear()
"""The usual path, shared since it holds nothing."""
