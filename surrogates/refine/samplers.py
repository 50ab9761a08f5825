"""Samplers: dz/ds = v(z, s) integrated from the source at s = 1 to the data at s = 0 along given levels.

    Euler   z' = z + h v                                       one evaluation a step, order 1
    Heun    z' = z + h (v + v(z + h v, s')) / 2                two evaluations a step but for the last, order 2
    AB2     z' = z + the integral over the step of the line through the last two velocities       one evaluation a step, order 2
    AB3     the same with the parabola through the last three               one evaluation a step and one for the first, order 3

with h = s' - s < 0; AB2 begins with Euler's method and AB3 with Heun's, of one order less, which costs none in the end.
Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, sections II.1 and III.5.

No velocity is asked for at s = 0. In a direction in which the data hardly vary, v = E[e - x | z] jumps there from (z - x)/s to
-x, since z no longer tells e; a trapezoidal last step from s would leave noise of s/2 in it. Heun's last step is therefore
Euler's, which costs no order. Source: Karras et al., "Elucidating the design space of diffusion-based generative models",
2022, algorithm 1, https://arxiv.org/abs/2206.00364.

A sampler is a function (velocity, z, levels, path, fresh); those that keep to dz/ds = v need no path, and those that add no noise
no `fresh`. `sample` runs one under a law `correct`, a map of end-point estimates onto those that satisfy it: each velocity is
replaced by the one that leads from z to the corrected end point, x = correct(x(z, v)), and the result is corrected once more. The
components that the law leaves free keep their flow; the others go straight to where the law wants them.
Source: Cheng et al., "Gradient-free generation for hard-constrained systems" (ECI: extrapolate, correct, interpolate), 2024,
https://arxiv.org/abs/2412.01786; the interpolation keeps the noise that z implies, so that the flow stays deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from surrogates.refine.path import LINEAR, Path

Velocity = Callable[[Tensor, float], Tensor]
"""v(z, s) for z of shape "B C *X" at one level s."""
Correct = Callable[[Tensor], Tensor]
"""Maps an end-point estimate "B C *X" to one that satisfies a law."""
Fresh = Callable[[Tensor, int], Tensor]
"""Standard normal numbers like a tensor, for step k."""
Sampler = Callable[[Velocity, Tensor, Sequence[float], Path, Fresh | None], Tensor]


def sample(
    sampler: Sampler,
    velocity: Velocity,
    z: Tensor,
    levels: Sequence[float],
    correct: Correct | None = None,
    path: Path = LINEAR,
    fresh: Fresh | None = None,
) -> Tensor:
    """Where a sampler leads from z at levels[0] to levels[-1], under a law if there is one."""
    if correct is None:
        return sampler(velocity, z, levels, path, fresh)
    return correct(sampler(corrected(velocity, correct, path), z, levels, path, fresh))


def corrected(velocity: Velocity, correct: Correct, path: Path = LINEAR) -> Velocity:
    """The velocity towards corrected end points, for s > 0."""

    def towards(z: Tensor, s: float) -> Tensor:
        x = correct(path.data(z, velocity(z, s), s))
        return path.velocity_from_data(z, x, s)

    return towards


def euler(velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
    """Euler's method."""
    for s, r in pairwise(levels):
        z = z.add(velocity(z, s), alpha=r - s)
    return z


def heun(velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
    """Heun's method, the explicit trapezoidal rule, and Euler's on a step that ends at 0."""
    for s, r in pairwise(levels):
        h = r - s
        v = velocity(z, s)
        ahead = z.add(v, alpha=h)
        z = z.add(v.add(velocity(ahead, r)), alpha=h / 2) if r > 0 else ahead
    return z


def ab2(velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
    """Adams and Bashforth's second method with variable steps."""
    return _adams_bashforth(2, velocity, z, levels)


def ab3(velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
    """Adams and Bashforth's third method with variable steps."""
    return _adams_bashforth(3, velocity, z, levels)


def _adams_bashforth(order: int, velocity: Velocity, z: Tensor, levels: Sequence[float]) -> Tensor:
    times: tuple[float, ...] = ()
    slopes: tuple[Tensor, ...] = ()
    for s, r in pairwise(levels):
        times, slopes = (s, *times[: order - 1]), (velocity(z, s), *slopes[: order - 1])
        if order > 2 and len(times) == 1 and r > 0:
            z = z.add(slopes[0].add(velocity(z.add(slopes[0], alpha=r - s), r)), alpha=(r - s) / 2)
            continue
        for weight, v in zip(adams_weights(times, r), slopes, strict=True):
            z = z.add(v, alpha=weight)
    return z


@lru_cache(maxsize=1024)
def adams_weights(times: tuple[float, ...], end: float) -> tuple[float, ...]:
    """The integrals from times[0] to `end` of the Lagrange polynomials of `times`."""
    begin, weights = times[0], []
    for j, tj in enumerate(times):
        poly, scale = [1.0], 1.0  # coefficients in (t - begin), rising
        for i, ti in enumerate(times):
            if i != j:
                shifted, scale = ti - begin, scale * (tj - ti)
                poly = [p - shifted * q for p, q in zip([0.0, *poly], [*poly, 0.0], strict=True)]
        h = end - begin
        weights.append(sum(p * h ** (n + 1) / (n + 1) for n, p in enumerate(poly)) / scale)
    return tuple(weights)


def evaluations(sampler: Sampler, levels: Sequence[float], path: Path = LINEAR) -> int:
    """How often a sampler calls the network along these levels: what a cost-accuracy curve counts."""
    calls = []

    def velocity(z: Tensor, s: float) -> Tensor:
        calls.append(s)
        return z

    sampler(velocity, torch.zeros(1, 1, 1), levels, path, lambda like, k: like)
    return len(calls)
