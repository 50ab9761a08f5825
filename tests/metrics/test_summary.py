"""Times to a threshold, paired intervals and the spread-skill curve."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from surrogates.metrics import Correlation, SpreadSkill, in_units_of, paired_bootstrap, score, spread_skill_curve, time_above, time_below


def curve(*rows: list[float], leads: list[float] | None = None) -> xr.DataArray:
    values = np.array(rows, dtype=float)
    return xr.DataArray(values, {"lead_time": leads or [float(n + 1) for n in range(values.shape[1])]}, dims=("trajectory", "lead_time"))


def test_crossings_are_linear_between_leads() -> None:
    found = time_above(curve([0.1, 0.3, 0.7], [0.5, 0.6, 0.7], [0.1, 0.2, 0.3]), 0.4)
    np.testing.assert_allclose(found["time"], [2.25, 0.8, 3.0])  # the second from 0 at lead 0
    assert found["censored"].values.tolist() == [False, False, True]


def test_only_the_first_crossing_counts() -> None:
    assert time_below(curve([0.9, 0.7, 0.9, 0.1]), 0.8)["time"].item() == pytest.approx(1.5)


def test_below_mirrors_above() -> None:
    c = curve([0.9, 0.85, 0.2])
    assert time_below(c, 0.8)["time"].item() == time_above(1 - c, 1 - 0.8)["time"].item()


def test_a_threshold_that_is_a_curve() -> None:
    """2 t crosses 3 + t at t = 3, whichever leads it is seen at."""
    leads = [0.5, 2.0, 5.0]
    c = curve([2 * t for t in leads], leads=leads)
    threshold = xr.DataArray([3 + t for t in leads], {"lead_time": leads}, dims="lead_time")
    assert time_above(c, threshold)["time"].item() == pytest.approx(3)


def test_a_lead_of_zero_needs_no_anchor() -> None:
    found = time_above(curve([0.5, 1.0], leads=[0.0, 1.0]), 0.4, start=-100.0)
    assert found["time"].item() == 0 and not found["censored"].item()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_failure_is_a_crossing_at_the_last_good_lead(bad: float) -> None:
    found = time_above(curve([0.1, 0.2, bad]), 0.4)
    assert found["time"].item() == 2 and not found["censored"].item()
    assert time_above(curve([bad, 0.1, 0.1]), 0.4)["time"].item() == 0


def test_a_curve_needs_leads() -> None:
    with pytest.raises(ValueError, match="lead_time"):
        time_above(xr.DataArray([1.0], dims="time"), 0.5)
    with pytest.raises(ValueError, match="at least one lead"):
        time_above(curve([0.1]).isel(lead_time=[]), 0.5)


def normal(n: int, seed: int) -> xr.DataArray:
    return xr.DataArray(np.random.default_rng(seed).normal(size=n), {"trajectory": np.arange(n)}, dims="trajectory")


def test_intervals_agree_with_scipy() -> None:
    a, b = normal(40, 0), normal(40, 1)
    found = paired_bootstrap(a, b)
    theirs = stats.bootstrap((a.values - b.values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(2))
    assert found["difference"].item() == pytest.approx((a - b).mean().item())
    np.testing.assert_allclose([found["lower"], found["upper"]], theirs.confidence_interval, atol=0.02)


def test_pairing_removes_what_both_models_share() -> None:
    """The interval of (x + e) - x has the width of e, however much x varies."""
    x, e = 100 * normal(40, 0), normal(40, 1)
    width = [float(d["upper"] - d["lower"]) for d in (paired_bootstrap(x + e, x), paired_bootstrap(e, 0 * e))]
    assert width[0] == pytest.approx(width[1])


def test_the_interval_covers_as_often_as_it_says() -> None:
    """200 experiments of 25 pairs with mean difference .3: a percentile interval of 90 % covers in 80-95 % of them."""
    hits = 0
    for seed in range(200):
        found = paired_bootstrap(normal(25, seed) + 0.3, 0 * normal(25, seed), resamples=300, level=0.9)
        hits += bool(found["lower"] <= 0.3 <= found["upper"])
    assert 160 <= hits <= 190


def test_pairs_are_matched_by_trajectory_and_other_dims_kept() -> None:
    a = xr.DataArray(np.arange(8.0).reshape(4, 2), {"trajectory": [0, 1, 2, 3], "field": ["u", "v"]}, dims=("trajectory", "field"))
    found = paired_bootstrap(a.isel(trajectory=[3, 1, 0, 2]), a - 1, np.median)
    assert found["difference"].values.tolist() == [1, 1] and found["lower"].values.tolist() == [1, 1]
    assert found.attrs["trajectories"] == 4
    with pytest.raises(ValueError, match="same trajectories"):
        paired_bootstrap(a, a.isel(trajectory=[0, 1]))


def test_lyapunov_units(scores: xr.Dataset) -> None:
    np.testing.assert_allclose(in_units_of(scores["high_correlation_time"], scores), scores["high_correlation_time"] / 0.5)
    with pytest.raises(ValueError, match="lyapunov_time"):
        in_units_of(scores["high_correlation_time"], scores.drop_attrs())


def test_spread_skill_of_a_calibrated_ensemble_is_one_while_it_correlates(world: SimpleNamespace) -> None:
    """Truth and 16 members scatter about a common centre by .3 until lead 1, then by 3: the curve stops there and is one before."""
    generator = torch.Generator().manual_seed(1)
    scatter = torch.tensor([0.3] * 5 + [3.0] * 3)[:, None, None, None]
    truth = world.y.clone()
    centre = truth[:, 1:].clone()
    truth[:, 1:] += scatter * torch.randn(centre.shape, generator=generator)
    members = centre[:, None] + scatter * torch.randn(3, 16, *centre.shape[1:], generator=generator)
    found = spread_skill_curve(score(world.forecast(members), world.truth(truth), [SpreadSkill(), Correlation(world.fields)]))
    assert found.dims == ("lead_time", "field") and found["field"].values.tolist() == ["velocity", "dye"]
    np.testing.assert_allclose(found["lead_time"], [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(found, 1, atol=0.2)  # 288 or 144 points: standard errors .04 and .06
    np.testing.assert_allclose(found.mean("lead_time"), 1, atol=0.08)


def test_spread_skill_averages_squares_over_trajectories(scores: xr.Dataset) -> None:
    s2, e2 = ((scores[n].sel(channel=["velocity_x", "velocity_y"]) ** 2).mean("trajectory").sum("channel") for n in ("spread", "skill"))
    found = spread_skill_curve(scores).sel(field="velocity")
    np.testing.assert_allclose(found, ((9 / 8 * s2 / e2) ** 0.5).isel(lead_time=slice(0, found.sizes["lead_time"])))


def test_spread_skill_needs_an_ensemble(scores: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="hold no 'spread'"):
        spread_skill_curve(scores.drop_vars("spread"))
