"""Open budgets against exact solutions of the transport equation, by given inflows, given values and the field's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from surrogates.constraints import ConservedIntegral, FluxedIntegral, OpenIntegral
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.heads import FluxForm

LEVELS = Fields.of(Field("p"), Field("q"))
FIELDS = Fields.of(Field("q"), Field("velocity", "m s-1", ("x",)))
LINE = Box((40,), (0.0,), (2.0,), ("wall",))
SPEED = 0.7


def at(domain: Domain, time: float, dt: float, boundary: Callable[[Tensor], Tensor] | None = None, members: int = 1) -> Conditions:
    one = torch.ones(members, dtype=torch.float64)
    return Conditions(domain, time * one, dt * one, 0.3 * one[:, None], ("decay",), boundary=boundary)


def wave(t: Tensor, domain: Box | Mesh = LINE) -> Tensor:
    """q = 2 + (x - c t) of a plane wave that is linear at each instant, so that extrapolation to walls is exact, times cos(t)."""
    x = domain.grid()[0] if isinstance(domain, Box) else domain.points[:, 0]
    q = (2 + x - SPEED * t[:, None]) * torch.cos(t)[:, None]
    return torch.stack([q, torch.full_like(q, SPEED)], 1)


def gain(t: float) -> float:
    """c (q(0) - q(2)) = -2 c cos(t)."""
    return -2 * SPEED * math.cos(t)


def test_the_inflow_of_a_linear_field_is_exact() -> None:
    law = OpenIntegral(FIELDS, "q")
    t = torch.tensor([0.3], dtype=torch.float64)
    torch.testing.assert_close(law.inflow(wave(t), LINE), torch.tensor([[gain(0.3)]], dtype=torch.float64))


def test_inflow_of_what_flows_along_counts_and_across_does_not() -> None:
    """v = (a x, b y): div = a + b; q = 1 flows out at the rate (a + b) V, whatever the cells."""
    plane = Fields.of(Field("q"), Field("velocity", "m s-1", ("x", "y")))
    box = Box((5, 4), (0.0, -1.0), (2.0, 1.0), ("wall", "wall"), ((0.0, 0.1, 0.4, 0.5, 1.5, 2.0), None))
    rng = np.random.default_rng(0)
    triangles = [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
    mesh = Mesh.from_cells(np.concatenate([[[0, -1], [2, -1], [2, 1], [0, 1]], rng.uniform(0.2, 0.8, (1, 2))]), triangles)
    for domain, (x, y) in ((box, box.grid()), (mesh, mesh.points.unbind(1))):
        u = torch.stack([torch.ones_like(x), 0.5 * x, -2 * y])[None]
        torch.testing.assert_close(OpenIntegral(plane, "q").inflow(u, domain), torch.tensor([[1.5 * 4]], dtype=torch.float64))


@pytest.mark.parametrize(("given", "order"), [(True, 6), (False, 2)])
def test_the_budget_follows_the_exact_flux(given: bool, order: int) -> None:
    law, end, errors = OpenIntegral(FIELDS, "q", given=given, decay="decay"), 3.0, []
    r = 0.3
    exact = 1.5 * math.exp(-r * end) - 2 * SPEED * (r * math.cos(end) + math.sin(end) - r * math.exp(-r * end)) / (1 + r * r)
    for steps in (4, 8):
        dt = end / steps
        start = at(LINE, 0.0, dt, wave)
        reference = law.reference(wave(start.time), start)
        reference[:, 0] = 1.5
        for n in range(steps):
            here = at(LINE, n * dt, dt, wave)
            reference = law.advance(reference, wave(here.time + dt), here)
        errors.append(abs(reference[0, 0].item() - exact))
    assert errors[1] < (1e-7 if given else 1e-1) and math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


def test_the_trapezoid_is_centred_on_the_step() -> None:
    """One step of the law and the exact integral of a flux that is linear in time agree: reading it at one end would not."""
    law = OpenIntegral(FIELDS, "q")

    def growing(t: Tensor) -> Tensor:
        return wave(torch.zeros_like(t)) * torch.tensor([1.0, 0.0])[:, None] + torch.tensor([0.0, 1.0])[:, None] * t[:, None, None]

    here = at(LINE, 1.0, 0.5)
    reference = law.reference(growing(here.time), here)
    moved = law.advance(reference, growing(here.time + 0.5), here)
    expected = reference[:, :1] - 2 * (1.5**2 - 1.0) / 2  # q(0) - q(2) = -2, times the integral of t
    torch.testing.assert_close(moved[:, :1], expected)


def test_given_inflows_and_forcing_add_up() -> None:
    """J = cos t and f = 1: I(1) = I(0) + sin 1 + V."""
    law = FluxedIntegral(FIELDS, "q", forced=True)
    one = torch.ones(1, dtype=torch.float64)
    at_ends = torch.zeros(40, dtype=torch.float64)
    at_ends[0], at_ends[-1] = 3.0, -2.0
    inflow = lambda t: (torch.cos(t)[:, None] * at_ends).expand(1, 2, 40)  # noqa: E731
    here = Conditions(LINE, 0 * one, one, torch.zeros(1, 0), source_term=lambda t: torch.ones(1, 2, 40), inflow=inflow)
    moved = law.advance(one[:, None], wave(one), here)
    torch.testing.assert_close(moved, torch.tensor([[1 + math.sin(1) + 2.0]], dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["stretched", "sea", "sphere", "meshes"])
def test_the_head_and_the_law_take_one_inflow(name: str) -> None:
    """What `FluxForm` puts into cells is what `FluxedIntegral` expects in all: it finds nothing to correct."""
    stretched = Box((6,), (0.0,), (1.0,), ("wall",), ((0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0),))
    triangles = [Mesh.from_cells(np.array([[0.0, 0], [1, 0], [1, height], [0, 1]]), [[0, 1, 2], [0, 2, 3]]) for height in (1.0, 1.2)]
    sea = Masked(
        Box((4, 3), (0.0, 0.0), (4.0, 3.0), ("wall", "wall")), torch.ones(4, 3, dtype=torch.bool).index_fill(0, torch.tensor(2), False)
    )
    domain: Domain = {"stretched": stretched, "sea": sea, "sphere": Sphere((4, 8)), "meshes": Mesh.batch(triangles)}[name]
    rows = 2 if name != "meshes" else 1
    draws = torch.randn(2, rows, 2, *domain.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    time = torch.tensor([0.2, 0.7], dtype=torch.float64)

    def inflow(t: Tensor) -> Tensor:
        return draws[0] * domain.expand(torch.cos(t)[:, None])

    here = Conditions(domain, time, time, torch.zeros(2, 0), inflow=inflow)
    head, law, past = FluxForm(LEVELS, "q", inflow=True), FluxedIntegral(LEVELS, "q"), draws[1][:, None]
    y = torch.zeros(rows, head.outputs(domain), *domain.shape, dtype=torch.float64)
    reference = law.advance(law.reference(past[:, -1], here), past[:, -1], here)
    assert law.defect(head(y, past, here), reference, here).abs().max() < 1e-12
    assert law.defect(past[:, -1], reference, here).abs().max() > 1e-3


def test_without_inflow_it_is_conserved_integral() -> None:
    u, still = wave(torch.zeros(1, dtype=torch.float64)), at(LINE, 0.0, 0.5)
    u[:, 1] = 0
    open_, closed = OpenIntegral(FIELDS, "q", decay="decay"), ConservedIntegral(FIELDS, "q", decay="decay")
    reference = open_.advance(open_.reference(u, still), u, still)
    torch.testing.assert_close(reference[:, :1], closed.advance(closed.reference(u, still), u, still))
    torch.testing.assert_close(open_(2 * u, reference, still), closed(2 * u, reference[:, :1], still))


def test_what_cannot_flow_is_refused() -> None:
    u, here = wave(torch.zeros(1, dtype=torch.float64)), at(LINE, 0.0, 0.5)
    with pytest.raises(ValueError, match="no boundary; pass"):
        OpenIntegral(FIELDS, "q", given=True).advance(u[:, 0, :1], u, here)
    with pytest.raises(ValueError, match=r"gave shape \(1, 2\); it is what enters each cell, \(B, 2, 40\)"):
        FluxedIntegral(FIELDS, "q").advance(u[:, 0, :1], u, replace(here, inflow=lambda t: torch.zeros(1, 2)))
    with pytest.raises(ValueError, match=r"no inflow; pass Conditions\(inflow"):
        FluxedIntegral(FIELDS, "q").advance(u[:, 0, :1], u, at(LINE, 0.0, 0.5, wave))
    with pytest.raises(ValueError, match="no boundary to flow through"):
        OpenIntegral(FIELDS, "q").reference(u, at(Box.periodic((40,), 2.0), 0.0, 0.5))
    with pytest.raises(ValueError, match="no boundary to flow through"):
        OpenIntegral(FIELDS, "q").reference(torch.zeros(1, 2, 2, 4), at(Sphere((2, 4)), 0.0, 0.5))
    with pytest.raises(ValueError, match="one component an axis"):
        OpenIntegral(FIELDS, "q").reference(torch.zeros(1, 2, 4, 4), at(Box((4, 4), (0.0, 0.0), (1.0, 1.0), ("wall", "wall")), 0.0, 0.5))
    with pytest.raises(ValueError, match="must be a vector"):
        OpenIntegral(FIELDS, "q", velocity="q")
