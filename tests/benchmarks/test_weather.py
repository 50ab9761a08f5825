"""Verification of weather: scores with known answers, and the whole command on a tiny data set, resumed."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

HERE = Path(__file__).parents[2] / "benchmarks" / "weather"
sys.path[:0] = [str(HERE)]

import climate  # noqa: E402
import verify  # noqa: E402
import weather  # noqa: E402
import weather_sheet  # noqa: E402

from surrogates.bench.environment import environment  # noqa: E402
from surrogates.contracts import Conditions  # noqa: E402
from surrogates.domains import Masked, Patch, Sphere  # noqa: E402
from surrogates.fields import Field, Fields  # noqa: E402
from surrogates.interchange import to_xarray  # noqa: E402

FIELDS = Fields.of(Field("height"), Field("wind", components=("north", "east")))
SPHERE = Sphere((8, 16))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_scores_with_known_answers() -> None:
    truth, climate = random(5, 3, 3, 8, 16), random(3, 8, 16, seed=1)
    perfect = verify.verify(truth, truth, climate, SPHERE, FIELDS)
    assert max(perfect["rmse"]["wind"]) == 0 and min(perfect["acc"]["height"]) == pytest.approx(1.0)
    shifted = verify.verify(truth + 2.0, truth, climate, SPHERE, FIELDS)
    assert shifted["rmse"]["height"] == pytest.approx([2.0] * 3) and shifted["rmse"]["wind"] == pytest.approx([math.sqrt(8.0)] * 3)
    against = verify.verify(2 * climate - truth, truth, climate, SPHERE, FIELDS)
    assert against["acc"]["wind"] == pytest.approx([-1.0] * 3)
    amplified = verify.verify(climate + 0.1 * (truth - climate), truth, climate, SPHERE, FIELDS)
    assert amplified["acc"]["height"] == pytest.approx([1.0] * 3)
    nothing = verify.verify(climate.expand(5, 3, 3, 8, 16), truth, climate, SPHERE, FIELDS)
    assert nothing["acc"]["height"] == [0.0] * 3 and nothing["rmse"]["height"][0] > 1


def test_the_mean_is_by_area_and_before_the_root() -> None:
    truth = torch.zeros(2, 1, 1, 8, 16)
    made = truth.clone()
    made[0, 0, 0, 0] = 3.0
    made[1, 0, 0, 4] = 1.0
    found = verify.verify(made, truth, torch.zeros(1, 8, 16), SPHERE, Fields.of(Field("t")))["rmse"]["t"][0]
    share = SPHERE.measure.sum(1) / SPHERE.area
    assert found == pytest.approx(math.sqrt((9 * float(share[0]) + float(share[4])) / 2))


def test_land_does_not_count_and_what_blows_up_has_failed() -> None:
    wet = torch.ones(4, 6, dtype=torch.bool)
    wet[1:3, 2:4] = False
    sea = Masked(Patch((4, 6), 30.0, 50.0, 0.0, 30.0), wet)
    truth, fields = random(3, 2, 1, 4, 6), Fields.of(Field("t"))
    made = torch.where(wet, truth + 1.0, torch.nan)
    assert verify.verify(made, truth, torch.zeros(1, 4, 6), sea, fields)["rmse"]["t"] == pytest.approx([1.0, 1.0])
    made[1, 1, 0, 0, 0] = torch.inf
    found = verify.verify(made, truth, torch.zeros(1, 4, 6), sea, fields)
    assert found["rmse"]["t"] == [pytest.approx(1.0), math.inf] and found["acc"]["t"][1] < found["acc"]["t"][0]


def test_climatology_leaves_out_frames_that_are_missing() -> None:
    frames = random(1, 4, 1, 8, 16)
    frames[0, 2] = torch.nan
    torch.testing.assert_close(verify.climatology(frames, SPHERE), frames[:, [0, 1, 3]].double().mean((0, 1)))
    with pytest.raises(ValueError, match="no climatology"):
        verify.climatology(frames[:, 2:3], SPHERE)


def test_the_daily_cycle_is_no_anomaly() -> None:
    """Frames of a cycle and some noise: the forecast that only knows the cycle is without skill by hour, and skilful against one mean."""
    hours, noise = torch.arange(40, dtype=torch.float64) * 6, 0.1 * random(1, 40, 3, 8, 16).double()
    cycle = 10 * torch.sin(2 * math.pi * (hours - 5) / 24)[:, None, None, None] * torch.ones(3, 8, 16)
    made = to_xarray((cycle + noise).float(), FIELDS, SPHERE, time=hours.tolist(), trajectories=[0])
    dated = made.assign_coords(time=("time", hours.numpy(), {"units": "hours since 1996-01-01 05:00", "calendar": "standard"}))
    by_hour, flat = (climate.Climate.of(dated, SPHERE, by_hour=b) for b in (True, False))
    assert sorted(by_hour.means) == [300, 660, 1020, 1380] and len(flat.means) == 1
    times = torch.tensor([[960.0, 966.0], [984.0, 990.0]], dtype=torch.float64)  # 40 and 41 days later
    torch.testing.assert_close(by_hour.at(times), torch.stack([by_hour.means[m] for m in (300, 660)]).expand(2, 2, 3, 8, 16))
    torch.testing.assert_close(by_hour.at(hours[:4]), cycle[:4].double(), atol=0.15, rtol=0)
    truth = (cycle[:8] + noise[0, :8]).reshape(4, 2, 3, 8, 16)
    knows = cycle[:8].reshape(4, 2, 3, 8, 16) + 0.1 * random(4, 2, 3, 8, 16, seed=5)
    found, naive = (verify.verify(knows, truth, c.at(hours[:8].reshape(4, 2)), SPHERE, FIELDS)["acc"]["height"][0] for c in (by_hour, flat))
    assert naive > 0.95 and abs(found) < 0.3
    step = climate.ByClimate(FIELDS, by_hour)
    where = Conditions(SPHERE, hours[:2], torch.full((2,), 6.0).double(), torch.zeros(2, 0))
    said, _ = step(step.begin(random(2, 1, 3, 8, 16), where), where)
    torch.testing.assert_close(said[:, 0].double(), by_hour.at(hours[1:3]), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"no training frame is at \['06:00'\]"):
        by_hour.at(torch.tensor([1.0], dtype=torch.float64))
    with pytest.raises(ValueError, match="have no hour of the day"):
        climate.Climate.of(made, SPHERE, by_hour=True)


def test_scores_are_kept_by_the_code_that_judges_and_say_where_they_are_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another verify.py a score is taken again; a kept one stands under its own commit, not that of today."""
    windows = SimpleNamespace(checksum="c", domain=SPHERE, fields=FIELDS)
    entry = {"data": {"dataset": "x", "size": "s"}, "leads": 2, "seeds": [0], "train": {"steps": 1}}
    task = SimpleNamespace(
        name="t", entry=entry, out=tmp_path, windows=windows, climate=climate.Climate({-1: random(3, 8, 16).double()}, {})
    )
    truth, times, taken = random(4, 2, 3, 8, 16), torch.zeros(4, 2, dtype=torch.float64), []
    monkeypatch.setattr(weather, "forecast", lambda *_: taken.append(1) or (truth + 1, truth, times, 0.1))
    here = environment()
    rows = {}
    for commit, label in (("aaaa", "persistence"), ("bbbb", "persistence"), ("bbbb", "climatology")):
        monkeypatch.setattr(weather, "environment", lambda commit=commit: {**here, "commit": commit})
        rows[label] = weather.scored(task, label, None)
    assert len(taken) == 2 and rows["persistence"]["commit"] == "aaaa" and rows["climatology"]["commit"] == "bbbb"
    told = weather_sheet._said(SimpleNamespace(windows=range(4), entry=entry), rows)
    assert "persistence: " in told and told.index("aaaa") < told.index("climatology: ") < told.index("bbbb")
    for name in weather.JUDGES:
        (tmp_path / name).write_bytes((HERE / name).read_bytes())
    monkeypatch.setattr(weather, "HERE", tmp_path)
    weather.scored(task, "persistence", None)
    assert len(taken) == 2
    (tmp_path / "verify.py").write_text((tmp_path / "verify.py").read_text().replace("1e-9", "1e-8"))
    assert weather.scored(task, "persistence", None)["commit"] == "bbbb" and len(taken) == 3


