"""Boundaries that keep what they have, on one mesh and on several joined."""

from __future__ import annotations

import pytest
import torch
from mesh_examples import square

from surrogates.constraints import HeldBoundary
from surrogates.constraints.compose import over_bundle
from surrogates.contracts import Conditions
from surrogates.domains import Box, Mesh
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("pressure", "Pa"))
LAW = HeldBoundary(FIELDS, "velocity", ("inflow", "walls"))


def at(domain: Mesh | Box) -> Conditions:
    one = torch.ones(domain.members, dtype=torch.float64)
    return Conditions(domain, one, one, torch.zeros(domain.members, 0))


@pytest.mark.parametrize("mesh", [square(3), Mesh.batch([square(2), square(4, 1)])])
def test_held_nodes_keep_their_values_and_no_other(mesh: Mesh) -> None:
    past, future = torch.randn(1, 2, 3, *mesh.shape), torch.randn(1, 4, 3, *mesh.shape)
    reference = LAW.reference(past[:, -1], at(mesh))
    made, behind = over_bundle(LAW, future, reference, at(mesh), past)
    held = mesh.boundary("inflow") | mesh.boundary("walls")
    assert torch.equal(made[:, :, :2, held], past[:, -1:, :2, held].expand(-1, 4, -1, -1))
    assert torch.equal(made[..., ~held], future[..., ~held]) and torch.equal(made[:, :, 2], future[:, :, 2])
    assert float(LAW.defect(made[:, -1], behind, at(mesh)).max()) == 0.0
    assert float(LAW.defect(future[:, -1], behind, at(mesh)).min()) > 1e-4, "a boundary that drifts is seen"
    assert LAW.defect(future[:, 0], behind, at(mesh)).shape == (mesh.members, 4) and LAW.references == reference.shape[1]


def test_members_are_held_alone_as_together() -> None:
    meshes = [square(2), square(4, 1)]
    joined = Mesh.batch(meshes)
    u = torch.randn(1, 3, *joined.shape)
    alone = [LAW.reference(part, at(m)) for part, m in zip(u.split([9, 25], -1), meshes, strict=True)]
    torch.testing.assert_close(LAW.reference(u, at(joined)), torch.cat(alone))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the names of boundaries"):
        HeldBoundary(FIELDS, "velocity", ())
    mesh = square(2)
    u = torch.zeros(1, 3, 9)
    with pytest.raises(ValueError, match="pass past"):
        LAW(u, LAW.reference(u, at(mesh)), at(mesh))
    with pytest.raises(ValueError, match="none of the boundaries wall; it has walls, inflow, outflow"):
        HeldBoundary(FIELDS, "velocity", ("wall",)).reference(u, at(mesh))
    with pytest.raises(ValueError, match="needs a Mesh"):
        LAW.reference(torch.zeros(1, 3, 4), at(Box.periodic((4,), (1.0,))))
