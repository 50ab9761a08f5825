"""MeshGraphNets' HDF5, under both sets of names that converters use."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from mesh_examples import square

from surrogates.data.conversion import convert
from surrogates.data.formats import Given, open_parts
from surrogates.data.formats import meshgraphnets as reader
from surrogates.data.mesh_windows import MeshWindows
from surrogates.domains import Mesh
from surrogates.domains.layout import same
from surrogates.interchange import declared, domain_of, fields_of, from_xarray, static_of

UNITS = {"length": "m", "velocity": "m s-1", "pressure": "Pa", "time": "s"}
FRAMES = 5


def trajectory(group: h5py.Group, n: int, seed: int, *, tiled: bool, position: str) -> dict[str, np.ndarray]:
    """A channel as the converters write it: statics tiled over time, or once."""
    mesh, rng = square(n, seed), np.random.default_rng(seed)
    kinds = np.array([0, 6, 4, 5])[mesh.markers.numpy()][:, None].astype(np.int32)
    static = {position: mesh.points.numpy().astype(np.float32), "cells": mesh.cells.numpy().astype(np.int32), "node_type": kinds}
    for name, values in static.items():
        group[name] = np.tile(values, (FRAMES, 1, 1)) if tiled else values[None]
    nodes = len(kinds)
    fields = {"velocity": rng.normal(size=(FRAMES, nodes, 2)), "pressure": rng.normal(size=(FRAMES, nodes, 1))}
    for name, values in fields.items():
        group[name] = values.astype(np.float32)
    return {k: v.astype(np.float32) for k, v in fields.items()}


@pytest.fixture(params=[("pos", True), ("mesh_pos", False)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    position, tiled = request.param
    for split, count in (("train", 11), ("valid", 1)):
        with h5py.File(tmp_path / f"{split}.h5", "w") as f:
            for n in range(count):
                trajectory(f.create_group(str(n)), 2 + n % 2, n, tiled=tiled, position=position)
    (tmp_path / "meta.json").write_text(json.dumps({"dt": 0.01, "trajectory_length": FRAMES}))
    return tmp_path


def test_trajectories_come_with_their_meshes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert reader.recognises(folder) and reader.recognises(folder / "train.h5")
    parts = open_parts(folder, given=Given(units=UNITS))
    assert {s: len(p) for s, p in parts.items()} == {"train": 11, "valid": 1}
    with h5py.File(tmp_path_factory.mktemp("again") / "a.h5", "w") as f:
        truth = trajectory(f.create_group("10"), 2, 10, tiled=True, position="pos")
    part = parts["train"][10]  # group "10" is the eleventh, not the third
    assert part.trajectory.values.tolist() == [10] and part.attrs["dt"] == 0.01 and part.time.attrs["units"] == "s"
    u = from_xarray(part)[0]
    assert fields_of(part).channels == ("pressure", "velocity_x", "velocity_y")
    assert torch.equal(u[:, 1:], torch.from_numpy(truth["velocity"]).permute(0, 2, 1))
    mesh = domain_of(part)
    assert isinstance(mesh, Mesh) and mesh.names == ("inflow", "outflow", "wall")
    assert torch.equal(mesh.boundary("wall"), square(2, 10).boundary("walls"))
    torch.testing.assert_close(mesh.volumes, torch.ones(1, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_types_are_static_fields(folder: Path) -> None:
    part = open_parts(folder, given=Given(units=UNITS))["valid"][0]
    assert declared(part, "static").channels == ("boundary_inflow", "boundary_outflow", "boundary_wall", "wall_distance")
    static, mesh = static_of(part)[0], domain_of(part)
    assert torch.equal(static[2] > 0, mesh.boundary("wall"))
    y = mesh.points[:, 1]
    assert bool((static[3] >= torch.minimum(y, 1 - y).float() - 1e-6).all()) and float(static[3][mesh.boundary("wall")].max()) == 0


def test_all_trajectories_have_the_same_static_fields(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train.h5", "w") as f:
        for n in range(2):
            trajectory(f.create_group(str(n)), 2, n, tiled=False, position="pos")
        f["0/node_type"][0, 4] = 1
    one, other = open_parts(tmp_path, given=Given(dt=0.1, units=UNITS))["train"]
    assert declared(one, "static") == declared(other, "static") and float(other["boundary_obstacle"].sum()) == 0
    assert MeshWindows([one, other], split="train").batch([0, 5]).conditions.static.shape == (1, 5, 18)


def test_cloth_is_a_field_on_its_reference(tmp_path: Path) -> None:
    mesh = square(2)
    with h5py.File(tmp_path / "flag.h5", "w") as f:
        g = f.create_group("trajectory_0")
        g["mesh_pos"], g["cells"] = mesh.points.numpy().astype(np.float32), mesh.cells.numpy()
        g["node_type"] = np.zeros((9, 1), np.int32)
        g["world_pos"] = np.random.default_rng(0).normal(size=(4, 9, 3)).astype(np.float32)
    (part,) = open_parts(tmp_path / "flag.h5", given=Given(dt=0.02, units={"length": "m"}))["all"]
    assert part.attrs["moving"] == "world_pos" and fields_of(part)["world_pos"].components == ("x", "y", "z")
    assert fields_of(part)["world_pos"].units == "m" and domain_of(part).dim == 2


def test_it_is_converted_as_it_is_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with h5py.File(source / "train.h5", "w") as f:
        for n in range(3):
            trajectory(f.create_group(str(n)), 2 + n % 2, n, tiled=True, position="pos")
    given = Given(dt=0.1, units=UNITS)
    made = open_parts(convert(source, tmp_path / "dest", given=given, quiet=True))["train"]
    for one, other in zip(made, open_parts(source, given=given)["train"], strict=True):
        assert same(domain_of(one), domain_of(other)) and fields_of(one) == fields_of(other)
        assert torch.equal(from_xarray(one), from_xarray(other)) and torch.equal(static_of(one), static_of(other))
        assert one.attrs["dt"] == other.attrs["dt"] and one.time.attrs["units"] == "s"


def test_what_nobody_says_is_asked_for(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"units.length is not known"):
        open_parts(folder)
    (folder / "meta.json").unlink()
    with pytest.raises(ValueError, match="dt is not known"):
        open_parts(folder, given=Given(units=UNITS))
    (folder / "meta.json").write_text('{"dt": 1e999}')
    with pytest.raises(ValueError, match=r"meta.json is no meta.json of MeshGraphNets \(dt is inf\)"):
        open_parts(folder, given=Given(units=UNITS))
    (folder / "meta.json").write_text("{")
    with pytest.raises(ValueError, match="no meta.json of MeshGraphNets"):
        open_parts(folder, given=Given(units=UNITS))


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path, given = tmp_path / "train.h5", Given(dt=0.1, units=UNITS)
    with h5py.File(path, "w") as f:
        trajectory(f.create_group("0"), 2, 0, tiled=True, position="pos")
    with h5py.File(path, "r+") as f:
        f["0/pos"][-1, 0, 0] += 0.1
    with pytest.raises(ValueError, match="/0/pos is another at frame 4"):
        open_parts(path, given=given)
    with h5py.File(path, "r+") as f:
        f["0/pos"][-1, 0, 0] = f["0/pos"][0, 0, 0]
        f["0/cells"][:, 0, 0] = 99
    with pytest.raises(ValueError, match=r"/0: cell 0 = \[99, .* names points that do not exist"):
        open_parts(path, given=given)
    with h5py.File(path, "r+") as f:
        f["0/cells"][:] = square(2).cells.numpy()
        f["0/node_type"][:, 0] = 8
    with pytest.raises(ValueError, match=r"node types \[8\], which have no name"):
        open_parts(path, given=given)
    with h5py.File(path, "r+") as f:
        f["0/node_type"][:] = 0
        f["0"].create_dataset("vast", (FRAMES, 9, 10**12), "f4", chunks=(1, 9, 1))
    with pytest.raises(ValueError, match="/0/vast declares shape"):
        open_parts(path, given=given)
