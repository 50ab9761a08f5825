"""Distances to walls against all facets at once, and markers as channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from mesh_examples import square

from surrogates.constraints.facets import boundary_facets
from surrogates.data.mesh_features import as_trained, wall_distance, with_features, with_shared_features
from surrogates.domains import Box, Mesh
from surrogates.fields import Field, Fields
from surrogates.interchange import declared, static_of, to_xarray


def test_straight_walls_are_as_far_as_they_are() -> None:
    mesh = square(5)
    x, y = mesh.points.T
    below = (x > 0.2) & (x < 0.8)  # the corners belong to inflow and outflow
    torch.testing.assert_close(wall_distance(mesh, ["walls"])[below], torch.minimum(y, 1 - y).float()[below])


def ring() -> Mesh:
    """Between two circles, the inner one an obstacle of twelve sides; each circle is turned by half a side."""
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    turned = [(r, angle + n * np.pi / 12) for n, r in enumerate((0.5, 0.8, 1.2, 2.0))]
    points = np.concatenate([r * np.stack([np.cos(a), np.sin(a)], 1) for r, a in turned])
    at = np.arange(48).reshape(4, 12)
    a, b, c, d = at[:-1], at[1:], np.roll(at[1:], -1, 1), np.roll(at[:-1], -1, 1)
    cells = np.concatenate([np.stack([p.ravel() for p in t], 1) for t in ((a, b, c), (a, c, d))])
    return Mesh.from_cells(points, cells, {"cylinder": at[0], "far": at[-1]}, units="m")


def test_round_walls_agree_with_the_smallest_over_all_facets() -> None:
    mesh = ring()
    corners = mesh.points[boundary_facets(mesh).corners]
    inner = corners[(corners.norm(dim=2) < 0.6).all(1)]
    a, side = inner[:, 0], inner[:, 1] - inner[:, 0]
    x = mesh.points[:, None] - a
    t = ((x * side).sum(2) / side.square().sum(1)).clamp(0, 1)
    truth = (x - t[..., None] * side).norm(dim=2).amin(1)
    torch.testing.assert_close(wall_distance(mesh, ["cylinder"]), truth.float())


def test_a_box_of_tetrahedra() -> None:
    x = np.stack(np.meshgrid(*[np.linspace(0, 1, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    from scipy.spatial import Delaunay

    jiggled = x + 0.05 * np.random.default_rng(0).uniform(-1, 1, x.shape) * ((x > 0) & (x < 1))
    cells = Delaunay(jiggled).simplices
    spans = jiggled[cells[:, 1:]] - jiggled[cells[:, :1]]
    mesh = Mesh.from_cells(jiggled, cells[np.abs(np.linalg.det(spans)) > 1e-6], {"floor_wall": np.flatnonzero(x[:, 2] == 0)})
    torch.testing.assert_close(wall_distance(mesh, ["floor_wall"]), mesh.points[:, 2].float(), rtol=1e-5, atol=1e-6)


def test_boundaries_are_channels_in_the_order_asked_for() -> None:
    mesh = square(2)
    plain = to_xarray(torch.randn(2, 3, 1, 9), Fields.of(Field("u")), mesh, time=[0.0, 1.0, 2.0], trajectories=[0, 1])
    made = with_features(plain, names=("outflow", "body", "walls"), walls=("walls",))
    assert declared(made, "static").channels == ("boundary_outflow", "boundary_body", "boundary_walls", "wall_distance")
    static = static_of(made)
    assert static.shape == (2, 4, 9) and not static[:, 1].any()
    assert torch.equal(static[0, 2] > 0, mesh.boundary("walls")) and made["wall_distance"].attrs["units"] == "m"
    assert declared(with_features(plain, walls=()), "static").channels == ("boundary_walls", "boundary_inflow", "boundary_outflow")


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the walls shore"):
        wall_distance(square(2), ["shore"])
    box = to_xarray(torch.zeros(1, 1, 1, 4), Fields.of(Field("u")), Box.periodic((4,), (1.0,)), time=[0.0], trajectories=[0])
    with pytest.raises(ValueError, match="boundaries by name are those of a Mesh"):
        with_features(box)


def one(mesh: Mesh, name: str = "runs/a") -> xr.Dataset:
    u = torch.zeros(1, 1, 1, len(mesh.points))
    return to_xarray(u, Fields.of(Field("u")), mesh, time=[0.0], trajectories=[0], attrs={"dataset": name})


TUNNEL = ring(), replace(square(2), names=("walls", "inlet", "outlet"))


def test_features_are_those_that_were_trained_with_whatever_is_opened() -> None:
    """Opened together, alone, or in another order, and from a Dataset that declares none: the same channels with the same values."""
    plain = [one(m) for m in TUNNEL]
    trained = with_shared_features({"train": plain})["train"]
    static = declared(trained[0], "static")
    assert static.channels == ("boundary_cylinder", "boundary_far", "boundary_walls", "boundary_inlet", "boundary_outlet", "wall_distance")
    for n in (0, 1):
        alone = with_shared_features({"test": [plain[n]]})["test"][0]
        turned = with_shared_features({"test": [plain[1], plain[0]]})["test"][1 - n]
        assert declared(alone, "static") != static and declared(turned, "static") != static
        for opened in (alone, turned, plain[n]):
            found = as_trained(opened, static)
            assert declared(found, "static") == static and torch.equal(static_of(found), static_of(trained[n]))
    assert not static_of(as_trained(plain[1], static))[0, :2].any(), "a boundary that the mesh lacks is nowhere"


def test_a_boundary_that_was_not_trained_with_is_named() -> None:
    static = declared(with_features(one(ring())), "static")
    with pytest.raises(ValueError, match=r"runs/b: its mesh has a boundary 'walls', which .* not trained with; it knows cylinder, far"):
        as_trained(one(square(2), "runs/b"), static)
    with pytest.raises(ValueError, match=r"test.h5: .*'walls'"):
        as_trained(one(square(2)), static, "test.h5")
    more = Fields((*static, Field("roughness", "m")))
    with pytest.raises(ValueError, match=r"runs/a lacks the static fields \['roughness'\]"):
        as_trained(one(ring()), more)
    assert as_trained(one(square(2)), None).identical(one(square(2))), "who knows no boundaries takes any"


def test_a_mesh_without_walls_is_as_far_from_them_as_it_is_wide() -> None:
    open_field = replace(square(3), markers=torch.zeros(16, dtype=torch.long), names=())
    parts = with_shared_features({"all": [one(ring()), one(open_field)]})["all"]
    distance = static_of(parts[1])[0, -1]
    torch.testing.assert_close(distance, torch.full((16,), 2.0**0.5))
