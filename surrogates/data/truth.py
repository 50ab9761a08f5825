"""Truth by a recipe: random initial states, burn-in on a coarse grid, settling on the solver's own, then frames.

A trajectory is a function of (recipe, its id, the ids advanced with it): parameters and initial state are keyed by its id alone, and
only the last bit of the arithmetic depends on how many rows are advanced together.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil, prod
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates import pde
from surrogates.contracts import Conditions, Noise, State, Step
from surrogates.data.recipe import Recipe
from surrogates.data.sections import Solver
from surrogates.domains import Box, Sphere
from surrogates.errors import nearest
from surrogates.fields import Fields
from surrogates.noise import SeededNoise, splitmix


class Truth(Step, Protocol):
    """A solver that draws its own initial states, and knows how its states come from one grid to another.

    `turnover_time(u, domain) -> (B,)` is there where the equation has one. An equation whose coefficients vary in space has
    `static_fields`, draws them by `draw_static(domain, trajectories, seed, conditions=...)` on the stored grid, and knows by
    `spread_static(static, here, there)` what they are on its own.
    """

    @property
    def fields(self) -> Fields: ...
    @property
    def constants(self) -> Mapping[str, Any]: ...
    @property
    def initial(self) -> Callable[..., Tensor]: ...
    def resample(self, u: Tensor, here: Any, there: Any) -> Tensor: ...


EQUATIONS: dict[str, Callable[..., Truth]] = {
    "kolmogorov2d": pde.Kolmogorov,
    "kuramoto_sivashinsky": pde.KuramotoSivashinsky,
    "burgers": pde.Burgers,
    "forced_burgers": pde.ForcedBurgers,
    "kdv": pde.KdV,
    "passive_scalar2d": pde.PassiveScalar,
    "shallow_water": pde.ShallowWater,
    "barotropic_jet": pde.BarotropicJet,
    "porous_medium": pde.PorousMedium,
    "stefan": pde.Stefan,
    "isotropic_turbulence": pde.IsotropicTurbulence,
    "filtered_turbulence": pde.FilteredTurbulence,
    "rayleigh_benard": pde.RayleighBenard,
    "fno_navier_stokes": pde.FnoNavierStokes,
    "gray_scott": pde.GrayScott,
    "advection": pde.Advection,
    "wave": pde.Wave,
    "mp_pde": pde.MessagePassingPDE,
    "riemann2d": pde.Riemann2d,
    "richtmyer_meshkov": pde.RichtmyerMeshkov,
    "channel": pde.Channel,
    "darcy": pde.Darcy,
    "condiff": pde.ConDiff,
    "kelvin_helmholtz": pde.KelvinHelmholtz,
}
SCHEMES = {"etdrk2": pde.etdrk2, "etdrk4": pde.etdrk4}
STAGES = {"etdrk2": 2, "etdrk4": 4}
SCHEME = "etdrk4"  # where a recipe says nothing, of an equation that has a choice
BURN_IN, SETTLE, FRAMES = 1, 2, 3  # each stage has noise of its own, so that no frame is driven by what made its initial state
CHOSEN = ("resolution", "max_dt", "dtype", "scheme")  # arguments of a solver that other keys of a recipe decide
CONDITIONS = "conditions"  # the argument of initial states that depend on parameters
CHUNKS = 40  # at most so many calls of the solver in a burn-in: enough for a progress bar, and for stopping

Tick = Callable[[float], None]
"""Called with work done, in points x substeps x stages x rows; may raise to stop."""


def solver_of(recipe: Recipe, settings: Solver) -> Truth:
    """The solver of the recipe's equation. Raises ValueError for an unknown equation, or parameters or options that it does not have."""
    if recipe.equation not in EQUATIONS:
        raise ValueError(
            f"equation {recipe.equation!r} is unknown; the equations are {list(EQUATIONS)}{nearest(recipe.equation, EQUATIONS)}"
        )
    made = EQUATIONS[recipe.equation]
    takes = inspect.signature(made).parameters
    chosen = _chosen(recipe, settings)
    scheme = {} if chosen is None else {"scheme": SCHEMES[chosen]}
    for name in recipe.options:
        if name not in takes or name in CHOSEN:
            free = [n for n in takes if n not in CHOSEN]
            raise ValueError(f"{recipe.equation} has no option {name!r}; it has {free}{nearest(name, free)}")
    solver = made(settings.resolution, max_dt=settings.dt, dtype=settings.dtype, **scheme, **recipe.options)
    for name in recipe.options:
        if name in solver.constants:
            raise ValueError(f"options.{name} is a coefficient of {recipe.equation}; write it under parameters, which files tell")
    for name in recipe.parameters:
        if name not in solver.constants:
            raise ValueError(
                f"{recipe.equation} has no parameter {name!r}; it has {list(solver.constants)}{nearest(name, solver.constants)}"
            )
    for name, constant in solver.constants.items():
        if constant is None and name not in recipe.parameters:
            raise ValueError(f"{recipe.equation} needs the parameter {name!r}; add it to the recipe's parameters")
    known = [n for n, p in inspect.signature(solver.initial).parameters.items() if p.kind is p.KEYWORD_ONLY and n != CONDITIONS]
    for name in recipe.initial:
        if name not in known:
            raise ValueError(f"initial states of {recipe.equation} have no {name!r}; they have {known}{nearest(name, known)}")
    return solver


