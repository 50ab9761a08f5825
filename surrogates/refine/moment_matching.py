"""Moment matching posterior sampling: Kalman's update of the end point with the covariance that the network itself implies.

    p(y | z) = N(A x(z), I + G V G^T) in units of the error,    V = cov(x | z) = (b^2/a) J D,    J = dx/dz

(notation of `guidance`). The matrix of N x N is never made: conjugate residuals ask for products with V, and each is one product of a
vector with the network's Jacobian, J D = D J^T being symmetric where x(z) is a conditional mean. For Gaussian data and a linear A it
is exact at every level and for any error; for other laws it is their Gaussian approximation given z, the better the smaller s is.
Where the error is far below the data's spread the levels must come down to it: a last step from s leaves less spread than is due.

Score-based data assimilation (2023) has a constant times (b/a)^2 in place of G V G^T.

Sources: Rozet et al., "Learning diffusion priors from observations by expectation maximization", 2024, section 4.2,
https://arxiv.org/abs/2405.13712; Rozet and Louppe, "Score-based data assimilation", 2023, https://arxiv.org/abs/2306.10574; the
covariance from the Jacobian: Boys et al., "Tweedie moment projected diffusions", 2023, https://arxiv.org/abs/2310.06721.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from surrogates.record import recorded
from surrogates.refine.conjugate import LinearMap, update
from surrogates.refine.guidance import Misfit, check_iterations


@recorded
class MomentMatching:
    """`Guidance` by conjugate residuals through the network; each iteration costs one pullback. Raises ValueError for iterations < 1."""

    def __init__(self, iterations: int = 2) -> None:
        check_iterations(iterations)
        self.iterations = iterations

    @property
    def pullbacks(self) -> int:
        """Products with J^T an evaluation."""
        return self.iterations

    def __call__(self, x: Float[Tensor, "B C *X"], misfit: Misfit, through: LinearMap, around: LinearMap) -> Float[Tensor, "B C *X"]:
        """x + V G^T (I + G V G^T)^-1 r(x)."""
        return x + update(misfit, x, through, self.iterations)
