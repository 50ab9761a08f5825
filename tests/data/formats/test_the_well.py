"""The Well's layout in full, against the reader that its authors publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from surrogates.constraints import DivergenceFree
from surrogates.data import open_dataset
from surrogates.data.formats import open_parts, reader_of, the_well
from surrogates.data.formats.edges import edges_of
from surrogates.data.formats.given import Given
from surrogates.domains import Box, Sphere
from surrogates.heads.curl import wind
from surrogates.interchange import (
    FORCINGS,
    STATIC,
    conditions_of,
    declared,
    domain_of,
    fields_of,
    from_xarray,
    parameters_of,
    static_of,
)

T, X, Y = 6, 5, 4
RNG = np.random.default_rng(0)


def array(group: h5py.Group, name: str, values: Any, *, packed: bool = False, **flags: Any) -> None:
    extra = {"chunks": True, "compression": "gzip"} if packed else {}
    made = group.create_dataset(name, data=np.asarray(values, np.float32), **extra)
    made.attrs.update({"sample_varying": True, "time_varying": True, **flags})
    group.attrs["field_names"] = [*group.attrs.get("field_names", []), name]


def condition(f: h5py.File, name: str, kind: str, axes: Any, mask: Any, values: Any = None, fields: Any = ()) -> None:
    bc = f["boundary_conditions"].create_group(name)
    bc.attrs.update({"associated_dims": axes, "associated_fields": list(fields), "bc_type": kind})
    bc.attrs.update({"sample_varying": False, "time_varying": False})
    bc["mask"] = np.asarray(mask, bool)
    bc["values"] = np.zeros(int(np.sum(mask)), np.float32) if values is None else np.asarray(values, np.float32)


def skeleton(path: Path, count: int, lines: dict[str, Any], times: Any, grid_type: str = "cartesian", name: str = "rich") -> h5py.File:
    path.parent.mkdir(parents=True, exist_ok=True)
    f = h5py.File(path, "w")
    f.attrs.update({"dataset_name": name, "grid_type": grid_type, "n_spatial_dims": len(lines), "n_trajectories": count})
    dims = f.create_group("dimensions")
    dims.attrs["spatial_dims"] = list(lines)
    dims["time"] = np.asarray(times, np.float32)
    dims["time"].attrs["sample_varying"] = np.ndim(times) == 2
    for axis, points in lines.items():
        dims[axis] = np.asarray(points, np.float32)
        dims[axis].attrs.update({"sample_varying": np.ndim(points) == 2, "time_varying": False})
    f.create_group("boundary_conditions")
    for group in ("scalars", "t0_fields", "t1_fields", "t2_fields"):
        f.create_group(group).attrs["field_names"] = np.array([], dtype=h5py.string_dtype())
    f.attrs["simulation_parameters"] = np.array([], dtype=h5py.string_dtype())
    return f


def rich(path: Path, count: int = 3, viscosity: float = 0.1, frames: int = T) -> Path:
    """Every kind of entry that the layout has."""
    with skeleton(path, count, {"x": np.arange(X) * 0.2, "y": [0.125, 0.375, 0.625, 0.875]}, np.arange(frames) * 0.5) as f:
        ends = np.array([1, 0, 0, 1], bool)
        condition(f, "x_periodic", "PERIODIC", "x", [1, 0, 0, 0, 1])  # a plain string, as in the authors' own example
        condition(f, "y_wall", "WALL", ["y"], ends, [1.0, 2.0], ["velocity"])
        obstacle = np.zeros((X, Y), bool)
        obstacle[2, 1:3] = True
        condition(f, "pillar", "WALL", ["x", "y"], obstacle, [3.0, 4.0], ["tracer"])
        scalars = f["scalars"]
        array(scalars, "viscosity", viscosity, sample_varying=False, time_varying=False)
        array(scalars, "rate", RNG.normal(size=count), time_varying=False)
        array(scalars, "pump", RNG.normal(size=frames), sample_varying=False)
        array(scalars, "inflow", RNG.normal(size=(count, frames)))
        f.attrs["simulation_parameters"], f.attrs["gravity"] = ["viscosity", "gravity"], 9.81
        t0, both = f["t0_fields"], [True, True]
        array(t0, "tracer", RNG.normal(size=(count, frames, X, Y)), packed=True, dim_varying=both, units="kg m-3")
        array(t0, "terrain", RNG.normal(size=(X, Y)), sample_varying=False, time_varying=False, dim_varying=both)
        array(t0, "speed of sound", RNG.normal(size=(count, X, 1)), time_varying=False, dim_varying=[True, False])
        array(t0, "sun", RNG.normal(size=(frames, 1, Y)), sample_varying=False, dim_varying=[False, True])
        array(t0, "column", RNG.normal(size=(count, frames, X, 1)), dim_varying=[True, False])
        array(f["t1_fields"], "velocity", RNG.normal(size=(count, frames, X, Y, 2)), dim_varying=both)
        array(f["t1_fields"], "drift", RNG.normal(size=(X, Y, 2)), packed=True, sample_varying=False, time_varying=False, dim_varying=both)
        q = RNG.normal(size=(count, frames, X, Y, 2, 2))
        array(f["t2_fields"], "stress", q + q.swapaxes(-1, -2), packed=True, dim_varying=both, symmetric=True, antisymmetric=False)
    return path


@pytest.fixture
def well() -> Any:
    return pytest.importorskip("the_well.data", reason="pip install --no-deps the-well")


def test_every_entry_is_as_its_authors_read_it(tmp_path: Path, well: Any) -> None:
    path = rich(tmp_path / "data" / "train" / "rich_0.hdf5")
    (part,) = open_parts(tmp_path)["train"]
    with pytest.warns(RuntimeWarning, match="Only axis-aligned"):
        peer = well.WellDataset(path=str(path.parent), n_steps_input=2, n_steps_output=1, use_normalization=False)
        metadata, sample = peer.metadata, peer[1 * (T - 2) + 3]  # trajectory 1, frames 3 to 5
    row = part.isel(trajectory=1)
    names = [n.replace(" ", "_") for order in range(3) for n in metadata.field_names[order]]
    ours = np.stack([row[n].isel(time=slice(3, 6)).broadcast_like(row["tracer"].isel(time=slice(3, 6))).values for n in names], -1)
    np.testing.assert_array_equal(ours, np.concatenate([sample["input_fields"], sample["output_fields"]]))
    constant = [n.replace(" ", "_") for order in range(3) for n in metadata.constant_field_names[order]]
    np.testing.assert_array_equal(np.stack([row[n].values for n in constant], -1), sample["constant_fields"])
    scalars = np.stack([row[n].values[3:5] for n in metadata.scalar_names], -1)
    np.testing.assert_array_equal(scalars, sample["input_scalars"])
    known = parameters_of(part)
    np.testing.assert_array_equal([known[n][1] for n in metadata.constant_scalar_names], sample["constant_scalars"])
    assert known["gravity"].tolist() == [9.81] * 3
    grid = np.stack([g.numpy() for g in domain_of(part).grid()], -1)
    np.testing.assert_allclose(grid, sample["space_grid"], atol=1e-7)
    assert domain_of(part) == Box((X, Y), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall")) or np.allclose(domain_of(part).upper, 1)
    assert sample["boundary_conditions"].tolist() == [[2, 2], [0, 0]] and domain_of(part).boundary == ("periodic", "wall")


def test_what_is_state_static_or_a_forcing(tmp_path: Path) -> None:
    part = open_dataset(rich(tmp_path / "rich.hdf5"))
    assert fields_of(part).names == ("tracer", "column", "velocity", "stress")
    assert fields_of(part)["stress"].components == ("xx", "xy", "yx", "yy") and fields_of(part)["tracer"].units == "kg m-3"
    static, forcings = declared(part, STATIC), declared(part, FORCINGS)
    assert static is not None and forcings is not None
    assert set(static.names) == {"terrain", "speed_of_sound", "drift", "boundary_pillar", "boundary_pillar_values"}
    assert forcings.names == ("sun", "pump", "inflow")
    assert part["sun"].dims == ("time", "x", "y") and part["pump"].dims == ("time",) and part["inflow"].dims == ("trajectory", "time")
    assert static_of(part).shape == (3, 6, X, Y) and from_xarray(part).shape == (3, T, 8, X, Y)
    assert part.attrs["dt"] == 0.5


def test_an_axis_of_no_variation_may_be_dropped_or_of_size_one(tmp_path: Path) -> None:
    """The documentation drops it, the authors' loader needs it."""
    path = rich(tmp_path / "rich.hdf5")
    before = open_dataset(path).load()
    with h5py.File(path, "r+") as f:
        for name in ("speed of sound", "sun", "column"):
            values, about = f["t0_fields"][name][:], dict(f["t0_fields"][name].attrs)
            del f["t0_fields"][name]
            f["t0_fields"][name] = values.squeeze(next(n for n, size in enumerate(values.shape) if size == 1))
            f["t0_fields"][name].attrs.update(about)
    assert before.identical(open_dataset(path))


