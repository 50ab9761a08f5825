"""The operator that a perfect training would give for Gaussian data: every sampler and every loss can be held against it.

Let the channels at each point be N(m, S) with S = U diag(l) U^T, and the source standard normal. Then z is N(a m, a^2 S + b^2 I)
and, with y = U^T (z - a m),

    v(z, s) = a' m + U y (a a' l + b b') / (a^2 l + b^2),

since E[x | z] = m + U y a l/(a^2 l + b^2) and E[e | z] = U y b/(a^2 l + b^2), of which any other `prediction` is made as well; the
flow is linear, y(s) proportional to sqrt(a^2 l + b^2): it carries e to x = m + S^(1/2) e, whatever the path. What no
network can predict is var(v | z) = W^2 l / (a^2 l + b^2) in each direction, W = a b' - a' b. Source: the Gaussian conditional
mean; it was worked out for diffusion models by Karras et al., 2022, https://arxiv.org/abs/2206.00364, appendix B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.record import recorded
from surrogates.refine.features import time_of
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.prediction import VELOCITY, Prediction


@recorded
class GaussianVelocity(nn.Module):
    """`Operator` that predicts the exact velocity (or another `prediction`) for N(mean, covariance) over channels, alike at every point.

    It reads z from its first C channels and s from the features that end its embedding. Raises ValueError without an
    embedding and for a covariance that is not symmetric, (C, C) and non-negative (zero directions are allowed for s > 0).
    """

    mean: Tensor
    basis: Tensor
    variances: Tensor

    def __init__(
        self, mean: Sequence[float], covariance: Sequence[Sequence[float]], path: Path = LINEAR, prediction: Prediction = VELOCITY
    ) -> None:
        super().__init__()
        m, cov = torch.tensor(mean, dtype=torch.float64), torch.tensor(covariance, dtype=torch.float64)
        if cov.shape != (len(m), len(m)) or not torch.equal(cov, cov.T):
            raise ValueError(f"covariance must be a symmetric {len(m)} x {len(m)} matrix for {len(m)} means, got {cov.tolist()}")
        variances, basis = torch.linalg.eigh(cov)
        if variances.min() < -1e-12 * variances.abs().max():
            raise ValueError(f"covariance has the negative eigenvalue {variances.min():.3g}; give a covariance matrix")
        self.path, self.prediction = path, prediction
        self.register_buffer("mean", m)
        self.register_buffer("basis", basis)
        self.register_buffer("variances", variances.clamp(min=0))

    def _column(self, v: Tensor, like: Tensor) -> Tensor:
        return v.to(like).reshape(-1, *(1,) * (like.ndim - 2))

    def _turn(self, matrix: Tensor, u: Tensor) -> Tensor:
        return torch.einsum("cd,bd...->bc...", matrix.to(u), u)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B C *X"]:
        """E[target(x, e) | z] at the time that the embedding tells; the velocity, unless another prediction was asked for."""
        if embedding is None:
            raise ValueError("GaussianVelocity needs the features of s as its embedding; call it through a refiner")
        z: Any = x[:, : len(self.mean)]
        told: Any = self.path.heard(time_of(embedding))
        s: Any = domain.expand(told[:, None])
        z = z / self.prediction.factor(self.path, s)
        a, b, _, _ = self.path.coefficients(s)
        m, var = self._column(self.mean, z), self._column(self.variances, z)
        y = self._turn(self.basis.T, z - a * m)
        n2 = a * a * var + b * b
        return self.prediction.target(self.path, m + self._turn(self.basis, y * a * var / n2), self._turn(self.basis, y * b / n2), s)

    def flow(self, e: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C *X"]:
        """Where the exact flow carries a source draw: m + S^(1/2) e."""
        root = self.basis * self.variances.sqrt() @ self.basis.T
        return self._column(self.mean, e) + self._turn(root, e)

    def bayes_loss(self, s: float) -> float:
        """The mean square error at s that the exact velocity itself has, averaged over channels."""
        a, b, da, db = self.path.coefficients(s)
        return float(((a * db - da * b) ** 2 * self.variances / (a * a * self.variances + b * b)).mean())
