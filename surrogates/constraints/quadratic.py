"""Quadratic quantities of order p, Q(u) = 1/2 <u . (-laplacian)^p u>, averaged over space, and fields scaled to one:

    order          -1         0            1
    velocity                  energy       enstrophy (of divergence-free velocities)
    vorticity      energy     enstrophy    palinstrophy

Mean and fluctuations are orthogonal in it, Q(U + a u') = Q(U) + a^2 Q(u'), so a^2 = (target - Q(U))/Q(u'). For order 0 the scaled field
is the nearest one of that mean and that energy. On a Sphere the mean is that of each circle of latitude, about which eddies fluctuate;
elsewhere that of space. Source: Pope, Turbulent Flows, 2000, chapter 6, https://doi.org/10.1017/CBO9780511840531.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.integral import volume
from surrogates.contracts import Domain
from surrogates.domains import Box, Sphere

FLAT = 1e-14
"""Fluctuations below this share of the energy are the rounding of a uniform field in float32, and no pattern to scale up."""


@dataclass(frozen=True)
class Quadratic:
    """Q of order p. Orders other than 0 need a periodic Box."""

    order: int

    def product(self, u: Float[Tensor, "B c *X"], v: Float[Tensor, "B c *X"], domain: Domain) -> Float[Tensor, "G 1"]:
        """<u . (-laplacian)^p v>, float64."""
        w = v.double() if self.order == 0 else _power(v.double(), self.order, domain)
        return domain.integral(u.double() * w).sum(1, keepdim=True) / volume(u, domain)

    def __call__(self, u: Float[Tensor, "B c *X"], domain: Domain) -> Float[Tensor, "G 1"]:
        return self.product(u, u, domain) / 2

    def scaled(self, u: Float[Tensor, "B c *X"], target: Float[Tensor, "G 1"], domain: Domain) -> Float[Tensor, "B c *X"]:
        """The field with fluctuations scaled to Q = target, float64; without fluctuations where the mean alone has more, and as it came
        where it has no fluctuations."""
        v = u.double()
        mean = _mean(v, domain)
        eddies = v - mean
        own, rest = self(eddies, domain), self(mean, domain)
        alive = Quadratic(0)(eddies, domain) > FLAT * Quadratic(0)(v, domain)
        ratio = (target - rest) / torch.where(alive, own, 1.0)
        scale = torch.where(alive & (ratio > 0), ratio, 1.0).sqrt()  # the root's gradient at 0 would be infinite
        scale = torch.where(alive & (ratio <= 0), 0.0, scale)
        return v + domain.expand(scale - 1) * eddies


def _mean(v: Float[Tensor, "B c *X"], domain: Domain) -> Float[Tensor, "B c *X"]:
    if isinstance(domain, Sphere):
        return v.mean(-1, keepdim=True).expand_as(v)
    return domain.expand(domain.integral(v) / volume(v, domain))


def _power(v: Float[Tensor, "B c *X"], order: int, domain: Domain) -> Float[Tensor, "B c *X"]:
    """(-laplacian)^order v, 0 at the mean."""
    if not isinstance(domain, Box) or not domain.all_periodic:
        raise ValueError(f"a quantity with derivatives (order {order}, or a viscosity) needs a periodic Box, not {domain}")
    dims = tuple(range(2, 2 + domain.dim))
    k2 = reduce(add, (k.square() for k in domain.wavenumbers(v.device)))
    symbol = torch.where(k2 > 0, k2, 1.0) ** order * (k2 > 0)
    out: Tensor = torch.fft.irfftn(torch.fft.rfftn(v, dim=dims) * symbol, s=domain.shape, dim=dims)
    return out
