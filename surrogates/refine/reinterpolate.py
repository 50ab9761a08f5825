"""Samplers that go to the end and back at every level, as laws on end points want it:

    x = the end point seen from z(s),      z' = a(r) x + b(r) e

    PCFM     e is the noise of the start, all the way
    ECI      e is drawn afresh in every `every`-th turn, with `loops` turns at each level: in the last z' goes on to r, before it goes
             back to s

The end point is what `inner` DDIM steps from s to 0 make; with one it is that of the velocity, E[x | z(s)]. Under a law, `samplers.sample`
hands over velocities that lead to corrected end points and corrects the result once more, which makes the published algorithms of these
two; without a law they are samplers like others, and what they then get wrong a law will not mend. For the samples' law,

    fresh noise forgets what z knew of x: where the end point is the mean E[x | z], whose variance is smaller than that of x, every turn
    loses some. It needs end points that are samples: of average velocities (MeanFlow, Shortcut), or of many `inner` steps.
    the noise of the start belongs to x if the flow has straight lines, z(s) = a x + b e for one x; else going back adds it to what x
    has of it already, and the samples spread, the more the more steps there are.

Held against a Gaussian under a linear law, whose conditional law is known (tests/refine/test_reinterpolate.py), with the exact velocity or
average velocity and no sampling error, the mean's error along the law over the right deviation, and the deviation over the right one:

    steps                        4               16              64
    projected after              .39  .68        .39  .94        .39  1.02      (Euler; the mean is wrong whatever the steps)
    corrected, Euler             .16  .66        .15  .91        .15  .99       (`samplers.corrected`)
    PCFM                         .13  .72        .04  1.45       .01  2.49
    ECI                          .13  .54        .04  .64        .01  .68
    ECI, MeanFlow                .15  1.01       .05  1.004      .02  1.001
    ECI(loops=4), MeanFlow       .06  1.005      .02  1.001

Sources: Cheng et al., "Gradient-free generation for hard-constrained systems", 2024, algorithm 2, https://arxiv.org/abs/2412.01786 (ECI,
there with every = R and loops = M); Utkarsh et al., "Physics-constrained flow matching", 2025, algorithm 1,
https://arxiv.org/abs/2506.04171 (PCFM, without its relaxed penalty, which is for few Gauss-Newton steps).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from surrogates.record import recorded
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.samplers import Fresh, Velocity
from surrogates.refine.source import GaussianSource, Source
from surrogates.refine.stochastic import ddim


@recorded
@dataclass(frozen=True)
class PCFM:
    """Back to each level with the noise of the start. Raises ValueError for inner < 1."""

    inner: int = 1

    def __post_init__(self) -> None:
        _check(inner=self.inner)

    def __call__(self, velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
        e: Tensor | None = None
        for s, r in pairwise(levels):
            v = velocity(z, s)
            e = path.noise(z, v, s) if e is None else e
            z = path.interpolate(end_point(velocity, z, v, s, path, self.inner), e, r)
        return z


@recorded
@dataclass(frozen=True)
class ECI:
    """Back to each level with fresh noise: extrapolate, correct, interpolate. Raises ValueError for numbers < 1.

    The source must be standard normal in the coordinates of the flow: GaussianSource.
    """

    loops: int = 1
    every: int = 1
    inner: int = 1

    def __post_init__(self) -> None:
        _check(loops=self.loops, every=self.every, inner=self.inner)

    def __call__(self, velocity: Velocity, z: Tensor, levels: Sequence[float], path: Path = LINEAR, fresh: Fresh | None = None) -> Tensor:
        if fresh is None:
            raise ValueError("ECI draws fresh noise; give it `fresh`, standard normal numbers for turn k, or use PCFM")
        e: Tensor | None = None
        turn = 0
        for s, r in pairwise(levels):
            for loop in range(self.loops):
                v = velocity(z, s)
                x = end_point(velocity, z, v, s, path, self.inner)
                turn += 1
                last = loop == self.loops - 1
                if last and path.ends(r)[1] == 0:
                    z = path.interpolate(x, x, r)
                    continue
                if turn % self.every == 0:
                    e = fresh(z, turn - 1)
                elif e is None:
                    e = path.noise(z, v, s)
                z = path.interpolate(x, e, r if last else s)
        return z


def end_point(velocity: Velocity, z: Tensor, v: Tensor, s: float, path: Path, inner: int) -> Tensor:
    """Where z(s) ends, by `inner` steps of equal length in s, the first with the velocity v that is known."""
    first = path.data(z, v, s)
    if inner == 1:
        return first
    levels = [s * (1 - k / inner) for k in range(inner + 1)]
    return ddim(velocity, path.interpolate(first, path.noise(z, v, s), levels[1]), levels[1:], path)


def check_source(sampler: object, source: Source) -> None:
    """Raise ValueError for ECI with a source whose law is not that of its fresh noise."""
    if isinstance(sampler, ECI) and not isinstance(source, GaussianSource):
        raise ValueError(f"ECI draws its noise afresh from a standard normal law, not from a {type(source).__name__}; use PCFM there")


def _check(**numbers: int) -> None:
    for name, n in numbers.items():
        if n < 1:
            raise ValueError(f"{name} is {n} but must be at least 1")
