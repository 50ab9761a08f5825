"""Statistics of a stream are found once: who starts next reads them, and never those of other data, of other settings or of half a fit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from surrogates.data import by_time
from surrogates.data.formats import cf_open
from surrogates.data.module import DataModule
from surrogates.data.phases import phases
from surrogates.normalise import Normaliser, Stretch

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Write, random_dataset
from slow_store import opened

SPLITS = {"train": 0.7, "valid": 0.3}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where statistics of streams are kept; and streams are looked at in their first frame alone."""
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path / "root"))
    monkeypatch.setattr("surrogates.data.windows.SAMPLED", 1)
    return tmp_path / "root" / "cache" / "streams"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = random_dataset(2, 20)
    path = tmp_path / "made.zarr"
    made.to_zarr(path, encoding={v: {"chunks": (1, 4, 6, 4)} for v in made.data_vars}, consolidated=False, zarr_format=3)
    return path


def plainly(path: Path) -> xr.Dataset:
    return xr.open_zarr(path, consolidated=False, chunks=None)


def by_dask(path: Path) -> xr.Dataset:
    return xr.open_zarr(path, consolidated=False)


def by_reader(path: Path) -> xr.Dataset:
    """As readers of formats do: dask over arrays that name their place."""
    return cf_open.opened(path).assign_coords(plainly(path).coords).assign_attrs(plainly(path).attrs)


def from_afar(path: Path) -> xr.Dataset:
    return opened(path, 0.0)[0]


def statistics(data: Any, **settings: Any) -> dict[str, torch.Tensor]:
    whole = by_time(data, SPLITS) if isinstance(data, xr.Dataset) else data
    return DataModule(whole, stream=True, **settings).normaliser.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


Open = Callable[[Path], xr.Dataset]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """One entry for each fit."""
    made, fit = list[str](), Normaliser.fit.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Normaliser], source: Any, *args: Any) -> Normaliser:
        made.append(source.split)
        out: Normaliser = fit(cls, source, *args)
        return out

    monkeypatch.setattr(Normaliser, "fit", classmethod(counted))
    yield made


@pytest.mark.parametrize("read", [plainly, by_dask, by_reader, from_afar])
def test_a_second_start_fits_nothing(store: Path, root: Path, read: Open, fits: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    first = statistics(read(store))
    assert "statistics of the training split" in capsys.readouterr().err
    assert same(first, statistics(read(store))) and len(fits) == 1 and len(list(root.iterdir())) == 1
    assert same(first, statistics(read(store).load())) and len(fits) == 2


def test_a_second_start_reads_no_more_than_it_looks_at(store: Path) -> None:
    statistics(from_afar(store))
    again, files = opened(store, 0.0)
    statistics(again)
    assert len(files.paths) == 2 * 3  # trajectories, variables: of each the chunk that holds the first frame


CHANGES: dict[str, dict[str, Any]] = {
    "stride": {"stride": 2},
    "strides": {"strides": [1, 2]},
    "transform": {"normalise": {"transforms": {"tracer": {"class": "Asinh", "scale": 2.0}}}},
    "together": {"normalise": {"by": "field"}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_settings_have_statistics_of_their_own(store: Path, change: str, fits: list[str]) -> None:
    plain, other = statistics(plainly(store)), statistics(plainly(store), **CHANGES[change])
    assert len(fits) == 2 and not same(plain, other)
    assert same(other, statistics(plainly(store), **CHANGES[change])) and len(fits) == 2


def test_other_data_have_statistics_of_their_own(store: Path, fits: list[str]) -> None:
    """Another part of time, other values made of the same files, and another unit of them."""
    whole = plainly(store)
    of = [
        whole,
        whole.isel(time=slice(0, 16)),
        whole.isel(trajectory=[0, 1]).isel(trajectory=[0]),
        by_dask(store).map(lambda v: v * 2, keep_attrs=True),
    ]
    made = [statistics(data) for data in of]
    assert len(fits) == 4 and not any(same(a, b) for n, a in enumerate(made) for b in made[:n])


@pytest.mark.parametrize("read", [plainly, by_dask, by_reader])
def test_files_that_change_are_read_anew(store: Path, read: Open, fits: list[str]) -> None:
    """A chunk that nobody has looked at is written again, by another program: the metadata stay."""
    before = statistics(read(store))
    array = zarr.open_group(str(store), mode="r+")["tracer"]
    array[1, 4:8] = np.full((4, 6, 4), 7.0)  # type: ignore[index]
    after = statistics(read(store))
    assert len(fits) == 2 and not same(before, after)


def test_files_of_ours_keep_theirs_beside_them(write: Write, fits: list[str]) -> None:
    made = random_dataset(4)
    folder = write(made).parents[2]
    first = statistics(str(folder))
    assert same(first, statistics(str(folder))) and len(fits) == 1
    assert same(first, statistics(str(folder), subsample=2)) is False and len(fits) == 2
    path = next((folder / "data" / "train").iterdir())
    with open(path, "r+b") as file:
        file.seek(0)
        os.utime(path, (1, 1))
    statistics(str(folder))
    assert len(fits) == 3
    assert {p.suffix for p in (folder / "cache").iterdir()} == {".safetensors"}


def test_half_a_fit_leaves_nothing(store: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: Any) -> Iterator[Stretch]:
        yield next(phases(*args))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("surrogates.data.windows.phases", stopped)
        statistics(plainly(store))
    assert not root.exists() or not list(root.iterdir())
    assert same(statistics(plainly(store)), statistics(plainly(store).load()))


def test_what_cannot_be_read_is_made_again(store: Path, root: Path, fits: list[str]) -> None:
    first = statistics(plainly(store))
    (path,) = root.iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="taken again"):
        assert same(first, statistics(plainly(store)))
    assert same(first, statistics(plainly(store))) and len(fits) == 2


def test_what_cannot_be_kept_is_used_all_the_same(store: Path, root: Path) -> None:
    root.parent.mkdir(parents=True)
    root.write_text("no folder")
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert same(statistics(plainly(store)), statistics(plainly(store).load()))


@pytest.mark.slow
@pytest.mark.parametrize("read", [plainly, by_dask, by_reader, from_afar])
def test_another_process_finds_them(store: Path, root: Path, read: Open, fits: list[str]) -> None:
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_statistics as t; from pathlib import Path; "
    program += f"from surrogates.data import windows; windows.SAMPLED = 1; t.statistics(t.{read.__name__}(Path({str(store)!r})))"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONHASHSEED": "5"})
    assert len(list(root.iterdir())) == 1
    statistics(read(store))
    assert not fits
