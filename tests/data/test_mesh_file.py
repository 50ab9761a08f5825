"""Files of fields on meshes: what is written comes back, a kill loses at most the row at hand, and what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from mesh_examples import square

from surrogates.data.files import open_dataset
from surrogates.data.formats import open_parts
from surrogates.data.mesh_file import Part, Piece, create
from surrogates.data.mesh_read import read_parts
from surrogates.domains import Mesh
from surrogates.domains.layout import same
from surrogates.fields import Field, Fields
from surrogates.interchange import domain_of, fields_of, from_xarray, parameters_of, static_of

FIELDS = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("pressure", "Pa"))
STATIC = Fields.of(Field("wall_distance", "m"))


def pieces() -> list[Piece]:
    """Two trajectories on one mesh, one on another and longer."""
    one, other = square(3), square(4, 1)
    distance = [m.points[:, 1].numpy()[None] for m in (one, other)]
    first = Piece(one, [0.0, 0.5, 1.0], [4, 9], {"nu": [0.1, 0.2]}, {"wall_distance": distance[0]}, time_units="s")
    return [first, Piece(other, [0.0, 0.5, 1.0, 1.5], [5], {"nu": [0.3]}, {"wall_distance": distance[1]}, time_units="s")]


def values(row: int, frames: int, nodes: int) -> np.ndarray:
    return np.random.default_rng(row).normal(size=(frames, FIELDS.count, nodes)).astype(np.float32)


def begun(path: Path) -> Part:
    create(path, pieces(), name="squares", fields=FIELDS, static=STATIC, attrs={"recipe": "a: 1", "version": "0", "seed": 3})
    return Part(path)


def whole(path: Path) -> Path:
    part = begun(path)
    for row, (frames, nodes) in enumerate([(3, 16), (3, 16), (4, 25)]):
        part.write(row, values(row, frames, nodes))
    return part.finish()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return whole(tmp_path / "data" / "train" / "squares.hdf5.part")


def test_what_is_written_comes_back(written: Path) -> None:
    assert written.name == "squares.hdf5"
    one, other = read_parts(written, verify=True)
    for part, piece in zip((one, other), pieces(), strict=True):
        assert same(domain_of(part), piece.mesh)
        assert fields_of(part) == FIELDS
        assert part.time.attrs["units"] == "s" and part.attrs["seed"] == 3
        torch.testing.assert_close(static_of(part)[0, 0].double(), piece.mesh.points[:, 1], rtol=1e-6, atol=1e-7)
        assert parameters_of(part)["nu"].tolist() == piece.parameters["nu"]
    assert one.trajectory.values.tolist() == [4, 9] and other.trajectory.values.tolist() == [5]
    assert torch.equal(from_xarray(one)[1], torch.from_numpy(values(1, 3, 16)))
    assert torch.equal(from_xarray(other)[0], torch.from_numpy(values(2, 4, 25)))


def test_opening_is_lazy(written: Path) -> None:
    part = read_parts(written)[0]
    assert all(isinstance(_base(part[v].values), np.memmap) for v in ("velocity_x", "pressure"))


def _base(array: np.ndarray) -> object:
    while not isinstance(array, np.memmap) and array.base is not None:
        array = array.base
    return array


def test_a_folder_of_splits_opens_by_parts_and_as_one_where_there_is_one_mesh(written: Path) -> None:
    parts = open_parts(written.parents[2])
    assert {s: [p.sizes["trajectory"] for p in ps] for s, ps in parts.items()} == {"train": [2, 1]}
    with pytest.raises(ValueError, match="open_parts"):
        open_dataset(written.parents[2], "train")
    home = written.parents[1] / "valid"
    create(home / "a.hdf5.part", parts["train"][:1], name="squares")
    made = Part(home / "a.hdf5.part")
    for row in range(2):
        made.write(row, values(row, 3, 16))
    made.finish()
    alone = open_dataset(written.parents[2], "valid")
    assert torch.equal(from_xarray(alone)[0], torch.from_numpy(values(0, 3, 16)))


def test_more_than_ten_thousand_parts_keep_their_trajectories(tmp_path: Path) -> None:
    """Parts 9999 and 10000, as the file names them: the second's name comes first in the alphabet."""
    path = tmp_path / "many.hdf5.part"
    create(path, pieces(), name="squares", fields=FIELDS, static=STATIC)
    with h5py.File(path, "r+") as f:
        f.move("parts/0000", "parts/9999")
        f.move("parts/0001", "parts/10000")
    part = Part(path)
    sizes = [(3, 16), (3, 16), (4, 25)]
    assert [part.frames(row) for row in range(3)] == [frames for frames, _ in sizes]
    for row, (frames, nodes) in enumerate(sizes):
        part.write(row, values(row, frames, nodes))
    one, other = read_parts(part.finish(), verify=True)
    assert one.trajectory.values.tolist() == [4, 9] and other.trajectory.values.tolist() == [5]
    assert torch.equal(from_xarray(other)[0], torch.from_numpy(values(2, 4, 25)))


