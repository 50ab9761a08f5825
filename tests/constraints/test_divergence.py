"""The Leray projection in periodic boxes against fields whose divergence-free part is known, and one class for every domain."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from projections import nearest, projection_laws
from projections import project as project_any

from surrogates.constraints import DivergenceFree
from surrogates.contracts import Conditions
from surrogates.domains import Box, Sphere
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rounding_of_a_uniform_flow_is_no_defect(dtype: torch.dtype) -> None:
    box = Box.periodic((12, 10), (1.0, 3.0))
    flow = torch.tensor([0.1, -0.3], dtype=dtype)[:, None, None] * (1 + torch.finfo(dtype).eps * torch.randn(2, 12, 10).to(dtype))
    defect = DivergenceFree(PLANE).defect(flow[None], torch.zeros(1, 0, dtype=torch.float64), at(box))
    assert float(defect) < 3 * torch.finfo(dtype).eps ** 0.5


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


@pytest.mark.parametrize(
    "box", [Box.periodic((8, 6), (2.0, 5.0)), Box.periodic((7, 4, 5), (1.0, 2.0, 3.0)), Box.periodic((6, 1), 1.0)], ids=str
)
def test_is_an_orthogonal_projection(box: Box) -> None:
    projection_laws(box)


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5)])
def test_nearest_by_dense_derivatives(shape: tuple[int, ...]) -> None:
    """Derivative matrices column by column from the box, then least squares."""
    box = Box.periodic(shape, tuple(1.0 + a for a in range(len(shape))))
    cells = box.measure.numel()
    units = torch.eye(cells, dtype=torch.float64).view(cells, 1, *shape)
    divergence = torch.cat([box.derivative(units, a).reshape(cells, cells).T for a in range(box.dim)], 1)
    v = torch.randn(box.dim, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    best = nearest(v.flatten(), divergence, box.measure.flatten().repeat(box.dim)).view(v.shape)
    torch.testing.assert_close(project_any(box, v), best, rtol=0, atol=1e-11)


@pytest.mark.parametrize("lengths", [(1e24, 2e24), (1e-22, 3e-22), (1.0, 1e5)], ids=str)
def test_no_unit_of_length_and_no_aspect_ratio_is_out_of_range_in_float32(lengths: tuple[float, float]) -> None:
    """|k|^2 in 1/cm^2 of a galaxy is less than float32 can hold."""
    box = Box.periodic((8, 8), lengths)
    x, y = box.grid()
    phase = 2 * torch.pi * (x / lengths[0] + y / lengths[1])
    k = torch.tensor([1 / lengths[0], 1 / lengths[1]], dtype=torch.float64)[:, None, None] * min(lengths)
    gradient = (k * phase.cos()).float()[None]
    assert float(project(gradient, box).abs().max()) < 1e-6
    law = DivergenceFree(PLANE)
    assert float(law.defect(gradient, torch.zeros(1, 0, dtype=torch.float64), at(box))) == pytest.approx(1, rel=1e-6)


def test_bad_domains_are_refused() -> None:
    with pytest.raises(ValueError, match="2 components but the domain has 3 axes"):
        project(torch.zeros(1, 2, 4, 4, 4), Box.periodic((4, 4, 4), 1.0))
    with pytest.raises(ValueError, match="this Box takes"):
        project(torch.zeros(1, 2, 8, 4), Box.periodic((8, 8), 1.0))
    with pytest.raises(ValueError, match="names of a Mesh's boundaries; a Box has none"):
        law = DivergenceFree(PLANE, open_boundaries=("inlet",))
        law.defect(torch.zeros(1, 2, 8, 8), torch.zeros(1, 0, dtype=torch.float64), at(Box.periodic((8, 8), 1.0)))


@pytest.mark.parametrize("first", ["u", "east", "eastward", "lon"])
def test_an_eastward_component_that_comes_first_is_refused_on_a_sphere(first: str) -> None:
    globe = Sphere((4, 8))
    law = DivergenceFree(Fields.of(Field("velocity", "1", (first, "other"))))
    ones = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="northward, then eastward"):
        law.defect(torch.zeros(1, 2, 4, 8), torch.zeros(1, 0, dtype=torch.float64), Conditions(globe, ones, ones, torch.zeros(1, 0)))


class Ring:
    """A domain of a kind that nobody knows."""

    shape, members, mask, measure = (8,), 1, None, torch.ones(8, dtype=torch.float64)

    def integral(self, u: torch.Tensor) -> torch.Tensor:
        return u.double().sum(2)

    def expand(self, values: torch.Tensor) -> torch.Tensor:
        return values[:, :, None].expand(-1, -1, 8)


def test_a_domain_without_a_divergence_is_named() -> None:
    ones = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="no divergence is known on a Ring; there is one on .'Box', 'Masked', 'Sphere', 'Mesh'"):
        DivergenceFree(PLANE).defect(
            torch.zeros(1, 2, 8), torch.zeros(1, 0, dtype=torch.float64), Conditions(Ring(), ones, ones, torch.zeros(1, 0))
        )


COMPILED = """
import torch
from surrogates.constraints import DivergenceFree
from surrogates.contracts import Conditions
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.fields import Field, Fields

whole = [Box.periodic((8, 6), (1.0, 2.0)), Box((8, 6), (0.0, 0.0), (1.0, 2.0), ("wall", "periodic")), Sphere((6, 12))]
triangles = [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
corners = [[0, 0], [1, 0], [1, 1], [0, 1], [0.4, 0.6]]
parts = [Masked(Box.periodic((8, 6), 1.0), torch.rand(8, 6) < 0.7), Mesh.from_cells(corners, triangles)]
for domain in whole + parts:
    law = DivergenceFree(Fields.of(Field("velocity", components=("north", "east"))))
    ones = torch.ones(2, dtype=torch.float64)
    at, empty = Conditions(domain, ones, ones, torch.zeros(2, 0)), torch.zeros(2, 0, dtype=torch.float64)
    f = lambda u: law(u, empty, at)
    torch.compiler.reset()
    compiled = torch.compile(f, fullgraph=domain in whole, backend="aot_eager")
    u = torch.randn(2, 2, *domain.shape, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(compiled(u), f(u))
    torch.testing.assert_close(torch.autograd.grad(compiled(u).square().sum(), u), torch.autograd.grad(f(u).square().sum(), u))
"""


@pytest.mark.slow
def test_works_compiled() -> None:
    """Whole where there are transforms, around the solver where that is sparse; in a process of its own, without checked annotations."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["periodic", "wall"])
def test_the_defect_of_half_types_is_that_of_their_values(kind: str, dtype: torch.dtype) -> None:
    box, law = Box((6, 5), (0.0, 0.0), (1.0, 2.0), (kind, kind)), DivergenceFree(PLANE)
    u = torch.randn(2, 2, 6, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    nothing = law.reference(u, at(box, 2))
    assert torch.equal(law.defect(u, nothing, at(box, 2)), law.defect(u.float(), nothing, at(box, 2)))
    assert law(u, nothing, at(box, 2)).dtype == dtype
