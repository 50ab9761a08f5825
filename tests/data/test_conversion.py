"""Converting: what is written is what was read, whatever it lies on; stopped anywhere it goes on; never much of it is in memory."""

from __future__ import annotations

import os
import tracemalloc
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.cli import main
from surrogates.data import conversion as module
from surrogates.data import open_dataset, written
from surrogates.data.conversion import MANY, convert, plan
from surrogates.data.cuts import Cut, Split, divide, whole
from surrogates.data.formats import Given
from surrogates.data.layout import Part
from surrogates.data.lazy import lazy
from surrogates.data.parts import parts_of
from surrogates.data.read import read_file
from surrogates.data.windows import Windows
from surrogates.domains import Box, Masked, Mesh, Patch, Sphere
from surrogates.domains.layout import AnyDomain, same
from surrogates.fields import Field, Fields
from surrogates.interchange import (
    FORCINGS,
    STATIC,
    declare,
    declared,
    domain_of,
    fields_of,
    from_xarray,
    parameters_of,
    static_of,
    time_attrs_of,
    to_xarray,
)

SPLIT = Split(0.6, 0.2, 0.2)
SAID = Given(dt=0.5, lengths=(1.0, 2.0), boundary=("periodic", "wall"), units={"others": "1"}, fields={"velocity": ("u", "v")})
WET = torch.ones(6, 4, dtype=torch.bool)
WET[2:4, 1:] = False
POINTS, CELLS = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.4, 0.6]], [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
DOMAINS: dict[str, AnyDomain] = {
    "box": Box.periodic((6, 4), (3.0, 2.0)),
    "stretched": Box((3, 2), (0.0, 0.0), (1.0, 1.0), ("wall", "wall"), ((0.0, 0.1, 0.4, 1.0), None)),
    "masked": Masked(Box.periodic((6, 4), (3.0, 2.0)), WET),
    "sphere": Sphere((6, 8), north_first=False),
    "patch": Patch((6, 4), 30.0, 60.0, -120.0, -100.0),
    "sea": Masked(Patch((6, 4), 30.0, 60.0, -120.0, -100.0), WET),
    "mesh": Mesh.from_cells(POINTS, CELLS, {"wall": [0, 1]}),
}


def dataset(domain: AnyDomain, count: int = 3, frames: int = 7, levels: tuple[float, ...] = (), first: int = 0) -> xr.Dataset:
    """Dates, a vector and a scalar, a parameter, a static field that all share, one a trajectory, and a forcing."""
    fields = Fields.of(Field("velocity", "m/s", components=("x", "y")), Field("t", "K", levels=levels))
    generator = torch.Generator().manual_seed(first)
    u = torch.randn(count, frames, fields.count, *domain.shape, generator=generator)
    time = {"units": "hours since 1996-01-01", "calendar": "standard"}
    ids = list(range(first, first + count))
    made = to_xarray(
        u,
        fields,
        domain,
        time=[6.0 * n for n in range(frames)],
        trajectories=ids,
        parameters={"Re": [float(i) for i in ids]},
        about_time=time,
    )
    axes = made["velocity_x"].dims[2:]
    shared, own = np.random.default_rng(1).normal(size=domain.shape), np.random.default_rng(first).normal(size=(count, *domain.shape))
    force = np.random.default_rng(2).normal(size=(count, frames, *domain.shape))
    made = made.assign(land=(axes, shared.astype("f4")), roughness=(("trajectory", *axes), own.astype("f4")))
    made = made.assign(sun=(("trajectory", "time", *axes), force.astype("f4")))
    static = Fields.of(Field("land"), Field("roughness")) if not isinstance(domain, Mesh) else Fields.of(Field("roughness"))
    made = made.drop_vars("land") if isinstance(domain, Mesh) else made
    return declare(made, static=static, forcings=Fields.of(Field("sun"))).assign_attrs(dataset="made")


def write(folder: Path, cuts: Mapping[str, list[Cut]], workers: int = 1) -> Path:
    files = plan(folder, "made", dict(cuts))
    for f in files:
        f.begin({"recipe": "{}", "version": "0"})
    module._write(files, workers, "made", quiet=True)
    return folder


def is_same(one: xr.Dataset, other: xr.Dataset) -> None:
    assert same(domain_of(one), domain_of(other)) and fields_of(one) == fields_of(other)
    for kind in (STATIC, FORCINGS):
        assert declared(one, kind) == declared(other, kind)
    held, wanted = static_of(one), static_of(other)
    assert held is not None and wanted is not None and torch.equal(held, wanted)
    forcings = declared(other, FORCINGS)
    assert torch.equal(from_xarray(one, forcings), from_xarray(other, forcings))
    assert torch.equal(from_xarray(one), from_xarray(other)) and time_attrs_of(one) == time_attrs_of(other)
    assert one.attrs["dt"] == other.attrs["dt"] and one["time"].values.tolist() == other["time"].values.tolist()
    assert one["trajectory"].values.tolist() == other["trajectory"].values.tolist()
    assert {n: v.tolist() for n, v in parameters_of(one).items()} == {n: v.tolist() for n, v in parameters_of(other).items()}


@pytest.mark.parametrize("levels", [(), (500.0, 850.0)])
@pytest.mark.parametrize("name", DOMAINS)
def test_what_is_written_is_what_was_read(tmp_path: Path, name: str, levels: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "mesh" and levels:
        pytest.skip("a mesh has every level as a field of its own")
    monkeypatch.setattr(written, "BLOCK", 1500)  # some frames a block
    source = dataset(DOMAINS[name], levels=levels)
    folder = write(tmp_path, whole({"train": [source]}), workers=2)
    is_same(parts_of(folder, "train")[0], source)


def test_lazy_chunks_and_any_precision_are_written_alike(tmp_path: Path) -> None:
    source = dataset(DOMAINS["box"], frames=9)
    wide = source.astype(np.float64).assign_attrs(source.attrs)
    for n, each in enumerate((source.chunk(time=2), source.chunk(time=4, trajectory=2), wide, source.astype(">f4"))):
        kept = each.assign({k: v.assign_attrs(source[k].attrs) for k, v in each.data_vars.items()})
        is_same(parts_of(write(tmp_path / str(n), whole({"train": [kept]})), "train")[0], source)


def test_cuts_of_time_and_of_trajectories_are_the_frames_of_the_source(tmp_path: Path) -> None:
    source = dataset(DOMAINS["sphere"], count=5, frames=10)
    folder = write(tmp_path, divide(whole({"all": [source]})["all"], Split(0.5, test=0.5, by="time", gap=2)))
    is_same(open_dataset(folder, "train"), source.isel(time=slice(0, 4)))
    is_same(open_dataset(folder, "test"), source.isel(time=slice(6, 10)))
    found = divide(whole({"all": [source]})["all"], SPLIT)
    folder = write(tmp_path / "again", found)
    for split, mine in found.items():
        is_same(open_dataset(folder, split), source.isel(trajectory=[c.row for c in mine]))


def test_meshes_of_any_kind_and_length_are_one_file(tmp_path: Path) -> None:
    other = Mesh.from_cells([[x + 2, y] for x, y in POINTS], CELLS)
    sources = [dataset(DOMAINS["mesh"]), dataset(other, 2, 4, first=3), dataset(DOMAINS["mesh"], 1, 5, first=5)]
    folder = write(tmp_path, whole({"train": sources}))
    assert [p.name for p in (folder / "data" / "train").iterdir()] == ["made.hdf5"]
    for one, source in zip(parts_of(folder, "train"), sources, strict=True):
        is_same(one, source)


def test_what_differs_in_grid_length_or_land_is_a_file_of_its_own(tmp_path: Path) -> None:
    box = DOMAINS["box"]
    high = dataset(box, first=9)
    high["land"] = high["land"] + 1
    sources = [
        dataset(box),
        dataset(box, frames=5, first=3),
        dataset(replace(box, upper=(3.0, 2.5)), first=6),
        high,
        dataset(box, first=12),
    ]
    folder = write(tmp_path, whole({"train": sources}))
    read = [read_file(p) for p in sorted((folder / "data" / "train").glob("*.hdf5"))]
    assert sorted(r["trajectory"].values.tolist() for r in read) == [[0, 1, 2, 12, 13, 14], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    for r in read:
        for n, i in enumerate(r["trajectory"].values):
            source = next(s for s in sources if i in s["trajectory"].values)
            is_same(r.isel(trajectory=[n]), source.sel(trajectory=[i]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Arrays of five trajectories."""
    home = tmp_path / "source"
    home.mkdir()
    for c, name in enumerate(("u", "v", "p")):
        np.save(home / name, np.random.default_rng(c).normal(size=(5, 12, 8, 6)).astype(np.float32))
    return home


def test_stopped_at_any_block_it_goes_on_to_the_same_bits(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "BLOCK", 3000)  # five frames
    calm = convert(folder, tmp_path / "calm" / "made", format="npy", given=SAID, split=SPLIT, quiet=True)
    write_frames = Part.write_frames
    for stop in (0, 4, 14):
        dest, calls = tmp_path / f"stop{stop}" / "made", []

        def fails(self: Part, row: int, start: int, block: np.ndarray, calls=calls, stop=stop) -> None:
            if len(calls) == stop:
                raise KeyboardInterrupt
            calls.append((row, start))
            write_frames(self, row, start, block)

        with monkeypatch.context() as m:
            m.setattr(Part, "write_frames", fails)
            with pytest.raises(KeyboardInterrupt):
                convert(folder, dest, format="npy", given=SAID, split=SPLIT, quiet=True)
        assert not list(dest.glob("data/train/*.hdf5")) and list(dest.glob("data/train/*.part"))
        with monkeypatch.context() as m:
            again: list[tuple[int, int]] = []
            m.setattr(Part, "write_frames", lambda *a, again=again: (again.append(a[1:3]), write_frames(*a))[1])
            convert(folder, dest, format="npy", given=SAID, split=SPLIT, quiet=True)
        done = stop // 3  # trajectories of three blocks that were whole are not read again
        assert len(again) == 15 - 3 * done
        for split in ("train", "valid", "test"):
            assert (dest / "data" / split / "made.hdf5").read_bytes() == (calm / "data" / split / "made.hdf5").read_bytes()
    before = {p: p.stat().st_mtime_ns for p in calm.rglob("*.hdf5")}
    convert(folder, calm, format="npy", given=SAID, split=SPLIT, quiet=True)
    assert {p: p.stat().st_mtime_ns for p in calm.rglob("*.hdf5")} == before


def test_a_trajectory_is_never_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "BLOCK", 1 << 18)
    monkeypatch.setattr("surrogates.data.part.BLOCK", 1 << 18)
    (tmp_path / "source").mkdir()
    __import__("dask.array")
    for name in ("u", "v"):
        np.save(tmp_path / "source" / name, np.zeros((1, 2000, 32, 32), np.float32))  # 2 x 8 MB
    tracemalloc.start()
    convert(tmp_path / "source", tmp_path / "made", format="npy", given=SAID, split=Split(1.0), quiet=True)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


@settings(max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.data())
def test_blocks_cover_the_cut_and_no_chunk_is_read_twice(chunks: list[int], data: st.DataObject) -> None:
    frames = sum(chunks)
    start = data.draw(st.integers(0, frames - 1))
    stop = data.draw(st.integers(start + 1, frames))
    part = xr.Dataset({"u": (("trajectory", "time", "x"), np.zeros((1, frames, 5), np.float32))})
    bounds = np.cumsum(chunks).tolist()
    most = data.draw(st.integers(1, 12))
    patch = pytest.MonkeyPatch()
    patch.setattr(written, "BLOCK", 20 * most)
    try:
        plain = written.blocks(Cut(part, 0, start, stop, 0))
        found = written.blocks(Cut(part.chunk(time=tuple(chunks)), 0, start, stop, 0))
    finally:
        patch.undo()
    for ranges in (plain, found):
        assert [n for a, b in ranges for n in range(a, b)] == list(range(start, stop))
    assert all(b - a <= most for a, b in plain)
    for a, b in pairwise([0, *bounds]):
        assert sum(1 for x, y in found if max(x, a) < min(y, b)) <= 1
    assert all(b - a <= max(most, *chunks) for a, b in found)


def test_a_source_that_changed_is_never_mixed_with_what_was_read_of_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same name, same number of bytes, other values: neither taken for what was converted, nor for the rest of it."""
    dest = convert(folder, tmp_path / "made", format="npy", given=SAID, split=SPLIT, quiet=True)
    before = {p: p.read_bytes() for p in dest.glob("data/*/*.hdf5")}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, "_row", stop)
        convert(folder, tmp_path / "half", format="npy", given=SAID, split=SPLIT, quiet=True)
    values = np.load(folder / "u.npy")
    np.save(folder / "u.npy", values[::-1].copy())
    for other in (dest, tmp_path / "half"):
        with pytest.raises(ValueError, match="the source changed"):
            convert(folder, other, format="npy", given=SAID, split=SPLIT, quiet=True)
    assert {p: p.read_bytes() for p in dest.glob("data/*/*.hdf5")} == before

    def change(file: written.Written, n: int, tick: Callable[[float], None]) -> None:
        os.utime(folder / "v.npy", ns=(1, 1))
        for work in file.row(n):
            tick(work)

    monkeypatch.setattr(module, "_row", change)
    with pytest.raises(ValueError, match="the source changed while it was read"):
        convert(folder, tmp_path / "third", format="npy", given=SAID, split=SPLIT, quiet=True)
    assert not list((tmp_path / "third").glob("data/*/*.hdf5"))


def test_the_data_set_is_named_after_its_folder_unless_it_is_said_otherwise(folder: Path, tmp_path: Path) -> None:
    """Not after the first of its cases."""
    case = folder.rename(tmp_path / "c1")
    for said, name in ((SAID, "mine"), (replace(SAID, name="wakes"), "wakes")):
        made = convert(case, tmp_path / name / "mine", format="npy", given=said, split=SPLIT, quiet=True)
        assert open_dataset(made, "train").attrs["dataset"] == name
        assert [p.name for p in made.glob("data/train/*")] == [f"{name}.hdf5"]


def test_another_source_or_other_options_are_refused(folder: Path, tmp_path: Path) -> None:
    dest = convert(folder, tmp_path / "made", format="npy", given=SAID, split=SPLIT, quiet=True)
    with pytest.raises(ValueError, match="made from something else, or with other options"):
        convert(folder, dest, format="npy", given=replace(SAID, dt=0.25), split=SPLIT, quiet=True)
    with pytest.raises(ValueError, match="holds another data set"):
        convert(folder, dest, format="npy", given=replace(SAID, name="other"), split=SPLIT, quiet=True)
    with pytest.raises(ValueError, match="lies within"):
        convert(folder, folder / "made", format="npy", given=SAID, split=SPLIT, quiet=True)
    with pytest.raises(ValueError, match="split is not known: the source has no splits"):
        convert(folder, tmp_path / "again", format="npy", given=SAID, quiet=True)
    assert not (tmp_path / "again").exists()


def test_the_command_tells_what_is_missing_and_then_converts(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "convert", str(folder), str(tmp_path / "made"), "--format", "npy"]
    assert main(words) == 2
    assert "dt, lengths, boundary, units.p" in capsys.readouterr().err
    said = tmp_path / "said.yaml"
    said.write_text("dt: 0.5\nlengths: [1, 2]\nboundary: [wall, wall]\nunits: {others: '1'}\nsplit: {train: 0.6, valid: 0.2, test: 0.2}\n")
    assert main([*words, "--given", str(said)]) == 0
    assert "train 3, valid 1, test 1" in capsys.readouterr().out
    assert (
        main([*words[:3], str(tmp_path / "time"), "--format", "npy", "--given", str(said), "--split", "{train: 0.5, test: 0.5, by: time}"])
        == 0
    )
    assert open_dataset(tmp_path / "time", "test").sizes["time"] == 6
    assert main([*words, "--given", str(said), "--split", "{training: 1}"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err


def test_members_are_refused_by_name(tmp_path: Path, make_dataset: Callable[..., xr.Dataset]) -> None:
    many = make_dataset(2).expand_dims(member=[0, 1], axis=1)
    with pytest.raises(ValueError, match=r"several members.*options: \{member: 0\}.*options: \{trajectory: number\}"):
        write(tmp_path, whole({"train": [many]}))


def test_a_number_too_large_for_single_precision_is_named(tmp_path: Path) -> None:
    """1e300 is finite, and infinite in float32; what is infinite in the source stays so."""
    u = np.zeros((5, 12, 8, 6))
    u[0, 0, 0, 0] = np.inf
    (tmp_path / "source").mkdir()
    np.save(tmp_path / "source/u.npy", u)
    said = replace(SAID, fields={})
    convert(tmp_path / "source", tmp_path / "sound", format="npy", given=said, split=SPLIT, quiet=True)
    u[3, 7, 2, 1] = -1e300
    np.save(tmp_path / "source/u.npy", u)
    with pytest.raises(ValueError, match=r"made\.hdf5, trajectory 3: 'u', frame 7: .*-1e\+300.*float32"):
        convert(tmp_path / "source", tmp_path / "made", format="npy", given=said, split=SPLIT, quiet=True)
    with h5py.File(tmp_path / "gas.h5", "w") as f:
        f["u"] = u
    with h5py.File(tmp_path / "gas.h5") as f, pytest.raises(ValueError, match=r"gas.h5: /u.*\[3, 7, 2, 1\].*-1e\+300"):
        lazy(f["u"], tmp_path / "gas.h5")[3:4, 5:9].compute()


def test_many_files_are_told_of_before_they_are_written(tmp_path: Path) -> None:
    """2048 trajectories, each with a length and a step of its own, would be 2048 files."""
    one = dataset(Box.periodic((6, 4), (3.0, 2.0)), 1, 2)
    parts = [one.assign_attrs(dt=1.0 + n) for n in range(MANY + 1)]
    with pytest.warns(UserWarning, match=f"{MANY + 1} files"):
        plan(tmp_path, "many", whole({"train": parts}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan(tmp_path, "many", whole({"train": parts[:MANY]}))


def test_windows_of_what_was_converted_are_slices_of_the_arrays(folder: Path, tmp_path: Path) -> None:
    dest = convert(folder, tmp_path / "made", format="npy", given=SAID, split=SPLIT, quiet=True)
    windows = Windows(str(dest), 2, 1, split="train")
    u = np.stack([np.load(folder / f"{name}.npy") for name in ("p", "u", "v")], 2)  # fields in the order of the files
    batch = windows.batch(torch.arange(len(windows)))
    ids = open_dataset(dest, "train")["trajectory"].values
    expected = np.stack([u[i, t : t + 3] for i in ids for t in range(10)])
    np.testing.assert_array_equal(torch.cat([batch.past, batch.future], 1), expected)
    assert windows.dt == 0.5