@pytest.mark.parametrize("name", ["x", "node", "time", "lead_time", "trajectory", "mesh", "pressure", "wall_distance"])
def test_a_parameter_does_not_take_the_place_of_a_coordinate_or_field(tmp_path: Path, name: str) -> None:
    named = [replace(p, parameters={name: [0.1] * len(p.trajectories)}) for p in pieces()]
    with pytest.raises(ValueError, match=f"parameter '{name}' is called like"):
        create(tmp_path / "d.hdf5.part", named, name="squares", fields=FIELDS, static=STATIC)
    assert not list(tmp_path.iterdir())


def test_blocks_of_frames_make_the_same_file(tmp_path: Path, written: Path) -> None:
    part = begun(tmp_path / "b.hdf5.part")
    for row, (frames, nodes) in enumerate([(3, 16), (3, 16), (4, 25)]):
        u = values(row, frames, nodes)
        part.write_frames(row, 0, u[:2])
        assert not part.complete[row]
        part.write_frames(row, 2, u[2:])
    assert part.finish().read_bytes() == written.read_bytes()


def test_a_kill_loses_the_row_at_hand_alone(tmp_path: Path, written: Path) -> None:
    path = tmp_path / "c.hdf5.part"
    part = begun(path)
    part.write(0, values(0, 3, 16))
    part.write_frames(1, 0, values(1, 3, 16)[:2])
    with pytest.raises(ValueError, match="unfinished"):
        read_parts(path)
    assert [p.trajectory.values.tolist() for p in read_parts(path, partial=True)] == [[4]]
    with pytest.raises(ValueError, match=r"rows \[1, 2\]"):
        part.finish()
    again = Part(path)
    assert again.complete.tolist() == [True, False, False]
    for row, (frames, nodes) in enumerate([(3, 16), (3, 16), (4, 25)]):
        if not again.complete[row]:
            again.write(row, values(row, frames, nodes))
    assert again.finish().read_bytes() == written.read_bytes()


def test_meshes_that_are_equal_are_stored_once(tmp_path: Path) -> None:
    mesh = square(3)
    same_mesh = [Piece(mesh, [0.0, 1.0], [0]), Piece(square(3), [0.0, 1.0, 2.0], [0])]
    create(tmp_path / "d.hdf5.part", same_mesh, name="d", fields=FIELDS)
    with h5py.File(tmp_path / "d.hdf5.part") as f:
        assert len(f["meshes"]) == 1 and len(f["parts"]) == 2
        assert [f[f"parts/000{k}/trajectory"][0] for k in (0, 1)] == [0, 1]


def test_what_is_damaged_is_named(tmp_path: Path, written: Path) -> None:
    data = written.read_bytes()
    short = tmp_path / "short.hdf5"
    short.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="truncated"):
        read_parts(short)
    with h5py.File(written, "r+") as f:
        f["parts/0000/fields/pressure"][0, 0, 0] += 1
    with pytest.raises(ValueError, match="checksum"):
        read_parts(written, verify=True)
    with h5py.File(written, "r+") as f:
        f["meshes/0000/cells"][0, 0] = 10_000
    with pytest.raises(ValueError, match=r"cell 0 = .* names points that do not exist"):
        domain_of(read_parts(written)[0])
    with h5py.File(written, "r+") as f:
        del f["parts/0001/fields/velocity"]
        f["parts/0001/fields"].create_dataset("velocity", data=np.zeros((1, 4, 24, 2), "<f4"))
    with pytest.raises(ValueError, match=r"/parts/0001/fields/velocity has shape \(1, 4, 24, 2\)"):
        read_parts(written)


def test_a_later_format_and_a_foreign_file_are_named(tmp_path: Path, written: Path) -> None:
    with h5py.File(written, "r+") as f:
        f.attrs["format"] = 99
    with pytest.raises(ValueError, match="install a later one"):
        read_parts(written)
    with h5py.File(tmp_path / "e.hdf5", "w") as f:
        f["x"] = [1.0]
    with pytest.raises(ValueError, match="no fields on meshes"):
        read_parts(tmp_path / "e.hdf5")


def test_pieces_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'nu' has 1 values for 2"):
        Piece(square(2), [0.0], [0, 1], {"nu": [1.0]})
    with pytest.raises(ValueError, match="joins 2"):
        Piece(Mesh.batch([square(2), square(2)]), [0.0], [0])
    with pytest.raises(ValueError, match="static field 'wall_distance'"):
        create(
            tmp_path / "f.hdf5.part",
            [Piece(square(2), [0.0], [0], {}, {"wall_distance": np.zeros((3, 9))})],
            name="f",
            fields=FIELDS,
            static=STATIC,
        )
    part = begun(tmp_path / "g.hdf5.part")
    with pytest.raises(ValueError, match="do not fit row 2, which takes 4 frames of 3 channels on 25 nodes"):
        part.write(2, values(0, 3, 16))
    part.write_frames(2, 0, values(0, 2, 25))
    with pytest.raises(ValueError, match="frames from 3 of row 2 do not follow the 2 before"):
        part.write_frames(2, 3, values(0, 1, 25))
