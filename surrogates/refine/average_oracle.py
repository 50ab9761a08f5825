"""The operator that a perfect training by average velocities would give for Gaussian data.

On the linear path z is N((1 - s) m, n^2) in each eigendirection of the covariance, n^2 = (1 - s)^2 l + s^2, and the flow keeps the
shape: y = U^T (z - (1 - s) m) goes to y n(r)/n(s). With n(s)^2 - n(r)^2 = (s - r)((s + r) - l (2 - s - r)) the step divides out,

    u(z, s, r) = -m + U y ((s + r) - l (2 - s - r)) / (n(s) (n(s) + n(r))),

which at r = s is the velocity (s - l (1 - s))/n^2 of `oracle`, and from 1 to 0 gives z - u = m + S^(1/2) z.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.record import recorded
from surrogates.refine.average_velocity import heard
from surrogates.refine.oracle import GaussianVelocity


@recorded
class GaussianAverage(GaussianVelocity):
    """`Operator` that predicts the exact average velocity for N(mean, covariance) over channels, alike at every point.

    It reads z from its first C channels, and s and s - r from what `average_velocity.tell` says. Raises ValueError as `GaussianVelocity`.
    """

    def __init__(self, mean: Sequence[float], covariance: Sequence[Sequence[float]]) -> None:
        super().__init__(mean, covariance)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B C *X"]:
        """u(z, s, r)."""
        if embedding is None:
            raise ValueError("GaussianAverage needs the features of s and s - r as its embedding; call it through a refiner")
        z: Any = x[:, : len(self.mean)]
        s, d = (domain.expand(t[:, None]) for t in heard(embedding))
        r: Any = s - d
        m, var = self._column(self.mean, z), self._column(self.variances, z)
        y = self._turn(self.basis.T, z - (1 - s) * m)
        here, there = (((1 - t) ** 2 * var + t**2) ** 0.5 for t in (s, r))
        return self._turn(self.basis, y * ((s + r) - var * (2 - s - r)) / (here * (here + there))) - m
