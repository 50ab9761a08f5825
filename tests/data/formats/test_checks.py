"""A file is believed only as far as it goes: sizes, types, links, names and times."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.data.formats import checks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.h5"


def array(path: Path, name: str = "u", shape: tuple[int | None, ...] | None = None) -> h5py.Dataset:
    with checks.open_hdf5(path) as f:
        return checks.array(f, name, path, shape)


@pytest.mark.parametrize("options", [{}, {"chunks": True}, {"compression": "gzip"}, {"compression": "lzf", "shuffle": True}])
def test_sound_arrays_pass_however_they_are_stored(path: Path, options: dict[str, object]) -> None:
    with h5py.File(path, "w") as f:
        f.create_dataset("u", data=np.zeros((4, 100, 100), ">f8"), **options)
    array(path, "u", (4, None, 100))


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 1 << 10)}, {"chunks": (1, 1 << 10), "compression": "gzip"}])
def test_a_huge_declared_shape_is_refused_without_allocating(path: Path, options: dict[str, object]) -> None:
    with h5py.File(path, "w") as f:
        f.create_dataset("u", (1 << 20, 1 << 20), "f8", **options)
        if options:
            f["u"][0, :1024] = 1.0
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"some\.h5: /u declares shape \(1048576, 1048576\).*truncated or damaged"):
        array(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_truncated_and_foreign_files_are_told_apart(path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        checks.open_hdf5(path)
    with h5py.File(path, "w") as f:
        f["u"] = np.zeros(10000)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="truncated"):
        checks.open_hdf5(path)
    path.write_text("not HDF5")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        checks.open_hdf5(path)


def test_links_out_of_the_file_objects_and_groups_are_refused(path: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["u"] = np.zeros(3)
    with h5py.File(path, "w") as f:
        f["link"] = h5py.ExternalLink("other.h5", "/u")
        f["away"] = h5py.ExternalLink("other.h5", "/")
        f["round"] = h5py.SoftLink("/away/u")
        f["near"] = h5py.SoftLink("/group/u")
        f["lost"] = h5py.SoftLink("/nothing")
        f["group/u"] = np.zeros(3)
        f.create_dataset("text", data=np.array(["a"], dtype=h5py.string_dtype()))
        f["complex"] = np.zeros(3, complex)
        f.create_dataset("outside", (3,), "f4", external=[(str(tmp_path / "raw.bin"), 0, 12)])
        virtual = h5py.VirtualLayout((3,), "f8")
        virtual[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "u", (3,))
        f.create_virtual_dataset("virtual", virtual)
    for name, match in {
        "link": "link to another file, 'other.h5'",
        "away/u": "link to another file, 'other.h5'",
        "round": "link to another file, 'other.h5'",
        "lost": "a link to nothing",
        "group": "a group",
        "text": "only arrays of real numbers",
        "complex": "only arrays of real numbers",
        "outside": "keeps its values in other files",
        "virtual": "keeps its values in other files",
        "none": "/none is missing; there are",
    }.items():
        with pytest.raises(ValueError, match=match):
            array(path, name)
    with pytest.raises(ValueError, match=r"has shape \(3,\) but \(any, 2\) is needed"):
        array(path, "group/u", (None, 2))


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_npy_files_are_mapped_never_unpickled(tmp_path: Path) -> None:
    good, bad, sprung = tmp_path / "u.npy", tmp_path / "bad.npy", tmp_path / "sprung"
    np.save(good, np.arange(6, dtype=">i2").reshape(2, 3))
    assert isinstance(checks.npy(good), np.memmap)
    np.save(bad, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="not a sound .npy file of numbers"):
        checks.npy(bad)
    bad.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ValueError, match="not a sound .npy file of numbers"):
        checks.npy(bad)
    assert not sprung.exists()
    np.savez(tmp_path / "many.npz", u=np.zeros(3))
    for file, match in ((tmp_path / "many.npz", "archive"), (tmp_path / "none.npy", "no such file")):
        with pytest.raises(ValueError, match=match):
            checks.npy(file)
    np.save(bad, np.zeros(3, complex))
    with pytest.raises(ValueError, match="complex128, and only arrays of real numbers"):
        checks.npy(bad)


@settings(max_examples=50)
@given(st.binary(max_size=200), st.integers(0, 127))
def test_damaged_npy_files_are_named_never_crash(tmp_path_factory: pytest.TempPathFactory, noise: bytes, cut: int) -> None:
    path = tmp_path_factory.mktemp("npy") / "u.npy"
    np.save(path, np.zeros((4, 5), np.float32))
    whole = path.read_bytes()
    for damaged in (whole[:cut], noise, whole[:cut] + noise + whole[cut + len(noise) :], whole[:8] + noise):
        path.write_bytes(damaged)
        try:
            assert checks.npy(path).nbytes <= len(damaged)
        except ValueError as error:
            assert "u.npy" in str(error)


def test_a_huge_npy_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "u.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"shape": (1 << 40, 1 << 10), "fortran_order": False, "descr": "<f8"})
        file.write(b"\0" * 64)
    with pytest.raises(ValueError, match="not a sound .npy"):
        checks.npy(path)


def test_times_rise_are_finite_and_even(tmp_path: Path) -> None:
    times = np.arange(1000, dtype=np.float32) * np.float32(0.01)
    assert checks.step(checks.rising(times, "t"), "t") == pytest.approx(0.01, rel=1e-6)
    for wrong, match in (
        ([0.0, 2.0, 1.0], "t is not sorted: entry 1 is 2 and entry 2 is 1"),
        ([0.0, 1.0, 1.0], "t is twice the same: entry 1"),
        ([0.0, np.nan], "not finite: entry 1 is nan"),
        ([], "a list of numbers"),
    ):
        with pytest.raises(ValueError, match=match):
            checks.rising(wrong, "t")
    with pytest.raises(ValueError, match="uneven: the step after entry 2 is 3, most are 1"):
        checks.step(np.array([0.0, 1.0, 2.0, 5.0, 6.0]), "t")
    late = (1000 + 0.01 * np.arange(100)).astype(np.float32)
    assert checks.step(checks.rising(late, "t"), "t") == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("name", ["../secret", "a/../../b", "/etc/passwd", "C:\\x", "\\\\host\\x", "..", ""])
def test_names_that_lead_out_of_a_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="leads out of the folder"):
        checks.inside(tmp_path, name)


def test_links_that_lead_out_of_a_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "secret").touch()
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="link that leads out"):
        checks.inside(folder, "link")
    assert checks.named(folder, "link") == folder / "link"
    assert checks.inside(folder, "a/b.npy") == folder / "a" / "b.npy"
