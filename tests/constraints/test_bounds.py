"""Within bounds: the projection against a quadratic programme, mass to rounding, what reflection keeps, bounds in float32."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from surrogates.constraints import BoundedIntegral, Clipped, ConservedIntegral, Reflected
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("q"), Field("tracer"))
LINE = Box((5,), (0.0,), (2.0,), ("wall",), ((0.0, 0.1, 0.4, 0.5, 1.5, 2.0),))


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(domain: Domain, rows: int) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(domain, 0 * ones, ones, torch.zeros(rows, 0))


def test_it_is_the_nearest_field_of_its_bounds_and_integral() -> None:
    """min sum m |v - u|^2 / 2 under lower <= v <= upper, sum m v = I, by sequential quadratic programming."""
    law, m = BoundedIntegral(FIELDS, "q", -0.3, 0.8), LINE.measure.numpy()
    u, goals = random(0, 4, 2, 5), torch.tensor([[-0.4], [0.1], [0.9], [1.5]], dtype=torch.float64)
    held = law(u, goals, at(LINE, 4))
    for row, goal, x in zip(u[:, 0].numpy(), goals[:, 0].tolist(), held[:, 0].numpy(), strict=True):
        best = minimize(
            lambda v, row=row: (m * (v - row) ** 2).sum() / 2,
            row.clip(-0.3, 0.8),
            jac=lambda v, row=row: m * (v - row),
            bounds=[(-0.3, 0.8)] * 5,
            constraints={"type": "eq", "fun": lambda v, goal=goal: (m * v).sum() - goal},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert abs(best.x - x).max() < 1e-6


def test_far_from_the_bounds_it_is_conserved_integral() -> None:
    u, goals = random(0, 3, 2, 5), random(1, 3, 1)
    held = BoundedIntegral(FIELDS, "q", -1e3, 1e3)(u, goals, at(LINE, 3))
    torch.testing.assert_close(held, ConservedIntegral(FIELDS, "q")(u, goals, at(LINE, 3)))


def test_mass_that_clipping_makes_is_taken_back_and_its_budget_moves() -> None:
    u, here = random(0, 3, 2, 5) + 0.3, at(LINE, 3)
    law, mass = BoundedIntegral(FIELDS, "q"), LINE.integral(u[:, :1])
    assert (LINE.integral(u[:, :1].clamp_min(0)) - mass > 1e-2).any()
    held = law(u, law.reference(u, here), here)
    assert (held[:, 0] >= 0).all()
    torch.testing.assert_close(LINE.integral(held[:, :1]), mass.clamp_min(0), rtol=0, atol=1e-15)


def test_an_integral_beyond_the_bounds_is_reported() -> None:
    law, u = BoundedIntegral(FIELDS, "q", 0.0, 1.0), random(0, 2, 2, 5)
    goals = torch.tensor([[-1.0], [3.0]], dtype=torch.float64)  # V = 2
    defect = law.defect(held := law(u, goals, at(LINE, 2)), goals, at(LINE, 2))
    torch.testing.assert_close(held[:, 0], torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, 5))
    torch.testing.assert_close(defect, torch.tensor([[1.0, 0.0], [-1 / 3, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("kind", [Clipped, Reflected, BoundedIntegral])
def test_float32_never_leaves_bounds_that_float32_cannot_write(kind: type[Clipped] | type[BoundedIntegral]) -> None:
    lower, upper = 0.1, 0.7
    box = Box.periodic((64, 64), 1.0)
    u = random(0, 2, 2, 64, 64).float()
    law = kind(FIELDS, "tracer", lower, upper)
    held = law(u, law.reference(torch.full_like(u, 0.3), at(box, 2)), at(box, 2))
    tracer = held[:, 1]
    assert held.dtype == torch.float32 and tracer.min() >= torch.tensor(lower) and tracer.max() <= torch.tensor(upper)


def test_reflection_folds_and_clipping_piles_up() -> None:
    """Uniform draws on [-1, 2] come back uniform on [0, 1]; clipped, a third lies on either bound."""
    box = Box.periodic((3000,), 1.0)
    u = torch.linspace(-1, 2, 3000, dtype=torch.float64).expand(1, 2, 3000)
    none = torch.zeros(1, 0, dtype=torch.float64)
    folded = Reflected(FIELDS, "q", 0.0, 1.0)(u, none, at(box, 1))[0, 0]
    counts = torch.histc(folded, 10, 0, 1)
    assert (counts - 300).abs().max() <= 6 and folded.min() >= 0 and folded.max() <= 1
    clipped = Clipped(FIELDS, "q", 0.0, 1.0)(u, none, at(box, 1))[0, 0]
    assert (clipped == 0).sum() > 990 and (clipped == 1).sum() > 990


def test_reflection_is_a_mirror_on_either_side() -> None:
    u = torch.tensor([[[-0.3, 0.2, 5.0]] * 2], dtype=torch.float64)
    box, none = Box.periodic((3,), 1.0), torch.zeros(1, 0, dtype=torch.float64)
    assert Reflected(FIELDS, "q")(u, none, at(box, 1))[0, 0].tolist() == [0.3, 0.2, 5.0]
    assert Reflected(FIELDS, "q", None, 1.0)(u, none, at(box, 1))[0, 0].tolist() == [-0.3, 0.2, -3.0]
    torch.testing.assert_close(Reflected(FIELDS, "q", 0.0, 1.0)(u, none, at(box, 1))[0, 0], torch.tensor([0.3, 0.2, 1.0]).double())


def test_gradients_through_the_projection_keep_the_integral() -> None:
    """Directions of change: the integral of the tangent vanishes, and cells at a bound stay."""
    law, u = BoundedIntegral(FIELDS, "q"), random(0, 1, 2, 5)
    goal = torch.tensor([[1.0]], dtype=torch.float64)
    held, tangent = torch.func.jvp(lambda v: law(v, goal, at(LINE, 1)), (u,), (random(1, 1, 2, 5),))
    assert (held[0, 0] == 0).any() and not tangent[0, 0][held[0, 0] == 0].any() and tangent[0, 0].abs().max() > 0.01
    assert LINE.integral(tangent[:, :1]).abs().max() < 1e-14


def test_bad_bounds_are_refused() -> None:
    for kind in (Clipped, Reflected, BoundedIntegral):
        with pytest.raises(ValueError, match="a lower or an upper one"):
            kind(FIELDS, "q", None)
        with pytest.raises(ValueError, match="lower < upper"):
            kind(FIELDS, "q", 1.0, 1.0)
