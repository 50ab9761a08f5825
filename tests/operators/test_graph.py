"""Sums over edges against plain indexing: values, adjoints, derivatives of every kind, caches, and graphs without edges."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor

from surrogates.domains import Mesh
from surrogates.operators.graph import WIDE, Graph, aggregate, gather_receivers, gather_senders, graph

CPU = torch.device("cpu")


def random_graph(count: int = 7, sources: int = 5, edges: int = 20, dtype: torch.dtype = torch.float64) -> Graph:
    """From five nodes to seven, unsorted, of which the last receives nothing."""
    torch.manual_seed(0)
    ends = torch.stack([torch.randint(sources, (edges,)), torch.randint(count - 1, (edges,))])
    return Graph.of(ends, count, dtype, sources)


@pytest.mark.parametrize("features", [(), (3,), (2, 4), (2, WIDE)])
def test_sums_and_means_are_those_of_plain_indexing(features: tuple[int, ...]) -> None:
    g = random_graph()
    e = torch.randn(20, *features, dtype=torch.float64)
    total = torch.stack([e[g.receiver == i].sum(0) for i in range(7)])
    torch.testing.assert_close(aggregate(g, e), total)
    mean = torch.stack([e[g.receiver == i].mean(0) for i in range(6)])
    torch.testing.assert_close(aggregate(g, e, mean=True)[:6], mean)
    assert not aggregate(g, e, mean=True)[6].any() and not aggregate(g, e)[6].any()
    h, v = torch.randn(5, *features), torch.randn(7, *features)
    assert torch.equal(gather_senders(g, h), h[g.sender]) and torch.equal(gather_receivers(g, v), v[g.receiver])


def operations(g: Graph) -> dict[str, tuple[object, int]]:
    """Each operation and how many rows it takes."""
    return {
        "sum": (lambda e: aggregate(g, e), 20),
        "mean": (lambda e: aggregate(g, e, mean=True), 20),
        "senders": (lambda h: gather_senders(g, h), 5),
        "receivers": (lambda h: gather_receivers(g, h), 7),
    }


@pytest.mark.parametrize("columns", [3, WIDE + 1])
@pytest.mark.parametrize("name", ["sum", "mean", "senders", "receivers"])
def test_derivatives_of_every_kind(name: str, columns: int) -> None:
    f, rows = operations(random_graph())[name]
    x, t = torch.randn(2, rows, columns, dtype=torch.float64).unbind(0)
    value, derivative = torch.func.jvp(f, (x,), (t,))
    torch.testing.assert_close(value, f(x))
    torch.testing.assert_close(derivative, f(t))  # they are linear
    x.requires_grad_()
    assert torch.autograd.gradcheck(f, x, fast_mode=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, x, fast_mode=True)


def test_gradient_of_a_derivative() -> None:
    """What MeanFlow asks for: reverse over forward."""
    g, h, t = random_graph(5, 5), *torch.randn(2, 5, 2, dtype=torch.float64).unbind(0)

    def f(h: Tensor) -> Tensor:
        return aggregate(g, gather_senders(g, h).square())

    slope = torch.func.grad(lambda h: torch.func.jvp(f, (h,), (t,))[1].square().sum())(h)
    jacobian = torch.autograd.functional.jacobian(lambda h: torch.autograd.functional.jvp(f, h, t, create_graph=True)[1], h)
    tangent = torch.func.jvp(f, (h,), (t,))[1]
    torch.testing.assert_close(slope, 2 * torch.einsum("ic,icjd->jd", tangent, jacobian))


def test_half_precision_is_summed_in_float32() -> None:
    g = Graph.of(torch.stack([torch.zeros(4096, dtype=torch.long)] * 2), 1, torch.bfloat16)
    for columns in (2, WIDE + 1):
        total = aggregate(g, torch.ones(4096, columns, dtype=torch.bfloat16))
        assert total.dtype == torch.bfloat16 and (total == 4096).all()  # a sum in bfloat16 stops at 256
        with torch.autocast("cpu", torch.bfloat16):
            assert (aggregate(g, torch.ones(4096, columns)) == 4096).all()


@pytest.mark.parametrize("columns", [2, WIDE + 1])
def test_a_node_alone(columns: int) -> None:
    mesh = Mesh.from_nearest([[0.5, 0.5]], 3)
    g = graph(mesh, torch.float32, CPU)
    h = torch.randn(1, columns, requires_grad=True)
    y = aggregate(g, gather_senders(g, h))
    assert y.shape == h.shape and not y.any()
    y.sum().backward()
    assert not h.grad.any()


def test_a_graph_is_made_once_and_forgotten_with_its_mesh() -> None:
    mesh = Mesh.from_nearest(torch.rand(9, 2), 3)
    with torch.inference_mode():
        g = graph(mesh, torch.float32, CPU)
    assert graph(mesh, torch.float32, CPU) is g and graph(mesh, torch.float64, CPU) is not g
    x = torch.randn(9, 2, requires_grad=True)
    aggregate(g, gather_senders(g, x).square(), mean=True).sum().backward()  # made under inference, yet fit for training
    other = Mesh.from_nearest(torch.rand(9, 2), 3)
    f = lambda x: aggregate(graph(other, torch.float32, CPU), gather_senders(graph(other, torch.float32, CPU), x), mean=True)  # noqa: E731
    _, t = torch.func.jvp(f, (x.detach(),), (x.detach(),))  # made under a derivative, and used after it
    torch.testing.assert_close(t, f(x))
    last = weakref.ref(g)
    del mesh, g
    gc.collect()
    assert last() is None


COMPILED = """
import torch
from surrogates.domains import Mesh
from surrogates.operators.graph import aggregate, gather_receivers, gather_senders, graph

def f(h, mesh):
    g = graph(mesh, h.dtype, h.device)
    return aggregate(g, gather_senders(g, h).square() - gather_receivers(g, h), mean=True)

compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
for nodes in (9, 12):
    mesh, h = Mesh.from_nearest(torch.rand(nodes, 2), 3), torch.randn(nodes, 2, 3, requires_grad=True)
    y = compiled(h, mesh)
    torch.testing.assert_close(y, f(h, mesh))
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), h), torch.autograd.grad(f(h, mesh).square().sum(), h))
"""


@pytest.mark.slow
def test_it_compiles_whole() -> None:
    """In a process of its own: the annotations checked in tests are no part of the graph."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
