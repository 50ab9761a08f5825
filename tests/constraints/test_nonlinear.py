"""Gauss-Newton: exact solutions (a ray), one step against dense Jacobians, the nearest point, invariants of KdV, and what is told when
the law cannot be reached."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from laws import constraint_laws
from networks import cloud
from torch import Tensor

from surrogates.constraints import ConservedIntegral, Energy, Enstrophy, Function, GaussNewton, Product, Total
from surrogates.constraints.nonlinear import damped_solve
from surrogates.contracts import Conditions
from surrogates.domains import Box, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe

PLANE = Fields.of(Field("dye"), Field("velocity", "m s-1", ("x", "y")))
MAGNETIC = Fields.of(Field("velocity", "1", ("x", "y")), Field("magnetic", "1", ("x", "y")))
BOX = Box.periodic((6, 5), (2.0, 5.0))
EDGES = (0.0, 0.1, 0.4, 0.5, 1.5, 2.0)
STRETCHED = Box((5, 4), (0.0, 0.0), (2.0, 1.0), ("wall", "periodic"), (EDGES, None))
LINE = Box.periodic((24,), 20.0)


def at(box: Box, rows: int = 3) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(box, 0 * ones, 0.5 * ones, torch.zeros(rows, 0))


def random(fields: Fields, box: Box, seed: int = 0, rows: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, fields.count, *box.shape, generator=generator, dtype=torch.float64) + 0.3).to(dtype)


def kdv(u: Tensor, conditions: Conditions) -> Tensor:
    """Mass, momentum and energy of u_t + 6 u u_x + u_xxx = 0."""
    box = conditions.domain
    assert isinstance(box, Box)
    slope = box.derivative(u, 0)
    return torch.cat([box.integral(v) for v in (u, u.square(), u**3 - slope.square() / 2)], 1)


def unit_dye(u: Tensor, conditions: Conditions) -> Tensor:
    return conditions.domain.integral(u[:, :1].square()) - 1


def near(name: str, fields: Fields, box: Box) -> Tensor:
    """Fields whose quantities another of them can take: of KdV, solitons of nearly the same height."""
    u = random(fields, box)
    if name != "kdv":
        return u
    return (1 + 0.03 * torch.arange(3)[:, None, None]) * torch.cosh(box.coordinate(0) - 10).pow(-2) * 2 + 0.01 * u


CASES = {
    "energy": (GaussNewton(PLANE, (Energy(),), move=("velocity",)), PLANE, BOX),
    "energy-stretched": (GaussNewton(PLANE, (Energy(),), move=("velocity",)), PLANE, STRETCHED),
    "enstrophy": (GaussNewton(PLANE, (Enstrophy(),), move=("velocity",)), PLANE, BOX),
    "energy-enstrophy-momentum": (GaussNewton(PLANE, (Energy(), Enstrophy(), Total("velocity")), move=("velocity",)), PLANE, BOX),
    "energies-cross-helicity": (GaussNewton(MAGNETIC, (Energy(), Energy("magnetic"), Product("velocity", "magnetic"))), MAGNETIC, BOX),
    "kdv": (GaussNewton(Fields.of(Field("u")), (Function(kdv, 3, remembered=True),)), Fields.of(Field("u")), LINE),
    "unit": (GaussNewton(PLANE, (Function(unit_dye),), move=("dye",)), PLANE, STRETCHED),
}
every = pytest.mark.parametrize("name", CASES)


@every
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-6), (torch.float64, 2e-13)])
def test_the_laws_of_a_constraint(name: str, dtype: torch.dtype, rounding: float) -> None:
    law, fields, box = CASES[name]
    u = near(name, fields, box).to(dtype)
    constraint_laws(law, u, at(box), rounding=rounding)


@pytest.mark.parametrize("name", ["energy", "energy-enstrophy-momentum", "unit"])
def test_gradcheck(name: str) -> None:
    law, fields, box = CASES[name]
    u, reference = random(fields, box, rows=1), law.reference(random(fields, box, 1, rows=1), at(box, 1))
    assert torch.autograd.gradcheck(lambda v: law(v, reference, at(box, 1)), (u.requires_grad_(),))


def test_energy_alone_is_reached_along_a_ray_the_nearest_point() -> None:
    law, fields, box = CASES["energy-stretched"]
    u = random(fields, box)
    wanted = 1.7 * law.reference(u, at(box))
    held = law(u, wanted, at(box))
    torch.testing.assert_close(held[:, 1:], u[:, 1:] * 1.7**0.5, rtol=1e-12, atol=0)
    assert torch.equal(held[:, 0], u[:, 0])


def test_convergence_is_quadratic() -> None:
    law, fields, box = CASES["energy-enstrophy-momentum"]
    u, defects = random(fields, box), []
    reference = law.reference(random(fields, box, 1), at(box))
    for iterations in (2, 3, 4):
        short = GaussNewton(PLANE, law.quantities, move=("velocity",), iterations=iterations)
        defects.append(float(short.reach(u, reference, at(box)).defect.abs().max()))
    assert defects[1] < defects[0] ** 1.6 and defects[2] < defects[1] ** 1.6, defects


def test_a_step_is_that_of_dense_matrices() -> None:
    """u - M^-1 J^T (J M^-1 J^T)^-1 h with J written out and two fields whose sizes differ."""
    fields, box, sizes = Fields.of(Field("dye", "kg"), Field("heat", "K")), STRETCHED, (2.0, 0.5)
    law = GaussNewton(fields, (Energy("dye"), Product("dye", "heat")), scales=sizes, iterations=1, eps=0.0)
    u, reference = random(fields, box, rows=1), law.reference(random(fields, box, 1, rows=1), at(box, 1))

    def h(v: Tensor) -> Tensor:
        return law.reference(v.reshape(1, 2, *box.shape), at(box, 1))[0] - reference[0]

    jacobian = torch.func.jacrev(h)(u.flatten())
    inverse = (torch.tensor(sizes, dtype=torch.float64)[:, None, None].square() / box.measure).flatten()
    step = inverse[:, None] * jacobian.T @ torch.linalg.solve(jacobian @ (inverse[:, None] * jacobian.T), h(u.flatten()))
    torch.testing.assert_close(law.reach(u, reference, at(box, 1)).u.flatten(), u.flatten() - step, rtol=1e-11, atol=1e-12)


def test_one_linear_quantity_is_the_shift_of_the_integral_law() -> None:
    """The peer that is written by hand, on cells of unequal size."""
    law, peer = GaussNewton(PLANE, (Total("velocity"),), move=("velocity",)), ConservedIntegral(PLANE, "velocity")
    u, reference = random(PLANE, STRETCHED), peer.reference(random(PLANE, STRETCHED, 1), at(STRETCHED))
    torch.testing.assert_close(law(u, reference, at(STRETCHED)), peer(u, reference, at(STRETCHED)), rtol=0, atol=1e-11)
    torch.testing.assert_close(law.defect(u, reference, at(STRETCHED)).abs().log(), peer.defect(u, reference, at(STRETCHED)).abs().log())


def test_several_quantities_end_in_the_nearest_point_but_for_the_square_of_the_defect() -> None:
    """What of u_0 - u is no combination of the quantities' gradients, for half the defect, is a quarter."""
    law, fields, box = GaussNewton(PLANE, (Energy(), Enstrophy()), move=("velocity",)), PLANE, BOX
    u, rests = random(fields, box, rows=1), []
    for size in (0.02, 0.01):
        wanted = law.reference(u, at(box, 1)) * (1 + size * torch.tensor([[1.0, -1.0]], dtype=torch.float64))
        held = law(u, wanted, at(box, 1))
        normals = torch.func.jacrev(lambda v: law.reference(v, at(box, 1))[0])(held).flatten(1).T
        away = (u - held).flatten()
        rests.append(float((away - normals @ torch.linalg.lstsq(normals, away[:, None]).solution[:, 0]).norm()))
    assert 3.6 < rests[0] / rests[1] < 4.4 and rests[1] < 0.02 * float(away.norm()), rests


