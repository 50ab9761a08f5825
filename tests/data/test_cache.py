"""The packed cache: made anew when the files change or what is said of them does, and never that of another file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data import Windows

SAID = """dt: 0.1
lengths: [1.0, 1.0]
boundary: [periodic, periodic]
units: {others: "1"}
fields: {wind: [a, b]}
options: {channels: [a, b]}
"""


def plane(folder: Path, name: str = "f.npy", seed: int = 0) -> Path:
    """(trajectory, time, channel, x, y) of another package, and beside it what it lacks."""
    path = folder / name
    np.save(path, np.random.default_rng(seed).normal(size=(2, 5, 2, 4, 4)).astype(np.float32))
    (folder / "source.yaml").write_text(SAID)
    return path


def test_what_is_said_of_a_file_anew_is_packed_anew(tmp_path: Path) -> None:
    path = plane(tmp_path)
    before = Windows(path, split="all").batch([0]).past
    (tmp_path / "source.yaml").write_text(SAID.replace("wind: [a, b]", "wind: [b, a]"))
    after = Windows(path, split="all").batch([0]).past
    assert torch.equal(after, before.flip(2)) and not torch.equal(after, before)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_gaps_that_are_declared_later_are_looked_for(tmp_path: Path) -> None:
    path = plane(tmp_path)
    values = np.load(path)
    values[0, 2, 0, 3, 1] = np.nan
    np.save(path, values)
    with pytest.raises(ValueError, match="not finite"):
        Windows(path, split="all")
    (tmp_path / "source.yaml").write_text(SAID.replace("options: {", 'options: {gaps: "NaN", '))
    assert len(Windows(path, split="all")) == 4 + 2


def test_files_side_by_side_keep_caches_of_their_own(tmp_path: Path) -> None:
    one, other = plane(tmp_path, "a.npy", 0), plane(tmp_path, "a.b.npy", 1)
    first = {p: Windows(p, split="all").batch([0]).past for p in (one, other)}
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    assert len(kept) == 2
    for p, past in first.items():
        assert (Windows(p, split="all").batch([0]).past == past).all()
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == kept


def test_every_second_point_is_packed_once(dataset: xr.Dataset, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(dataset).parents[2]
    whole, part = Windows(folder, split="train"), Windows(folder, split="train", subsample=2)
    assert torch.equal(part.batch([3]).past, whole.batch([3]).past[..., ::2, ::2]) and part.domain.shape == (3, 2)
    assert part.beside("s") is not None and part.beside("s") != whole.beside("s") and part.checksum == whole.checksum
    monkeypatch.setattr("surrogates.data.cache._fill", None)
    assert torch.equal(Windows(folder, split="train", subsample=2).batch([3]).past, part.batch([3]).past)


def test_the_checksum_of_a_stream_is_that_of_the_files_or_sees_the_values(dataset: xr.Dataset, write: Callable[..., Path]) -> None:
    folder = write(dataset).parents[2]
    assert Windows(folder, split="train", stream=True).checksum == Windows(folder, split="train").checksum
    other = dataset.assign(tracer=2 * dataset["tracer"])
    one, two, again = (Windows(d, stream=True).checksum for d in (dataset, other, dataset.copy(deep=True)))
    assert one == again != two
