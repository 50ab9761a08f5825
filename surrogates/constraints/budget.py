"""How what a law keeps moves with time. Over a step dt, dI/dt = S - rate I has the solution

    I(t + dt) = exp(-rate dt) I(t) + integral_0^dt exp(-rate (dt - s)) S(t + s) ds.

Where S is known as a function of time, the last term is taken by Gauss-Legendre quadrature: three points, exact to degree five. Where
S is read off the field it is known at both ends of the step only and taken as linear between them, which with x = rate dt gives

    dt ((g - f) S(t) + f S(t + dt)),    f = (x - 1 + exp(-x))/x^2,    g = (1 - exp(-x))/x,

the trapezoid where nothing decays: the error of a step is dt^3 S''/12, a steady balance S = rate I is kept exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions

Source = Callable[[Tensor], Tensor]
"""From a time (G,) to what the budgets gain in a unit of time (G, R)."""

NODES = (0.5 - sqrt(0.15), 0.5, 0.5 + sqrt(0.15))
WEIGHTS = (5 / 18, 8 / 18, 5 / 18)


def advance(budget: Float[Tensor, "G R"], conditions: Conditions, rate: Float[Tensor, " G"], source: Source | None) -> Float[Tensor, "G R"]:
    """The budget one dt after `conditions.time`."""
    dt = conditions.dt
    moved = budget * column(torch.exp(-rate * dt), budget)
    if source is None:
        return moved
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        factor = weight * dt * torch.exp(-rate * dt * (1 - node))
        moved = moved + column(factor, budget) * source(conditions.time + node * dt).to(budget)
    return moved


def trapezoid(
    budget: Float[Tensor, "G R"],
    before: Float[Tensor, "G R"],
    after: Float[Tensor, "G R"],
    conditions: Conditions,
    rate: Float[Tensor, " G"],
) -> Float[Tensor, "G R"]:
    """The budget one dt after `conditions.time`, from its sources at both ends of the step."""
    dt = column(conditions.dt, budget)
    x = column(rate, budget) * dt
    later = _later(x)
    return torch.exp(-x) * budget + dt * ((_mean(x) - later) * before + later * after)


def rate(conditions: Conditions, name: str | None) -> Float[Tensor, " G"]:
    """The parameter `name`, float64; 0 without a name. Raises KeyError where there is none of it, ValueError where it is negative."""
    if name is None:
        return torch.zeros_like(conditions.dt)
    value = conditions.parameter(name).to(conditions.dt)
    if bool((value < 0).any()):
        raise ValueError(f"parameter {name!r} is a rate or a viscosity and must be non-negative, got {float(value.min()):g}")
    return value


def source_term(conditions: Conditions) -> Callable[[Tensor], Tensor]:
    """du/dt as a function of time. Raises ValueError where the conditions have none."""
    if conditions.source_term is None:
        raise ValueError("this law is forced=True but the conditions have no source term; pass Conditions(source_term=...) or drop forced")
    return conditions.source_term


def inflow(conditions: Conditions, channels: int) -> Source:
    """What enters each cell through the boundary as a function of time, (B, channels, *X).

    Raises ValueError where the conditions have none and, when called, where it gives something else.
    """
    given = conditions.inflow
    if given is None:
        raise ValueError("this law needs what flows in, but the conditions have no inflow; pass Conditions(inflow=...)")
    shape = (channels, *conditions.domain.shape)

    def checked(t: Tensor) -> Tensor:
        per_cell = given(t)
        if per_cell.shape[1:] != shape:
            raise ValueError(
                f"inflow(t) gave shape {tuple(per_cell.shape)}; it is what enters each cell, (B, {', '.join(map(str, shape))}); "
                "share a net inflow among the cells at the boundary"
            )
        return per_cell

    return checked


def together(one: Source | None, other: Source | None) -> Source | None:
    """The sum of two sources, either of which may be absent."""
    if one is None or other is None:
        return one or other

    def added(t: Tensor) -> Tensor:
        first = one(t)
        return first + other(t).to(first.device)

    return added


def _mean(x: Float[Tensor, "G 1"]) -> Float[Tensor, "G 1"]:
    """(1 - exp(-x))/x, the integral of exp(-x (1 - s)) over s in 0..1."""
    small = x < 1e-8
    return torch.where(small, 1 - x / 2, -torch.expm1(-x) / torch.where(small, 1.0, x))


def _later(x: Float[Tensor, "G 1"]) -> Float[Tensor, "G 1"]:
    """f: the integral of s exp(-x (1 - s)) over s in 0..1; by its series where the formula would cancel."""
    small = x < 1e-2
    series = 1 / 2 - x / 6 + x**2 / 24 - x**3 / 120 + x**4 / 720
    return torch.where(small, series, (x + torch.expm1(-x)) / torch.where(small, 1.0, x) ** 2)


def column(values: Float[Tensor, " G"], like: Tensor) -> Float[Tensor, "G 1"]:
    """One value a member, beside (G, R)."""
    return values.to(like.device)[:, None]
