"""What a solver is told of a trajectory: its parameters and static fields, functions of (recipe, its id) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.data.recipe import Recipe
from surrogates.data.truth.equations import solver_of, static_fields_of
from surrogates.domains import Box, Sphere


def conditions(recipe: Recipe, ids: Sequence[int], box: Box | Sphere, step: float, like: Tensor) -> Conditions:
    """The parameters and static fields of the trajectories `ids`, on the device of `like`."""
    parameters, names = parameters_of(recipe, ids)
    time, fixed = torch.zeros(len(ids), dtype=torch.float64), static(recipe, ids)
    if fixed is not None:
        solver: Any = solver_of(recipe, recipe.solver)
        fixed = solver.spread_static(fixed, recipe.box, box).to(like.device)
    return Conditions(box, time, torch.full_like(time, step), parameters.to(like.device), names, static=fixed)


def stored_box(recipe: Recipe) -> Box | Sphere:
    """The grid of the frames, whose ends are open where something passes them in this equation."""
    box, solver = recipe.box, cast(Any, solver_of(recipe, recipe.solver))
    return replace(box, open_ends=solver.open_ends(box)) if isinstance(box, Box) else box


def parameters_of(recipe: Recipe, ids: Sequence[int]) -> tuple[Float[Tensor, "B P"], tuple[str, ...]]:
    """A row for each trajectory, float64, and the names of the columns."""
    names = tuple(recipe.parameters)
    values = [[recipe.values(i)[n] for n in names] for i in ids]
    return torch.tensor(values, dtype=torch.float64).reshape(len(ids), len(names)), names


def static(recipe: Recipe, ids: Sequence[int]) -> Float[Tensor, "B Cs *X"] | None:
    """The values of static fields on the stored grid, rounded as they are stored, float64: the truth is that of what a file tells."""
    solver: Any = solver_of(recipe, recipe.solver)
    if not static_fields_of(recipe).count:
        return None
    parameters, names = parameters_of(recipe, ids)
    time = torch.zeros(len(ids), dtype=torch.float64)
    told = Conditions(recipe.box, time, time + recipe.frames.step, parameters, names)
    drawn: Tensor = solver.draw_static(recipe.box, list(ids), recipe.seed, conditions=told)
    return drawn.float().double()
