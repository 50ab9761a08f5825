"""From random initial states to frames: burn-in on a coarse grid, settling on the solver's own, then what is stored."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Noise, State
from surrogates.data.recipe import Recipe
from surrogates.data.sections import Solver
from surrogates.data.truth.equations import CONDITIONS, solver_of
from surrogates.data.truth.told import conditions
from surrogates.data.truth.work import Tick, chunks_of, cost
from surrogates.domains import Box, Sphere
from surrogates.noise import SeededNoise, splitmix

BURN_IN, SETTLE, FRAMES = 1, 2, 3  # each stage has noise of its own, so that no frame is driven by what made its initial state


def start(recipe: Recipe, ids: Sequence[int], tick: Tick, device: str = "cpu") -> Float[Tensor, "B C *Y"]:
    """The states at the first frame, on the solver's grid, in its precision."""
    coarse, fine = recipe.domain.solver(recipe.coarse.resolution), recipe.domain.solver(recipe.solver.resolution)
    u = drawn(recipe, ids, coarse).to(device)
    if recipe.burn_in is None:
        return u.to(getattr(torch, recipe.solver.dtype))
    u = _pass(recipe, ids, u, recipe.burn_in.time, recipe.coarse, coarse, tick, BURN_IN)
    u = solver_of(recipe, recipe.solver).resample(u.to(getattr(torch, recipe.solver.dtype)), coarse, fine)
    return _pass(recipe, ids, u, recipe.burn_in.settle, recipe.solver, fine, tick, SETTLE)


def drawn(recipe: Recipe, ids: Sequence[int], grid: Box | Sphere) -> Float[Tensor, "B C *Y"]:
    """Random initial states. An equation whose states depend on its parameters, in balance with them, is told these."""
    initial = solver_of(recipe, recipe.coarse).initial
    told = {CONDITIONS: conditions(recipe, ids, grid, recipe.frames.step, torch.empty(0))}
    keywords = told if CONDITIONS in inspect.signature(initial).parameters else {}
    return initial(grid, list(ids), recipe.seed, **recipe.initial, **keywords)


def frames(
    recipe: Recipe, ids: Sequence[int], u: Float[Tensor, "B C *Y"], count: int, settings: Solver, tick: Tick, members: int = 1
) -> Iterator[Float[Tensor, "B C *X"]]:
    """`count` frames from states `u` on the grid of `recipe.solver`, the first of them `u` itself, on the stored grid.

    Rows b, b + 1, ... are members 0, ..., `members` - 1 of one trajectory: where the equation draws noise, each has its own.
    """
    fine = recipe.domain.solver(recipe.solver.resolution)
    yield solver_of(recipe, recipe.solver).resample(u, fine, recipe.box)
    if count > 1:
        noise = SeededNoise(splitmix(recipe.seed, FRAMES), ids, [row % members for row in range(len(ids))])
        yield from _advance(recipe, ids, u, recipe.frames.step, count - 1, settings, fine, recipe.box, tick, noise)


def _pass(
    recipe: Recipe, ids: Sequence[int], u: Tensor, time: float, settings: Solver, box: Box | Sphere, tick: Tick, stage: int
) -> Tensor:
    """The states `time` later, on the same grid."""
    if not time:
        return u
    chunks, noise = chunks_of(settings, time), SeededNoise(splitmix(recipe.seed, stage), ids, [0] * len(ids))
    key = "burn_in.solver.dt" if stage == BURN_IN else "solver.dt"
    return deque(_advance(recipe, ids, u, time / chunks, chunks, settings, box, box, tick, noise, key), maxlen=1).pop()


def _advance(
    recipe: Recipe,
    ids: Sequence[int],
    u: Tensor,
    step: float,
    count: int,
    settings: Solver,
    box: Box | Sphere,
    stored: Box | Sphere,
    tick: Tick,
    noise: Noise,
    key: str = "solver.dt",
) -> Iterator[Tensor]:
    """Frames; `key` is that of the recipe which a flow that blows up has to be given a smaller value of."""
    solver = solver_of(recipe, settings)
    state: State = solver.begin(u[:, None], conditions(recipe, ids, box, step, u))
    at = conditions(recipe, ids, stored, step, u)
    for n in range(count):
        made, state = solver(state, at, noise)
        if not bool(torch.isfinite(made).all()):
            rows = [i for i, row in zip(ids, made, strict=True) if not bool(torch.isfinite(row).all())]
            raise ValueError(
                f"the truth solver blew up in trajectories {rows} after time {(n + 1) * step:g} of this stage; "
                f"lower {key} ({settings.dt:g})"
            )
        tick(len(ids) * cost(settings, step))
        yield made[:, 0]