def _chosen(recipe: Recipe, settings: Solver) -> str | None:
    """The scheme; None for an equation without a choice. Raises ValueError where the recipe names one all the same."""
    if "scheme" in inspect.signature(EQUATIONS[recipe.equation]).parameters:
        return settings.scheme or SCHEME
    if settings.scheme is not None:
        raise ValueError(f"{recipe.equation} has a stepping of its own: leave solver.scheme ({settings.scheme}) out of the recipe")
    return None


def written(recipe: Recipe) -> dict[str, Any]:
    """The recipe as a file keeps it: with the scheme that advances it, and none where the equation has no choice."""
    out = recipe.to_json()
    for entry, settings in ((out["solver"], recipe.solver), ((out["burn_in"] or {}).get("solver"), recipe.coarse)):
        if entry is not None:
            chosen = _chosen(recipe, settings)
            entry.update({"scheme": chosen}) if chosen is not None else entry.pop("scheme")
    return out


def fields_of(recipe: Recipe) -> Fields:
    return solver_of(recipe, recipe.solver).fields


def static_fields_of(recipe: Recipe) -> Fields:
    """What is stored with a trajectory and stays as it is; no fields for most equations."""
    found: Fields = getattr(solver_of(recipe, recipe.solver), "static_fields", Fields(()))
    return found


def static(recipe: Recipe, ids: Sequence[int]) -> Float[Tensor, "B Cs *X"] | None:
    """Their values on the stored grid, rounded as they are stored, float64: the truth is that of what a file tells."""
    solver: Any = solver_of(recipe, recipe.solver)
    if not static_fields_of(recipe).count:
        return None
    parameters, names = parameters_of(recipe, ids)
    time = torch.zeros(len(ids), dtype=torch.float64)
    told = Conditions(recipe.box, time, time + recipe.frames.step, parameters, names)
    drawn: Tensor = solver.draw_static(recipe.box, list(ids), recipe.seed, conditions=told)
    return drawn.float().double()


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


def finer(recipe: Recipe) -> dict[str, Solver]:
    """The settings that the certificate compares with: half the time step; twice the points, at the same Courant number."""
    half = replace(recipe.solver, dt=recipe.solver.dt / 2)
    return {"half_dt": half, "double_n": replace(half, resolution=tuple(2 * n for n in half.resolution))}


def work(recipe: Recipe, settings: Solver, time: float, step: float, rows: int) -> float:
    """What `tick` will be told for `time` in frames of `step`."""
    return rows * round(time / step) * _cost(settings, step) if time else 0.0


def work_of_start(recipe: Recipe, rows: int) -> float:
    if recipe.burn_in is None:
        return 0.0
    parts = ((recipe.coarse, recipe.burn_in.time), (recipe.solver, recipe.burn_in.settle))
    return sum(work(recipe, s, t, t / _chunks(s, t), rows) for s, t in parts if t)


def _pass(
    recipe: Recipe, ids: Sequence[int], u: Tensor, time: float, settings: Solver, box: Box | Sphere, tick: Tick, stage: int
) -> Tensor:
    """The states `time` later, on the same grid."""
    if not time:
        return u
    chunks, noise = _chunks(settings, time), SeededNoise(splitmix(recipe.seed, stage), ids, [0] * len(ids))
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
        tick(len(ids) * _cost(settings, step))
        yield made[:, 0]


def conditions(recipe: Recipe, ids: Sequence[int], box: Box | Sphere, step: float, like: Tensor) -> Conditions:
    """The parameters and static fields of the trajectories `ids`, on the device of `like`."""
    parameters, names = parameters_of(recipe, ids)
    time, fixed = torch.zeros(len(ids), dtype=torch.float64), static(recipe, ids)
    if fixed is not None:
        solver: Any = solver_of(recipe, recipe.solver)
        fixed = solver.spread_static(fixed, recipe.box, box).to(like.device)
    return Conditions(box, time, torch.full_like(time, step), parameters.to(like.device), names, static=fixed)


def parameters_of(recipe: Recipe, ids: Sequence[int]) -> tuple[Float[Tensor, "B P"], tuple[str, ...]]:
    """A row for each trajectory, float64, and the names of the columns."""
    names = tuple(recipe.parameters)
    values = [[recipe.values(i)[n] for n in names] for i in ids]
    return torch.tensor(values, dtype=torch.float64).reshape(len(ids), len(names)), names


def _chunks(settings: Solver, time: float) -> int:
    return min(CHUNKS, ceil(time / settings.dt * (1 - 1e-12)))


def _cost(settings: Solver, step: float) -> float:
    return float(prod(settings.resolution) * STAGES[settings.scheme or SCHEME] * ceil(step / settings.dt * (1 - 1e-12)))
