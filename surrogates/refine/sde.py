"""Diffusions dZ = f(Z, s; g) dtau + g dW integrated from s = 1 to 0 along given levels, h = s - s' > 0 a step of tau = 1 - s:

    Euler and Maruyama     z' = z + h f(z, s) + g(s) sqrt(h) eps                                              weak order 1
    stochastic Heun        z' = z + h (f(z, s) + f(zbar, s'))/2 + eta,   zbar = z + h f(z, s) + eta           weak order 2
                           eta = sqrt(h (g(s)^2 + g(s')^2)/2) eps

The noise is additive, which is what makes the second of weak order 2 (Kloeden and Platen, Numerical Solution of Stochastic Differential
Equations, 1992, section 15.1). The last step adds no noise, and is Euler's: the state must not end in white noise that no network has
seen to. Where g(0) = 0 that costs no order.

An integrator is a function (drift, z, levels, variance, fresh): drift(z, s, g^2) is f, and variance(k, s) is g^2 at s within step k, so
that a step may have a strength of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

Drift = Callable[[Tensor, float, float], Tensor]
"""f(z, s; g^2) per unit of tau, for z of shape "B C *X"."""
Variance = Callable[[int, float], float]
"""g^2 at s, in step k."""
Integrator = Callable[[Drift, Tensor, Sequence[float], Variance, Callable[[Tensor, int], Tensor]], Tensor]


def euler_maruyama(drift: Drift, z: Tensor, levels: Sequence[float], variance: Variance, fresh: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Euler and Maruyama's method: one evaluation a step."""
    for k, (s, r) in enumerate(pairwise(levels)):
        h, g2 = s - r, variance(k, s)
        z = z.add(drift(z, s, g2), alpha=h)
        if r > 0:
            z = z.add(fresh(z, k), alpha=math.sqrt(h * g2))
    return z


def stochastic_heun(drift: Drift, z: Tensor, levels: Sequence[float], variance: Variance, fresh: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Heun's method with additive noise: two evaluations a step but for the last."""
    for k, (s, r) in enumerate(pairwise(levels)):
        h, here = s - r, variance(k, s)
        f = drift(z, s, here)
        ahead = z.add(f, alpha=h)
        if r > 0:
            there = variance(k, r)
            eta = math.sqrt(h * (here + there) / 2) * fresh(z, k)
            z = z.add(f.add(drift(ahead + eta, r, there)), alpha=h / 2) + eta
        else:
            z = ahead
    return z