def test_suites_that_are_wrong_say_where(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"a": {"data": {}, "leads": 1, "seeds": [0], "train": {}, "laeds": 2}}))
    with pytest.raises(ValueError, match="laeds"):
        weather.tasks(suite, None, None, tmp_path)
    with pytest.raises(ValueError, match=r"no task 'b'; it has \['a'\]"):
        weather.tasks(suite, ["b"], None, tmp_path)
    suite.write_text(yaml.safe_dump({"a": {"data": {}, "leads": 1, "seeds": [0], "train": {}, "climatology": "monthly"}}))
    with pytest.raises(ValueError, match="a: climatology is 'monthly'; write 'by hour'"):
        weather.tasks(suite, None, None, tmp_path)
    assert {t.name for t in weather.tasks(HERE / "weather.yaml", None, [3], tmp_path)} == {"storm", "sphere"}


@pytest.mark.slow
def test_one_command_from_nothing_to_the_picture_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path / "data"))
    entry = yaml.safe_load((HERE / "weather.yaml").read_text())["sphere"]
    entry["data"]["size"] = "tiny"
    entry |= {"leads": 3, "seeds": [0], "solvers": {"solver": {"class": "ShallowWater", "resolution": [16, 32], "max_dt": 3600}}}
    entry["train"] = {
        "data": {"batch_size": 4},
        "model": {"operator": {"class": "SphericalFNO", "width": 4, "degrees": 5, "layers": 1}},
        "steps": 3,
    }
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"sphere": entry}))
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["weather.py", "--suite", str(suite), "--out", str(tmp_path / "out")])
        assert weather.main() == 0
        monkeypatch.setattr(weather, "forecast", lambda *_: pytest.fail("scored again under the same settings"))
    told = json.loads((tmp_path / "out/sphere.json").read_text())
    assert set(told["rows"]) == {"persistence", "climatology", "solver", "surrogate 0"} and told["lead hours"] == [6.0, 12.0, 18.0]
    assert told["rows"]["solver"]["rmse"]["height"][0] < told["rows"]["persistence"]["rmse"]["height"][0]
    assert (tmp_path / "out/sphere.png").stat().st_size > 10_000 and "| surrogate |" in (tmp_path / "out/sphere.md").read_text()
