"""The step of files that say when their frames are: one, or none without a word from somebody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from surrogates.data import Windows
from surrogates.data.formats import Given, open_parts
from surrogates.data.formats.part import part, step_of
from surrogates.data.hdf5 import OURS
from surrogates.domains import Box
from surrogates.fields import Field

PLACE = "here: time"


def test_a_step_is_that_of_all_frames_or_the_shortest_over_missing_ones() -> None:
    even = np.arange(200, dtype=np.float32) * np.float32(0.01)
    assert step_of(even.astype(np.float64), Given(), PLACE) == pytest.approx(0.01, rel=1e-6)
    assert step_of(np.array([0, 1, 2, 5, 6.0]), Given(), PLACE) == 1
    assert step_of(np.array([0, 31, 59, 90, 120.0]), Given(dt=30.4), PLACE) == 30.4


def test_steps_that_differ_are_asked_about() -> None:
    with pytest.raises(ValueError, match="here: time is uneven: frame 1 is followed after 1.5"):
        step_of(np.array([0, 1, 2.5, 3.5]), Given(), PLACE)
    with pytest.raises(ValueError, match="uneven"):
        step_of(np.array([0, 1, 2.5, 3.5]), Given(dt=1.0), PLACE)
    with pytest.raises(ValueError, match="frames lie 1 apart or more, and dt is given as 0.1"):
        step_of(np.array([0, 1, 2.0]), Given(dt=0.1), PLACE)


def test_a_part_of_uneven_times_does_not_pass() -> None:
    arrays, of = {"u": np.zeros((1, 4, 8), np.float32)}, {"u": Field("u")}
    with pytest.raises(ValueError, match="waves: time is uneven"):
        part(arrays, of, Box.periodic((8,), 1.0), given=Given(), times=[0.0, 0.1, 0.25, 0.35], name="waves")


def test_a_file_of_the_well_with_uneven_times_does_not_pass(dataset: xr.Dataset, write: Callable[..., Path]) -> None:
    path = write(dataset)
    with h5py.File(path, "r+") as f:
        del f[OURS]
        f["dimensions/time"][:] = [0, 0.1, 0.2, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85]
    with pytest.raises(ValueError, match="dimensions/time is uneven: frame 2 is followed after 0.15.* write `dt: 0.1`"):
        open_parts(path, "the_well")
    with h5py.File(path, "r+") as f:
        f["dimensions/time"][:] = np.array([0, 1, 2, 3, 5, 6, 7, 8, 9]) / 8
    assert len(Windows(path, split="train")) == 5 * (3 + 4)
