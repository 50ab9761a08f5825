"""Shipped recipes are stable: at every size, for the largest speed that a flow of the drawn rms reaches, no wave of either grid grows.

A wave k carried at the speed U obeys w' = -nu |k|^2 w + i |U||k| w at worst. Of the scheme, the factor of a step is that of this equation,
the first term exact, the second as the nonlinear one. It must not exceed 1 for any wave up to the corner of those that are kept.
"""

from __future__ import annotations

from dataclasses import replace
from math import pi

import pytest
import torch

from surrogates.data.recipe import Recipe, load_recipe, sizes_of
from surrogates.data.sections import Layer, Solver
from surrogates.data.truth import SCHEMES, start

PEAK = 2.4  # the largest speed over the rms: 2.5 at the start and 1.9 to 2.3 later, over the burn-ins of three-dimensional turbulence
FLOWS = ("isotropic_turbulence", "filtered_turbulence", "rayleigh_benard")


def speed(recipe: Recipe) -> float:
    """That of the drawn flow; of convection, which starts from rest, free-slip rolls: Re ~ Ra^(2/3) (Chini and Cox, Phys. Fluids 21 (2009)
    083603), so U ~ Ra^(1/6) in units of free fall, and 1.3 is measured at Ra = 2e5 after 40 of them."""
    if recipe.equation != "rayleigh_benard":
        return PEAK * recipe.initial["rms"]
    return 1.3 * (recipe.parameters["rayleigh"].bounds[1] / 2e5) ** (1 / 6)


def viscosity(recipe: Recipe) -> float:
    if recipe.equation != "rayleigh_benard":
        return recipe.parameters["viscosity"].bounds[0]
    (_, most), (least, largest) = (recipe.parameters[name].bounds for name in ("rayleigh", "prandtl"))
    return (min(least, 1 / largest) / most) ** 0.5


def growth(recipe: Recipe, solver: Solver) -> float:
    """The largest factor of a step."""
    layer = isinstance(recipe.domain, Layer)
    lengths = [2 * L if layer and axis == 1 else L for axis, L in enumerate(recipe.domain.lengths)]  # type: ignore[union-attr]
    points = [2 * n if layer and axis == 1 else n for axis, n in enumerate(solver.resolution)]
    corner = sum((2 * pi * ((n - 1) // 3) / L) ** 2 for n, L in zip(points, lengths, strict=True)) ** 0.5
    k = torch.linspace(0.05, 1, 200, dtype=torch.float64) * corner
    advance = SCHEMES[solver.scheme]((-viscosity(recipe) * k**2)[None, None], torch.tensor([solver.dt]), torch.complex128)
    made = advance(torch.ones(1, 1, len(k), dtype=torch.complex128), lambda w: 1j * speed(recipe) * k * w)
    return float(made.abs().max())


SHIPPED = [(name, size) for name in FLOWS for size in sizes_of(name)]


@pytest.mark.parametrize(("name", "size"), SHIPPED)
def test_no_wave_of_a_shipped_recipe_grows(name: str, size: str) -> None:
    recipe = load_recipe(name, size)
    found = {"solver": growth(recipe, recipe.solver), "burn_in.solver": growth(recipe, recipe.coarse)}
    assert max(found.values()) < 1 + 1e-3, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "time"),
    [("isotropic_turbulence", "small", 12), ("filtered_turbulence", "small", 12), ("rayleigh_benard", "small", 40),
     ("isotropic_turbulence", "full", 3), ("filtered_turbulence", "full", 1), ("rayleigh_benard", "full", 6)],
)  # fmt: skip
def test_a_burn_in_is_finite(name: str, size: str, time: float) -> None:
    """That of `small` whole; that of `full` past the times at which longer steps blew up, or so far that they would."""
    recipe = load_recipe(name, size)
    assert recipe.burn_in is not None and time <= recipe.burn_in.time
    short = replace(recipe, burn_in=replace(recipe.burn_in, time=float(time), settle=0.0))
    assert bool(torch.isfinite(start(short, [0], lambda work: None)).all())
