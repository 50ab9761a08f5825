"""Laws compared from Datasets: alignment, labels, floors; and what every sample metric must pass."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import xarray as xr

from surrogates.domains import Box, Sphere
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray
from surrogates.metrics import EnergyDistance, EnergyScore, IncrementWasserstein, SlicedWasserstein, score, score_members, score_samples
from surrogates.metrics.samples import for_members, for_samples, quantities_of

FLOW = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("dye"))
BOX = Box.periodic((8, 6), (1.0, 2.0), "m")
EVERY = {m.name: m for m in (*for_members(FLOW, BOX, 2), *for_samples(FLOW, BOX))}.values()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dataset(u: torch.Tensor, box: Box = BOX, first: float = 0.0) -> xr.Dataset:
    times = [first + 0.5 * n for n in range(u.shape[2])]
    return to_xarray(u, FLOW, box, time=times, trajectories=range(u.shape[0]), members=range(u.shape[1]), start=0.0)


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: m.name)
def test_the_laws_of_a_sample_metric(metric) -> None:
    """A version; leads and trajectories alone; no order of members; labels for every value; and a law is at its floor from itself."""
    assert metric.name.rpartition(".v")[2].isdigit()
    x, y = normal(3, 5, 2, 3, 8, 6), normal(3, 6, 2, 3, 8, 6, seed=1)
    whole = metric.value(metric.statistics(x, y, BOX))
    part = metric.value(metric.statistics(x[-1:, :, 1:], y[-1:, :, 1:], BOX))
    turned = metric.value(metric.statistics(x.flip(1), y.roll(2, 1), BOX))
    assert set(whole) == set(metric.quantities)
    coordinates = metric.coordinates(BOX)
    for name, value in whole.items():
        torch.testing.assert_close(part[name], value[-1:, 1:], rtol=1e-9, atol=1e-12, equal_nan=True)
        torch.testing.assert_close(turned[name], value, rtol=1e-9, atol=1e-12, equal_nan=True)
        dims = metric.quantities[name].dims
        assert value.ndim == 2 + len(dims) and value.dtype == torch.float64
        assert all(value.shape[2 + i] == len(coordinates[d][1]) for i, d in enumerate(dims) if d in coordinates)
    same = metric.value(metric.statistics(y, y, BOX))
    for name, value in same.items():
        if name + "_truth" in same:
            torch.testing.assert_close(value, same[name + "_truth"], equal_nan=True)
        elif name.endswith(("wasserstein_1", "wasserstein_2")):
            assert value.abs().max() < 1e-12


def test_members_are_aligned_by_trajectory_and_time() -> None:
    x, y = normal(3, 4, 3, 3, 8, 6), normal(3, 7, 5, 3, 8, 6, seed=1)
    forecast, truth = dataset(x, first=0.5), dataset(y).isel(trajectory=[2, 0, 1])
    scores = score_members(forecast, truth)
    by_hand = EnergyDistance(FLOW)
    exact = by_hand.value(by_hand.statistics(x, y[:, :, 1:4], BOX))["energy_distance"]
    torch.testing.assert_close(torch.from_numpy(scores["energy_distance"].values), exact)
    assert scores["energy_distance"].dims == ("trajectory", "lead_time", "field")
    assert scores["lead_time"].values.tolist() == [0.5, 1.0, 1.5]
    assert scores["energy_distance"].attrs["units"] == "m s-1, 1" and "E||X - Y||" in scores["energy_distance"].attrs["long_name"]
    assert scores["wavenumber"].attrs["units"] == "rad (m)-1"
    assert (scores.attrs["members"], scores.attrs["members_truth"]) == (4, 7)


def test_one_forecast_is_a_law_at_a_point() -> None:
    """Its energy distance is twice its energy score over one truth more: 2 E||x - Y|| - E||Y - Y'||."""
    y = normal(2, 5, 2, 3, 8, 6)
    truth, forecast = dataset(y, first=0.5), dataset(normal(2, 1, 2, 3, 8, 6, seed=1), first=0.5).isel(member=0, drop=True)
    found = score_members(forecast, truth)
    assert "variance_spectrum" not in found and bool(found["energy_distance_ratio"].isnull().all())
    near = [score(forecast, truth.isel(member=k, drop=True), [EnergyScore(FLOW)])["energy_score"] for k in range(5)]
    between = sum(near) / 5
    true = found["energy_distance_floor"] / (1 + 1 / 5)
    xr.testing.assert_allclose(found["energy_distance"], (2 * between - true).transpose(*found["energy_distance"].dims))