def test_the_derivative_at_a_lawful_field_is_the_projection_onto_its_tangents() -> None:
    law, fields, box = CASES["energy"]
    u = random(fields, box, rows=1)
    reference = law.reference(u, at(box, 1))
    along = random(fields, box, 1, rows=1)
    n = torch.zeros_like(u)
    n[:, 1:] = u[:, 1:]
    expected = along - n * (n * along).sum() / n.square().sum()
    _, pulled = torch.autograd.functional.vjp(lambda v: law(v, reference, at(box, 1)), u, along)
    torch.testing.assert_close(pulled, expected, rtol=0, atol=1e-12)


def test_members_that_hold_the_law_stay_bit_for_bit_beside_others_that_do_not() -> None:
    law, fields, box = CASES["energy-enstrophy-momentum"]
    u = random(fields, box)
    reference = law.reference(u, at(box))
    reference[1] *= 1.2
    held = law(u, reference, at(box))
    assert torch.equal(held[[0, 2]], u[[0, 2]]) and not torch.equal(held[1], u[1])


def test_what_cannot_be_reached_is_told_once_and_stays_finite() -> None:
    law, _, box = CASES["energy"]
    u = torch.zeros(2, 3, *box.shape, dtype=torch.float64)
    wanted = torch.ones(2, 1, dtype=torch.float64)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            held = law(u, wanted, at(box, 2))
    assert len(caught) == 1 and "short of the tolerance" in str(caught[0].message)
    assert torch.equal(held, u)
    found = law.reach(u, wanted, at(box, 2))
    torch.testing.assert_close(found.defect, -torch.ones(2, 1, dtype=torch.float64))