def test_boundary_conditions_of_all_kinds_are_kept(tmp_path: Path) -> None:
    part = open_dataset(rich(tmp_path / "rich.hdf5"))
    kept = {c["name"]: c for c in json.loads(part.attrs["boundary_conditions"])}
    assert kept["x_periodic"]["kind"] == "periodic" and kept["x_periodic"]["ends"] == [True, True]
    assert kept["y_wall"] | {"values": [1.0, 2.0], "fields": ["velocity"], "ends": [True, True]} == kept["y_wall"]
    assert part["boundary_pillar"].values.sum() == 2 and part["boundary_pillar_values"].values[2, 1:3].tolist() == [3.0, 4.0]


def test_files_of_one_folder_are_parts_with_their_parameters(tmp_path: Path) -> None:
    for n, viscosity in enumerate((0.1, 0.2)):
        rich(tmp_path / "data" / "train" / f"rich_{n}.hdf5", viscosity=viscosity)
    rich(tmp_path / "data" / "valid" / "rich.hdf5", count=1, frames=4)
    assert reader_of(tmp_path) is the_well
    parts = open_parts(tmp_path)
    assert [round(float(parameters_of(p)["viscosity"][0]), 6) for p in parts["train"]] == [0.1, 0.2]
    assert parts["valid"][0].sizes["time"] == 4
    assert open_dataset(tmp_path, "train").sizes["trajectory"] == 6


