"""What passes an open end is a flux like any other: the budget closes to rounding, walls stay shut, a bump leaves at the exact rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from heads_shared import EDGES, around, draw, fields_of, rows_on, statistics
from torch import Tensor

from surrogates.constraints import ConservedIntegral, FluxedIntegral
from surrogates.contracts import Domain
from surrogates.domains import Box, Masked, Mesh
from surrogates.fields import Field, Fields
from surrogates.heads import FluxForm, StreamFunction

RHO = Fields.of(Field("rho", "kg m-3"))
TWO = Fields.of(Field("T"), Field("rho", "kg m-3"))
LINE = Box((8,), (0.0,), (2.0,), ("wall",), (EDGES,), open_ends=("x_lower", "x_upper"))
PLANE = Box((6, 8), (0.0, 0.0), (1.0, 2.0), ("wall", "wall"), (None, EDGES), open_ends=("x_upper", "y_lower"))
CHANNEL = Box((5, 4), (0.0, 0.0), (1.0, 2.0), ("wall", "periodic"), open_ends=("x_lower",))
SEA = Masked(PLANE, torch.rand(6, 8, generator=torch.Generator().manual_seed(3)) > 0.3)


def duct(n: int = 6, height: float = 1.0) -> Mesh:
    """Squares cut in two: 0 < x < 2 between walls, with an inlet and an outlet that have the corners."""
    x, y = np.linspace(0, 2, 2 * n + 1), np.linspace(0, height, n + 1)
    points = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    at = np.arange(len(points)).reshape(len(x), len(y))
    a, b, c, d = (part.ravel() for part in (at[:-1, :-1], at[1:, :-1], at[:-1, 1:], at[1:, 1:]))
    walls = np.concatenate([at[:, 0], at[:, -1]])
    cells = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
    return Mesh.from_cells(points, cells, {"walls": walls, "inlet": at[0], "outlet": at[-1]})


DOMAINS: dict[str, Domain] = {
    "line": LINE,
    "plane": PLANE,
    "channel": CHANNEL,
    "sea": SEA,
    "duct": duct(3),
    "batch": Mesh.batch([duct(2), duct(3, 0.5)]),
}


def head_on(domain: Domain, **more: float) -> FluxForm:
    names = ("inlet", "outlet") if isinstance(domain, Mesh) else ()
    return FluxForm(TWO, "rho", open_boundaries=names, **more)  # type: ignore[arg-type]


def outputs(head: FluxForm, domain: Domain, size: float = 1.0, seed: int = 1) -> Tensor:
    unit = head.sizes(statistics(TWO, len(domain.shape)), domain, 0.1).double().reshape(-1, *(1,) * len(domain.shape))
    y: Tensor = draw(rows_on(domain), head.outputs(domain), *domain.shape, seed=seed)
    return size * unit * y


@pytest.mark.parametrize("bounds", [{}, {"lower": 0.0, "upper": 1.0}])
@pytest.mark.parametrize("name", DOMAINS)
def test_the_integral_changes_by_what_entered_and_by_nothing_else(name: str, bounds: dict[str, float]) -> None:
    domain = DOMAINS[name]
    head, rows = head_on(domain, **bounds), rows_on(domain)
    past, y, where = draw(rows, 1, 2, *domain.shape).sigmoid(), outputs(head, domain, 3.0), around(domain, rows)
    u = head(y, past, where)
    came = head.entered(y, past, where)
    grown = domain.integral(torch.where(domain.mask, u - past[:, -1], 0.0) if domain.mask is not None else u - past[:, -1])
    scale = domain.integral(torch.ones_like(u))[:, :1]
    torch.testing.assert_close(grown[:, 1:], came, rtol=0, atol=1e-13 * float(scale.max()))
    assert (came.abs() > 1e-3 * scale).all(), "nothing passed the ends"
    assert not grown[:, :1].any()
    if bounds:
        wet = u[:, 1:] if domain.mask is None else u[:, 1:, domain.mask]
        assert wet.min() >= 0 and wet.max() <= 1
        assert not torch.equal(u, head_on(domain)(y, past, where)), "these fluxes break no bound"


@pytest.mark.parametrize("name", DOMAINS)
def test_closed_ends_pass_nothing_and_inner_faces_are_as_they_were(name: str) -> None:
    """Fluxes of nought at the ends: the same as on the domain that has none open."""
    domain = DOMAINS[name]
    rows, head = rows_on(domain), head_on(domain)
    past, y, where = draw(rows, 1, 2, *domain.shape), outputs(head, domain), around(domain, rows)
    if isinstance(domain, Mesh):
        y[:, :-1] = 0  # q; the potential alone drives nothing through the boundary
        shut: Domain = domain
        z = y
    else:
        box = domain.box if isinstance(domain, Masked) else domain
        assert isinstance(box, Box)
        shut_box = Box(box.shape, box.lower, box.upper, box.boundary, box.edges)
        shut = Masked(shut_box, domain.wet) if isinstance(domain, Masked) else shut_box
        y[:, box.dim :] = 0
        for axis in range(box.dim):
            y[:, axis].select(1 + axis, -1).mul_(box.boundary[axis] == "periodic")
        z = y[:, : box.dim]
    closed = FluxForm(TWO, "rho")(z, past, around(shut, rows))
    torch.testing.assert_close(head(y, past, where), closed, rtol=0, atol=1e-14)
    assert not head.entered(y, past, where).any()


def test_walls_stay_shut_whatever_the_network_says_there() -> None:
    head, past = FluxForm(RHO, "rho"), draw(1, 1, 1, *PLANE.shape)
    y = torch.zeros(1, head.outputs(PLANE), *PLANE.shape, dtype=torch.float64)
    assert head.outputs(PLANE) == 3
    y[:, 1, :, -1] = 5.0  # y_upper, a wall; and at lower faces of cells that are not the first
    y[:, 2, :, 1:] = 7.0
    torch.testing.assert_close(head(y, past, around(PLANE, 1)), past[:, -1], rtol=0, atol=0)
    y[:, 2, :, 0] = 7.0  # into the first cells along y, through an end of length 1
    assert head.entered(y, past, around(PLANE, 1, 0.1)).item() == pytest.approx(0.7)
    y[:, 0, -1] = 2.0  # out of the last ones along x, through one of length 2
    assert head.entered(y, past, around(PLANE, 1, 0.1)).item() == pytest.approx(0.7 - 0.4)


@pytest.mark.parametrize("speed", [1.0, -1.0])
def test_a_bump_leaves_through_an_open_end_at_the_exact_rate(speed: float) -> None:
    """u_t + c u_x = 0 on [0, 1], inflow of nothing: with the time averages of c u at faces, which are known, cell averages stay exact, and
    with them the mass, 1/2 (erf((1 - m)/w) - erf(-m/w)) of a Gaussian around m = .5 + c t, until all of it has left."""
    n, dt, width = 40, 0.02, 0.1
    box = Box((n,), (0.0,), (1.0,), ("wall",), open_ends=("x_lower", "x_upper"))
    edges = torch.linspace(0, 1, n + 1, dtype=torch.float64)

    def below(t: float) -> Tensor:
        """The mass of the whole line below each face."""
        return torch.erf((edges - 0.5 - speed * t) / width) / 2

    head, u = FluxForm(RHO, "rho"), n * below(0.0).diff()[None, None]
    where, masses = around(box, 1, dt), []
    for step in range(50):
        passed = below(step * dt) - below((step + 1) * dt)  # through each face to the right
        y = torch.stack([passed[1:], passed[:-1]])[None] / dt
        came = head.entered(y, u[:, None], where)
        after = head(y, u[:, None], where)
        torch.testing.assert_close(box.integral(after) - box.integral(u), came, rtol=0, atol=1e-15)
        u = after
        torch.testing.assert_close(u[0, 0], n * below((step + 1) * dt).diff(), rtol=0, atol=1e-12)
        masses.append(float(box.integral(u)))
    end = below(1.0)
    assert masses[0] == pytest.approx(1, abs=1e-6) and masses[-1] == pytest.approx(float(end[-1] - end[0]), abs=1e-14)
    assert masses[-1] < 1e-6, "it has not left"


@pytest.mark.parametrize("speed", [1.0, -1.0])
def test_first_order_upwind_loses_what_flows_out(speed: float) -> None:
    """A scheme from the cells alone: the mass falls as the outflow of the last cell says, and the bump is gone after two passages."""
    n, courant = 50, 0.5
    box = Box((n,), (0.0,), (1.0,), ("wall",), open_ends=("x_lower", "x_upper"))
    head, where = FluxForm(RHO, "rho", lower=0.0), around(box, 1, courant / n)
    u = torch.exp(-(((box.coordinate(0) - 0.5) / 0.1) ** 2))[None, None]
    whole, lost = float(box.integral(u)), 0.0
    for _ in range(int(2 * n / courant)):
        lost += courant / n * float(u[0, 0, -1 if speed > 0 else 0])
        nothing = torch.zeros_like(u[..., :1])
        upper, lower = (u, torch.cat([nothing, u[..., :-1]], 2)) if speed > 0 else (-torch.cat([u[..., 1:], nothing], 2), -u)
        u = head(torch.cat([upper, lower], 1), u[:, None], where)
    assert float(box.integral(u)) + lost == pytest.approx(whole, rel=1e-13) and float(box.integral(u)) < 1e-6 * whole


def test_what_is_given_takes_the_place_of_fluxes_at_the_ends() -> None:
    """inflow=True: as many outputs as between walls, and the change is the given inflow, as the law has it."""
    cells = torch.zeros(LINE.shape, dtype=torch.float64)
    cells[0], cells[-1] = 3.0, -1.0
    inflow = lambda t: (cells * torch.cos(t)[:, None]).expand(1, 2, 8)  # noqa: E731
    head, where = FluxForm(TWO, "rho", inflow=True), around(LINE, 1, 0.3, inflow=inflow)
    assert head.outputs(LINE) == 1 and FluxForm(TWO, "rho").outputs(LINE) == 2
    past, y = draw(1, 1, 2, 8), draw(1, 1, 8, seed=2)
    law = FluxedIntegral(TWO, "rho")
    reference = law.advance(law.reference(past[:, -1], where), past[:, -1], where)
    made = head(y, past, where)
    assert law.defect(made, reference, where).abs().max() < 1e-14
    came = head.entered(y, past, where)
    torch.testing.assert_close(came, torch.tensor([[2 * math.sin(0.3)]], dtype=torch.float64), rtol=1e-9, atol=0)
    torch.testing.assert_close(LINE.integral(made - past[:, -1])[:, 1:], came, rtol=0, atol=1e-14)


def test_a_uniform_flux_through_a_mesh_moves_nothing_but_where_walls_stop_it() -> None:
    """q = (1, 0): what enters at the inlet leaves at the outlet, and no node changes, since the dual cells at both are closed now."""
    mesh = duct(4)
    y = torch.zeros(1, 3, *mesh.shape, dtype=torch.float64)
    y[:, 0] = 1.0
    past = torch.ones(1, 1, 1, *mesh.shape, dtype=torch.float64)
    where, head = around(mesh, 1), FluxForm(RHO, "rho", open_boundaries=("inlet", "outlet"))
    torch.testing.assert_close(head(y, past, where), past[:, -1], rtol=0, atol=1e-13)
    shut, inlet = FluxForm(RHO, "rho"), FluxForm(RHO, "rho", open_boundaries=("inlet",))
    assert (shut(y, past, where) - past[:, -1]).abs().max() > 0.1, "between closed ends it piles up"
    assert inlet.entered(y, past, where).item() == pytest.approx(0.1), "dt times the height of the inlet"
    assert not shut.entered(y, past, where).any()


@pytest.mark.parametrize("name", ["plane", "sea", "batch"])
def test_gradients(name: str) -> None:
    domain = DOMAINS[name]
    head, rows = head_on(domain, lower=0.0), rows_on(domain)
    past = draw(rows, 1, 2, *domain.shape).sigmoid().requires_grad_()
    y = outputs(head, domain, 2.0).requires_grad_()
    where = around(domain, rows)
    assert torch.autograd.gradcheck(lambda a, b: head(a, b, where), (y, past), fast_mode=True)


def test_boundaries_that_do_not_exist_or_are_given_twice_are_refused() -> None:
    past = draw(1, 1, 1, *LINE.shape)
    with pytest.raises(ValueError, match=r"names of a Mesh's boundaries; a Box says itself .* open_ends="):
        FluxForm(RHO, "rho", open_boundaries=("inlet",))(draw(1, 2, 8), past, around(LINE, 1))
    with pytest.raises(ValueError, match="is either given"):
        FluxForm(RHO, "rho", inflow=True, open_boundaries=("inlet",))
    mesh = duct(2)
    with pytest.raises(ValueError, match="'exit' is not among those of this Mesh: walls, inlet, outlet"):
        FluxForm(RHO, "rho", open_boundaries=("exit",))(draw(1, 3, *mesh.shape), draw(1, 1, 1, *mesh.shape), around(mesh, 1))
    with pytest.raises(ValueError, match="takes 2 channels on this domain but y has 1"):
        FluxForm(RHO, "rho")(draw(1, 1, 8), past, around(LINE, 1))
    with pytest.raises(ValueError, match="passes no end of a Box, but something passes the open ends x_upper, y_lower"):
        StreamFunction(fields_of(PLANE)).outputs(PLANE)


def test_a_law_of_a_constant_total_refuses_what_the_head_lets_out() -> None:
    where = around(LINE, 1)
    with pytest.raises(
        ValueError, match=r"open ends x_lower, x_upper of this domain; give what flows in, ConservedIntegral\(..., inflow=T"
    ):
        ConservedIntegral(RHO, "rho").reference(draw(1, 1, 8), where)
