"""Work, in points x substeps x stages x rows: what a progress bar counts while a truth is made."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod

from surrogates.data.recipe import Recipe
from surrogates.data.sections import Solver
from surrogates.data.truth.equations import SCHEME

STAGES = {"etdrk2": 2, "etdrk4": 4}  # evaluations of the nonlinear term a substep
CHUNKS = 40  # at most so many calls of the solver in a burn-in: enough for a progress bar, and for stopping

Tick = Callable[[float], None]
"""Called with work done; may raise to stop."""


def work(settings: Solver, time: float, step: float, rows: int) -> float:
    """What `tick` will be told for `time` in frames of `step`."""
    return rows * round(time / step) * cost(settings, step) if time else 0.0


def work_of_start(recipe: Recipe, rows: int) -> float:
    """The same for what comes before the first frame."""
    if recipe.burn_in is None:
        return 0.0
    parts = ((recipe.coarse, recipe.burn_in.time), (recipe.solver, recipe.burn_in.settle))
    return sum(work(s, t, t / chunks_of(s, t), rows) for s, t in parts if t)


def chunks_of(settings: Solver, time: float) -> int:
    """In how many calls of the solver `time` passes before the first frame: no more than there are steps in it."""
    return min(CHUNKS, ceil(time / settings.dt * (1 - 1e-12)))


def cost(settings: Solver, step: float) -> float:
    """Of one row advanced by `step`."""
    return float(prod(settings.resolution) * STAGES[settings.scheme or SCHEME] * ceil(step / settings.dt * (1 - 1e-12)))
