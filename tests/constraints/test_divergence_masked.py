"""Projection around land: flows of a stream function, basins apart, and a dense solve over faces counted one by one."""

from __future__ import annotations

import pytest
import torch
from projections import conditions, defect, law_of, nearest, noise, project, projection_laws
from torch import Tensor

from surrogates.domains import Box, Masked

BOX = Box((7, 6), (0.0, 0.0), (2.0, 1.0), ("wall", "periodic"), ((0.0, 0.1, 0.4, 0.5, 1.5, 1.7, 1.9, 2.0), None))


def wet(*land: tuple[slice | int, ...], shape: tuple[int, ...] = (7, 6)) -> Tensor:
    out = torch.ones(shape, dtype=torch.bool)
    for at in land:
        out[at] = False
    return out


SEAS = {
    "island": Masked(BOX, wet((slice(2, 4), slice(1, 3)))),
    "basins": Masked(BOX, wet((3,), (slice(None), 2), (slice(None), 5))),  # four of them, and single cells
    "pond": Masked(BOX, ~wet((5, 1))),
    "no land": Masked(Box.periodic((7, 6), (2.0, 1.0)), wet()),
    "even lattice": Masked(Box.periodic((4, 6), 1.0), wet(shape=(4, 6))),
    "space": Masked(
        Box((4, 3, 4), (0.0, 0.0, 0.0), (1.0, 1.0, 2.0), ("wall", "wall", "periodic")), wet((1, 1, slice(0, 2)), shape=(4, 3, 4))
    ),
}


@pytest.mark.parametrize("name", [n for n in SEAS if n != "pond"])
def test_is_an_orthogonal_projection(name: str) -> None:
    projection_laws(SEAS[name])


def by_hand(sea: Masked) -> Tensor:
    """The divergence, cell by cell: (wet, 2 wet)."""
    cells = [tuple(c) for c in sea.wet.nonzero().tolist()]
    number, out = {c: i for i, c in enumerate(cells)}, torch.zeros(len(cells), 2 * len(cells), dtype=torch.float64)
    for c, row in number.items():
        for axis in (0, 1):
            n, h = sea.shape[axis], sea.box.widths(axis)
            for way in (1, -1):
                at = c[axis] + way
                if sea.box.boundary[axis] == "wall" and not 0 <= at < n:
                    continue
                other = tuple(at % n if a == axis else v for a, v in enumerate(c))
                if other in number:
                    here, there = float(h[c[axis]]), float(h[at % n])
                    out[row, axis * len(cells) + row] += way / here * there / (here + there)
                    out[row, axis * len(cells) + number[other]] += way / here * here / (here + there)
    return out


@pytest.mark.parametrize("name", ["island", "basins", "no land", "even lattice"])
def test_nearest_by_a_dense_solve(name: str) -> None:
    sea = SEAS[name]
    v = noise(sea)[0, 1:]
    there = sea.wet.expand(2, *sea.shape)
    best = torch.zeros_like(v)
    best[there] = nearest(v[there], by_hand(sea), sea.measure.expand(2, *sea.shape)[there])
    torch.testing.assert_close(project(sea, v), best, rtol=0, atol=1e-12)


def test_dry_cells_come_back_at_rest_whatever_they_held() -> None:
    sea, v = SEAS["island"], noise(SEAS["island"])[:, 1:]
    missing = torch.where(sea.wet, v, torch.nan)
    held = project(sea, missing)
    assert torch.equal(held, project(sea, v)) and bool((held[:, :, ~sea.wet] == 0).all())
    assert torch.equal(defect(sea, missing), defect(sea, v))
    u = torch.cat([v[:, :1], missing], 1).requires_grad_()
    law, at = law_of(sea), conditions(sea, 2)
    law(u, law.reference(u, at), at)[:, 1:].square().sum().backward()
    assert u.grad is not None and bool(u.grad.isfinite().all())