def test_trajectories_with_times_of_their_own_are_parts(tmp_path: Path, well: Any) -> None:
    times = np.array([np.arange(T), np.arange(T), 10 + 2 * np.arange(T)])
    path = tmp_path / "t.hdf5"
    with skeleton(path, 3, {"x": np.arange(X)}, times) as f:
        array(f["t0_fields"], "u", RNG.normal(size=(3, T, X)), dim_varying=[True])
        values = f["t0_fields/u"][:]
    first, second = open_parts(path)["all"]
    assert first["trajectory"].values.tolist() == [0, 1] and second["trajectory"].values.tolist() == [2]
    assert second["time"].values.tolist() == times[2].tolist() and second.attrs["dt"] == 2.0
    np.testing.assert_array_equal(np.concatenate([first["u"], second["u"]]), values)
    peer = well.WellDataset(path=str(tmp_path), n_steps_input=1, n_steps_output=1, normalize_time_grid=False)
    np.testing.assert_array_equal(peer[2 * (T - 1)]["input_time_grid"], [10.0])
    with pytest.raises(ValueError, match=r"2 different time axes or grids; surrogates.data.formats.open_parts"):
        open_dataset(path)


@pytest.mark.parametrize("kind", ["cells", "poles", "legendre-gauss"])
@pytest.mark.parametrize("degrees", [False, True])
def test_a_sphere_either_way_up_in_radians_or_degrees(tmp_path: Path, kind: str, degrees: bool) -> None:
    sphere = Sphere((8, 16), kind, north_first=not degrees, west=-180.0 if degrees else 0.0)
    lat, lon = sphere.coordinate(0).numpy(), sphere.coordinate(1).numpy()
    lines = {"lat": lat, "lon": lon} if degrees else {"theta": np.deg2rad(90 - lat), "phi": np.deg2rad(lon)}
    path = tmp_path / "s.hdf5"
    with skeleton(path, 1, lines, np.arange(3), grid_type="spherical") as f:
        axes = list(lines)
        condition(f, "pole", "OPEN", [axes[0]], [1, 0, 0, 0, 0, 0, 0, 1])
        condition(f, "around", "PERIODIC", [axes[1]], np.r_[1, np.zeros(14), 1])
        array(f["t1_fields"], "velocity", RNG.normal(size=(1, 3, 8, 16, 2)), dim_varying=[True, True])
    found = open_parts(path, given=Given(options={"radius": 6.4e6}, units={"length": "m"}))["all"][0]
    assert domain_of(found) == Sphere((8, 16), kind, not degrees, -180.0 if degrees else 0.0, 6.4e6, "m")
    assert fields_of(found)["velocity"].components == ("north", "east") and found["velocity_north"].dims[-2:] == ("lat", "lon")


