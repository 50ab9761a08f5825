"""Samplers that add fresh noise eps on the way: the same law at every s as the flow's, other trajectories; errors of early steps fade.

    ancestral       z' = a' x + sqrt(b'^2 - w^2) e + w eps,    w^2 = eta^2 (b^2 - (a/a')^2 b'^2) b'^2 / b^2
    Langevin        dz = v ds - k e dtau + sqrt(2 k b) dW,     tau = -s
    Churn           noise is added up to the ratio (1 + gamma) b/a, and a deterministic step goes on from there

with x and e the ends that the velocity points to, (a, b) at s and (a', b') at s'. eta = 1 is the DDPM of Ho et al., 2020
(https://arxiv.org/abs/2006.11239), eta = 0 the DDIM of Song et al., 2020 (https://arxiv.org/abs/2010.02502). The second adds a Langevin
diffusion of strength k b, with -e/b the score: any k >= 0 leaves the law untouched, and it is bounded at both ends; Euler and Maruyama's
method takes it, and no noise in the last step. Churn is algorithm 2 of Karras et al., 2022 (https://arxiv.org/abs/2206.00364), with
gamma = min(amount/steps, sqrt(2) - 1) where b/a >= `above`, and the noise inflated; GenCast has amount 2.5, above .75, inflation 1.05.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from surrogates.record import recorded
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.samplers import Fresh, Sampler, Velocity, heun


def ddim(velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
    """x and e held fixed over a step; no noise. On the linear path it is Euler's method."""
    return _ancestral(0.0, velocity, z, levels, path, fresh)


def ddpm(velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
    """The posterior of a diffusion that adds its noise step by step."""
    return _ancestral(1.0, velocity, z, levels, path, fresh)


def _ancestral(eta: float, velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path, fresh: Fresh | None) -> Tensor:
    for k, (s, r) in enumerate(pairwise(levels)):
        v = velocity(z, s)
        x, e = path.data(z, v, s), path.noise(z, v, s)
        (a, b), (c, d) = path.ends(s), path.ends(r)
        w = eta * d / b * math.sqrt(max(b * b - (a * d / c) ** 2, 0.0))
        z = c * x + math.sqrt(max(d * d - w * w, 0.0)) * e
        if w > 0:
            z = z.add(_given(fresh)(z, k), alpha=w)
    return z


@recorded
@dataclass(frozen=True)
class Langevin:
    """A diffusion of strength `strength` beside the flow."""

    strength: float = 1.0

    def __call__(self, velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
        for k, (s, r) in enumerate(pairwise(levels)):
            v, step = velocity(z, s), s - r
            e, b = path.noise(z, v, s), path.ends(s)[1]
            z = z.sub(v, alpha=step)
            if r > 0:
                z = z.sub(e, alpha=self.strength * step).add(_given(fresh)(z, k), alpha=math.sqrt(2 * self.strength * b * step))
        return z


@recorded
@dataclass(frozen=True)
class Churn:
    """A deterministic one-step sampler that takes back some of its way before each step."""

    sampler: Sampler = heun
    amount: float = 2.5
    above: float = 0.0
    inflation: float = 1.0

    def __call__(self, velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
        gamma = min(self.amount / (len(levels) - 1), math.sqrt(2) - 1)
        for k, (s, r) in enumerate(pairwise(levels)):
            a, b = path.ends(s)
            if s < 1 and b >= self.above * a and gamma > 0:
                back = min(path.at((1 + gamma) * b / a), 1.0)
                c, d = path.ends(back)
                added = math.sqrt(max(d * d - (c * b / a) ** 2, 0.0))
                z, s = (c / a * z).add(_given(fresh)(z, k), alpha=self.inflation * added), back
            z = self.sampler(velocity, z, (s, r), path, None)
        return z


def _given(fresh: Fresh | None) -> Fresh:
    if fresh is None:
        raise ValueError("this sampler adds noise on its way; give it `fresh`, standard normal numbers for step k")
    return fresh