def test_a_single_wet_cell_has_nowhere_to_flow_to() -> None:
    """No face, so no divergence: the velocity of its centre is no flow."""
    v = noise(SEAS["pond"])[:, 1:]
    torch.testing.assert_close(project(SEAS["pond"], v), v)
    assert bool((defect(SEAS["pond"], v) == 0).all())


def test_basins_do_not_see_each_other() -> None:
    sea, v = SEAS["basins"], noise(SEAS["basins"])[:, 1:]
    other = v.clone()
    other[:, :, :3, :2] *= 7
    moved = project(sea, other) - project(sea, v)
    assert bool((moved[:, :, :3, :2].abs() > 1e-3).any()) and float(moved[:, :, 4:].abs().max()) < 1e-14


def test_what_flows_through_every_cross_section_of_a_strait_is_the_same() -> None:
    """Flows through faces, summed across; and through a periodic channel with an obstacle a flow remains."""
    box = Box((8, 6), (0.0, 0.0), (8.0, 1.0), ("periodic", "wall"))
    sea = Masked(box, wet((slice(2, 4), slice(1, 3)), shape=(8, 6)))
    v = torch.zeros(2, 8, 6, dtype=torch.float64)
    v[0] = sea.wet.double()
    held = project(sea, v)
    faces = (held[0] + held[0].roll(-1, 0)) / 2 * (sea.wet & sea.wet.roll(-1, 0))
    through = faces.sum(1)
    torch.testing.assert_close(through, through.mean().expand(8), rtol=0, atol=1e-13)
    assert float(through.mean()) > 2


def test_a_uniform_flow_of_a_periodic_box_stays() -> None:
    v = torch.tensor([0.3, -2.0], dtype=torch.float64)[:, None, None].expand(2, 7, 6)
    torch.testing.assert_close(project(SEAS["no land"], v), v, rtol=0, atol=1e-14)
    assert float(defect(SEAS["no land"], v)) < 1e-14


def test_flows_of_a_stream_function_are_changed_to_second_order() -> None:
    """psi = sin^2 sin^2 of a basin in the corner of a larger box: at rest on its coast, so with no flow into it."""

    def change(n: int) -> float:
        box = Box((2 * n, n), (0.0, 0.0), (2.0, 1.0), ("periodic", "wall"))
        sea = Masked(box, (box.grid()[0] < 1))
        x, y = box.grid()
        s = torch.stack(
            [torch.sin(torch.pi * x) ** 2 * torch.sin(2 * torch.pi * y), -torch.sin(2 * torch.pi * x) * torch.sin(torch.pi * y) ** 2]
        )
        s = s * sea.wet
        return float(sea.integral((project(sea, s) - s).square()[None]).sum().sqrt())

    assert 3.3 < change(12) / change(24) < 4.7


def test_a_factorisation_is_made_once_for_equal_seas() -> None:
    from surrogates.constraints.divergence_masked import _made

    sea = Masked(Box.periodic((5, 4), 3.0), wet((1, 1), shape=(5, 4)))
    project(sea, noise(sea)[:, 1:])
    before = _made.cache_info().misses
    again = Masked(Box.periodic((5, 4), 3.0), wet((1, 1), shape=(5, 4)))
    project(again, noise(again)[:, 1:])
    assert _made.cache_info().misses == before


def test_large_seas_reach_rounding_too() -> None:
    """96 x 64 cells, whose matrix is far from well conditioned, in several basins."""
    box = Box((96, 64), (0.0, 0.0), (3.0, 1.0), ("periodic", "wall"))
    land = torch.rand(96, 64, generator=torch.Generator().manual_seed(0)) < 0.1
    land[[20, 70]] = True
    sea = Masked(box, ~land)
    x, y = box.grid()
    v = torch.stack([torch.cos(torch.pi * x / 3), torch.sin(3 * y)]) * sea.wet
    held = project(sea, v)
    assert float(defect(sea, v)) > 0.01 and float(defect(sea, held)) < 1e-13
    torch.testing.assert_close(project(sea, held), held, rtol=0, atol=1e-12)
