"""Crossing between xarray and tensors loses nothing and refuses what does not fit."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.constraints import ConservedIntegral
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.domains.layout import same
from surrogates.domains.sphere import GRIDS
from surrogates.fields import Field, Fields
from surrogates.interchange import (
    box_of,
    conditions_of,
    declare,
    domain_of,
    fields_of,
    from_xarray,
    parameters_of,
    static_of,
    to_xarray,
    trajectories_of,
)
from surrogates.rollout import rollout
from surrogates.surrogate import Surrogate

BOX = Box.periodic((6, 4), (2.0, 1.0), units="m")
FIELDS = Fields.of(Field("pressure", "Pa"), Field("velocity", "m s-1", ("x", "y")), Field("temperature", "K", levels=(500.0, 850.0)))


def dataset(members=None):
    shape = (3, 5, 5, 6, 4) if members is None else (3, members, 5, 5, 6, 4)
    u = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return u, to_xarray(
        u,
        FIELDS,
        BOX,
        time=[0.0, 0.5, 1.0, 1.5, 2.0],
        trajectories=[4, 7, 9],
        members=None if members is None else range(members),
        parameters={"viscosity": [0.1, 0.2, 0.3]},
    )


def islands() -> Masked:
    wet = torch.ones(6, 4, dtype=torch.bool)
    wet[2:4, 1] = False
    return Masked(BOX, wet)


def test_a_masked_box_goes_through_a_file(tmp_path):
    u, fields = torch.randn(2, 3, 1, 6, 4), Fields.of(Field("h", "m"))
    to_xarray(u, fields, islands(), time=[0.0, 0.5, 1.0], trajectories=[0, 1]).to_netcdf(tmp_path / "sea.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "sea.nc", engine="h5netcdf") as stored:
        assert domain_of(stored) == islands() and torch.equal(from_xarray(stored), u)
        with pytest.raises(ValueError, match="was it cropped"):
            domain_of(stored.isel(x=slice(3)))


def test_what_is_missing_on_land_is_zero_and_at_sea_stays_missing():
    u, fields, sea = torch.ones(1, 2, 1, 6, 4), Fields.of(Field("h", "m")), islands()
    u[..., 2, 1], u[..., 3, 1], u[0, 0, 0, 0, 0] = torch.nan, 5.0, torch.nan
    ds = declare(
        to_xarray(u, fields, sea, time=[0.0, 0.5], trajectories=[0]).assign(
            depth=(("x", "y"), torch.where(sea.wet, 1.0, torch.nan).numpy(), {"units": "m"})
        ),
        static=Fields.of(Field("depth", "m")),
    )
    read = from_xarray(ds)
    assert (read[..., 2, 1] == 0).all() and (read[..., 3, 1] == 5).all() and read.isnan().sum() == 1
    assert torch.equal(static_of(ds)[0, 0], sea.wet.float())


class Blur(torch.nn.Module):
    """A network that mixes land and sea."""

    def forward(self, x, domain, embedding=None):
        return x - x.mean((2, 3), keepdim=True)


def test_a_surrogate_forecasts_on_islands_from_missing_values_on_land():
    fields, sea = Fields.of(Field("h", "m")), islands()
    u = torch.where(sea.wet, torch.rand(2, 1, 1, 6, 4) + 1, torch.nan)
    initial = to_xarray(u, fields, sea, time=[0.0], trajectories=[0, 1], attrs={"dt": 0.5})
    made = Surrogate(fields, sea, 0.5, operator=Blur(), constraint=ConservedIntegral(fields, "h")).eval()
    with torch.no_grad():
        made_frames = torch.stack(list(rollout(made, from_xarray(initial), 3, conditions_of(initial).after)), 1)
    out = to_xarray(made_frames, fields, sea, time=[0.5, 1.0, 1.5], trajectories=[0, 1])
    frames = from_xarray(out)
    assert domain_of(out) == sea and frames.isfinite().all()
    torch.testing.assert_close(sea.integral(frames[:, -1]), sea.integral(u[:, 0]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("members", [None, 2])
def test_round_trip(members):
    u, ds = dataset(members)
    assert torch.equal(from_xarray(ds), u)
    assert fields_of(ds) == FIELDS and domain_of(ds) == BOX and trajectories_of(ds) == [4, 7, 9]
    assert ds["velocity_x"].attrs["units"] == "m s-1" and ds["x"].attrs["units"] == "m"
    assert ds["temperature"].dims[-3:] == ("level", "x", "y")


def test_a_part_of_a_dataset_still_crosses():
    u, ds = dataset()
    part = ds.isel(trajectory=1, time=-1)
    assert torch.equal(from_xarray(part), u[1:2, -1:])
    assert trajectories_of(part) == [7]
    c = conditions_of(part)
    assert c.time.tolist() == [2.0] and c.dt.tolist() == [0.5] and c.parameter("viscosity").tolist() == [0.2]
    assert torch.equal(from_xarray(ds.drop_vars("pressure"), Fields.of(FIELDS["velocity"])), u[:, :, 1:3])
    assert fields_of(ds.drop_vars("pressure")).names == ("velocity", "temperature")


@pytest.mark.parametrize("name", ["x", "time", "trajectory"])
def test_a_parameter_does_not_take_the_place_of_a_coordinate(name):
    with pytest.raises(ValueError, match=f"parameter '{name}' is called like"):
        to_xarray(
            torch.zeros(1, 2, 1, 8),
            Fields.of(Field("u")),
            Box.periodic((8,), 1.0),
            time=[0.0, 1.0],
            trajectories=[0],
            parameters={name: [2.0]},
        )


def test_transposed_variables_cross_the_same():
    u, ds = dataset()
    assert torch.equal(from_xarray(ds.transpose("y", "time", "level", "x", "trajectory")), u)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d.drop_vars("velocity_y"), "lacks 'velocity_y'"),
        (lambda d: d.assign(pressure=d["pressure"].assign_attrs(units="hPa")), "units 'hPa' but 'Pa' are needed"),
        (lambda d: d.isel(x=slice(0, 3)), r"grid \(3, 4\) but its attribute 'domain' says \(6, 4\)"),
        (lambda d: d.assign_coords(x=d.x[::-1].values), "does not lie where"),
        (lambda d: d.drop_attrs(deep=False), "no attribute 'domain'"),
    ],
)
def test_what_does_not_fit_is_refused(spoil, says):
    with pytest.raises(ValueError, match=says):
        from_xarray(spoil(dataset()[1]), FIELDS)


def test_missing_dt_and_parameters_are_named():
    ds = dataset()[1]
    with pytest.raises(ValueError, match="no parameter 'drag'"):
        conditions_of(ds, ("drag",))
    del ds.attrs["dt"]
    with pytest.raises(ValueError, match="no attribute 'dt'"):
        conditions_of(ds)


def test_a_foreign_dataset_needs_only_a_domain():
    import xarray as xr

    values = np.zeros((2, 6, 4), dtype=np.float32)
    ds = xr.Dataset({"u": (("time", "x", "y"), values)}, attrs={"domain": json.dumps(BOX.to_json()), "dt": 0.1})
    assert fields_of(ds).channels == ("u",)
    assert from_xarray(ds).shape == (1, 2, 1, 6, 4)
    assert parameters_of(ds) == {}


def test_the_template_of_a_long_forecast_takes_no_memory():
    huge = torch.full((), torch.nan).expand(4, 100_000, 5, 6, 4)
    ds = to_xarray(huge, FIELDS, BOX, time=[0.1 * n for n in range(100_000)], trajectories=range(4))
    assert ds["pressure"].values.base is not None and ds["pressure"].values.strides[:2] == (0, 0)


# -- spheres and meshes --------------------------------------------------------------------------------------------


def written(domain, tmp_path):
    """A Dataset on `domain`, through a file, and its values."""
    import xarray as xr

    u = torch.randn((2, 3, 5, *domain.shape), generator=torch.Generator().manual_seed(0))
    ds = to_xarray(u, FIELDS_FLAT, domain, time=[0.0, 0.5, 1.0], trajectories=[4, 7])
    ds.to_zarr(tmp_path / "d.zarr", consolidated=False)
    return u, xr.open_zarr(tmp_path / "d.zarr", consolidated=False)


FIELDS_FLAT = Fields.of(Field("height", "m"), Field("wind", "m s-1", ("east", "north")), Field("temperature", "K", levels=(500.0, 850.0)))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("north_first", [True, False])
def test_a_sphere_goes_through_a_file_either_way_up(tmp_path, grid, north_first):
    sphere = Sphere((6, 8), grid, north_first, west=-180.0, radius=6.37e6, units="m")
    u, ds = written(sphere, tmp_path)
    assert domain_of(ds) == sphere and torch.equal(from_xarray(ds), u) and conditions_of(ds).domain == sphere
    assert ds["height"].dims[-2:] == ("lat", "lon")
    assert ds["lat"].attrs == {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"}
    assert ds["lon"].attrs == {"units": "degrees_east", "standard_name": "longitude", "axis": "X"}
    turned = ds.isel(lat=slice(None, None, -1))
    assert domain_of(turned) == Sphere((6, 8), grid, not north_first, west=-180.0, radius=6.37e6, units="m")
    assert torch.equal(from_xarray(turned), u.flip(-2))
    with pytest.raises(ValueError, match="'lon' does not lie where"):
        domain_of(ds.assign_coords(lon=ds.lon.values + 3))


def small_mesh(shift=0.0, periods=None):
    points = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1], [0.4 + shift, 0.55]], dtype=torch.float64) / 3
    return Mesh.from_cells(points, [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], {"wall": [0, 1]}, periods=periods, units="m")


@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param(small_mesh(), id="cells"),
        pytest.param(small_mesh(periods=(2.0, None)), id="periodic"),
        pytest.param(Mesh.from_nearest(torch.rand(9, 3, generator=torch.Generator().manual_seed(1)), 3), id="cloud"),
        pytest.param(Mesh.batch([small_mesh(), small_mesh(0.1)]), id="batch"),
    ],
)
def test_a_mesh_goes_through_a_file_bit_for_bit(tmp_path, mesh):
    u, ds = written(mesh, tmp_path)
    assert same(domain_of(ds), mesh) and torch.equal(from_xarray(ds), u)
    assert ds["height"].dims == ("trajectory", "time", "node") and ds["x"].dims == ("node",)
    assert len(ds.attrs["domain"]) < 300, "arrays belong into variables: an attribute of HDF5 takes 64 KiB"
    assert same(domain_of(ds.isel(trajectory=0, time=-1)), mesh)


def test_two_meshes_are_the_same_only_node_for_node():
    assert same(small_mesh(), small_mesh())
    assert not same(small_mesh(), small_mesh(0.01))
    assert not same(small_mesh(), Box.periodic((5,), 1.0))


def test_a_mesh_is_named_as_ugrid_names_it():
    ds = to_xarray(torch.zeros(1, 1, 5, 5), FIELDS_FLAT, small_mesh(), time=[0.0], trajectories=[0])
    topology = ds[ds["height"].attrs["mesh"]].attrs
    assert topology["cf_role"] == "mesh_topology" and topology["topology_dimension"] == 2
    assert [ds[n].dims for n in topology["node_coordinates"].split()] == [("node",), ("node",)]
    assert ds[topology["face_node_connectivity"]].shape == (4, 3)


def test_a_mesh_that_lost_parts_is_refused():
    ds = to_xarray(torch.zeros(1, 1, 5, 5), FIELDS_FLAT, small_mesh(), time=[0.0], trajectories=[0])
    with pytest.raises(ValueError, match=r"4 nodes but its attribute 'domain' says 5"):
        domain_of(ds.isel(node=slice(0, 4)))
    with pytest.raises(ValueError, match="lacks the variables mesh_edges of its mesh"):
        domain_of(ds.drop_vars("mesh_edges"))
    with pytest.raises(ValueError, match="works on a Box only, and the Dataset lies on a Mesh"):
        box_of(ds)
