"""ProbConserv: a Gaussian forecast N(mu, S) of N values, told that G u = b up to errors of variance sigma^2, becomes N(mu', S'),

    mu' = mu - S G^T (sigma^2 I + G S G^T)^-1 (G mu - b),    S' = S - S G^T (sigma^2 I + G S G^T)^-1 G S:

what is uncertain moves, what is certain stays. With S = 1/measure and sigma = 0 it is the nearest field in the domain's norm, with
S = u/measure the scaling of `multiplicative`. S is diagonal, diagonal plus low rank, or dense; the correction takes a rank of K from it,
so diag(v) + F diag(signs) F^T stays of that form. Everything is float64.

Source: Hansen et al., Learning Physical Models that Can Respect Conservation Laws, ICML 2023, equations 7 to 9,
https://arxiv.org/abs/2302.11002; the log-likelihood as in their tables, of each value by itself and averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.channels import Channels
from surrogates.constraints.functional import LinearFunctionals, system
from surrogates.constraints.observables import Functional, Observable
from surrogates.contracts import Domain
from surrogates.fields import Fields
from surrogates.record import recorded


@runtime_checkable
class Covariance(Protocol):
    """A covariance of N values in each of B rows."""

    def times(self, x: Float[Tensor, "B N K"]) -> Float[Tensor, "B N K"]: ...
    def less(self, w: Float[Tensor, "B N K"]) -> Covariance: ...
    @property
    def variance(self) -> Float[Tensor, "B N"]: ...


@dataclass(frozen=True)
class LowRank:
    """diag(own) + F diag(signs) F^T; the signs of what a correction took away are -1."""

    own: Float[Tensor, "B N"]
    factors: Float[Tensor, "B N r"]
    signs: Float[Tensor, " r"]

    def times(self, x: Float[Tensor, "B N K"]) -> Float[Tensor, "B N K"]:
        return self.own[:, :, None] * x + self.factors @ (self.signs[:, None] * (self.factors.mT @ x))

    def less(self, w: Float[Tensor, "B N K"]) -> LowRank:
        """S - w w^T."""
        return LowRank(self.own, torch.cat([self.factors, w], 2), torch.cat([self.signs, self.signs.new_full((w.shape[2],), -1.0)]))

    @property
    def variance(self) -> Float[Tensor, "B N"]:
        return self.own + (self.factors.square() * self.signs).sum(2)


@dataclass(frozen=True)
class Dense:
    """The matrix itself."""

    matrix: Float[Tensor, "B N N"]

    def times(self, x: Float[Tensor, "B N K"]) -> Float[Tensor, "B N K"]:
        return self.matrix @ x

    def less(self, w: Float[Tensor, "B N K"]) -> Dense:
        """S - w w^T."""
        return Dense(self.matrix - w @ w.mT)

    @property
    def variance(self) -> Float[Tensor, "B N"]:
        return self.matrix.diagonal(dim1=1, dim2=2)


def diagonal(variance: Float[Tensor, "B N"]) -> LowRank:
    """Independent errors of these variances."""
    own = variance.double()
    return LowRank(own, own.new_zeros(*own.shape, 0), own.new_zeros(0))


def low_rank(variance: Float[Tensor, "B N"], factors: Float[Tensor, "B N r"]) -> LowRank:
    """Independent errors beside shared ones: diag(variance) + F F^T."""
    return LowRank(variance.double(), factors.double(), factors.new_ones(factors.shape[2], dtype=torch.float64))


def of_members(members: Float[Tensor, "B M N"], own: float = 0.0) -> tuple[Float[Tensor, "B N"], LowRank]:
    """The mean and the covariance of an ensemble, of rank M - 1, beside independent errors of variance `own`."""
    x = members.double()
    mean = x.mean(1)
    factors = (x - mean[:, None]).mT / max(x.shape[1] - 1, 1) ** 0.5
    return mean, low_rank(torch.full_like(mean, own), factors)


def correct(
    mean: Float[Tensor, "B N"],
    covariance: Covariance,
    functionals: Float[Tensor, "K N"],
    values: Float[Tensor, "B K"],
    noise: float = 0.0,
) -> tuple[Float[Tensor, "B N"], Covariance]:
    """mu' and S' under functionals = G and values = b with errors of standard deviation `noise`.

    Raises ValueError where the functionals depend on each other under this covariance, as where they see no uncertain value.
    """
    mu, g = mean.double(), functionals.double()
    towards = covariance.times(g.mT.expand(len(mu), -1, -1).contiguous())
    gram = g @ towards + noise**2 * torch.eye(len(g), dtype=torch.float64, device=g.device)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed.any()):
        raise ValueError(
            f"G S G^T is singular in row {int(failed.nonzero()[0])}: the functionals depend on each other or see values of no variance; "
            "drop some, or give the values an error (noise > 0)"
        )
    missing = (mu @ g.mT - values.double())[:, :, None]
    taken = torch.linalg.solve_triangular(factor, towards.mT, upper=False).mT  # S G^T L^-T
    shift = taken @ torch.linalg.solve_triangular(factor, missing, upper=False)
    return mu - shift[:, :, 0], covariance.less(taken)


def log_likelihood(truth: Float[Tensor, "B N"], mean: Float[Tensor, "B N"], covariance: Covariance) -> Float[Tensor, " B"]:
    """Mean over the N values of log N(truth; mean, variance), each by its own variance: -inf where a certain value is wrong."""
    variance = covariance.variance.clamp_min(torch.finfo(torch.float64).tiny)
    terms = (truth.double() - mean.double()).square() / variance + variance.log() + log(2 * pi)
    found: Tensor = terms.mean(1) / -2
    return found


def matrix(law: LinearFunctionals, domain: Domain, device: torch.device | str = "cpu") -> Float[Tensor, "K N"]:
    """G of a law on a domain of one member, for values (c, *X) in one row: weights times measure."""
    if domain.members != 1:
        raise ValueError(f"this domain has {domain.members} members, each with functionals of its own; take them apart (Mesh.separate)")
    w = system(law, domain, torch.device(device)).weights
    rows: Tensor = (w * domain.measure.to(w.device)).flatten(1)
    return rows


@recorded
class WeightedFunctionals(LinearFunctionals):
    """`LinearFunctionals` by the correction of a Gaussian with a fixed covariance S = diag(variance) + sum_r f_r f_r^T.

    `variance` and `factors` are Observables of the fields on one domain: the variance of the value at every point, in units of the
    field squared, and patterns of shared error (such as EOFs times their standard deviations) in units of the field.
    """

    def __init__(
        self,
        fields: Fields,
        functionals: tuple[Functional, ...],
        *,
        variance: tuple[Observable, ...],
        factors: tuple[Observable, ...] = (),
        decay: str | None = None,
        forced: bool = False,
    ) -> None:
        super().__init__(fields, functionals, decay=decay, forced=forced)
        self.variance, self.factors = tuple(variance), tuple(factors)
        moved = [f.field for f in (*self.functionals, *self.variance, *self.factors)]
        self.channels = Channels.of(fields, *moved)  # a shared error moves fields that no functional sees

    def spread(self, weights: Float[Tensor, "K c *X"], domain: Domain) -> Float[Tensor, "K c *X"]:
        """S G^T: variance measure w_k + sum_r f_r (integral of f_r . w_k). Raises ValueError for a negative variance."""
        a, b = self.channels.start, self.channels.stop
        own = sum((v.weights(self.fields, domain)[0, a:b] for v in self.variance), torch.zeros_like(weights[0]))
        if bool((own < 0).any()):
            raise ValueError(f"a variance must be non-negative, got {float(own.min()):g}")
        s = own * domain.measure.to(own) * weights
        for pattern in self.factors:
            f = pattern.weights(self.fields, domain)[0, a:b]
            shares = domain.integral((f * weights).sum(1)[None])  # (members, K)
            s = s + domain.expand(shares)[0][:, None] * f
        return s
