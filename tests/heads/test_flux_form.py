"""What leaves a cell enters its neighbour: integrals stay whatever the fluxes, known schemes are met exactly, bounds hold."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from heads_shared import SPHERES, around, cloud, draw, fields_of, finite_volumes, head_laws, rows_on, statistics, triangles
from torch import Tensor

from surrogates.constraints import ConservedIntegral
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box, Masked, Mesh
from surrogates.fields import Field, Fields
from surrogates.heads import FluxForm

DOMAINS = finite_volumes()
ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-13}
RHO = Fields.of(Field("rho", "kg m-3"))
LEVELS = Fields.of(Field("T"), Field("rho", "kg m-3", levels=(500.0, 850.0)))


def fluxes(domain: Domain, head: FluxForm, size: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random outputs that move the field by about `size` in a step of 0.1."""
    rows = rows_on(domain)
    unit = head.sizes(statistics(LEVELS, len(domain.shape)), domain, 0.1).double()
    y = draw(rows, len(unit), *domain.shape, seed=1) * unit.reshape(-1, *(1,) * len(domain.shape))
    past = torch.zeros(rows, 1, 3, *domain.shape, dtype=torch.float64)
    moved = _wet(domain, FluxForm(LEVELS, "rho")(y, past, around(domain, rows)))[:, 1:]
    return (y * (size / moved.square().mean().sqrt())).to(dtype)


def _wet(domain: Domain, u: Tensor) -> Tensor:
    return u if domain.mask is None else torch.where(domain.mask, u, 0.0)


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("name", DOMAINS)
def test_integrals_stay_whatever_the_fluxes(name: str, dtype: torch.dtype) -> None:
    domain = DOMAINS[name]
    head, rows = FluxForm(LEVELS, "rho"), rows_on(domain)
    past = draw(rows, 2, 3, *domain.shape, dtype=dtype)
    if isinstance(domain, Masked):
        past[..., ~domain.wet] = float("nan")
    u = head_laws(head, fluxes(domain, head, 1.0, dtype), past, around(domain, rows), made=(1, 2), rounding=ROUNDING[dtype])
    change = domain.integral(u.double() - past[:, -1].double())
    scale = domain.integral((u - past[:, -1]).double().abs())
    assert (scale[:, 1:] > 0.1 * domain.integral(torch.ones_like(u[:, :1]))).all(), "these fluxes move nothing"
    assert (change[:, 1:].abs() < ROUNDING[dtype] * scale[:, 1:]).all()
    assert torch.isfinite(_wet(domain, u)).all()


@pytest.mark.parametrize("shape", [(12,), (6, 5)])
@pytest.mark.parametrize("walls", [False, True])
def test_upwind_finite_volumes_to_the_last_bits(shape: tuple[int, ...], walls: bool) -> None:
    """f = max(v, 0) u_left + min(v, 0) u_right, as a textbook writes it, on unequal cells between walls."""
    n, d, dt = shape[0], len(shape), 0.05
    edges = tuple(torch.linspace(0, 1, n + 1, dtype=torch.float64).square().tolist())
    kinds, cut = (("wall",) + ("periodic",) * (d - 1), (edges, None)[:d]) if walls else (("periodic",) * d, (None,) * d)
    box = Box(shape, (0.0,) * d, (1.0,) * d, kinds, cut)
    u, v = draw(1, *shape), draw(d, *shape, seed=1)
    expected, y = u.clone(), torch.zeros(1, d, *shape, dtype=torch.float64)
    for a in range(d):
        flux = v[a].clamp_min(0) * u + v[a].clamp_max(0) * u.roll(-1, 1 + a)
        y[:, a] = flux
        if walls and a == 0:
            flux[:, -1] = 0  # what the network says there does not matter
        h = box.widths(a).reshape(-1, *(1,) * (d - 1 - a))
        expected = expected - dt / h * (flux - flux.roll(1, 1 + a))
    made = FluxForm(RHO, "rho")(y, u[:, None, None], around(box, 1, dt))
    torch.testing.assert_close(made[:, 0], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("scheme", "order"), [("upwind", 1), ("lax-wendroff", 2)])
