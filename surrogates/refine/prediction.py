"""What a network is asked for, given c z with z = a x + b e: any combination of x and e from which the velocity follows.

    Velocity          F = a' x + b' e                                    c = 1
    Data              F = x                     needs b > 0              c = 1
    Source            F = e                     needs a > 0              c = 1
    Preconditioned    F = (b x - a sigma^2 e)/(sigma n),                 c = 1/n,    n^2 = a^2 sigma^2 + b^2

With data of deviation sigma, the last has unit variance in and out at every s and never asks for what z already tells:

    x = (a sigma^2 z / n + b sigma F)/n,        e = (b z / n - a sigma F)/n.

On the variance-exploding path it is the preconditioning of Karras et al., 2022 (https://arxiv.org/abs/2206.00364, section 5), with its
loss weights; on variance-preserving paths with sigma = 1 it is the v-prediction of Salimans and Ho, 2022
(https://arxiv.org/abs/2202.00512), up to the sign.

`leverage` is |dx/dF|: a squared error of F times its square is the squared error of the data that F speaks of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from surrogates.record import recorded
from surrogates.refine.path import Path, Time


@runtime_checkable
class Prediction(Protocol):
    """F from the ends, and the velocity from F; c, the factor of z before the network sees it."""

    def factor(self, path: Path, s: Time) -> Time: ...
    def target(self, path: Path, x: Tensor, e: Tensor, s: Time) -> Tensor: ...
    def velocity(self, path: Path, z: Tensor, f: Tensor, s: Time) -> Tensor: ...
    def leverage(self, path: Path, s: Time) -> Time: ...


@recorded
@dataclass(frozen=True)
class Velocity:
    """Flow matching's own."""

    def factor(self, path: Path, s: Time) -> Time:
        return 1.0

    def target(self, path: Path, x: Tensor, e: Tensor, s: Time) -> Tensor:
        return path.velocity(x, e, s)

    def velocity(self, path: Path, z: Tensor, f: Tensor, s: Time) -> Tensor:
        return f

    def leverage(self, path: Path, s: Time) -> Time:
        a, b, da, db = path.coefficients(s)
        span: Time = ((a * db - da * b) ** 2) ** 0.5
        return b / span


@recorded
@dataclass(frozen=True)
class Data:
    """The denoised data."""

    def factor(self, path: Path, s: Time) -> Time:
        return 1.0

    def target(self, path: Path, x: Tensor, e: Tensor, s: Time) -> Tensor:
        return x

    def velocity(self, path: Path, z: Tensor, f: Tensor, s: Time) -> Tensor:
        return path.velocity_from_data(z, f, s)

    def leverage(self, path: Path, s: Time) -> Time:
        return 1.0


@recorded
@dataclass(frozen=True)
class SourcePrediction:
    """The source draw: the "epsilon" of diffusion models. Where a(1) = 0 the first step asks for what z is already: choose another."""

    def factor(self, path: Path, s: Time) -> Time:
        return 1.0

    def target(self, path: Path, x: Tensor, e: Tensor, s: Time) -> Tensor:
        return e

    def velocity(self, path: Path, z: Tensor, f: Tensor, s: Time) -> Tensor:
        return path.velocity_from_noise(z, f, s)

    def leverage(self, path: Path, s: Time) -> Time:
        a, b, _, _ = path.coefficients(s)
        return b / a


@recorded
@dataclass(frozen=True)
class Preconditioned:
    """Unit variance in and out, for data of deviation `sigma` (one, where the refiner's scale was fitted)."""

    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma is {self.sigma} but a standard deviation of data must be positive")

    def _norm(self, path: Path, s: Time) -> Time:
        a, b, _, _ = path.coefficients(s)
        n: Time = (a * a * self.sigma**2 + b * b) ** 0.5
        return n

    def factor(self, path: Path, s: Time) -> Time:
        return 1 / self._norm(path, s)

    def target(self, path: Path, x: Tensor, e: Tensor, s: Time) -> Tensor:
        a, b, _, _ = path.coefficients(s)
        return (b * x - (a * self.sigma**2) * e) / (self.sigma * self._norm(path, s))

    def velocity(self, path: Path, z: Tensor, f: Tensor, s: Time) -> Tensor:
        a, b, da, db = path.coefficients(s)
        n, sigma = self._norm(path, s), self.sigma
        of_z = (da * a * sigma**2 + db * b) / (n * n)
        of_f = (da * b - db * a) * sigma / n
        return of_z * z + of_f * f

    def leverage(self, path: Path, s: Time) -> Time:
        _, b, _, _ = path.coefficients(s)
        return b * self.sigma / self._norm(path, s)


def check_start(prediction: Prediction, path: Path) -> None:
    """Raise ValueError where a prediction of the source leaves the first step without data: a(1) = 0."""
    if isinstance(prediction, SourcePrediction) and path.ends(1.0)[0] < 1e-6:
        raise ValueError(
            f"a prediction of the source tells nothing at s = 1 on {path}, where z is the source; write `prediction: Preconditioned` or "
            "Velocity, or a path that keeps some data there, such as LinearBetas"
        )


VELOCITY = Velocity()
"""The usual prediction, shared since it holds nothing."""
