"""The laws of `laws.py`, and gradcheck and storage, for the laws about integrals, energies, bounds and boundaries on every domain they
know; and that a batch of meshes is its members one by one."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from laws import constraint_laws
from scipy.spatial import Delaunay
from torch import Tensor

from surrogates.constraints import Law
from surrogates.constraints.boundary_values import BoundaryValues
from surrogates.constraints.bounds import BoundedIntegral, Clipped, Reflected
from surrogates.constraints.energy import EnergyBand, EnergyBudget
from surrogates.constraints.fluxes import FluxedIntegral, OpenIntegral
from surrogates.constraints.functional import LinearFunctionals
from surrogates.constraints.integral import ConservedIntegral
from surrogates.constraints.multiplicative import ScaledIntegral
from surrogates.constraints.observables import Observable, Through, Within
from surrogates.constraints.straight_through import StraightThrough
from surrogates.constraints.weighted import WeightedFunctionals
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe

SCALAR = Fields.of(Field("other"), Field("q", "kg m-3"))
PLANE = Fields.of(Field("q", "kg m-3"), Field("velocity", "m s-1", ("x", "y")))


def triangles(points: int, seed: int = 0) -> Mesh:
    """The unit square, with its left and right sides named."""
    side = np.linspace(0, 1, 4)
    edge = np.concatenate([np.stack([side, 0 * side], 1), np.stack([side, 0 * side + 1], 1), [[0, a] for a in side[1:-1]]])
    edge = np.concatenate([edge, [[1, a] for a in side[1:-1]]])
    x = np.concatenate([edge, np.random.default_rng(seed).uniform(0.1, 0.9, (points, 2))])
    left, right = (np.flatnonzero(x[:, 0] == at) for at in (0.0, 1.0))
    return Mesh.from_cells(x, Delaunay(x).simplices, {"left": left, "right": right})


LINE = Box((5,), (0.0,), (2.0,), ("wall",), ((0.0, 0.1, 0.4, 0.5, 1.5, 2.0),))
CHANNEL = Box((6, 5), (0.0, -1.0), (6.0, 1.0), ("periodic", "wall"))
TORUS = Box.periodic((6, 5), (2.0, 3.0))
CUBE = Box.periodic((4, 3, 5), (2.0, 3.0, 1.0))
GLOBE = Sphere((4, 6))
MESH = triangles(6)
SEA = Masked(CHANNEL, torch.arange(30).reshape(6, 5) % 7 != 3)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(seed: int, *shape: int) -> Tensor:
    return random(seed, *shape).abs() + 0.1


def south(fields: Fields, domain: Domain) -> tuple[Within | Observable, ...]:
    """A part of the domain, and a pattern that overlaps it."""
    lower, upper = {1: ((0.2,), (1.2,)), 2: ((0.1, -0.8), (1.9, 0.7)), 3: ((0.1, 0.2, 0.0), (1.1, 1.4, 0.7))}[len(domain.shape)]
    if isinstance(domain, Sphere):
        lower, upper = (-90.0, 300.0), (0.0, 400.0)
    if isinstance(domain, Mesh):
        lower, upper = (0.0, 0.0), (0.6, 0.7)
    c = fields.slice("q")
    return Within("q", lower, upper), Observable("q", random(7, c.stop - c.start, *domain.shape))


def weighted(domain: Domain) -> WeightedFunctionals:
    variance, pattern = (Observable("q", f(8, *domain.shape)) for f in (positive, random))
    shared = Observable("other", random(9, *domain.shape))  # its errors go with those of q
    return WeightedFunctionals(SCALAR, south(SCALAR, domain), variance=(variance,), factors=(pattern, shared))


CASES: dict[str, tuple[Law, Fields, Domain, Callable[..., Tensor]]] = {
    "integral-globe": (ConservedIntegral(SCALAR, "q"), SCALAR, GLOBE, random),
    "integral-sea": (ConservedIntegral(PLANE, "velocity"), PLANE, SEA, random),
    "integral-mesh": (ConservedIntegral(PLANE, "velocity"), PLANE, MESH, random),
    "scaled-line": (ScaledIntegral(SCALAR, "q"), SCALAR, LINE, positive),
    "scaled-globe": (ScaledIntegral(SCALAR, "q"), SCALAR, GLOBE, positive),
    "scaled-mesh": (ScaledIntegral(SCALAR, "q"), SCALAR, MESH, positive),
    "scaled-signed": (ScaledIntegral(PLANE, "velocity"), PLANE, TORUS, random),
    "functional-line": (LinearFunctionals(SCALAR, south(SCALAR, LINE)), SCALAR, LINE, random),
    "functional-cube": (LinearFunctionals(SCALAR, south(SCALAR, CUBE)), SCALAR, CUBE, random),
    "functional-globe": (LinearFunctionals(SCALAR, south(SCALAR, GLOBE)), SCALAR, GLOBE, random),
    "functional-mesh": (LinearFunctionals(SCALAR, south(SCALAR, MESH)), SCALAR, MESH, random),
    "flow-rate-sea": (LinearFunctionals(PLANE, (Through("velocity", 0, 2.3), *south(PLANE, SEA))), PLANE, SEA, random),
    "flow-rate": (LinearFunctionals(PLANE, (Through("velocity", 0, 2.3), *south(PLANE, CHANNEL))), PLANE, CHANNEL, random),
    "weighted-line": (weighted(LINE), SCALAR, LINE, random),
    "weighted-globe": (weighted(GLOBE), SCALAR, GLOBE, random),
    "weighted-mesh": (weighted(MESH), SCALAR, MESH, random),
    "fluxed": (FluxedIntegral(SCALAR, "q"), SCALAR, LINE, random),
    "open-channel": (OpenIntegral(PLANE, "q"), PLANE, CHANNEL, random),
    "open-mesh": (OpenIntegral(PLANE, "q"), PLANE, MESH, random),
    "energy-bound": (EnergyBand(PLANE, upper=0.1), PLANE, CHANNEL, random),
    "energy-band-globe": (EnergyBand(PLANE, lower=3.0, upper=4.0), PLANE, GLOBE, random),
    "enstrophy-relative": (EnergyBand(PLANE, order=1, upper=0.2, relative=True), PLANE, TORUS, random),
    "energy-of-vorticity": (EnergyBudget(SCALAR, "q", order=-1), SCALAR, TORUS, random),
    "energy-bound-sea": (EnergyBand(PLANE, upper=0.1), PLANE, SEA, random),
    "energy-budget-mesh": (EnergyBudget(PLANE), PLANE, MESH, random),
    "clipped": (Clipped(PLANE, "velocity", -0.5, 1.0), PLANE, MESH, random),
    "reflected": (Reflected(PLANE, "velocity", -0.5, 1.0), PLANE, TORUS, random),
    "reflected-lower": (Reflected(SCALAR, "q"), SCALAR, LINE, random),
    "reflected-upper": (Reflected(SCALAR, "q", None, 0.2), SCALAR, GLOBE, random),
    "bounded-line": (BoundedIntegral(SCALAR, "q", -1.0, 1.0), SCALAR, LINE, random),
    "bounded-globe": (BoundedIntegral(SCALAR, "q", -0.9), SCALAR, GLOBE, random),
    "bounded-sea": (BoundedIntegral(SCALAR, "q", -0.9), SCALAR, SEA, random),
    "bounded-mesh": (BoundedIntegral(PLANE, "velocity", None, 0.9), PLANE, MESH, random),
    "straight-through": (StraightThrough(Clipped(SCALAR, "q")), SCALAR, TORUS, random),
    "no-slip": (BoundaryValues(PLANE, "velocity", {"y_lower": 0.0, "y_upper": (1.0, 0.0)}), PLANE, CHANNEL, random),
    "inflow-mesh": (BoundaryValues(PLANE, "velocity", {"left": (1.0, 0.0), "right": 0.0}), PLANE, MESH, random),
}
every = pytest.mark.parametrize("name", CASES)


def conditions(domain: Domain, rows: int = 3) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(domain, 0 * ones, 0.5 * ones, torch.zeros(rows, 0))


@every
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_every_law(name: str, dtype: torch.dtype, rounding: float) -> None:
    law, fields, domain, draw = CASES[name]
    constraint_laws(law, draw(0, 3, fields.count, *domain.shape).to(dtype), conditions(domain), rounding=rounding)


@every
def test_gradcheck(name: str) -> None:
    law, fields, domain, draw = CASES[name]
    u, at = draw(0, 1, fields.count, *domain.shape).requires_grad_(), conditions(domain, 1)
    reference = law.reference(draw(1, 1, fields.count, *domain.shape), at).requires_grad_()
    if not isinstance(law, StraightThrough):
        assert torch.autograd.gradcheck(lambda v, r: law(v, r, at), (u, reference))
    assert torch.autograd.gradcheck(lambda v: law.defect(v, reference.detach(), at), (u,))


@every
def test_rebuilt_from_its_description_it_is_the_same(name: str) -> None:
    law, fields, domain, draw = CASES[name]
    u, at = draw(0, 3, fields.count, *domain.shape), conditions(domain)
    reference = law.reference(u.roll(1, 0), at)
    assert reference.shape == (3, law.references)
    again = construct(json.loads(json.dumps(describe(law))))
    assert torch.equal(again(u, reference, at), law(u, reference, at))


@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith("weighted")])  # a shared error moves both channels
def test_other_channels_come_back_bit_for_bit(name: str) -> None:
    law, fields, domain, draw = CASES[name]
    u, at = draw(0, 3, fields.count, *domain.shape), conditions(domain)
    held, inner = law(u, law.reference(u.roll(1, 0), at), at), getattr(law, "law", law)
    others = [c for c in range(fields.count) if not inner.channels.start <= c < inner.channels.stop]  # type: ignore[attr-defined]
    assert torch.equal(held[:, others], u[:, others])


MEMBERS = [MESH, triangles(3, seed=1), triangles(9, seed=2)]
ON_ANY_MESH = {
    "integral": ConservedIntegral(PLANE, "velocity"),
    "scaled": ScaledIntegral(PLANE, "q"),
    "functional": LinearFunctionals(PLANE, (Within("q", (0.0, 0.0), (0.6, 0.7)), Within("velocity", (0.0, 0.0), (1.1, 0.5)))),
    "open": OpenIntegral(PLANE, "q"),
    "energy": EnergyBudget(PLANE),
    "bounded": BoundedIntegral(PLANE, "q", -0.8, 1.5),
    "clipped": Clipped(PLANE, "q"),
    "boundary": BoundaryValues(PLANE, "velocity", {"left": 1.0}),
}


@pytest.mark.parametrize("name", ON_ANY_MESH)
def test_a_batch_of_meshes_is_its_members_one_by_one(name: str) -> None:
    law, whole = ON_ANY_MESH[name], Mesh.batch(MEMBERS)
    us, others = ([random(10 * s + i, 1, 3, *m.shape) for i, m in enumerate(MEMBERS)] for s in (0, 1))
    ones = torch.ones(3, dtype=torch.float64)
    at = Conditions(whole, 0 * ones, 0.5 * ones, torch.zeros(3, 0))
    references = torch.cat([law.reference(u, conditions(m, 1)) for u, m in zip(others, MEMBERS, strict=True)])
    torch.testing.assert_close(law.reference(torch.cat(others, 2), at), references)
    u = torch.cat(us, 2)
    alone = zip(us, MEMBERS, references.split(1), strict=True)
    held = [(law(v, r, conditions(m, 1)), law.defect(v, r, conditions(m, 1))) for v, m, r in alone]
    torch.testing.assert_close(law(u, references, at), torch.cat([v for v, _ in held], 2), rtol=0, atol=1e-13)
    torch.testing.assert_close(law.defect(u, references, at), torch.cat([d for _, d in held]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("-sea")])
def test_missing_values_on_land_do_no_harm(name: str) -> None:
    law, fields, _, _ = CASES[name]
    u, at = random(0, 3, fields.count, *SEA.shape), conditions(SEA)
    reference, missing = law.reference(u.roll(1, 0), at), torch.where(SEA.wet, u, torch.nan)
    torch.testing.assert_close(law(missing, reference, at)[:, :, SEA.wet], law(u, reference, at)[:, :, SEA.wet])
    torch.testing.assert_close(law.defect(missing, reference, at), law.defect(u, reference, at))


@pytest.mark.parametrize("name", CASES)
def test_wrong_channels_are_refused(name: str) -> None:
    law, fields, domain, draw = CASES[name]
    u, at = draw(0, 2, fields.count + 1, *domain.shape), conditions(domain, 2)
    with pytest.raises(ValueError, match="channels"):
        law(u, torch.zeros(2, law.references, dtype=torch.float64), at)
