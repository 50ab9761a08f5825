"""DPM-Solver++: the flow in the time lambda = ln(a/b), in which all but the network's own nonlinearity is integrated exactly,

    z' = (b'/b) z + (a' - a b'/b) X,

with X an estimate of the data over the step: at its beginning (order 1, which is DDIM), at its middle in lambda (2S, one step of two
evaluations) or by a line through this and the last step's (2M, one evaluation a step). Steps from a = 0 and to b = 0, where lambda is
infinite, are of order 1. Source: Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models", 2022,
algorithms 1 and 2, https://arxiv.org/abs/2211.01095.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from surrogates.refine.path import LINEAR, Path
from surrogates.refine.samplers import Fresh, Velocity


def dpm_2s(velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
    """The single-step method of second order."""
    for s, r in pairwise(levels):
        x = path.data(z, velocity(z, s), s)
        (a, b), (c, d) = path.ends(s), path.ends(r)
        if a > 0 and d > 0:
            middle = path.at(math.sqrt(b / a * d / c))
            u = _step(z, x, (a, b), path.ends(middle))
            x = path.data(u, velocity(u, middle), middle)
        z = _step(z, x, (a, b), (c, d))
    return z


def dpm_2m(velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
    """The two-step method of second order."""
    last, h_last = None, math.inf
    for s, r in pairwise(levels):
        x = path.data(z, velocity(z, s), s)
        (a, b), (c, d) = path.ends(s), path.ends(r)
        h = math.log(c / d * b / a) if a > 0 and d > 0 else math.inf
        line = x
        if last is not None and math.isfinite(h) and math.isfinite(h_last):
            line = x.add(x.sub(last), alpha=h / (2 * h_last))
        z = _step(z, line, (a, b), (c, d))
        last, h_last = x, h
    return z


def _step(z: Tensor, x: Tensor, here: tuple[float, float], there: tuple[float, float]) -> Tensor:
    (a, b), (c, d) = here, there
    return (d / b * z).add(x, alpha=c - a * d / b)
