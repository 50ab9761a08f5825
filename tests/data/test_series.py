"""Fields known ahead: exact between frames for what is linear in time, of the rows asked for, never beyond what is known."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data.series import Series, values_of
from surrogates.identity import function_identity

TIMES = np.array([0.0, 0.5, 2.0])


def dataset(rows: int | None = 3) -> xr.Dataset:
    """sun = (10 r + x) (1 + 2 t), linear in time; wind is a number."""
    r, x = np.arange(rows or 1)[:, None, None], np.arange(4.0)
    values = (10 * r + x) * (1 + 2 * TIMES[:, None])
    wind = np.tile(3 * TIMES, (rows or 1, 1))
    dims = ("trajectory", "time")
    data = {"sun": ((*dims, "x"), values), "wind": (dims, wind), "height": ("x", x)}
    coords = {"time": TIMES, **({"trajectory": 10 + np.arange(rows)} if rows else {})}
    out = xr.Dataset(data, coords)
    return out if rows else out.isel(trajectory=0)


def test_it_is_linear_in_time_and_exact_at_frames() -> None:
    series, t = Series(dataset(), ["sun"]).of([12, 10]), torch.tensor([1.0, 0.5], dtype=torch.float64)
    want = torch.stack([(20 + torch.arange(4.0)) * 3, torch.arange(4.0) * 2])[:, None]
    torch.testing.assert_close(series(t), want)
    assert torch.equal(series(torch.tensor([2.0, 0.0], dtype=torch.float64))[:, 0, 0], torch.tensor([100.0, 0.0]))


def test_rows_may_repeat_and_a_file_without_trajectories_is_for_all() -> None:
    t = torch.tensor([0.25, 0.25, 1.0], dtype=torch.float64)
    series = Series(dataset(), ["sun"]).of([11, 12])
    again = series.at_rows(torch.tensor([1, 1, 0]))
    assert torch.equal(again(t)[1:2], series(t[:2])[1:2]) and torch.equal(again(t)[0], again(t)[1])
    shared = Series(dataset(None), ["sun"])
    assert shared(t).shape == (3, 1, 4) and shared.of([99, 1, 2]) is shared


def test_numbers_spread_over_the_grid_beside_fields_or_where_a_shape_is_given() -> None:
    both = Series(dataset(), ["sun", "wind"]).of([10])(torch.tensor([1.0], dtype=torch.float64))
    assert torch.equal(both[0, 1], torch.full((4,), 3.0))
    alone = Series(dataset(None), ["wind"], shape=(2, 3))(torch.tensor([1.0], dtype=torch.float64))
    assert torch.equal(alone, torch.full((1, 1, 2, 3), 3.0))
    assert torch.equal(values_of(dataset(), ["height"])[0, 0], torch.arange(4.0))


def test_a_file_is_read_as_the_dataset_and_known_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "drive.zarr"
    dataset().to_zarr(path, consolidated=False)
    t = torch.tensor([1.7], dtype=torch.float64)
    stored, held = Series(path, ["sun"]), Series(dataset(), ["sun"])
    assert torch.equal(stored.of([11])(t), held.of([11])(t))
    assert stored.arguments["source"].startswith(str(path)) and held.arguments["source"].startswith("in memory, sha256")
    assert held.arguments != Series(dataset() * 2, ["sun"]).arguments
    again = Series(path, ["sun"])
    assert again.arguments == stored.arguments
    dataset().assign(sun=2 * dataset()["sun"]).to_zarr(path, mode="w", consolidated=False)
    assert Series(path, ["sun"]).arguments != stored.arguments


@pytest.mark.parametrize("dt", [0.1, 0.2, 0.05, 0.01, 0.3])
def test_a_clock_in_float32_reaches_its_own_end(dt: float) -> None:
    for count in (10, 11, 16, 20, 41):
        times = (np.arange(count) * dt).astype(np.float32)
        series = Series(xr.Dataset({"a": ("time", times)}, {"time": times}), ["a"])
        for end in (float(times[-2]) + dt, (count - 1) * dt):
            assert float(series(torch.tensor([end], dtype=torch.float64))[0, 0]) == pytest.approx(float(times[-1]), rel=1e-6)
        with pytest.raises(ValueError, match="asked for at"):
            series(torch.tensor([float(times[-1]) + 1e-3 * dt], dtype=torch.float64))


def test_many_frames_are_not_all_held() -> None:
    times = np.arange(200.0)
    long = xr.Dataset({"a": (("time", "x"), times[:, None] * np.ones(2))}, {"time": times})
    series = Series(long, ["a"])
    for n in range(199):
        assert float(series(torch.tensor([n + 0.5], dtype=torch.float64))[0, 0, 0]) == n + 0.5
    assert len(series._frames) <= 16


def test_a_function_is_known_by_its_code_and_what_it_closes_over() -> None:
    def made(gain: float) -> object:
        return lambda t: gain * t

    assert function_identity(made(1.0)) == function_identity(made(1.0)) != function_identity(made(2.0))


def scaled(gain: object, t: object) -> object:
    return gain


@pytest.mark.parametrize("make", [
    lambda gain: partial(scaled, gain),
    lambda gain: partial(scaled, torch.tensor([gain])),
    lambda gain: (lambda t, a=gain: a * t),
    lambda gain: (lambda t, *, k=gain * 2: k * t),
    lambda gain: (lambda array: lambda t: array * t)(np.full(2, gain)),
    lambda gain: (lambda tensor: lambda t: tensor * t)(torch.full((2,), gain)),
])  # fmt: skip
def test_a_function_is_known_by_all_it_is_made_of(make: Any) -> None:
    assert function_identity(make(1.0)) == function_identity(make(1.0)) != function_identity(make(5.0))


@pytest.mark.parametrize(
    ("names", "change", "at", "words"),
    [
        (["sum"], {}, 1.0, "no variable 'sum' among .*did you mean 'sun'"),
        (["height"], {}, 1.0, "static"),
        (["sun"], {"time": TIMES[::-1].copy()}, 1.0, "must rise"),
        (["sun"], {"time": np.array([0, 1, 2], "timedelta64[ns]")}, 1.0, "neither numbers nor dates"),
        (["sun"], {}, 2.1, "known from time 0 to 2 but asked for at 2.1"),
        (["sun"], {}, -0.1, "give a longer series"),
    ],
    ids=["name", "static", "order", "lengths", "late", "early"],
)
def test_bad_input_is_named(names: list[str], change: dict[str, np.ndarray], at: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Series(dataset(None).assign_coords(change), names)(torch.tensor([at], dtype=torch.float64))


def test_a_trajectory_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"no trajectories \[13\]"):
        Series(dataset(), ["sun"]).of([10, 13])