def test_the_component_along_colatitude_points_south(tmp_path: Path) -> None:
    """A flow of a stream function, stored along theta and phi, is free of divergence when it is read; tensors turn with one index."""
    sphere = Sphere((16, 32), "legendre-gauss", True)
    phi, lam = (torch.deg2rad(sphere.coordinate(a)) for a in (0, 1))
    psi = (phi.sin()[:, None] + phi.cos()[:, None] ** 2 * torch.cos(2 * lam))[None, None]
    north, east = wind(psi, sphere)[0].numpy()
    lat, lon = sphere.coordinate(0).numpy(), sphere.coordinate(1).numpy()
    path, tensor = tmp_path / "s.hdf5", RNG.normal(size=(1, 2, 16, 32, 2, 2)).astype("f4")
    with skeleton(path, 1, {"theta": np.deg2rad(90 - lat), "phi": np.deg2rad(lon)}, np.arange(2), grid_type="spherical") as f:
        condition(f, "around", "PERIODIC", ["phi"], np.r_[1, np.zeros(30), 1])
        array(f["t1_fields"], "velocity", np.tile(np.stack([-north, east], -1)[None, None], (1, 2, 1, 1, 1)), dim_varying=[True, True])
        array(f["t2_fields"], "stress", tensor, dim_varying=[True, True], symmetric=False, antisymmetric=False)
    (found,) = open_parts(path)["all"]
    np.testing.assert_allclose(found["velocity_north"].values[0, 0], north.astype("f4"), rtol=1e-6)
    u = from_xarray(found)[:, 0].double()
    conditions = conditions_of(found)
    law = DivergenceFree(fields_of(found))
    assert float(law.defect(u, u.new_zeros(1, 0), conditions).abs().max()) < 1e-5
    turned = u.clone()
    turned[:, fields_of(found).channels.index("velocity_north")] *= -1
    assert float(law.defect(turned, u.new_zeros(1, 0), conditions).abs().max()) > 1e-2
    signs = {"north_north": 1, "north_east": -1, "east_north": -1, "east_east": 1}
    for (name, sign), (i, j) in zip(signs.items(), np.ndindex(2, 2), strict=True):
        np.testing.assert_array_equal(found[f"stress_{name}"].values, sign * tensor[..., i, j])


@pytest.mark.parametrize("name", ["scalars/viscosity", "boundary_conditions/away", "t0_fields", "boundary_conditions"])
def test_nothing_is_read_through_a_link_to_another_file(tmp_path: Path, name: str) -> None:
    path, other = rich(tmp_path / "a.hdf5"), rich(tmp_path / "elsewhere" / "b.hdf5")
    with h5py.File(other) as f:
        inner = next(iter(f["boundary_conditions"]))
    with h5py.File(path, "a") as f:
        if name in f:
            del f[name]
        f[name] = h5py.ExternalLink(str(other), f"boundary_conditions/{inner}" if "away" in name else name)
    with pytest.raises(ValueError, match=f"a.hdf5: /{name} is a link to another file"):
        open_parts(path, "the_well")


def test_angular_and_logarithmic_axes_are_stretched(tmp_path: Path) -> None:
    """A star in r, theta, phi: the points are the centres of cells, to the last bit that is stored."""
    lines = {"log_r": np.geomspace(1, 300, 9), "theta": -np.cos((np.arange(7) + 0.5) * np.pi / 7) + 1.5, "phi": np.arange(6) * np.pi / 3}
    path = tmp_path / "star.hdf5"
    with skeleton(path, 1, lines, np.arange(3), grid_type="spherical") as f:
        condition(f, "phi", "PERIODIC", ["phi"], [1, 0, 0, 0, 0, 1])
        array(f["t0_fields"], "density", RNG.normal(size=(1, 3, 9, 7, 6)), dim_varying=[True] * 3)
    part = open_dataset(path)
    box = domain_of(part)
    assert isinstance(box, Box) and box.boundary == ("wall", "wall", "periodic") and box.edges[0] is not None and box.edges[2] is None
    for axis, points in enumerate(lines.values()):
        np.testing.assert_allclose(box.coordinate(axis).numpy(), points.astype(np.float32), rtol=1e-7)
    assert json.loads(part.attrs["axes"]) == ["log_r", "theta", "phi"]


