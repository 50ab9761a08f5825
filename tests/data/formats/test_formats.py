"""The dispatch: every format is known by its own files, and none stumbles over those of others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from surrogates.data import open_dataset
from surrogates.data.formats import FORMATS, open_parts, reader_of
from surrogates.interchange import fields_of, from_xarray

X = np.arange(8) / 8 + 1 / 16


def npy(folder: Path) -> Path:
    np.save(folder / "u.npy", np.zeros((2, 3, 8)))
    return folder


def pdebench(folder: Path) -> Path:
    with h5py.File(folder / "1D_Burgers_Sols_Nu0.1.hdf5", "w") as f:
        f["tensor"], f["x-coordinate"], f["t-coordinate"] = np.zeros((2, 3, 8)), X, np.arange(4.0)
    return folder / "1D_Burgers_Sols_Nu0.1.hdf5"


def pdearena(folder: Path) -> Path:
    with h5py.File(folder / "KS_train_2.h5", "w") as f:
        for name, values in {"pde_3-8": np.zeros((2, 3, 8)), "dx": np.ones(2), "dt": np.ones(2)}.items():
            f[f"train/{name}"] = values
    return folder / "KS_train_2.h5"


def cfdbench(folder: Path) -> Path:
    case = folder / "cavity" / "bc" / "case0000"
    case.mkdir(parents=True)
    for name in "uv":
        np.save(case / f"{name}.npy", np.zeros((3, 4, 4)))
    (case / "case.json").write_text(json.dumps({"width": 1, "height": 1}))
    return folder / "cavity"


SOURCES: dict[str, Callable[[Path], Path]] = {"npy": npy, "pdebench": pdebench, "pdearena": pdearena, "cfdbench": cfdbench}


@pytest.mark.parametrize("name", SOURCES)
def test_each_is_known_by_its_files(tmp_path: Path, name: str) -> None:
    assert reader_of(SOURCES[name](tmp_path)).__name__.endswith(f".{name}")


def test_our_own_files_are_a_format_too(tmp_path: Path, write: Callable[..., Path], make_dataset: Callable[..., xr.Dataset]) -> None:
    for split, first in (("train", 0), ("test", 5)):
        write(make_dataset(first=first), split)
    found = open_parts(tmp_path / "made")
    assert sorted(found) == ["test", "train"]
    np.testing.assert_array_equal(from_xarray(found["test"][0]), from_xarray(make_dataset(first=5)))


def test_open_dataset_reads_what_others_wrote_and_joins_its_parts(tmp_path: Path) -> None:
    for nu in (0.2, 0.3):
        pdebench(tmp_path).rename(tmp_path / f"1D_Burgers_Sols_Nu{nu}.hdf5")
    whole = open_dataset(tmp_path)
    assert whole["nu"].values.tolist() == [0.2, 0.2, 0.3, 0.3] and whole["trajectory"].values.tolist() == [0, 1, 2, 3]
    assert fields_of(whole).names == ("u",)
    with pytest.raises(ValueError, match=r"has no split 'train'; it has \['all'\]"):
        open_dataset(tmp_path, "train")


def test_parts_that_differ_are_told_to_be_opened_one_by_one(tmp_path: Path) -> None:
    path = pdearena(tmp_path)
    with h5py.File(path, "a") as f:
        f["train/dx"][1] = 2.0
    with pytest.raises(ValueError, match=r"differ in domain.*open_parts\(path\) gives the parts one by one"):
        open_dataset(path)


def junk(folder: Path) -> list[Path]:
    """Files of every name with nothing or nonsense in them, folders of them, links to nothing."""
    names = [
        "u.npy",
        "a.h5",
        "a.hdf5",
        "a.nc",
        "a.vtu",
        "a.vtp",
        "a.xdmf",
        "a.cgns",
        "a.msh",
        "case.json",
        "a.zarr",
        "meta.json",
        "source.yaml",
    ]
    for kind, text in {"empty": b"", "noise": os.urandom(64), "hdf": b"\x89HDF\r\n\x1a\n", "cdf": b"CDF\x01" + b"\xff" * 40}.items():
        (folder / kind).mkdir()
        for name in names:
            (folder / kind / name).write_bytes(text)
    (folder / "links").mkdir()
    for name in names:
        (folder / "links" / name).symlink_to(folder / "nowhere")
    for name in ("system", "constant", "a.zarr", "train", "data"):
        (folder / "tree" / name).mkdir(parents=True)
    return [folder, *sorted(p for p in folder.rglob("*"))]


def test_none_stumbles_over_junk(tmp_path: Path) -> None:
    modules = [import_module(f"surrogates.data.formats.{name}") for name in FORMATS]
    for path in junk(tmp_path):
        for module in modules:
            assert module.recognises(path) in (True, False), (module, path)


def test_what_one_recognises_and_cannot_read_is_named(tmp_path: Path) -> None:
    for path in junk(tmp_path):
        if path.exists():
            with pytest.raises(ValueError, match=str(tmp_path)):
                open_parts(path)


def test_too_little_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path, given: object) -> None:
        raise MemoryError("Unable to allocate 1.00 TiB")

    np.save(tmp_path / "u.npy", np.zeros((1, 2, 1, 4), np.float32))
    monkeypatch.setattr("surrogates.data.formats.npy.read", read)
    with pytest.raises(MemoryError, match=r"u\.npy takes more memory than there is \(Unable to allocate 1.00 TiB\)"):
        open_parts(tmp_path / "u.npy")
