"""Faces close the cells that they bound, and are as large as they should be."""

from __future__ import annotations

import math

import pytest
import torch
from heads_shared import BOXES, SPHERES, Foreign, cloud, draw, finite_volumes, triangles

from surrogates.domains import Masked, Mesh
from surrogates.heads.faces import GridFaces, MeshFaces, faces

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", finite_volumes())
def test_what_leaves_enters(name: str) -> None:
    """The sum over all cells of what faces give and take is nothing, whatever passes."""
    domain = finite_volumes()[name]
    between = faces(domain, CPU)
    u = draw(1, 2, *domain.shape)
    passed = between.left(u) * draw(*between.right(u).shape, seed=1)
    assert abs(float(between.sums(passed, -passed).sum())) < 1e-12 * float(passed.abs().sum())


@pytest.mark.parametrize("mesh", [triangles(20), triangles(15, dim=3)], ids=["triangles", "tetrahedra"])
def test_dual_faces_close_inner_cells_and_conduct_like_linear_elements(mesh: Mesh) -> None:
    between = faces(mesh, CPU)
    assert isinstance(between, MeshFaces) and mesh.cells is not None
    outward = between.sums(between.area.T[None], -between.area.T[None])[0].T
    closed = torch.linalg.vector_norm(outward, dim=1) < 1e-12
    assert closed.sum() >= 4 and not closed.all()
    x = mesh.points[:, 0][None, None]
    driven = (between.left(x) - between.right(x)) * between.conductance
    assert between.sums(driven, -driven)[0, 0, closed].abs().max() < 1e-12, "a linear potential drives no net flux"
    work = float((driven * (between.left(x) - between.right(x))).sum())
    assert work == pytest.approx(float(mesh.measure.sum())), "integral of |grad x|^2"


def test_faces_of_a_box_and_a_sphere_have_their_areas() -> None:
    box = BOXES["stretched basin"]
    between = faces(box, CPU)
    assert isinstance(between, GridFaces)
    torch.testing.assert_close(between.area[0, 0].sum(), torch.tensor(2.0, dtype=torch.float64))  # a section of the basin
    assert between.area[0, -1].abs().max() == 0 and between.area[1, :, -1].abs().max() == 0
    for sphere in SPHERES.values():
        area = faces(sphere, CPU).area  # type: ignore[union-attr]
        assert area[0, -1].abs().max() == 0, "nothing passes over a pole"
        assert float(area[1, :, 0].sum()) == pytest.approx(math.pi * sphere.radius), "a meridian from pole to pole"
        assert float(area[0].sum(1).max()) == pytest.approx(2 * math.pi * sphere.radius, rel=0.03), "near the equator"


def test_no_face_lies_on_a_coast() -> None:
    wet = torch.ones(8, 6, dtype=torch.bool)
    wet[2:4, 1:3] = False
    area = faces(Masked(BOXES["periodic"], wet), CPU).area  # type: ignore[union-attr]
    assert (area[0, 1:4, 1:3] == 0).all() and (area[1, 2:4, 0:3] == 0).all() and (area > 0).sum() == 2 * 48 - 6 - 6


def test_a_cloud_without_cells_has_faces_too_but_a_foreign_domain_has_none() -> None:
    between = faces(cloud(), CPU)
    assert isinstance(between, MeshFaces) and between.area.isfinite().all() and between.conductance.isfinite().all()
    with pytest.raises(ValueError, match="not of a Foreign"):
        faces(Foreign(), CPU)
