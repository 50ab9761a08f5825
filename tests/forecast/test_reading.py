"""A forecast that is continued is the forecast that was not interrupted, where a step's state is its last frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from forecast.steps import Grows, Interrupted, Threes, Walk, initial
from torch import Tensor

from surrogates import simulate
from surrogates.contracts import Conditions, Noise
from surrogates.fields import Field, Fields
from surrogates.forecast import Keep, continue_from, open_forecast
from surrogates.forecast.reading import is_forecast
from surrogates.forecast.surroundings import Given
from surrogates.interchange import declare


def run(start: xr.Dataset, frames: int, step: Any = None, **change: Any) -> xr.Dataset:
    return simulate(step or Walk(), start, frames, **{"seed": 1, "group": 4, "chunk": 3, **change})


@pytest.mark.parametrize("name", ["f.zarr", "f.h5"])
@pytest.mark.parametrize("step", [Walk(), Threes()])
@pytest.mark.parametrize("members", [None, 2])
def test_a_continued_forecast_is_the_rest_of_the_longer_one(tmp_path: Path, name: str, step: Any, members: int | None) -> None:
    whole = run(initial(), 15, step, members=members)
    run(initial(), 6, step, members=members, out=tmp_path / name)
    second = run(continue_from(tmp_path / name), 6, step, out=tmp_path / f"2{name}")
    third = run(continue_from(tmp_path / f"2{name}"), 3, step)
    assert np.array_equal(np.concatenate([second["u"].values, third["u"].values], -2), whole["u"].values[..., 6:, :])
    assert np.allclose(third["time"], whole["time"][12:]) and third.sizes.get("member") == members


def test_frames_that_were_kept_rarely_go_on_too(tmp_path: Path) -> None:
    run(initial(), 8, out=tmp_path / "f", keep=Keep(every=3))
    rest = run(continue_from(tmp_path / "f"), 4)
    whole = run(initial(), 10)
    assert np.array_equal(rest["u"].values, whole["u"].values[:, 6:10]) and np.allclose(rest["time"], whole["time"][6:10])


def test_a_member_that_failed_stays_failed(tmp_path: Path) -> None:
    run(initial(growth=[1.0, 30.0, 1.0]), 4, Grows(), members=2, out=tmp_path / "f")
    rest = run(continue_from(tmp_path / "f"), 3, Grows())
    assert rest["failed_step"].values.tolist() == [[-1, -1], [0, 0], [-1, -1]]
    assert rest["failed_reason"].values[1].tolist() == open_forecast(tmp_path / "f")["failed_reason"].values[1].tolist()
    assert np.isnan(rest["u"].values[1]).all() and np.isfinite(rest["u"].values[[0, 2]]).all()


@pytest.mark.parametrize(
    ("keep", "history", "says"),
    [
        (Keep(stride=2), 1, "keeps only a part of each frame"),
        (Keep((), diagnostics=("mean",)), 1, "keeps only a part of each frame"),
        (Keep(every=2), 2, "keeps one frame in 2, but 2 in a row are needed"),
        (None, 7, "holds 6 frames but 7 are needed"),
    ],
)
def test_what_was_not_kept_cannot_be_continued(tmp_path: Path, keep: Keep | None, history: int, says: str) -> None:
    run(initial(), 6, out=tmp_path / "f", keep=keep)
    with pytest.raises(ValueError, match=says):
        continue_from(tmp_path / "f", history)


@pytest.mark.parametrize("name", ["f.zarr", "f.h5"])
def test_static_fields_go_with_a_forecast_that_is_continued(tmp_path: Path, name: str) -> None:
    class Rises(Walk):
        def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
            assert conditions.static is not None
            return u.sin() + conditions.static

    start = initial()
    start["terrain"] = ("x", np.linspace(0, 1, 8), {"units": "m"})
    start = declare(start, static=Fields.of(Field("terrain", "m")))
    run(start, 6, Rises(), members=2, out=tmp_path / name)
    rest = run(continue_from(tmp_path / name), 3, Rises())
    assert np.array_equal(rest["u"].values, run(start, 9, Rises(), members=2)["u"].values[:, :, 6:])
    start["terrain"] = start["terrain"] * 2
    start["terrain"].attrs["units"] = "m"
    with pytest.raises(FileExistsError, match="differs in initial state"):
        run(start, 6, Rises(), members=2, out=tmp_path / name)


def test_dt_is_that_of_the_frames_and_is_asked_for_where_it_varies(tmp_path: Path) -> None:
    assert initial().attrs["dt"] == 0.5
    first = run(initial(), 4, surroundings=Given(dt=0.1), out=tmp_path / "f")
    assert first.attrs["dt"] == pytest.approx(0.1, abs=1e-12)
    assert run(initial(), 4, surroundings=Given(dt=0.1), keep=Keep(every=2)).attrs["dt"] == pytest.approx(0.2, abs=1e-12)
    assert run(initial(), 4, surroundings=Given()).attrs["dt"] == 0.5
    np.testing.assert_allclose(run(continue_from(tmp_path / "f"), 2)["time"], [2.5, 2.6])
    varied = run(initial(), 4, surroundings=Given(dt=[0.1, 0.1, 0.2, 0.2]), out=tmp_path / "g")
    assert "dt" not in varied.attrs
    with pytest.raises(ValueError, match=r"not all of one length; say which to go on by: continue_from\(path, dt=...\)"):
        continue_from(tmp_path / "g")
    np.testing.assert_allclose(run(continue_from(tmp_path / "g", dt=0.2), 2)["time"], [2.8, 3.0])


def test_lead_times_count_from_the_first_initial_state(tmp_path: Path) -> None:
    run(initial(), 4, out=tmp_path / "f.zarr")
    run(continue_from(tmp_path / "f.zarr"), 2, out=tmp_path / "g.h5")
    third = run(continue_from(tmp_path / "g.h5"), 2)
    assert third["lead_time"].values.tolist() == [3.5, 4.0] and third["time"].values.tolist() == [5.5, 6.0]
    assert run(open_forecast(tmp_path / "g.h5").drop_vars("lead_time"), 1)["lead_time"].values.tolist() == [0.5]


@pytest.mark.parametrize("name", ["f.zarr", "f.h5"])
def test_a_run_that_was_cut_is_not_continued_but_finished(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(initial(), 9, Interrupted(Walk(), 5), group=1, out=tmp_path / name)
    assert is_forecast(tmp_path / name)
    with pytest.raises(ValueError, match="command that writes it goes on where it was cut"):
        continue_from(tmp_path / name)
    run(initial(), 9, group=1, out=tmp_path / name)
    assert continue_from(tmp_path / name)["time"].values.tolist() == [6.5]


def test_rounded_frames_are_continued_with_a_warning(tmp_path: Path) -> None:
    run(initial(), 4, out=tmp_path / "f", keep=Keep(dtype="float16"))
    with pytest.warns(UserWarning, match="keeps float16"):
        continue_from(tmp_path / "f")