def test_samples_pool_trajectories_members_and_times() -> None:
    x, y = normal(2, 3, 4, 3, 8, 6), normal(5, 1, 6, 3, 8, 6, seed=1)
    one = score_samples(dataset(x), dataset(y).isel(member=0, drop=True))
    again = score_samples(dataset(x.reshape(24, 1, 1, 3, 8, 6)), dataset(y.reshape(1, 30, 1, 3, 8, 6)))
    xr.testing.assert_allclose(one, again)
    assert not set(one.sizes) & {"trajectory", "lead_time", "time", "member"}
    assert (one.attrs["members"], one.attrs["members_truth"]) == (24, 30)
    assert one["structure"].dims == ("channel", "separation", "order") and one["two_point"].dims == ("channel", "lag")


def test_equal_laws_of_states_are_at_their_floors() -> None:
    x, y = normal(1, 60, 1, 3, 8, 6), normal(1, 60, 1, 3, 8, 6, seed=1)
    found = score_samples(dataset(x), dataset(y))
    assert float(abs(found["energy_distance_ratio"] - 1).max()) < 0.1
    assert float(abs(found["energy_distance_relative"]).max()) < 0.01
    wrong = score_samples(dataset(1.5 * x), dataset(y))
    assert float(wrong["energy_distance_ratio"].min()) > 2


def test_failed_members_are_counted() -> None:
    x, y = normal(2, 4, 2, 3, 8, 6), normal(2, 5, 2, 3, 8, 6, seed=1)
    x[1, 2:, 1, 0, 0, 0] = torch.nan
    scores = score_members(dataset(x), dataset(y))
    assert scores["failed"].values.tolist() == [[0, 0], [0, 2]]
    assert scores["energy_distance"].isel(trajectory=1, lead_time=1).max() == torch.inf


def test_it_works_on_the_sphere_where_distances_are() -> None:
    sphere = Sphere((6, 12), "cells")
    x, y = normal(1, 4, 1, 3, *sphere.shape), normal(1, 5, 1, 3, *sphere.shape, seed=1)
    for metric in for_samples(FLOW, sphere):
        for value in metric.value(metric.statistics(x, y, sphere)).values():
            assert value.isfinite().all()
    assert len(for_samples(FLOW, sphere)) == 3


def test_what_does_not_meet_is_refused() -> None:
    x, y = dataset(normal(2, 4, 2, 3, 8, 6)), dataset(normal(2, 5, 2, 3, 8, 6, seed=1))
    with pytest.raises(ValueError, match="the truth has no dim 'member'"):
        score_members(x, y.isel(member=0, drop=True))
    other = dataset(normal(2, 5, 2, 3, 6, 6), Box.periodic((6, 6), (1.0, 2.0), "m"))
    for compare in (score_members, score_samples):
        with pytest.raises(ValueError, match="bring one to the grid of the other"):
            compare(x, other)
        with pytest.raises(ValueError, match="the truth is not finite"):
            compare(x, y.where(y["dye"] < 2))
    with pytest.raises(ValueError, match="two metrics yield 'increment_wasserstein_1'"):
        quantities_of([IncrementWasserstein(0), IncrementWasserstein(1)])


def test_directions_are_the_seed_s() -> None:
    x, y = normal(1, 4, 1, 3, 8, 6), normal(1, 5, 1, 3, 8, 6, seed=1)
    metrics = [SlicedWasserstein(FLOW, seed=s) for s in (0, 0, 1)]
    one, same, other = (m.value(m.statistics(x, y, BOX))["sliced_wasserstein_2"] for m in metrics)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_forecast_and_truth_are_left_as_they_are(world: SimpleNamespace) -> None:
    u = normal(1, 4, 1, 3, 8, 6)
    d, before = dataset(u), dataset(u.clone())
    score_samples(d, d)
    xr.testing.assert_identical(d, before)
