"""`surrogates trust`: measured on validation, judged on test, written beside the surrogate; forecasts from several starts are joined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from forecast.steps import U
from torch import Tensor, nn

from surrogates import simulate
from surrogates.constraints import ConservedIntegral
from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast import commands, open_forecast, trust_commands
from surrogates.forecast.ranges import Ranges
from surrogates.forecast.trust import Trust
from surrogates.interchange import declare, to_xarray
from surrogates.surrogate import Surrogate

BOX = Box.periodic((8,), 2 * torch.pi)


class Still(nn.Module):
    """A guess that nothing changes."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        return 0 * x[:, -1:]


def data(split: str) -> xr.Dataset:
    """Waves that turn by a rate of their own: u = sqrt 2 sin(x + r t), so the error of standing still is 2 |sin(r t / 2)|."""
    rows = 12
    r = 0.1 + 0.2 * torch.rand(rows, 1, generator=torch.Generator().manual_seed(len(split)), dtype=torch.float64)
    t = torch.arange(20, dtype=torch.float64)
    (x,) = BOX.grid()
    u = 2**0.5 * (x + (r * t)[..., None]).sin()
    about = {"time": t.tolist(), "trajectories": range(rows), "about_time": {"units": "s"}, "attrs": {"split": split}}
    return to_xarray(u[:, :, None].float(), U, BOX, **about)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = Surrogate(U, BOX, 1.0, operator=Still(), constraint=ConservedIntegral(U, "u"))
    for module in (trust_commands, commands):
        monkeypatch.setattr(module, "open_dataset", lambda name, split, size: data(split))
        monkeypatch.setattr(module, "load", lambda folder, device: model)
    return tmp_path


def test_it_measures_writes_and_says_what_it_found(folder: Path, capsys: Any) -> None:
    trust_commands.trust(str(folder), "any", frames=8, starts=3)
    found = Trust.read(folder)
    assert found.units == "s" and found.cases == 36 and found.climate == pytest.approx((1.0,), rel=0.05)
    errors = 2 * np.abs(np.sin((0.1 + 0.2 * np.linspace(0, 1, 1001)) * np.array(found.leads)[:, None] / 2))
    np.testing.assert_allclose(np.array(found.confidence)[:, 0], (errors < 0.5).mean(1), atol=0.2)
    assert Ranges.read(folder).amplitude[0][0] == pytest.approx(1, rel=1e-3)
    stored = json.loads((folder / "reliability.json").read_text())
    assert stored["cases"] == 36 * 8 and stored["brier"] < stored["uncertainty"]
    text = capsys.readouterr().out
    assert "from 36 validation forecasts" in text and "288 test cases" in text


def test_starts_are_joined_on_one_clock() -> None:
    truths = trust_commands.parts(data("valid"), 2, 5, 3)
    assert [float(p["time"][0]) for p in truths] == [0.0, 6.0, 13.0]
    runs = [p.isel(time=slice(2, None)) for p in truths]
    forecast, truth = trust_commands.joined(runs, truths, 2)
    assert forecast.sizes["trajectory"] == 36 and forecast["time"].values.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert np.array_equal(forecast["u"].values, truth["u"].values)
    with pytest.raises(ValueError, match="ask for fewer"):
        trust_commands.parts(data("valid"), 2, 19, 1)


def test_what_was_measured_is_told_and_a_run_of_another_kind_has_no_horizon(folder: Path, capsys: Any) -> None:
    trust_commands.trust(str(folder), "any", frames=8, starts=3, level=0.5)
    found = Trust.read(folder)
    assert (found.laws, found.deterministic, found.members) == (("ConservedIntegral-u",), False, 1)

    def told(name: str, **options: Any) -> str:
        capsys.readouterr()
        commands.rollout(str(folder), options.pop("dataset", "any"), frames=2, out=str(folder / name), anyway=True, **options)
        return str(capsys.readouterr().out).splitlines()[-1]

    assert told("a.zarr").startswith("to be trusted until lead time 2 s (")
    assert told("b.zarr", members=2) == "no horizon: trust was measured with 1 member but this run had 2"
    laws = "no horizon: trust was measured under the laws ConservedIntegral-u but this run was under no laws"
    assert told("c.zarr", constraints="none") == laws
    assert told("d.zarr", deterministic=True).startswith("to be trusted until lead time 2 s (")  # it draws nothing anyhow
    for before, after in zip("aefg", "efgh", strict=True):
        last = told(f"{after}.zarr", dataset=str(folder / f"{before}.zarr"))
    assert open_forecast(folder / "h.zarr")["lead_time"].values.tolist() == [9.0, 10.0]
    assert last.startswith("to be trusted at none of its lead times (")  # 8 were measured


def test_kinds_of_runs_are_told_apart_as_far_as_they_are_known() -> None:
    old = Trust((1.0,), (1.0,), (), ((0.9,),), 10)
    assert old.differs(("A",), True, 3) == ""
    spread = Trust((1.0,), (1.0,), (0.1,), ((0.9, 0.8),), 10)
    assert spread.differs((), False, 1) == "trust was measured by the spread of members but this run had none" and not spread.differs(
        (), False, 2
    )
    noisy = Trust((1.0,), (1.0,), (), ((0.9,),), 10, laws=("A", "B"), deterministic=False, members=4)
    assert noisy.differs(("B", "A"), False, 4) == ""
    assert noisy.differs(("A", "B"), True, 4) == "trust was measured with noise but this run was without noise"
    assert "with 4 members but this run had 1" in noisy.differs(("A",), False, 1)


def test_a_trust_that_does_not_fit_costs_no_forecast(folder: Path, capsys: Any) -> None:
    Trust((1.0, 1.0), (1.0,), (0.1,), ((0.9, 0.8),), 10, units="s").write(folder)
    commands.rollout(str(folder), "any", frames=2, members=2, out=str(folder / "a.zarr"))
    assert "no horizon: the climate has 2 deviations" in capsys.readouterr().out


def test_empty_bins_are_null(tmp_path: Path) -> None:
    measured = xr.Dataset({"observed": ("bin", [0.5, np.nan])}, attrs={"cases": 3})
    text = trust_commands.write_reliability(measured, tmp_path).read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"observed": [0.5, None], "cases": 3}


def test_forcings_of_a_continued_forecast_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def spy(*args: Any, **options: Any) -> xr.Dataset:
        seen.append(options["surroundings"])
        return made(*args, **options)

    made = simulate
    monkeypatch.setattr(commands, "simulate", spy)
    sun = declare(data("test").assign(sun=("time", np.ones(20), {"units": "1"})), forcings=Fields.of(Field("sun")))
    monkeypatch.setattr(commands, "open_dataset", lambda name, split, size: sun if name == "sunny" else data(split))
    first = str(folder / "a.zarr")
    commands.rollout(str(folder), "any", frames=2, out=first)
    commands.rollout(str(folder), first, frames=2, out=str(folder / "b.zarr"))
    commands.rollout(str(folder), first, frames=2, out=str(folder / "c.zarr"), surroundings="sunny")
    assert seen[:2] == [None, None] and seen[2].of_time["forcing"].names == ("sun",)
    with pytest.raises(ValueError, match="declares neither forcings nor static fields"):
        commands.rollout(str(folder), first, frames=2, out=str(folder / "d.zarr"), surroundings="any")
