"""Samplers: dz/ds = v(z, s) integrated from the source at s = 1 to the data at s = 0 along given levels.

    Euler   z' = z + h v                                       one evaluation a step, order 1
    Heun    z' = z + h (v + v(z + h v, s')) / 2                two evaluations a step but for the last, order 2
    AB2     z' = z + h (v + h/(2 h_last) (v - v_last))         one evaluation a step, order 2 (the first step is Euler's)

with h = s' - s < 0. Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, sections II.1 and III.5.

No velocity is asked for at s = 0. In a direction in which the data hardly vary, v = E[e - x | z] jumps there from (z - x)/s to
-x, since z no longer tells e; a trapezoidal last step from s would leave noise of s/2 in it. Heun's last step is therefore
Euler's, which costs no order. Source: Karras et al., "Elucidating the design space of diffusion-based generative models",
2022, algorithm 1, https://arxiv.org/abs/2206.00364.

Every sampler takes `correct`, a map of end-point estimates onto those that satisfy a law. Each velocity is then replaced by
the one that leads from z to the corrected end point, x = correct(x(z, v)), and the result is corrected once more. The
components that the law leaves free keep their flow; the others go straight to where the law wants them.
Source: Cheng et al., "Gradient-free generation for hard-constrained systems" (ECI: extrapolate, correct, interpolate), 2024,
https://arxiv.org/abs/2412.01786; the interpolation keeps the noise that z implies, so that the flow stays deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

from surrogates.refine.path import LINEAR, Path

Velocity = Callable[[Tensor, float], Tensor]
"""v(z, s) for z of shape "B C *X" at one level s."""
Correct = Callable[[Tensor], Tensor]
"""Maps an end-point estimate "B C *X" to one that satisfies a law."""
Sampler = Callable[[Velocity, Tensor, Sequence[float], Correct | None, Path], Tensor]


def corrected(velocity: Velocity, correct: Correct, path: Path = LINEAR) -> Velocity:
    """The velocity towards corrected end points, for s > 0."""

    def towards(z: Tensor, s: float) -> Tensor:
        x = correct(path.data(z, velocity(z, s), s))
        return path.velocity_from_data(z, x, s)

    return towards


def euler(velocity: Velocity, z: Tensor, levels: Sequence[float], correct: Correct | None = None, path: Path = LINEAR) -> Tensor:
    """Euler's method. `path` matters only to `correct`."""
    if correct is not None:
        return correct(euler(corrected(velocity, correct, path), z, levels))
    for s, r in pairwise(levels):
        z = z.add(velocity(z, s), alpha=r - s)
    return z


def heun(velocity: Velocity, z: Tensor, levels: Sequence[float], correct: Correct | None = None, path: Path = LINEAR) -> Tensor:
    """Heun's method, the explicit trapezoidal rule, and Euler's on a step that ends at 0. `path` matters only to `correct`."""
    if correct is not None:
        return correct(heun(corrected(velocity, correct, path), z, levels))
    for s, r in pairwise(levels):
        h = r - s
        v = velocity(z, s)
        ahead = z.add(v, alpha=h)
        z = z.add(v.add(velocity(ahead, r)), alpha=h / 2) if r > 0 else ahead
    return z


def ab2(velocity: Velocity, z: Tensor, levels: Sequence[float], correct: Correct | None = None, path: Path = LINEAR) -> Tensor:
    """Adams and Bashforth's second method with variable steps. `path` matters only to `correct`."""
    if correct is not None:
        return correct(ab2(corrected(velocity, correct, path), z, levels))
    last, h_last = None, 1.0
    for s, r in pairwise(levels):
        h = r - s
        v = velocity(z, s)
        z = z.add(v, alpha=h)
        if last is not None:
            z = z.add(v.sub(last), alpha=h * h / (2 * h_last))
        last, h_last = v, h
    return z


def evaluations(sampler: Sampler, steps: int) -> int:
    """How often a sampler calls the network on its way to s = 0: what a cost-accuracy curve counts."""
    return 2 * steps - 1 if sampler is heun else steps
