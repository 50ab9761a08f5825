"""The curl of any vector potential has no divergence; flows of one coordinate less are those of the stream function."""

from __future__ import annotations

import math

import pytest
import torch
from heads_shared import SPACES, around, draw, fields_of, head_laws, statistics

from surrogates.constraints import DivergenceFree
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.heads import StreamFunction, VectorPotential

FLOW = Fields.of(Field("velocity", components=("x", "y", "z")))


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 3e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("name", SPACES)
def test_no_divergence_from_any_potential_and_any_past(name: str, dtype: torch.dtype, rounding: float) -> None:
    box = SPACES[name]
    fields, where = fields_of(box), around(box)
    head, law = VectorPotential(fields, mean_flow=True), DivergenceFree(fields)
    past, y = draw(2, 1, 5, *box.shape, dtype=dtype), draw(2, head.outputs(box), *box.shape, seed=1, dtype=dtype)
    none = law.reference(past[:, -1], where)
    assert (law.defect(past[:, -1], none, where) > 0.1).all(), "this past tests nothing: it obeys the law"
    u = head_laws(head, y, past, where, made=(1, 2, 3), rounding=rounding)
    assert (law.defect(u, none, where) < rounding).all()
    torch.testing.assert_close(head(0 * y, u[:, None], where), u, rtol=0, atol=10 * rounding * float(u.abs().max()))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("walls", [False, True])
def test_a_flow_of_two_coordinates_has_a_stream_function(axis: int, walls: bool) -> None:
    """A = psi along one axis: the plane flow of psi in the other two, in cyclic order."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    kind = ("wall" if walls else "periodic", "periodic")
    plane = Box((6, 5), (0.0, 0.0), (2.0, 3.0), kind)
    sizes = {first: (6, 2.0, kind[0]), second: (5, 3.0, kind[1]), axis: (4, 1.0, "periodic")}
    box = Box(*(tuple(sizes[a][i] for a in range(3)) if i != -1 else (0.0,) * 3 for i in (0, -1, 1, 2)))
    psi, nothing = draw(1, 1, 6, 5), torch.zeros(1, 1, 2, 6, 5, dtype=torch.float64)
    flat = StreamFunction(Fields.of(Field("velocity", components=("x", "y"))))(psi, nothing, around(plane, 1))[0]
    # (first, second, axis) -> (x, y, z)
    order = [(first, second, axis).index(a) for a in range(3)]
    A = torch.zeros(1, 3, *box.shape, dtype=torch.float64)
    A[0, axis] = psi[0, 0, :, :, None].expand(6, 5, 4).permute(order)
    u = VectorPotential(FLOW)(A, torch.zeros(1, 1, 3, *box.shape, dtype=torch.float64), around(box, 1))[0]
    for component, expected in ((first, flat[0]), (second, flat[1]), (axis, 0 * psi[0, 0])):
        torch.testing.assert_close(u[component], expected[:, :, None].expand(6, 5, 4).permute(order), rtol=0, atol=1e-12)


def test_the_abc_flow_is_its_own_potential() -> None:
    """u = curl u: Arnold, Beltrami and Childress."""
    box = Box.periodic((6, 8, 7), 2 * math.pi)
    x, y, z = box.grid()
    abc = torch.stack([z.sin() + 0.5 * y.cos(), 2 * x.sin() + z.cos(), 0.5 * y.sin() + 2 * x.cos()])[None]
    u = VectorPotential(FLOW)(abc, 0 * abc[:, None], around(box, 1))
    torch.testing.assert_close(u, abc, rtol=0, atol=1e-13)
    torch.testing.assert_close(VectorPotential(FLOW)(-0.1 * abc, abc[:, None], around(box, 1)), 0.9 * abc, rtol=0, atol=1e-13)


def test_a_gauge_changes_nothing() -> None:
    box = SPACES["periodic"]
    A, chi, past = draw(1, 3, *box.shape), draw(1, 1, *box.shape, seed=1), draw(1, 1, 3, *box.shape, seed=2)
    head, where = VectorPotential(FLOW), around(box, 1)
    torch.testing.assert_close(head(A + box.gradient(chi), past, where), head(A, past, where), rtol=0, atol=1e-11)


def test_gradients_and_sizes() -> None:
    box, head = Box((4, 2, 3), (0.0,) * 3, (1.0, 1.0, 2.0), ("wall", "periodic", "periodic")), VectorPotential(FLOW, mean_flow=True)
    past, y = draw(1, 1, 3, 4, 2, 3).requires_grad_(), draw(1, 5, 4, 2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: head(a, b, around(box, 1)), (y, past), fast_mode=True)
    stats = statistics(FLOW, 3)
    s, length = stats.tendency_std.flatten(), 2 ** (1 / 3) / (2 * math.pi)
    expected = torch.cat([(length * s.square().mean().sqrt()).expand(3), s[1:]])
    torch.testing.assert_close(head.sizes(stats, box, 0.1), expected)


def test_what_it_cannot_do_is_named() -> None:
    with pytest.raises(ValueError, match="VectorPotential makes the 3 components of a vector"):
        VectorPotential(Fields.of(Field("velocity", components=("x", "y"))))
    with pytest.raises(ValueError, match="takes a Box of 3 axes, one for each component, not a Box of 2 axes"):
        VectorPotential(FLOW).outputs(Box.periodic((4, 4), 1.0))
