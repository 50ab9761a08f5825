"""The equations that recipes name, and their solvers as a recipe makes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from surrogates import pde
from surrogates.contracts import Step
from surrogates.data.recipe import Recipe
from surrogates.data.sections import Solver
from surrogates.errors import nearest
from surrogates.fields import Fields


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
    "wave_medium": pde.WaveMedium,
    "mp_pde": pde.MessagePassingPDE,
    "riemann2d": pde.Riemann2d,
    "richtmyer_meshkov": pde.RichtmyerMeshkov,
    "channel": pde.Channel,
    "darcy": pde.Darcy,
    "condiff": pde.ConDiff,
    "kelvin_helmholtz": pde.KelvinHelmholtz,
}
SCHEMES = {"etdrk2": pde.etdrk2, "etdrk4": pde.etdrk4}
SCHEME = "etdrk4"  # where a recipe says nothing, of an equation that has a choice
CHOSEN = ("resolution", "max_dt", "dtype", "scheme")  # arguments of a solver that other keys of a recipe decide
CONDITIONS = "conditions"  # the argument of initial states that depend on parameters


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
