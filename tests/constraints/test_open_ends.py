"""Totals that would stay are refused where something passes the ends; a law that is told or computes what passes holds them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surrogates.constraints import (
    BoundedIntegral,
    ConservedIntegral,
    DivergenceFree,
    Energy,
    EnergyBand,
    EnergyBudget,
    FluxedIntegral,
    Function,
    GaussNewton,
    InOrder,
    Law,
    LinearFunctionals,
    OpenIntegral,
    ScaledIntegral,
    Soft,
    Total,
    Within,
)
from surrogates.constraints.soft import penalty
from surrogates.contracts import Conditions
from surrogates.domains import Box, Masked, Patch
from surrogates.domains.crop import Crop
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("q"), Field("velocity", "m s-1", ("x", "y")))
OPEN = Box((6, 5), (0.0, 0.0), (2.0, 1.0), ("wall", "wall"), open_ends=("x_upper",))
SHUT = Box((6, 5), (0.0, 0.0), (2.0, 1.0), ("wall", "wall"))
CONSTANT: dict[str, Law] = {
    "conserved": ConservedIntegral(FIELDS, "q"),
    "scaled": ScaledIntegral(FIELDS, "q"),
    "bounded": BoundedIntegral(FIELDS, "q"),
    "forced": ConservedIntegral(FIELDS, "q", forced=True),
    "energy": EnergyBudget(FIELDS),
    "newton": GaussNewton(FIELDS, (Total("q"), Energy()), scales=(1.0, 1.0)),
    "within": InOrder((ConservedIntegral(FIELDS, "q"),)),
}


def at(domain: object, rows: int = 2, inflow: object = None) -> Conditions:
    one = torch.ones(rows, dtype=torch.float64)
    source = lambda t: torch.zeros(rows, 3, 6, 5)  # noqa: E731
    return Conditions(domain, 0.3 * one, 0.5 * one, torch.zeros(rows, 0), source_term=source, inflow=inflow)  # type: ignore[arg-type]


def field(seed: int = 0) -> Tensor:
    return torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1


@pytest.mark.parametrize("name", CONSTANT)
def test_totals_that_stay_are_refused_on_open_ends_alone(name: str) -> None:
    law, u = CONSTANT[name], field()
    reference = law.reference(u, at(SHUT))
    law.advance(reference, u, at(SHUT))
    for domain in (OPEN, Masked(OPEN, torch.ones(6, 5, dtype=torch.bool))):
        with pytest.raises(ValueError, match=r"something passes the open end x_upper of this domain; \w+"):
            law.reference(u, at(domain))
    if name in ("conserved", "scaled", "bounded", "forced"):
        with pytest.raises(ValueError, match=rf"{type(law).__name__}\(..., inflow=True\) with Conditions\(inflow=...\) or, in a fore"):
            law.advance(reference, u, at(OPEN))


def test_so_they_are_on_parts_of_a_sphere_and_on_pieces() -> None:
    law, u = CONSTANT["conserved"], field()
    with pytest.raises(ValueError, match="open ends south, north, west, east"):
        law.reference(u, at(Patch((6, 5), 10.0, 40.0, 0.0, 50.0)))
    with pytest.raises(ValueError, match="open end x_upper"):
        law.reference(u, at(Crop(OPEN, ((0, 1), (0, 0)))))


def test_as_soft_laws_too() -> None:
    with pytest.raises(ValueError, match="open end x_upper"):
        penalty((Soft(CONSTANT["conserved"], 1.0),), field(1)[:, None], field(), at(OPEN))


@pytest.mark.parametrize("law", [ConservedIntegral, ScaledIntegral, BoundedIntegral, FluxedIntegral], ids=lambda law: law.__name__)
def test_with_the_inflow_given_they_hold_what_comes_in(law: type) -> None:
    """J = 3 t^2 into the last cells: over [.3, .8] it brings .8^3 - .3^3."""
    into = torch.zeros(6, 5, dtype=torch.float64)
    into[-1] = 0.2
    here = at(OPEN, inflow=lambda t: (3 * t[:, None, None, None] ** 2 * into).expand(2, 3, 6, 5))
    made = law(FIELDS, "q") if law is FluxedIntegral else law(FIELDS, "q", inflow=True)
    u = field()
    reference = made.advance(made.reference(u, here), u, here)
    torch.testing.assert_close(reference, OPEN.integral(u)[:, :1] + 0.8**3 - 0.3**3, rtol=1e-13, atol=0)
    held = made(field(3), reference, here)
    torch.testing.assert_close(OPEN.integral(held)[:, :1], reference, rtol=1e-13, atol=0)
    assert made.defect(field(3), reference, here).abs().max() > 1e-2
    with pytest.raises(ValueError, match=r"no inflow; pass Conditions\(inflow"):
        made.advance(reference, u, at(OPEN))


def test_what_flow_carries_counts_at_open_ends_alone() -> None:
    """q = 1, v = (1, 3): 1 a unit of time leaves at x_upper, and nothing passes walls, whatever the velocities beside them."""
    u = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64).reshape(1, 3, 1, 1).expand(2, 3, 6, 5)
    law = OpenIntegral(FIELDS, "q")
    torch.testing.assert_close(law.inflow(u, OPEN), torch.full((2, 1), -1.0, dtype=torch.float64))
    assert law.inflow(u, SHUT).abs().max() < 1e-12, "where nothing is said of ends, all count, and what enters one leaves another"
    reference = law.advance(law.reference(u, at(OPEN)), u, at(OPEN))
    torch.testing.assert_close(reference[:, :1], torch.full((2, 1), 2.0 - 0.5, dtype=torch.float64))


def test_a_flow_that_passes_ends_is_not_projected_as_if_it_did_not() -> None:
    law, u = DivergenceFree(FIELDS), field()
    law(u, law.reference(u, at(SHUT)), at(SHUT))
    for domain in (OPEN, Masked(OPEN, torch.ones(6, 5, dtype=torch.bool))):
        with pytest.raises(
            ValueError, match="DivergenceFree lets nothing pass the ends of a Box, but something passes the open end x_upper"
        ):
            law(u, law.reference(u, at(domain)), at(domain))


def test_laws_that_claim_no_total_stay() -> None:
    """Bounds, sections and quantities of one's own say nothing of ends, or say it knowingly."""
    u, here = field(), at(OPEN)
    own = GaussNewton(FIELDS, (Function(lambda v, c: c.domain.integral(v)[:, :1], remembered=True),), scales=(1.0, 1.0))
    for law in (EnergyBand(FIELDS, upper=2.0, relative=True), LinearFunctionals(FIELDS, (Within("q", (0.0, 0.0), (1.0, 1.0)),)), own):
        assert law.advance(law.reference(u, here), u, here).isfinite().all()
