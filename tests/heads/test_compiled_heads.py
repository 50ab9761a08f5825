"""Heads inside torch.compile give what they give outside of it, gradients included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMPILED = """
import sys
import torch
from heads_shared import BOXES, SPACES, SPHERES, around, draw, fields_of, triangles
from surrogates.heads import FluxForm, SideBySide, StreamFunction, VectorPotential

torch.set_num_threads(1)
for domain in (BOXES["periodic"], BOXES["stretched basin"], SPACES["duct"], SPHERES["poles"], triangles(9)):
    fields = fields_of(domain)
    flow = {"Box": VectorPotential if len(domain.shape) == 3 else StreamFunction, "Sphere": StreamFunction}.get(type(domain).__name__)
    tracer = FluxForm(fields, "q", lower=0.0, upper=1.0)
    head = SideBySide((flow(fields), tracer)) if flow else tracer
    past, where = draw(1, 1, fields.count, *domain.shape).sigmoid().requires_grad_(), around(domain, 1)
    y = draw(1, head.outputs(domain), *domain.shape, seed=1).requires_grad_()
    f = lambda y, past: head(y, past, where).square()
    torch.compiler.reset()
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(y, past), f(y, past))
    torch.testing.assert_close(torch.autograd.grad(compiled(y, past).sum(), (y, past)), torch.autograd.grad(f(y, past).sum(), (y, past)))
    print(domain, file=sys.stderr)
"""


@pytest.mark.slow
def test_heads_work_compiled() -> None:
    """In one graph; in a process of its own, without checked annotations."""
    here = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
