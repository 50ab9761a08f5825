"""Confidence is the frequency with which forecasts of a known law held, comes true on others of it, and ends where nothing was measured."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from forecast.steps import U

from surrogates.domains import Box
from surrogates.forecast.reliability import reliability
from surrogates.forecast.trust import Trust, errors, spreads
from surrogates.interchange import to_xarray

BOX, DT, LEADS = Box.periodic((8,), 2 * math.pi), 0.5, 12
WAVE = math.sqrt(2) * BOX.grid()[0].sin()


def forecasts(rows: int, seed: int, *, split: str = "valid", by_spread: bool = True, units: str = "1") -> tuple[xr.Dataset, xr.Dataset]:
    """Truth 0; the mean of two members is off by r lead * WAVE, r uniform on (0, .2) a row; its members stand r lead about it.

    So the error stays below 1/2 until lead 1/(2r): P(held at lead t) = min(1, 1/(.4 t)), or a step function of the spread.
    """
    r = torch.rand(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.2
    lead = DT * torch.arange(1, LEADS + 1, dtype=torch.float64)
    mean = (r[:, None] * lead)[:, None, :, None, None] * WAVE
    apart = mean if by_spread else 0.1 * WAVE.expand_as(mean)
    u = torch.cat([mean + apart / math.sqrt(2), mean - apart / math.sqrt(2)], 1)
    common = {"time": lead.tolist(), "trajectories": list(range(rows)), "about_time": {"units": units}}
    forecast = to_xarray(u.float(), U, BOX, members=range(2), start=0.0, **common)
    truth = to_xarray(torch.zeros(rows, LEADS, 1, 8), U, BOX, start=0.0, attrs={"split": split}, **common)
    return forecast, truth


def chance(lead: np.ndarray) -> np.ndarray:
    return np.minimum(1, 1 / (0.4 * lead))


def test_errors_and_spreads_are_those_of_the_law() -> None:
    forecast, truth = forecasts(5, 0)
    np.testing.assert_allclose(spreads(forecast, [1.0]), errors(forecast, truth, [1.0]), rtol=1e-5)
    np.testing.assert_allclose(errors(forecast, truth, [2.0]), errors(forecast, truth, [1.0]) / 2, rtol=1e-6)
    assert (np.diff(errors(forecast, truth, [1.0])) >= 0).all()


def test_confidence_in_lead_is_the_frequency_and_valid_lead_is_where_it_falls() -> None:
    forecast, truth = forecasts(400, 1)
    trust = Trust.fit(forecast, truth, [1.0], bins=1, level=0.8)
    confidence = np.array(trust.confidence)[:, 0]
    assert (np.diff(confidence) <= 0).all()
    np.testing.assert_allclose(confidence, chance(np.array(trust.leads)), atol=0.08)
    applied = trust.apply(forecast)
    assert set(applied["valid_lead"].values) == {3.0}  # 1/(.4 t) = .8 at 3.125
    assert applied["confidence"].dims == ("trajectory", "time") and "valid_lead" in applied.coords


def test_the_spread_tells_which_forecasts_last() -> None:
    """Here it is the error itself, so confidence given spread is nearly 0 or 1, and the score much better than by lead alone."""
    forecast, truth = forecasts(400, 1)
    other = forecasts(300, 2, split="test")
    by_lead, by_spread = (Trust.fit(forecast, truth, [1.0], bins=b) for b in (1, 8))
    one, two = by_lead.reliability(*other), by_spread.reliability(*other)
    assert float(two["brier"]) < 0.5 * float(one["brier"]) and float(two["brier_skill"]) > 0.7
    for found in (one, two):
        assert float(found["reliability"]) < 0.01
    valid = by_spread.apply(other[0])["valid_lead"].values
    assert np.corrcoef(valid, spreads(other[0], [1.0])[:, 0])[0, 1] < -0.7


def test_a_spread_that_tells_nothing_changes_nothing() -> None:
    forecast, truth = forecasts(400, 1, by_spread=False)
    by_lead, by_spread = (Trust.fit(forecast, truth, [1.0], bins=b) for b in (1, 4))
    np.testing.assert_allclose(by_spread.of(forecast).values, by_lead.of(forecast).values, atol=0.02)


def test_overconfidence_shows_in_the_reliability() -> None:
    forecast, truth = forecasts(400, 1)
    trust = Trust.fit(forecast, truth, [1.0], bins=1)
    worse = forecast.copy(data={"u": 2 * forecast["u"].values})
    found = trust.reliability(worse, truth)
    assert float(found["reliability"]) > 0.03
    used = found["count"] > 0
    assert float((found["probability"] - found["frequency"])[used].mean()) > 0.1


def test_a_failed_forecast_and_a_lead_beyond_what_was_measured_have_no_confidence() -> None:
    forecast, truth = forecasts(50, 3)
    trust = Trust.fit(forecast.isel(time=slice(6)), truth.isel(time=slice(6)), [1.0])
    broken = forecast.copy(deep=True)
    broken["u"].values[0, 1, 2:] = np.nan
    confidence = trust.of(broken).values
    assert not confidence[:, 6:].any() and not confidence[0, 2:].any() and confidence[0, 1] > 0
    assert float(trust.apply(broken)["valid_lead"][0]) <= 1.0
    failed = Trust.fit(broken.isel(trajectory=[0, 0]), truth.isel(trajectory=[0, 0]), [1.0], bins=1)
    assert failed.confidence[2][0] == pytest.approx(0.0, abs=0.34)


def test_leads_are_compared_in_their_unit(tmp_path: Path) -> None:
    trust = Trust.fit(*forecasts(20, 4, units="hours since 2000-01-01"), [1.0], bins=1)
    assert trust.units == "hours"
    trust.write(tmp_path)
    assert Trust.read(tmp_path) == trust
    hours, minutes = (forecasts(3, 5, units=f"{unit} since 1996-01-01")[0] for unit in ("hours", "minutes"))
    sixty = minutes.assign_coords(lead_time=minutes["lead_time"] * 60)
    sixty["lead_time"].attrs = minutes["lead_time"].attrs
    np.testing.assert_allclose(trust.of(sixty).values, trust.of(hours).values, atol=1e-12)
    for unit in ("s", "1"):
        with pytest.raises(ValueError, match=f"measured at leads in 'hours' but those of this forecast are in '{unit}'; measure"):
            trust.apply(forecasts(3, 5, units=unit)[0])


def test_a_file_from_before_units_were_kept_is_of_leads_without_one(tmp_path: Path) -> None:
    path = Trust.fit(*forecasts(20, 4), [1.0]).write(tmp_path)
    entry = json.loads(path.read_text())
    del entry["arguments"]["units"]
    path.write_text(json.dumps(entry))
    old = Trust.read(tmp_path)
    assert old.units == "1" and float(old.of(forecasts(3, 5)[0]).max()) > 0
    with pytest.raises(ValueError, match="measured at leads in '1' but those of this forecast are in 's'"):
        old.of(forecasts(3, 5, units="s")[0])


def test_between_leads_it_is_interpolated_from_one_at_the_start() -> None:
    trust = Trust((1.0,), (1.0, 2.0), (), ((0.9,), (0.5,)), 10)
    (x,) = BOX.grid()
    u = x.sin().float().expand(1, 4, 1, 8)
    forecast = to_xarray(u, U, BOX, time=[0.5, 1.0, 1.5, 2.5], trajectories=[0], start=0.0)
    np.testing.assert_allclose(trust.of(forecast).values, [[0.95, 0.9, 0.7, 0.0]], atol=1e-12)
    one = trust.apply(forecast.isel(trajectory=0))
    assert float(one["valid_lead"]) == 1.0 and one["confidence"].dims == ("time",)


def test_it_is_written_beside_a_surrogate_and_read_again(tmp_path: Path) -> None:
    trust = Trust.fit(*forecasts(20, 4), [1.0])
    trust.write(tmp_path)
    assert Trust.read(tmp_path) == trust
    with pytest.raises(FileNotFoundError, match="nothing was measured yet"):
        Trust.read(tmp_path / "no")


def test_brier_is_the_sum_of_its_parts_and_bad_input_is_named() -> None:
    p = np.repeat([0.05, 0.45, 0.95], [40, 30, 30])
    o = np.random.default_rng(0).random(100) < 0.5
    found = reliability(p, o)
    assert float(found["brier"]) == pytest.approx(float(found["reliability"] - found["resolution"] + found["uncertainty"]))
    assert found["count"].values[[0, 4, 9]].tolist() == [40, 30, 30]
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        reliability(np.array([1.2]), np.array([True]))
    with pytest.raises(ValueError, match="training split would be too high"):
        Trust.fit(*forecasts(3, 0, split="train"), [1.0])
    with pytest.raises(ValueError, match="two trajectories at least"):
        Trust.fit(*forecasts(1, 0), [1.0])
    with pytest.raises(ValueError, match="give one a channel"):
        Trust.fit(*forecasts(3, 0), [1.0, 2.0])
    with pytest.raises(ValueError, match="the forecast has no members"):
        Trust.fit(*forecasts(20, 0), [1.0]).of(forecasts(3, 0)[0].isel(member=0))
    with pytest.raises(ValueError, match="2 rows of 1 numbers"):
        Trust((1.0,), (1.0, 2.0), (), ((0.9,),), 10)
