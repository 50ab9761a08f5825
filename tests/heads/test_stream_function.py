"""A flow from a stream function has no divergence, whatever psi; exact flows are met; the mean flow is what it is told to be."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from heads_shared import BOXES, SPHERES, around, draw, fields_of, head_laws, statistics

from surrogates.constraints import DivergenceFree
from surrogates.domains import Box, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.heads import StreamFunction

DOMAINS: dict[str, Box | Sphere] = {**BOXES, **SPHERES}
ROUNDING = {torch.float32: 3e-6, torch.float64: 1e-13}
FLOW = Fields.of(Field("velocity", components=("x", "y")))
WIND = Fields.of(Field("velocity", components=("north", "east")))


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("name", DOMAINS)
def test_no_divergence_from_any_potential_and_any_past(name: str, dtype: torch.dtype) -> None:
    domain = DOMAINS[name]
    fields, where = fields_of(domain), around(domain)
    head, law = StreamFunction(fields, mean_flow=isinstance(domain, Box)), DivergenceFree(fields)
    length = domain.radius if isinstance(domain, Sphere) else 1.0
    past, y = draw(2, 2, 4, *domain.shape, dtype=dtype), length * draw(2, head.outputs(domain), *domain.shape, seed=1, dtype=dtype)
    none = law.reference(past[:, -1], where)
    assert (law.defect(past[:, -1], none, where) > 0.1).all(), "this past tests nothing: it obeys the law"
    u = head_laws(head, y, past, where, made=(1, 2), rounding=ROUNDING[dtype])
    assert (law.defect(u, none, where) < ROUNDING[dtype]).all()
    again = head(0 * y, u[:, None], where)
    torch.testing.assert_close(again, u, rtol=0, atol=10 * ROUNDING[dtype] * float(u.abs().max()))


def test_the_divergence_is_that_of_the_box() -> None:
    box = BOXES["periodic"]
    u = StreamFunction(FLOW)(draw(2, 1, 8, 6), draw(2, 1, 2, 8, 6, seed=1), around(box))
    assert box.divergence(u).abs().max() < 1e-12 * box.gradient(u[:, :1]).abs().max()


@pytest.mark.parametrize("name", ["basin", "stretched basin"])
def test_nothing_flows_through_a_section_between_walls(name: str) -> None:
    """An incompressible flow in a closed basin: the flux through every line across it is zero."""
    box = BOXES[name]
    u = StreamFunction(FLOW)(draw(2, 1, 6, 8), torch.zeros(2, 1, 2, 6, 8, dtype=torch.float64), around(box))
    across_y, across_x = (u[:, 0] * box.widths(1)).sum(2), (u[:, 1] * box.widths(0)[:, None]).sum(1)
    assert u.abs().max() > 1 and max(across_x.abs().max(), across_y.abs().max()) < 1e-13 * u.abs().max()


def test_no_flow_on_a_sphere_does_work_against_a_potential() -> None:
    """The integral of u . grad chi is zero for chi = x y z: the quadrature of a Gauss grid is exact for it, and knows no harmonics."""
    sphere = SPHERES["gauss"]
    phi, lam = torch.deg2rad(sphere.coordinate(0))[:, None], torch.deg2rad(sphere.coordinate(1))
    psi = (torch.cos(phi) ** 4 * torch.cos(2 * lam + 0.3))[None, None]
    u = StreamFunction(WIND)(psi, torch.zeros(1, 1, 2, 10, 20, dtype=torch.float64), around(sphere, 1))
    chi_north = (torch.cos(phi) ** 3 - 2 * torch.cos(phi) * torch.sin(phi) ** 2) * torch.sin(2 * lam) / 2
    chi_east = torch.cos(phi) * torch.sin(phi) * torch.cos(2 * lam)
    parts = sphere.integral(torch.stack([u[:, 0] * chi_north, u[:, 1] * chi_east], 1))[0]
    assert parts.abs().min() > 0.1 and parts.sum().abs() < 1e-13 * parts.abs().max(), "what goes north comes back by the east"


def test_taylor_green_decays_as_it_should() -> None:
    """psi(t) = cos(k x) sin(k y) exp(-2 nu k^2 t): from the frame at t, the change of psi gives the frame at t + dt."""
    box, k, decay = Box.periodic((8, 10), 3.0), 2 * math.pi / 3, 0.8
    x, y = box.grid()
    psi = (torch.cos(k * x) * torch.sin(k * y))[None, None]
    flow = k * torch.stack([torch.cos(k * x) * torch.cos(k * y), torch.sin(k * x) * torch.sin(k * y)])[None]
    u = StreamFunction(FLOW)((decay - 1) * psi, flow[:, None], around(box, 1))
    torch.testing.assert_close(u, decay * flow, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["basin", "sphere"])
def test_eddies_between_walls_and_solid_rotation_are_exact(name: str) -> None:
    if name == "basin":
        box, nothing = BOXES["basin"], torch.zeros(1, 1, 2, 6, 8, dtype=torch.float64)
        x, y = box.grid()
        psi, a, b = torch.sin(math.pi * x) * torch.sin(math.pi * y), math.pi, math.pi
        expected = torch.stack([b * torch.sin(a * x) * torch.cos(b * y), -a * torch.cos(a * x) * torch.sin(b * y)])
        u = StreamFunction(FLOW)(psi[None, None], nothing, around(box, 1))
    else:
        sphere, nothing = SPHERES["poles"], torch.zeros(1, 1, 2, 11, 20, dtype=torch.float64)
        phi, lam = torch.meshgrid(*(torch.deg2rad(sphere.coordinate(a)) for a in (0, 1)), indexing="ij")
        psi = sphere.radius * (30 * torch.cos(phi) * torch.cos(lam) - 10 * torch.sin(phi))  # about a tilted axis
        expected = torch.stack([-30 * torch.sin(lam), 30 * torch.sin(phi) * torch.cos(lam) + 10 * torch.cos(phi)])
        u = StreamFunction(WIND)(psi[None, None], nothing, around(sphere, 1))
    torch.testing.assert_close(u[0], expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def test_between_stretched_walls_it_converges_at_second_order() -> None:
    errors = []
    for n in (16, 32, 64):
        edges = tuple((i / n + 0.1 * math.sin(2 * math.pi * i / n)) if 0 < i < n else float(i // n) for i in range(n + 1))
        box = Box((n, 4), (0.0, 0.0), (1.0, 1.0), ("wall", "periodic"), (edges, None))
        x, _ = box.grid()
        u = StreamFunction(FLOW)(torch.sin(math.pi * x)[None, None], torch.zeros(1, 1, 2, n, 4, dtype=torch.float64), around(box, 1))
        errors.append(float((u[0, 1] + math.pi * torch.cos(math.pi * x)).square().mean().sqrt()))
    assert all(math.log2(a / b) > 1.8 for a, b in pairwise(errors)), errors


@pytest.mark.parametrize("name", ["periodic", "channel", "basin"])
def test_the_mean_flow_stays_or_follows_its_outputs(name: str) -> None:
    box = BOXES[name]
    still, moving = StreamFunction(FLOW), StreamFunction(FLOW, mean_flow=True)
    past, axes = draw(2, 1, 2, *box.shape), [a for a, kind in enumerate(box.boundary) if kind == "periodic"]
    assert moving.outputs(box) == 1 + len(axes)
    y = draw(2, moving.outputs(box), *box.shape, seed=1)
    before, after = box.average(still(y[:, :1], past, around(box))), box.average(moving(y, past, around(box)))
    torch.testing.assert_close(before[:, axes], box.average(past[:, -1])[:, axes])
    torch.testing.assert_close(after[:, axes] - before[:, axes], y[:, 1:].mean((2, 3)))


@pytest.mark.parametrize("name", ["box", "sphere"])
def test_an_output_of_one_on_the_domains_scale_moves_the_velocity_as_far_as_it_moves_in_a_frame(name: str) -> None:
    domain: Box | Sphere = Box.periodic((8, 8), 5.0) if name == "box" else SPHERES["cells"]
    first = torch.deg2rad(domain.coordinate(0)) if name == "sphere" else 2 * math.pi / 5 * domain.coordinate(0)
    wave = (first.sin() * (3**0.5 if name == "sphere" else 2**0.5))[:, None].expand(domain.shape)[None, None]  # of unit variance
    head, normaliser = StreamFunction(FLOW if name == "box" else WIND, mean_flow=name == "box"), statistics(FLOW, 2, 0.3)
    size = head.sizes(normaliser, domain, 0.1).double()
    moved = head(
        torch.cat([size[0] * wave, 0 * wave, 0 * wave][: head.outputs(domain)], 1), 0 * draw(1, 1, 2, *domain.shape), around(domain, 1)
    )
    s = normaliser.tendency_std.flatten().double()
    expected = s.square().mean() * (2 if name == "sphere" else 1)  # l (l + 1) of degree 1, k^2 of the box
    torch.testing.assert_close(domain.average(moved.square()).sum(), expected, rtol=0.03 if name == "sphere" else 1e-6, atol=0)
    if name == "box":
        torch.testing.assert_close(size[1:], s)


@pytest.mark.parametrize("name", ["periodic", "stretched", "poles"])
def test_gradients(name: str) -> None:
    domain: Box | Sphere = (
        Sphere((5, 6), "poles") if name == "poles" else BOXES[name].with_shape((4, 4)) if name == "periodic" else BOXES[name]
    )
    head, where = StreamFunction(WIND if name == "poles" else FLOW, mean_flow=name != "poles"), around(domain, 1)
    past, y = draw(1, 1, 2, *domain.shape).requires_grad_(), draw(1, head.outputs(domain), *domain.shape, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: head(a, b, where), (y, past), fast_mode=True)


def test_half_types_are_transformed_in_float32_and_come_back_as_they_came() -> None:
    box = Box.periodic((8, 8), 2 * math.pi)
    u = StreamFunction(FLOW)(draw(1, 1, 8, 8, dtype=torch.bfloat16), draw(1, 1, 2, 8, 8, dtype=torch.bfloat16), around(box, 1))
    assert u.dtype == torch.bfloat16 and box.divergence(u.float()).abs().max() < 0.05 * u.abs().max().float()


def test_what_it_cannot_do_is_named() -> None:
    box, sphere, u = BOXES["periodic"], SPHERES["cells"], draw(1, 1, 2, 8, 6)
    with pytest.raises(ValueError, match=r"StreamFunction makes the 2 components of a vector"):
        StreamFunction(Fields.of(Field("velocity", components=("x", "y", "z"))))
    with pytest.raises(KeyError, match="no field 'velocity'"):
        StreamFunction(Fields.of(Field("u")))
    with pytest.raises(ValueError, match="takes a Box of 2 axes, one for each component, not a Box of 3 axes"):
        StreamFunction(FLOW).outputs(Box.periodic((4, 4, 4), 1.0))
    with pytest.raises(ValueError, match=r"not a Mesh; the constraint DivergenceFree may know"):
        StreamFunction(FLOW).outputs(Mesh.from_nearest(torch.rand(6, 2), 2))
    with pytest.raises(ValueError, match="a Sphere has no mean flow"):
        StreamFunction(WIND, mean_flow=True).outputs(sphere)
    with pytest.raises(ValueError, match="takes 1 channels on this domain but y has 2"):
        StreamFunction(FLOW)(draw(1, 2, 8, 6), u, around(box, 1))
    with pytest.raises(ValueError, match="past has 2 channels but this StreamFunction was made for 4"):
        StreamFunction(fields_of(box))(draw(1, 1, 8, 6), u, around(box, 1))