def test_dependent_quantities_are_solved_together() -> None:
    gram = torch.tensor([[[2.0, 2.0], [2.0, 2.0]]], dtype=torch.float64)
    force = damped_solve(gram, torch.tensor([[1.0, 1.0]], dtype=torch.float64), 1e-12)
    torch.testing.assert_close(force, torch.full((1, 2), 0.25, dtype=torch.float64), rtol=1e-3, atol=0)


@every
def test_works_under_inference_mode(name: str) -> None:
    law, fields, box = CASES[name]
    u = near(name, fields, box)
    reference = law.reference(u * 1.01, at(box))
    with torch.inference_mode():
        inside = law(u.clone(), reference.clone(), at(box).rows(torch.arange(3)))
    torch.testing.assert_close(inside, law(u, reference, at(box)), rtol=0, atol=0)


def test_is_rebuilt_from_its_description() -> None:
    law, fields, box = CASES["energy-enstrophy-momentum"]
    again = construct(json.loads(json.dumps(describe(law))))
    u = random(fields, box)
    reference = law.reference(random(fields, box, 1), at(box))
    assert torch.equal(again(u, reference, at(box)), law(u, reference, at(box)))


def test_a_function_of_ones_own_cannot_be_saved() -> None:
    with pytest.raises(TypeError, match="cannot be written"):
        describe(CASES["unit"][0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussNewton(PLANE, ()), "at least one quantity"),
        (lambda: GaussNewton(PLANE, (Energy(),)), "no common norm; give scales"),
        (lambda: GaussNewton(PLANE, (Energy(),), move=("dye",), scales=(1.0, 2.0)), "one for each of"),
        (lambda: GaussNewton(PLANE, (Energy(),), move=("velocity",), iterations=0), "iterations >= 1"),
        (lambda: GaussNewton(PLANE, (Enstrophy("dye"),), move=("dye",)), "two, on one level"),
        (lambda: GaussNewton(PLANE, (Product("dye", "velocity"),), move=("dye",)), "pairs them off"),
        (lambda: CASES["energy"][0].reference(torch.zeros(1, 2, 6, 5), at(BOX, 1)), "made for 3"),
        (lambda: CASES["energy"][0](torch.zeros(1, 3, 6, 5), torch.zeros(1, 2, dtype=torch.float64), at(BOX, 1)), "this law keeps 1"),
    ],
)
def test_bad_input_is_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_meshes_in_one_batch_have_their_own_energies_and_stop_by_themselves() -> None:
    mesh = Mesh.batch([cloud(9), cloud(12, seed=1)])
    law = GaussNewton(Fields.of(Field("u")), (Energy("u"), Total("u")))
    u = random(law.fields, Box.periodic((21,), 1.0), rows=1)
    here = Conditions(mesh, *(torch.ones(2, dtype=torch.float64),) * 2, torch.zeros(2, 0))
    wanted = law.reference(u, here)
    wanted[1, 0] *= 1.5
    held = law(u, wanted, here)
    assert law.defect(held, wanted, here).abs().max() < 1e-13
    assert torch.equal(held[..., :9], u[..., :9])
    mean = (u[0, 0, 9:] * mesh.measure[9:]).sum() / mesh.measure[9:].sum()
    rest, moved = u[0, 0, 9:] - mean, held[0, 0, 9:] - mean
    torch.testing.assert_close(moved / rest, (moved / rest).mean().expand(12), rtol=1e-9, atol=0)


def test_a_sphere_is_a_domain_like_others() -> None:
    law, sphere = GaussNewton(PLANE, (Energy(),), move=("velocity",)), Sphere((5, 8), "legendre-gauss")
    u = random(PLANE, Box.periodic((5, 8), 1.0))
    here = Conditions(sphere, *(torch.ones(3, dtype=torch.float64),) * 2, torch.zeros(3, 0))
    torch.testing.assert_close(law(u, 4 * law.reference(u, here), here)[:, 1:], 2 * u[:, 1:], rtol=1e-12, atol=0)


@pytest.mark.parametrize("quantity", [Total("velocity"), Product("velocity", "magnetic")])
def test_a_field_that_vanishes_has_a_gradient_of_zero(quantity: Total | Product) -> None:
    law, u = GaussNewton(MAGNETIC, (quantity,)), torch.zeros(2, 4, *BOX.shape, dtype=torch.float64, requires_grad=True)
    law.defect(u, law.reference(u.detach(), at(BOX, 2)), at(BOX, 2)).square().sum().backward()
    assert u.grad is not None and torch.equal(u.grad, torch.zeros_like(u))
