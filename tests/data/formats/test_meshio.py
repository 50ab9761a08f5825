"""Mesh files written by meshio, in the layouts that people have."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_examples import square

from surrogates.data.formats import Given, open_parts
from surrogates.data.formats import meshio as reader
from surrogates.data.formats.meshio_frames import Files
from surrogates.data.formats.meshio_mesh import Layout
from surrogates.data.mesh_cells import centred, simplices, volumes_of
from surrogates.domains.layout import same
from surrogates.interchange import domain_of, fields_of, from_xarray, settled

meshio = pytest.importorskip("meshio")
UNITS = {"length": "m", "velocity": "m s-1", "p": "Pa", "T": "K", "time": "s"}
GIVEN = Given(dt=0.1, units=UNITS)


def flat(n: int, t: int, **changes: np.ndarray) -> object:
    """A triangulated square in space: velocity with a third component that is zero, and a pressure, linear in x and y."""
    mesh = square(n)
    points = np.concatenate([mesh.points.numpy(), np.full((len(mesh.points), 1), 0.5)], 1)
    x, y, z = points.T
    data = {"velocity": np.stack([x + t, y - t, 0 * z], 1), "p": 3 * x - y + t}
    return meshio.Mesh(changes.get("points", points), [("triangle", changes.get("cells", mesh.cells.numpy()))], data)


def mixed() -> object:
    """A unit cube of two wedges and a hexahedron on top of it, with one pyramid: data in cells."""
    base = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    points = np.concatenate([base, base + np.array([0, 0, 1]), base + np.array([0, 0, 3]), [[0.5, 0.5, 4.0]], [[9, 9, 9]]])
    cells = [
        ("wedge", [[0, 1, 2, 4, 5, 6], [0, 2, 3, 4, 6, 7]]),
        ("hexahedron", [[4, 5, 6, 7, 8, 9, 10, 11]]),
        ("pyramid", [[8, 9, 10, 11, 12]]),
    ]
    sides = [("quad", [[0, 1, 2, 3]])]
    out = meshio.Mesh(points, cells + sides, cell_data={"T": [np.array([1.0, 2.0]), np.array([3.0]), np.array([4.0]), np.array([0.0])]})
    return out


def test_a_series_of_files_is_a_trajectory(tmp_path: Path) -> None:
    for t in (9, 10, 11):  # sorted by number, not by letter
        meshio.write(tmp_path / f"flow_{t}.vtu", flat(3, t))
    assert reader.recognises(tmp_path)
    (part,) = open_parts(tmp_path, given=GIVEN)["all"]
    mesh, u = domain_of(part), from_xarray(part)[0]
    x, y = mesh.points.T
    assert mesh.dim == 2 and fields_of(part).channels == ("velocity_x", "velocity_y", "p")
    for k, t in enumerate((9, 10, 11)):
        torch.testing.assert_close(u[k], torch.stack([x + t, y - t, 3 * x - y + t]).float())
    np.testing.assert_allclose(part.time.values, [0, 0.1, 0.2])
    np.testing.assert_allclose(mesh.volumes, [1.0])


def test_a_collection_has_its_times(tmp_path: Path) -> None:
    for t in range(2):
        meshio.write(tmp_path / f"a{t}.vtu", flat(2, t))
    entries = "".join(f'<DataSet timestep="{2.5 * t}" part="0" file="a{t}.vtu"/>' for t in range(2))
    pvd = tmp_path / "a.pvd"
    pvd.write_text(f'<?xml version="1.0"?><VTKFile type="Collection"><Collection>{entries}</Collection></VTKFile>')
    (part,) = open_parts(pvd, given=Given(units=UNITS))["all"]
    assert part.time.values.tolist() == [0.0, 2.5] and float(part["p"][0, 1, 0] - part["p"][0, 0, 0]) == 1.0
    pvd.write_text(pvd.read_text().replace("a1.vtu", "../../a1.vtu"))
    with pytest.raises(ValueError, match="leads out of the folder"):
        open_parts(pvd, given=Given(units=UNITS))


@pytest.mark.parametrize("form", ["HDF", "XML"])
def test_xdmf_in_time(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # meshio names the HDF5 file beside by where it stands
    with meshio.xdmf.TimeSeriesWriter("flow.xdmf", data_format=form) as writer:
        first = flat(3, 0)
        writer.write_points_cells(first.points, first.cells)
        for t in range(3):
            writer.write_data(0.5 * t, point_data=flat(3, t).point_data)
    (part,) = open_parts(tmp_path / "flow.xdmf", given=Given(units=UNITS))["all"]
    assert part.time.values.tolist() == [0.0, 0.5, 1.0]
    x, y = domain_of(part).points.T
    torch.testing.assert_close(from_xarray(part)[0, 2, 2], (3 * x - y + 2).float())


def test_folders_are_trajectories(tmp_path: Path) -> None:
    for n, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for t in range(2 + n):
            meshio.write(tmp_path / name / f"{t}.vtk", flat(2 + n, t))
    one, other = open_parts(tmp_path, given=Given(dt=0.1, units=UNITS, parameters={"re": (1.0, 2.0)}))["all"]
    assert (one.sizes["time"], other.sizes["time"]) == (2, 3) and (one.sizes["node"], other.sizes["node"]) == (9, 16)
    assert one["re"].values.tolist() == [1.0] and other["re"].values.tolist() == [2.0] and other.trajectory.values.tolist() == [1]


def test_cells_of_any_kind_fill_their_volume() -> None:
    file = mixed()
    total = {b.type: sum(volumes_of(file.points, simplices(b.type, b.data, file.points)[0])) for b in file.cells if b.type != "quad"}
    assert total == pytest.approx({"wedge": 1.0, "hexahedron": 2.0, "pyramid": 1 / 3})
    dented = np.array([[0, 0], [1, 0], [0.2, 0.2], [0, 1.0]])
    for corners in ([0, 1, 2, 3], [1, 2, 3, 0]):
        assert volumes_of(dented, simplices("quad", np.array([corners]), dented)[0]).sum() == pytest.approx(0.2), "cut inside"


def test_data_in_cells_need_a_decision(tmp_path: Path) -> None:
    path = tmp_path / "m.vtu"
    meshio.write(path, mixed())
    with pytest.raises(ValueError, match=r"options.cells is not known: \['T'\] lie in cells.*options: \{cells: nodes\}"):
        open_parts(path, given=GIVEN)
    (centres,) = open_parts(path, given=Given(units=UNITS, options={"cells": "centres"}))["all"]
    mesh = domain_of(centres)
    assert from_xarray(centres).flatten().tolist() == [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(mesh.measure, [0.5, 0.5, 2.0, 1 / 3])
    assert {tuple(e) for e in mesh.edges.T.tolist()} == {(0, 1), (1, 0), (2, 3), (3, 2)}, "a wedge's triangle is no side of a quadrilateral"
    np.testing.assert_allclose(mesh.points[2], [0.5, 0.5, 2.0])
    (nodes,) = open_parts(path, given=Given(units=UNITS, options={"cells": "nodes"}))["all"]
    assert domain_of(nodes).shape == (13,), "a point of no cell is left out"
    values = from_xarray(nodes).flatten()
    assert float(values[12]) == 4.0 and float(values[1]) == 1.0 and 1.0 < float(values[0]) < 2.0


def test_averages_are_exact_for_constants_and_centres_for_linear_fluxes() -> None:
    mesh = square(4)
    cells = [("triangle", mesh.cells.numpy())]
    dual = centred(mesh.points.numpy(), cells, units="m")
    u = dual.points.T[None].contiguous()
    torch.testing.assert_close(dual.integral(u)[0], torch.tensor([0.5, 0.5], dtype=torch.float64))


def test_boundaries_are_the_named_sets(tmp_path: Path) -> None:
    file = flat(2, 0)
    lines = np.array([[0, 3], [3, 6], [0, 1]])
    file.cells.append(meshio.CellBlock("line", lines))
    file.cell_data = {"gmsh:physical": [np.full(8, 7), np.array([1, 1, 2])], "gmsh:geometrical": [np.full(8, 1), np.array([1, 1, 2])]}
    file.field_data = {"bottom": np.array([1, 1]), "left wall": np.array([2, 1]), "air": np.array([7, 2])}
    meshio.write(tmp_path / "a.msh", file, file_format="gmsh22")
    (part,) = open_parts(tmp_path / "a.msh", given=GIVEN)["all"]
    mesh = domain_of(part)
    assert mesh.names == ("bottom", "left wall") and mesh.markers.tolist() == [2, 2, 0, 1, 0, 0, 1, 0, 0]
    assert "boundary_left_wall" in part and "wall_distance" in part


def test_a_moving_mesh_is_a_displacement(tmp_path: Path) -> None:
    for t in range(3):
        file = flat(2, t)
        meshio.write(tmp_path / f"{t}.vtu", flat(2, t, points=file.points + np.array([0.1 * t, 0, 0])))
    still = open_parts(tmp_path, given=GIVEN)["all"][0]
    with pytest.raises(ValueError, match=r"the points of .*\d.vtu lie elsewhere.*moving: true"):
        still["p"].compute()
    part = open_parts(tmp_path, given=Given(dt=0.1, units=UNITS, options={"moving": True}))["all"][0]
    assert part.attrs["moving"] == "displacement"
    np.testing.assert_allclose(part["displacement_x"].values[0].mean(-1), [0, 0.1, 0.2], atol=1e-6)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    meshio.write(tmp_path / "0.vtu", flat(2, 0))
    meshio.write(tmp_path / "1.vtu", flat(3, 0))
    (part,) = open_parts(tmp_path, given=GIVEN)["all"]
    with pytest.raises(ValueError, match=r"1\.vtu has another mesh than the first frame \(16 points, 18 cells, against 9 and 8\)"):
        part["p"].compute()
    cells = square(2).cells.numpy().copy()
    cells[3, 1] = 77
    meshio.write(tmp_path / "wrong.vtk", flat(2, 0, cells=cells))
    with pytest.raises(ValueError, match="cell 3 of the triangles names point 77, and there are 9"):
        open_parts(tmp_path / "wrong.vtk", given=GIVEN)
    whole = (tmp_path / "0.vtu").read_bytes()
    (tmp_path / "short.vtu").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"short.vtu (cannot be read|is not sound XML)"):
        open_parts(tmp_path / "short.vtu", given=GIVEN)
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><VTKFile>&b;</VTKFile>'
    (tmp_path / "bomb.vtu").write_text(bomb)
    with pytest.raises(ValueError, match="defines XML entities"):
        open_parts(tmp_path / "bomb.vtu", given=GIVEN)


def test_a_binary_gmsh_file_that_is_cut_anywhere_is_named_or_whole(tmp_path: Path) -> None:
    import meshio

    mesh, path = square(1), tmp_path / "a.msh"
    points = np.concatenate([mesh.points.numpy(), np.zeros((len(mesh.points), 1))], 1)
    meshio.write(path, meshio.Mesh(points, [("triangle", mesh.cells.numpy())]), file_format="gmsh", binary=True)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            open_parts(path, format="meshio", given=GIVEN)
        except ValueError as error:
            assert str(path) in str(error)


def test_xdmf_declares_no_more_than_there_is(tmp_path: Path) -> None:
    item = '<DataItem DataType="Float" Dimensions="99999999 3" Format="{}" Precision="8">{}</DataItem>'
    for form, text, said in (
        ("XML", "1.0 2.0", "has text for 4 numbers at most"),
        ("HDF", "../a.h5:/x", "leads out of the folder"),
        ("Binary", "/etc/hostname", "only XML and HDF are read"),
    ):
        path = tmp_path / f"{form}.xdmf"
        path.write_text(f'<Xdmf Version="3.0"><Domain><Grid>{item.format(form, text)}</Grid></Domain></Xdmf>')
        with pytest.raises(ValueError, match=said):
            open_parts(path, given=GIVEN)


def runs(root: Path, count: int, frames: int) -> None:
    for n in range(count):
        (root / f"run{n}").mkdir(parents=True)
        for t in range(frames):
            meshio.write(root / f"run{n}" / f"{t}.vtu", flat(2 + n, t))


def test_opening_reads_one_file_of_each_run_and_a_frame_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(tmp_path, 3, 4)
    read: list[str] = []
    whole = Files.frame
    monkeypatch.setattr(Files, "frame", lambda self, t: (read.append(self.where(t)), whole(self, t))[1])
    parts = open_parts(tmp_path, given=GIVEN)["all"]
    assert read == [str(tmp_path / f"run{n}" / "0.vtu") for n in range(3)]
    read.clear()
    u, mesh = from_xarray(parts[1])[0], domain_of(parts[1])
    x, y = mesh.points.T
    torch.testing.assert_close(u, torch.stack([torch.stack([x + t, y - t, 3 * x - y + t]).float() for t in range(4)]))
    assert sorted(read) == [str(tmp_path / "run1" / f"{t}.vtu") for t in range(4)], "all fields of a frame are read together"


def test_no_mesh_is_held_but_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(tmp_path, 3, 1)
    monkeypatch.setattr("surrogates.data.lately.MOST", 1)
    alive: list[weakref.ref[Layout]] = []
    made = Layout.of

    def counted(*args: object, **settings: object) -> Layout:
        out = made(*args, **settings)
        alive.append(weakref.ref(out))
        return out

    monkeypatch.setattr(Layout, "of", counted)
    parts = open_parts(tmp_path, given=GIVEN)["all"]
    assert sum(a() is not None for a in alive) == 1
    assert [domain_of(p).shape for p in parts] == [(9,), (16,), (25,)]
    whole = settled(parts[0])
    whole.to_netcdf(tmp_path / "a.nc")
    assert same(domain_of(whole), domain_of(parts[0]))


@pytest.mark.parametrize("suffix", [".med", ".e", ".exo"])
@pytest.mark.parametrize("solid", [False, True])
def test_med_and_exodus_of_one_step(tmp_path: Path, suffix: str, solid: bool) -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1.0]]) if solid else flat(2, 0).points
    cells = ("tetra", np.array([[0, 1, 2, 3], [1, 2, 3, 4]])) if solid else ("triangle", square(2).cells.numpy())
    data = {"p": points @ [3.0, -1.0, 2.0], "T": points[:, 0]}
    meshio.write(tmp_path / f"a{suffix}", meshio.Mesh(points, [cells], data))
    (part,) = open_parts(tmp_path / f"a{suffix}", given=GIVEN)["all"]
    mesh = domain_of(part)
    np.testing.assert_allclose(mesh.volumes, [0.5] if solid else [1.0])
    np.testing.assert_allclose(part["T"].values[0, 0], mesh.points[:, 0], rtol=1e-6)


def test_med_of_several_steps_is_refused(tmp_path: Path) -> None:
    h5py, path = pytest.importorskip("h5py"), tmp_path / "a.med"
    meshio.write(path, flat(2, 0))
    with h5py.File(path, "a") as file:
        field = file["CHA/p"]
        (step,) = field
        field.copy(step, f"{2:020d}{1:020d}")
    with pytest.raises(ValueError, match=r"a.med .*several steps.*\.pvd"):
        open_parts(path, given=GIVEN)


def test_exodus_of_several_steps_is_refused(tmp_path: Path) -> None:
    netcdf = pytest.importorskip("netCDF4")
    meshio.write(tmp_path / "a.e", flat(2, 0))
    with netcdf.Dataset(tmp_path / "a.e", "a") as file:
        file["vals_nod_var1"][1] = file["vals_nod_var1"][0]
    with pytest.raises(ValueError, match=r"a.e holds 2 steps, .* only the first.*\.pvd"):
        open_parts(tmp_path / "a.e", given=GIVEN)
