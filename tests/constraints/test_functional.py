"""Several functionals at once: against a dense solve of the optimality conditions, and down to ConservedIntegral."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surrogates.constraints import ConservedIntegral, LinearFunctionals, Observable, Within
from surrogates.constraints.functional import system
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("q"), Field("velocity", "1", ("x", "y")))
BOX = Box((3, 4), (0.0, 0.0), (1.0, 2.0), ("wall", "periodic"), ((0.0, 0.1, 0.4, 1.0), None))


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(forcing: object = None) -> Conditions:
    ones = torch.ones(2, dtype=torch.float64)
    return Conditions(BOX, 0 * ones, ones, 0.5 * ones[:, None], ("drag",), source_term=forcing)  # type: ignore[arg-type]


def test_it_is_the_solution_of_the_optimality_conditions() -> None:
    """min sum m |v - u|^2 / 2 under G v = b: [M G^T; G 0] [v; l] = [M u; b], solved densely."""
    law = LinearFunctionals(FIELDS, (Observable("q", random(1, 3, 4)), Observable("velocity", random(2, 2, 3, 4))))
    u, b = random(0, 2, 3, 3, 4), random(3, 2, 2)
    m = BOX.measure.expand(3, 3, 4).flatten()
    g = (system(law, BOX, torch.device("cpu")).weights * BOX.measure).flatten(1)
    kkt = torch.cat([torch.cat([m.diag(), g.T], 1), torch.cat([g, torch.zeros(2, 2, dtype=torch.float64)], 1)])
    right = torch.cat([m * u.flatten(1), b], 1)
    solution = torch.linalg.solve(kkt, right.T).T[:, :36].reshape(u.shape)
    torch.testing.assert_close(law(u, b, at()), solution, rtol=0, atol=1e-12)


def test_functionals_of_one_are_conserved_integral() -> None:
    whole = LinearFunctionals(FIELDS, (Within("velocity", (0.0, 0.0), (1.0, 2.0)),), decay="drag")
    mean = ConservedIntegral(FIELDS, "velocity", decay="drag")
    u, b = random(0, 2, 3, 3, 4), random(1, 2, 2)
    torch.testing.assert_close(whole.reference(u, at()), mean.reference(u, at()))
    torch.testing.assert_close(whole.advance(b, u, at()), mean.advance(b, u, at()))
    torch.testing.assert_close(whole(u, b, at()), mean(u, b, at()))


def test_the_budget_of_a_functional_follows_the_functional_of_the_forcing() -> None:
    """f = w t: dL/dt = |w|^2 t, without decay L(1) = L(0) + |w|^2/2."""
    w = random(4, 3, 4)
    law = LinearFunctionals(FIELDS, (Observable("q", w),), forced=True)

    def forcing(t: Tensor) -> Tensor:
        return torch.cat([w.expand(2, 1, 3, 4) * t[:, None, None, None], torch.ones(2, 2, 3, 4)], 1)

    moved = law.advance(torch.zeros(2, 1, dtype=torch.float64), random(0, 2, 3, 3, 4), at(forcing))
    torch.testing.assert_close(moved, BOX.integral(w.square().expand(2, 1, 3, 4)) / 2)


def test_the_defect_is_one_for_a_field_along_the_weights() -> None:
    w = random(4, 3, 4)
    law = LinearFunctionals(FIELDS, (Observable("q", 1e3 * w),))
    u = torch.cat([w.expand(2, 1, 3, 4), torch.zeros(2, 2, 3, 4)], 1)
    torch.testing.assert_close(law.defect(u, torch.zeros(2, 1, dtype=torch.float64), at()), torch.ones(2, 1, dtype=torch.float64))


def test_functionals_that_follow_from_each_other_or_see_nothing_are_refused() -> None:
    u, b = random(0, 2, 3, 3, 4), torch.zeros(2, 3, dtype=torch.float64)
    halves = (Within("q", (0.0, 0.0), (1.0, 1.0)), Within("q", (0.0, 1.0), (1.0, 2.0)), Within("q", (0.0, 0.0), (1.0, 2.0)))
    with pytest.raises(ValueError, match="depend on each other"):
        LinearFunctionals(FIELDS, halves)(u, b, at())
    with pytest.raises(ValueError, match="functional 1 .* no point lies"):
        LinearFunctionals(FIELDS, (halves[0], Within("q", (0.0, 0.0), (1e-3, 1e-3)), halves[1]))(u, b, at())
    with pytest.raises(ValueError, match="at least one"):
        LinearFunctionals(FIELDS, ())
    with pytest.raises(KeyError, match="did you mean 'velocity'"):
        LinearFunctionals(FIELDS, (Within("velocty", (0.0, 0.0), (1.0, 1.0)),))


def test_sums_of_float32_are_taken_in_float64() -> None:
    u = (300 + random(0, 2, 3, 3, 4)).float()
    law = LinearFunctionals(FIELDS, (Within("q", (0.0, 0.0), (1.0, 2.0)),))
    exact = [math.fsum((x.double() * BOX.measure).flatten().tolist()) for x in u[:, 0]]
    torch.testing.assert_close(law.reference(u, at())[:, 0], torch.tensor(exact, dtype=torch.float64), rtol=1e-15, atol=0)
