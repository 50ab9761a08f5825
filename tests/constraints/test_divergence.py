"""The Leray projection against fields whose divergence-free part is known."""

from __future__ import annotations

import pytest
import torch

from surrogates.constraints import DivergenceFree
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields

PLANE = Fields.of(Field("velocity", "1", ("x", "y")))
SPACE = Fields.of(Field("velocity", "1", ("x", "y", "z")))


def at(box: Box, rows: int = 1) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(box, ones, ones, torch.zeros(rows, 0))


def project(u: torch.Tensor, box: Box, fields: Fields = PLANE) -> torch.Tensor:
    law = DivergenceFree(fields)
    return law(u, law.reference(u, at(box, len(u))), at(box, len(u)))


def test_helmholtz_parts_are_told_apart() -> None:
    """stream function + potential + mean -> stream function + mean, on an anisotropic box."""
    box = Box.periodic((24, 16), (2 * torch.pi, 5.0))
    x, y = box.grid()
    b = 2 * torch.pi / 5
    solenoidal = torch.stack([-b * torch.sin(2 * x) * torch.sin(b * y), -2 * torch.cos(2 * x) * torch.cos(b * y)])
    gradient = torch.stack([3 * torch.cos(3 * x) * torch.sin(2 * b * y), 2 * b * torch.sin(3 * x) * torch.cos(2 * b * y)])
    mean = torch.tensor([0.7, -1.1], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(project((solenoidal + gradient + mean)[None], box), (solenoidal + mean)[None], rtol=0, atol=1e-13)


def test_taylor_green_in_three_dimensions_stays() -> None:
    box = Box.periodic((8, 8, 8), 2 * torch.pi)
    x, y, z = box.grid()
    u = torch.stack([torch.sin(x) * torch.cos(y) * torch.cos(z), -torch.cos(x) * torch.sin(y) * torch.cos(z), 0 * x])[None]
    torch.testing.assert_close(project(u, box, SPACE), u, rtol=0, atol=1e-14)


def test_the_mode_at_nyquist_stays_where_its_derivative_is_zero() -> None:
    """u = (cos(pi i), 0): on the grid its derivative wavenumber is zero, so it is divergence-free and must not be removed."""
    box = Box.periodic((8, 8), 1.0)
    wave = (-1.0) ** torch.arange(8, dtype=torch.float64)[:, None].expand(8, 8)
    u = torch.stack([wave, torch.zeros_like(wave)])[None]
    torch.testing.assert_close(project(u, box), u, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (8, 9)])
def test_idempotent_on_white_noise_with_every_nyquist_mode(shape: tuple[int, int]) -> None:
    box = Box.periodic(shape, (1.0, 3.0))
    once = project(torch.randn(2, 2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), box)
    torch.testing.assert_close(project(once, box), once, rtol=0, atol=1e-14)


def test_commutes_with_translations_and_axis_swaps() -> None:
    u = torch.randn(1, 2, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    box, swapped = Box.periodic((8, 6), (1.0, 3.0)), Box.periodic((6, 8), (3.0, 1.0))
    held = project(u, box)
    torch.testing.assert_close(project(u.roll((3, 1), (2, 3)), box), held.roll((3, 1), (2, 3)), rtol=0, atol=1e-14)
    torch.testing.assert_close(project(u.flip(1).mT, swapped), held.flip(1).mT, rtol=0, atol=1e-14)


def test_defect_does_not_depend_on_units() -> None:
    u = torch.randn(1, 2, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    law, empty = DivergenceFree(PLANE), torch.zeros(1, 0, dtype=torch.float64)
    one = law.defect(u, empty, at(Box.periodic((8, 6), (1.0, 3.0))))
    torch.testing.assert_close(law.defect(1e3 * u, empty, at(Box.periodic((8, 6), (1e-4, 3e-4)))), one)


def test_defect_of_a_gradient_is_one_and_of_a_uniform_flow_zero() -> None:
    box = Box.periodic((16, 16), 2 * torch.pi)
    x, y = box.grid()
    u = torch.stack([torch.cos(x) * torch.cos(y), -torch.sin(x) * torch.sin(y)])[None]
    law, empty = DivergenceFree(PLANE), torch.zeros(1, 0, dtype=torch.float64)
    assert law.defect(u, empty, at(box)).item() == pytest.approx(1)
    flat = torch.ones_like(u).requires_grad_()
    defect = law.defect(flat, empty, at(box))
    defect.sum().backward()
    assert defect.item() == 0 and flat.grad is not None and flat.grad.isfinite().all()


def test_half_precision_fields_come_back_in_their_own_type() -> None:
    box = Box.periodic((8, 8), 1.0)
    u = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    held = project(u.bfloat16(), box)
    assert held.dtype == torch.bfloat16
    torch.testing.assert_close(held.float(), project(u, box), rtol=0, atol=5e-2)


def test_bad_fields_are_refused_at_construction() -> None:
    with pytest.raises(KeyError, match="did you mean 'velocity'"):
        DivergenceFree(PLANE, "velocty")
    with pytest.raises(ValueError, match="components"):
        DivergenceFree(Fields.of(Field("velocity")))
    with pytest.raises(ValueError, match="levels"):
        DivergenceFree(Fields.of(Field("velocity", "1", ("x", "y"), (500.0,))))


def test_bad_domains_are_refused() -> None:
    walled = Box((8, 8), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
    with pytest.raises(ValueError, match="wall"):
        project(torch.zeros(1, 2, 8, 8), walled)
    with pytest.raises(ValueError, match="2 components but the domain has 3 axes"):
        project(torch.zeros(1, 2, 4, 4, 4), Box.periodic((4, 4, 4), 1.0))
    with pytest.raises(ValueError, match="this Box takes"):
        project(torch.zeros(1, 2, 8, 4), Box.periodic((8, 8), 1.0))