@pytest.mark.parametrize("points", [np.arange(9.0), np.geomspace(1, 100, 64), -np.cos((np.arange(64) + 0.5) * np.pi / 64)])
def test_borders_lie_halfway_and_are_the_smoothest(points: np.ndarray) -> None:
    e = edges_of(points, "here")
    np.testing.assert_allclose((e[1:] + e[:-1]) / 2, points, atol=1e-12)
    assert (np.diff(e) > 0).all() and np.abs(np.diff(e, 2)).sum() < 1.5 * np.abs(np.diff(points, 2)).sum() + 1e-9


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = rich(tmp_path / "rich.hdf5")

    def spoilt(change: Any) -> Path:
        out = tmp_path / "spoilt.hdf5"
        out.write_bytes(path.read_bytes())
        with h5py.File(out, "r+") as f:
            change(f)
        return out

    def late(f: h5py.File) -> None:
        f["dimensions/time"][3] = 0.0

    def huge(f: h5py.File) -> None:
        del f["t1_fields/velocity"]
        f["t1_fields"].create_dataset("velocity", (3, 1 << 20, 1 << 20, Y, 2), "f4", chunks=(1, 1, 64, Y, 2))

    def flags(f: h5py.File) -> None:
        f["t0_fields/tracer"].attrs["sample_varying"] = False

    def cells(f: h5py.File) -> None:
        f["dimensions/y"][:] = [0.0, 0.1, 0.9, 1.0]

    def bare(f: h5py.File) -> None:
        del f["scalars"]

    says = {
        late: "time is not sorted: entry 2 is 1 and entry 3 is 0",
        huge: "velocity declares shape .* but the file holds",
        flags: r"'tracer' has shape \(3, 6, 5, 4\) but the dimensions of the file say \(6, 5, 4\)",
        cells: "axis 1: no cells have these points as their centres",
        bare: r"lacks the groups \['scalars'\]",
    }
    for change, message in says.items():
        with pytest.raises(ValueError, match=message):
            open_parts(spoilt(change))


@pytest.mark.parametrize(
    ("name", "mask"),
    [("y_wall", np.zeros(0)), ("y_wall", np.ones(())), ("y_wall", np.ones(X)), ("y_wall", np.ones((3, Y))), ("pillar", np.ones((Y, X)))],
)
def test_a_mask_has_one_value_a_point_of_its_axes(tmp_path: Path, name: str, mask: np.ndarray) -> None:
    path = rich(tmp_path / "rich.hdf5")
    with h5py.File(path, "r+") as f:
        del f[f"boundary_conditions/{name}/mask"]
        f[f"boundary_conditions/{name}/mask"] = mask.astype(bool)
    with pytest.raises(ValueError, match=rf"rich.hdf5: /boundary_conditions/{name}/mask has shape .* say \(.*{Y},?\); .* source.yaml"):
        open_parts(path)
    with h5py.File(path, "r+") as f:  # the remedy
        del f[f"boundary_conditions/{name}"]
    (path.parent / "source.yaml").write_text("boundary: [periodic, wall]")
    (part,) = open_parts(path)["all"]
    assert domain_of(part).boundary == ("periodic", "wall")


def test_a_mask_may_vary_between_trajectories_and_in_time(tmp_path: Path) -> None:
    path = rich(tmp_path / "rich.hdf5")
    with h5py.File(path, "r+") as f:
        bc = f["boundary_conditions/y_wall"]
        del bc["mask"]
        bc.attrs.update({"sample_varying": True, "time_varying": True})
        bc["mask"] = np.ones((3, T, Y), bool)
    (part,) = open_parts(path)["all"]
    kept = {c["name"]: c for c in json.loads(part.attrs["boundary_conditions"])}
    assert kept["y_wall"]["sample_varying"] and kept["y_wall"]["time_varying"]


def test_the_authors_own_example_opens(tmp_path: Path) -> None:
    dummy = pytest.importorskip("the_well.utils.dummy_data", reason="pip install --no-deps the-well")
    dummy.write_dummy_data(str(tmp_path / "dummy.hdf5"))
    part = open_dataset(tmp_path / "dummy.hdf5")
    assert fields_of(part).channels == ("field_x", "field_y") and part["constant_field"].dims == ("trajectory", "x", "y")
    assert parameters_of(part)["a"].tolist() == [0.25, 0.25] and part["time_varying_scalar"].dims == ("time",)
