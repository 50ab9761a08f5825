"""Laws inside torch.compile give what they give outside of it, gradients included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMPILED = """
import sys
import torch
from surrogates.constraints import (
    BoundaryValues, BoundedIntegral, EnergyBudget, LateralBoundaries, LinearFunctionals, Observable, OpenIntegral, Reflected,
    ScaledIntegral, StraightThrough, Through, WeightedFunctionals, Within,
)
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields

fields = Fields.of(Field("q"), Field("velocity", "m s-1", ("x", "y")))
channel, torus = Box((8, 6), (0.0, 0.0), (4.0, 1.0), ("periodic", "wall")), Box.periodic((8, 6), 1.0)
region, one = (Within("q", (0.0, 0.0), (2.0, 1.0)),), torch.ones(2, dtype=torch.float64)
for law, box, whole in (
    (ScaledIntegral(fields, "q"), channel, True),
    (LinearFunctionals(fields, (Through("velocity", 0, 1.0), *region)), channel, True),
    (WeightedFunctionals(fields, region, variance=(Observable("q", torch.rand(8, 6) + 0.1),)), channel, True),
    (OpenIntegral(fields, "q"), channel, True),
    (EnergyBudget(fields, order=1), torus, True),
    (BoundedIntegral(fields, "q"), torus, False),
    (StraightThrough(Reflected(fields, "q", 0.0, 1.0)), torus, True),
    (BoundaryValues(fields, "velocity", {"y_lower": 0.0, "y_upper": (1.0, 0.0)}), channel, True),
    (LateralBoundaries(fields, 2), channel, True),
):
    at = Conditions(box, one, one, torch.zeros(2, 0), boundary=lambda t: torch.zeros(2, 3, 8, 6) + t[:, None, None, None])
    u = torch.rand(2, 3, 8, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    reference = law.reference(u.detach().roll(1, 0), at)
    f = lambda v: law(v, law.advance(reference, v, at), at).square()
    torch.compiler.reset()
    compiled = torch.compile(f, fullgraph=whole, backend="aot_eager")
    torch.testing.assert_close(compiled(u), f(u))
    torch.testing.assert_close(torch.autograd.grad(compiled(u).sum(), u), torch.autograd.grad(f(u).sum(), u))
    print(type(law).__name__, file=sys.stderr)
"""


@pytest.mark.slow
def test_laws_work_compiled() -> None:
    """In one graph, but for the search of BoundedIntegral; in a process of its own, without checked annotations."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
