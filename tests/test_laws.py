"""The laws of `laws.py`, held to every Step, Constraint, Domain and Metric there is; operators/test_every_network.py has the Operators."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from laws import constraint_laws, domain_laws, metric_laws, step_laws
from networks import cloud
from torch import Tensor, nn

from surrogates.constraints import ConservedIntegral, DivergenceFree, InOrder
from surrogates.contracts import Conditions, Noise
from surrogates.domains import Box, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.metrics.standard import standard
from surrogates.noise import SeededNoise
from surrogates.operators import FNO
from surrogates.pde import Burgers, KdV, Kolmogorov, KuramotoSivashinsky, PassiveScalar, Persistence
from surrogates.refine import FEATURES, Exponential, FlowMatching, PDERefiner, ab2, euler, heun
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute, Tendency

SCALAR = Fields.of(Field("u"))
VELOCITY = Fields.of(Field("velocity", components=("x", "y")))
LINE, PLANE = Box.periodic((32,), 22.0), Box.periodic((16, 16), 2 * torch.pi)
NAMES = ("viscosity", "drag", "diffusivity", "dispersion")


def conditions(box: Box, rows: int = 3, dt: float = 0.1) -> Conditions:
    one = torch.ones(rows, dtype=torch.float64)
    values = torch.tensor([[0.05, 0.1, 0.05, 1.0]], dtype=torch.float64).expand(rows, -1)
    return Conditions(box, 0 * one, dt * one, values, NAMES)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(rows: Tensor) -> Noise:
    return SeededNoise(7, rows.tolist(), [0] * len(rows))


def silent(rows: Tensor) -> None:
    return None


def smooth(box: Box, channels: int, rows: int = 3) -> Tensor:
    """A few waves, so that solvers resolve them."""
    coarse = box.with_shape(tuple(7 for _ in box.shape))
    return coarse.resample(random(rows, channels, *coarse.shape, dtype=torch.float64), box.shape)[:, None]


SOLVERS = {
    "burgers": (Burgers(max_dt=0.05, dtype="float64"), LINE),
    "kdv": (KdV(max_dt=0.02, dtype="float64"), LINE),
    "kuramoto_sivashinsky": (KuramotoSivashinsky(max_dt=0.05, dtype="float64"), LINE),
    "kolmogorov": (Kolmogorov(max_dt=0.05, dtype="float64", wavenumber=2), PLANE),
    "passive_scalar": (PassiveScalar(max_dt=0.05, dtype="float64", wavenumber=2), PLANE),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers(name: str) -> None:
    solver, box = SOLVERS[name]
    step_laws(solver, smooth(box, solver.inputs.count), conditions(box), silent, rounding=1e-11)


def test_persistence() -> None:
    step_laws(Persistence(VELOCITY), random(3, 1, 2, 16, 16), conditions(PLANE), silent, rounding=0.0)


def network(cin: int, cout: int, embedding: int) -> nn.Module:
    torch.manual_seed(0)
    return FNO(cin, cout, embedding, width=8, modes=(7, 4), layers=2)


REFINERS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "euler": lambda c, seen, guess: FlowMatching(network(seen, c, FEATURES), channels=c, sampler=euler, steps=2),
    "heun": lambda c, seen, guess: FlowMatching(network(seen, c, FEATURES), channels=c, sampler=heun, steps=2),
    "ab2": lambda c, seen, guess: FlowMatching(network(seen, c, FEATURES), channels=c, sampler=ab2, steps=3),
}


@pytest.mark.parametrize("refiner", [None, *REFINERS])
@pytest.mark.parametrize("target", [Tendency, Absolute])
@pytest.mark.parametrize(("history", "bundle"), [(1, 1), (2, 3)])
def test_surrogates(refiner: str | None, target: type, history: int, bundle: int) -> None:
    c = 2 * bundle
    law = InOrder((DivergenceFree(VELOCITY), ConservedIntegral(VELOCITY, "velocity", decay="drag")))
    made = REFINERS[refiner](c, 2 * c + 2 * history, True) if refiner else None
    guess = network(2 * history, c, 0)
    surrogate = Surrogate(
        VELOCITY, PLANE, 0.1, operator=guess, refiner=made, constraint=law, target=target(), history=history, bundle=bundle
    )
    surrogate.coherence.fill_(0.7)
    with torch.no_grad():
        step_laws(surrogate.eval(), random(3, history, 2, 16, 16), conditions(PLANE), seeded, rounding=2e-5)


def test_a_purely_generative_surrogate() -> None:
    refiner = PDERefiner(network(2 + 2, 2, FEATURES), channels=2, schedule=Exponential())
    surrogate = Surrogate(VELOCITY, PLANE, 0.1, refiner=refiner)
    with torch.no_grad():
        step_laws(surrogate.eval(), random(3, 1, 2, 16, 16), conditions(PLANE), seeded, rounding=2e-5)


LAWS = {
    "divergence": lambda f: DivergenceFree(f),
    "integral": lambda f: ConservedIntegral(f, "velocity"),
    "decaying integral": lambda f: ConservedIntegral(f, "velocity", decay="drag"),
    "both": lambda f: InOrder((DivergenceFree(f), ConservedIntegral(f, "velocity"))),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_constraints(name: str, dtype: torch.dtype, rounding: float) -> None:
    box = Box.periodic((12, 10), (3.0, 1.0))
    constraint_laws(LAWS[name](VELOCITY), random(3, 2, 12, 10, dtype=dtype), conditions(box), rounding=rounding)


@pytest.mark.parametrize(
    "box",
    [LINE, PLANE, Box((3, 4), (0.0, 0.0), (1.0, 2.0), ("wall", "periodic"), ((0.0, 0.1, 0.4, 1.0), None)), Box.periodic((3, 4, 5), 1.0)],
)
def test_boxes(box: Box) -> None:
    domain_laws(box)


@pytest.mark.parametrize("domain", [Sphere((6, 12)), Sphere((7, 9), "poles", radius=3.0), Sphere((5, 8), "legendre-gauss"), cloud(12)])
def test_spheres_and_meshes(domain: Sphere | Mesh) -> None:
    domain_laws(domain)


@pytest.mark.parametrize("members", [1, 5])
def test_metrics(members: int) -> None:
    truth = random(3, 4, 2, 16, 16, dtype=torch.float64)
    prediction = truth[:, None] + 0.5 * random(3, members, 4, 2, 16, 16, seed=1, dtype=torch.float64)
    for metric in standard(VELOCITY, PLANE, members):
        metric_laws(metric, prediction, truth, PLANE, conditions(PLANE))
