"""Crossing between xarray and tensors loses nothing and refuses what does not fit."""

import json

import numpy as np
import pytest
import torch

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import conditions_of, domain_of, fields_of, from_xarray, parameters_of, to_xarray, trajectories_of

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
