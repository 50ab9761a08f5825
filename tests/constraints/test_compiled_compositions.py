"""Iterated projections inside torch.compile give what they give outside of it, gradients included; there they make all their sweeps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMPILED = """
import sys
import torch
from surrogates.constraints import Alternating, Clipped, ConservedIntegral, Dykstra, Energy, Enstrophy, GaussNewton
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields

fields, box = Fields.of(Field("q"), Field("velocity", "m s-1", ("x", "y"))), Box.periodic((8, 6), 1.0)
one = torch.ones(2, dtype=torch.float64)
at = Conditions(box, one, one, torch.zeros(2, 0))
mass, positive = ConservedIntegral(fields, "q"), Clipped(fields, "q", lower=0.0)
newton = GaussNewton(fields, (Energy(), Enstrophy()), move=("velocity",), iterations=6)
for law in (newton, Alternating((positive, mass), sweeps=8), Dykstra((positive, mass), sweeps=8)):
    u = torch.rand(2, 3, 8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    reference = law.reference(u.detach().roll(1, 0), at)
    f = lambda v: law(v - 0.3, reference, at).square()
    torch.compiler.reset()
    compiled = torch.compile(f, backend="aot_eager")
    torch.testing.assert_close(compiled(u), f(u))
    torch.testing.assert_close(torch.autograd.grad(compiled(u).sum(), u), torch.autograd.grad(f(u).sum(), u))
    print(type(law).__name__, file=sys.stderr)
"""


@pytest.mark.slow
def test_iterated_projections_work_compiled() -> None:
    """In a process of its own, without checked annotations."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