def test_a_scheme_keeps_its_order(scheme: str, order: int) -> None:
    """A wave a quarter round the circle, cell averages of cos(2 pi x) exp(sin(2 pi x)) by midpoints."""
    errors = []
    for n in (24, 48, 96):
        box, head, courant = Box.periodic((n,), 1.0), FluxForm(RHO, "rho"), 0.5
        x = 2 * math.pi * box.coordinate(0)
        start = u = (torch.cos(x) * torch.exp(torch.sin(x)))[None, None]
        where = around(box, 1, courant / n)
        for _ in range(n // 2):
            slope = (1 - courant) / 2 * (u.roll(-1, 2) - u) if order == 2 else 0
            u = head(u + slope, u[:, None], where)
        errors.append(float((u - start.roll(n // 4, 2)).square().mean().sqrt()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] == pytest.approx(order, abs=0.2), (scheme, errors)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_linear_flux_on_simplices_has_its_divergence_exactly(dim: int) -> None:
    """q = Q x: div q = trace Q at every node whose dual cell lies inside."""
    mesh = triangles(25, dim=dim)
    Q = draw(dim, dim)
    y = torch.cat([(mesh.points @ Q.T).T, torch.zeros(1, len(mesh.points), dtype=torch.float64)])[None]
    u = FluxForm(RHO, "rho")(y, torch.zeros(1, 1, 1, len(mesh.points), dtype=torch.float64), around(mesh, 1, 0.1))
    inside = ((mesh.points > 0.0) & (mesh.points < 1.0)).all(1) & ~_at_boundary(mesh)
    assert inside.sum() > 3
    torch.testing.assert_close(u[0, 0, inside], (-0.1 * Q.trace()).expand(int(inside.sum())), rtol=1e-10, atol=1e-12)


def _at_boundary(mesh: Mesh) -> Tensor:
    """Nodes of facets that belong to one cell only."""
    assert mesh.cells is not None
    k = mesh.cells.shape[1]
    facets = torch.cat([mesh.cells[:, [j for j in range(k) if j != i]] for i in range(k)]).sort(1).values
    which, counts = torch.unique(facets, dim=0, return_counts=True)
    return torch.zeros(len(mesh.points), dtype=torch.bool).index_fill(0, which[counts == 1].flatten(), True)


def test_the_potential_on_a_square_mesh_is_the_five_point_laplacian() -> None:
    """Squares cut along diagonals: the dual face of a diagonal is empty, the others are as wide as a square."""
    n = 5
    points = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64)] * 2)
    corner = (torch.arange(n - 1)[:, None] * n + torch.arange(n - 1)).flatten()
    cells = torch.cat([torch.stack([corner, corner + 1, corner + n + 1], 1), torch.stack([corner, corner + n, corner + n + 1], 1)])
    mesh, P = Mesh.from_cells(points, cells), draw(n, n)
    y = torch.cat([torch.zeros(2, n * n, dtype=torch.float64), P.reshape(1, -1)])[None]
    u = FluxForm(RHO, "rho")(y, torch.zeros(1, 1, 1, n * n, dtype=torch.float64), around(mesh, 1, 1.0)).reshape(n, n)
    laplacian = P[2:, 1:-1] + P[:-2, 1:-1] + P[1:-1, 2:] + P[1:-1, :-2] - 4 * P[1:-1, 1:-1]
    torch.testing.assert_close(u[1:-1, 1:-1], laplacian)


def test_solid_rotation_on_a_sphere_moves_a_zonal_field_nowhere() -> None:
    """An eastward flux that does not vary along its circle leaves every cell as it enters."""
    sphere = SPHERES["cells"]
    y = torch.zeros(1, 2, 10, 20, dtype=torch.float64)
    y[:, 1] = draw(10, 1)
    past = draw(1, 1, 1, 10, 20)
    torch.testing.assert_close(FluxForm(RHO, "rho")(y, past, around(sphere, 1)), past[:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["cells", "poles", "gauss"])
def test_the_faces_of_a_sphere_close_its_cells(name: str) -> None:
    """The flux grad(sin(latitude)) through circles has the divergence -2 sin(latitude) / R^2, to second order in the bands."""
    sphere = SPHERES[name].with_shape((41, 8))
    R, phi = sphere.radius, torch.deg2rad(sphere.coordinate(0))
    s = (1 if sphere.north_first else -1) * (1 - sphere.measure[:, 0].cumsum(0) / (math.pi / 4 * R**2))  # at the lower borders of rows
    slope = (1 if sphere.north_first else -1) * -(1 - s.square()).clamp_min(0).sqrt() / R  # along the rows
    y = torch.zeros(1, 2, 41, 8, dtype=torch.float64)
    y[:, 0] = slope[:, None]
    u = FluxForm(RHO, "rho")(y, torch.zeros(1, 1, 1, 41, 8, dtype=torch.float64), around(sphere, 1, R**2))[0, 0, :, 0]
    torch.testing.assert_close(u, 2 * phi.sin(), rtol=0, atol=0.01)


def test_members_of_a_batch_of_meshes_are_alone_and_have_steps_of_their_own() -> None:
    meshes = [triangles(9, 1), triangles(14, 2)]
    batch, head = Mesh.batch(meshes), FluxForm(RHO, "rho", lower=0.0)
    past, y = draw(1, 1, 1, *batch.shape).abs(), 5 * draw(1, 3, *batch.shape, seed=1)
    dt = torch.tensor([0.1, 0.3], dtype=torch.float64)
    u = head(y, past, Conditions(batch, 0 * dt, dt, torch.zeros(2, 0)))
    cuts = [m.shape[0] for m in meshes]
    for k, (a, b, c) in enumerate(zip(past.split(cuts, 3), y.split(cuts, 2), u.split(cuts, 2), strict=True)):
        torch.testing.assert_close(head(b, a, Conditions(meshes[k], 0 * dt[:1], dt[k : k + 1], torch.zeros(1, 0))), c, rtol=0, atol=1e-13)
        assert (meshes[k].integral(c) - meshes[k].integral(a[:, 0])).abs() < 1e-13


def test_several_rows_of_a_mesh_are_alone() -> None:
    mesh, head = triangles(9), FluxForm(RHO, "rho", upper=1.0)
    past, y = draw(3, 1, 1, *mesh.shape).clamp_max(1), 5 * draw(3, 3, *mesh.shape, seed=1)
    u = head(y, past, around(mesh, 3))
    torch.testing.assert_close(head(y[1:2], past[1:2], around(mesh, 1)), u[1:2], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["periodic", "stretched", "poles", "sea", "batch"])
def test_sources_and_inflow_move_the_budget_as_the_law_has_it(name: str) -> None:
    """`ConservedIntegral` with the same forcing finds nothing to correct; an inflow adds its integral in time."""
    domain = DOMAINS[name]
    rows, wave = rows_on(domain), draw(rows_on(domain), 3, *domain.shape, seed=5)
    time = torch.rand(rows * domain.members, dtype=torch.float64)

    def forcing(t: Tensor) -> Tensor:
        return wave * domain.expand((3 * t[:, None]).cos())

    def boundary(t: Tensor) -> Tensor:
        return wave * domain.expand(t[:, None] ** 4) * domain.measure

    where = Conditions(domain, time, 0.2 + 0.1 * time, torch.zeros(len(time), 0), source_term=forcing, inflow=boundary)
    law, past = ConservedIntegral(LEVELS, "rho", forced=True), draw(rows, 1, 3, *domain.shape)
    y = draw(rows, FluxForm(LEVELS, "rho").outputs(domain), *domain.shape, seed=2)
    reference = law.advance(law.reference(past[:, -1], where), past[:, -1], where)
    made = FluxForm(LEVELS, "rho", forced=True)(y, past, where)
    assert law.defect(made, reference, where).abs().max() < 1e-12
    assert law.defect(FluxForm(LEVELS, "rho")(y, past, where), reference, where).abs().max() > 1e-4
    gained = domain.integral(FluxForm(LEVELS, "rho", inflow=True)(y, past, where) - past[:, -1])[:, 1:]
    steps = ((time + where.dt) ** 5 - time**5)[:, None] / 5
    torch.testing.assert_close(gained, domain.integral(wave)[:, 1:] * steps, rtol=1e-9, atol=1e-9 * float(gained.abs().max()))


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("name", DOMAINS)
def test_bounds_hold_under_hostile_fluxes_and_nothing_is_lost(name: str, dtype: torch.dtype) -> None:
    domain, rows = DOMAINS[name], rows_on(DOMAINS[name])
    past = draw(rows, 1, 3, *domain.shape, dtype=dtype).sigmoid()
    past[past < 0.4] = 0.0  # many cells are empty
    past[past > 0.6] = 1.0  # and many full
    for size in (0.1, 1e6):
        y = fluxes(domain, FluxForm(LEVELS, "rho"), size, dtype)
        where = around(domain, rows)
        free = _wet(domain, FluxForm(LEVELS, "rho")(y, past, where)[:, 1:])
        assert free.min() < 0 and free.max() > 1, "these fluxes break no bound"
        for lower, upper in ((0.0, None), (None, 1.0), (0.0, 1.0)):
            u = FluxForm(LEVELS, "rho", lower=lower, upper=upper)(y, past, where)
            v = _wet(domain, u[:, 1:])
            assert (lower is None or v.min() >= lower) and (upper is None or v.max() <= upper)
            assert torch.isfinite(v).all() and (v != past[:, -1, 1:]).any()
            lost = domain.integral(u) - domain.integral(past[:, -1])
            assert lost.abs().max() < ROUNDING[dtype] * domain.integral(torch.ones_like(u)).max()


def test_fluxes_within_the_bounds_pass_unchanged() -> None:
    domain = DOMAINS["channel"]
    past, y = 0.5 + 0.1 * draw(2, 1, 1, *domain.shape).tanh(), 0.1 * draw(2, 2, *domain.shape, seed=1)
    free, held = (FluxForm(RHO, "rho", **k)(y, past, around(domain)) for k in ({}, {"lower": 0.0, "upper": 1.0}))
    assert torch.equal(free, held) and not torch.equal(free, past[:, -1])


def test_a_cell_outside_its_bounds_goes_no_further_out() -> None:
    box = Box.periodic((6,), 1.0)
    past = torch.tensor([-1.0, 0.5, 2.0, 0.1, 0.0, 1.0], dtype=torch.float64)[None, None, None]
    u = FluxForm(RHO, "rho", lower=0.0, upper=1.0)(1e3 * draw(1, 1, 6), past, around(box, 1))
    assert u[0, 0, 0] >= -1 and u[0, 0, 2] <= 2


@pytest.mark.parametrize("name", ["line", "sea", "poles", "batch"])
@pytest.mark.parametrize("bounds", [{}, {"lower": 0.0, "upper": 1.0}])
def test_gradients(name: str, bounds: dict[str, float]) -> None:
    domain = DOMAINS[name]
    head, rows = FluxForm(RHO, "rho", **bounds), rows_on(domain)
    past = draw(rows, 1, 1, *domain.shape).sigmoid().requires_grad_()
    y = (fluxes(domain, FluxForm(LEVELS, "rho"), 0.5)[:, : head.outputs(domain)]).requires_grad_()
    where = around(domain, rows)
    if bounds:
        assert not torch.equal(head(y, past, where), FluxForm(RHO, "rho")(y, past, where)), "nothing is limited here"
    assert torch.autograd.gradcheck(lambda a, b: head(a, b, where), (y, past), fast_mode=True)


def test_empty_cells_have_gradients_too() -> None:
    """0/0 of what is asked of an empty cell that is asked for nothing."""
    box = Box.periodic((5,), 1.0)
    past, y = torch.zeros(1, 1, 1, 5).requires_grad_(), torch.tensor([[[0.0, 1.0, 0.0, -1.0, 0.0]]]).requires_grad_()
    found = torch.autograd.grad(FluxForm(RHO, "rho", lower=0.0)(y, past, around(box, 1)).square().sum() + past.sum(), (past, y))
    assert all(g.isfinite().all() for g in found)


@pytest.mark.parametrize("name", ["box", "sphere", "triangles"])
def test_an_output_of_one_on_the_domains_scale_moves_the_field_by_its_increment(name: str) -> None:
    domain: Domain = {"box": Box.periodic((64, 4), 5.0), "sphere": SPHERES["cells"], "triangles": triangles(400)}[name]
    stats, dt = statistics(RHO, len(domain.shape), 0.3), 0.2
    head, s = FluxForm(RHO, "rho"), 0.3
    y = torch.zeros(1, head.outputs(domain), *domain.shape, dtype=torch.float64)
    x = {"box": lambda: 2 * math.pi / 5 * domain.grid()[0], "sphere": lambda: torch.deg2rad(domain.coordinate(0))[:, None].expand(10, 20),  # type: ignore[attr-defined]
         "triangles": lambda: 2 * math.pi * domain.points[:, 0]}[name]()  # type: ignore[attr-defined]  # fmt: skip
    y[:, 0] = x.cos() if name == "sphere" else x.sin()
    u = head(y * head.sizes(stats, domain, dt).double().reshape(-1, *(1,) * len(domain.shape)), 0 * y[:, None, :1], around(domain, 1, dt))
    found = (domain.integral(u.square()) / domain.integral(torch.ones_like(u))).sqrt()
    expected = s * (2 / 3**0.5 if name == "sphere" else 0.5**0.5)  # div of grad sin(latitude); of a sine
    assert float(found) == pytest.approx(expected, rel=0.15 if name == "triangles" else 0.02)


def test_a_cloud_conserves_and_an_even_one_is_consistent() -> None:
    """On points of a periodic lattice a uniform flux has no divergence, and a wave has its own to second order."""
    n = 24
    points = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) / n] * 2)
    mesh = Mesh.from_nearest(points, 4, periods=(1.0, 1.0))
    x = 2 * math.pi * points[:, 0]
    y = torch.stack([1 + x.sin() / (2 * math.pi), 0.5 + 0 * x, 0 * x])[None]
    u = FluxForm(RHO, "rho")(y, 0 * y[:, None, :1], around(mesh, 1, 1.0))
    torch.testing.assert_close(u[0, 0], -x.cos(), rtol=0, atol=2e-2)
    assert cloud().cells is None


def test_what_it_cannot_do_is_named() -> None:
    box = Box.periodic((6,), 1.0)
    u, y = draw(1, 1, 1, 6), draw(1, 1, 6)
    with pytest.raises(ValueError, match=r"lower must lie below upper, got 1\.0 and 0\.0"):
        FluxForm(RHO, "rho", lower=1.0, upper=0.0)
    with pytest.raises(KeyError, match="no field 'tracer'"):
        FluxForm(RHO, "tracer")
    with pytest.raises(ValueError, match=r"has forced=True but the conditions have no source_term; pass Conditions\(source_term"):
        FluxForm(RHO, "rho", forced=True)(y, u, around(box, 1))
    with pytest.raises(ValueError, match=r"has inflow=True but the conditions have no inflow"):
        FluxForm(RHO, "rho", inflow=True)(y, u, around(box, 1))
    with pytest.raises(ValueError, match="FluxForm takes 1 channels on this domain but y has 2"):
        FluxForm(RHO, "rho")(draw(1, 2, 6), u, around(box, 1))
    assert FluxForm(fields_of(DOMAINS["triangles"]), "velocity").outputs(DOMAINS["triangles"]) == 2 * 3
