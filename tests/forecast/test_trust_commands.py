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

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.forecast import trust_commands
from surrogates.forecast.ranges import Ranges
from surrogates.forecast.trust import Trust
from surrogates.interchange import to_xarray
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
    return to_xarray(u[:, :, None].float(), U, BOX, time=t.tolist(), trajectories=range(rows), attrs={"split": split})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = Surrogate(U, BOX, 1.0, operator=Still())
    monkeypatch.setattr(trust_commands, "open_dataset", lambda name, split, size: data(split))
    monkeypatch.setattr(trust_commands, "load", lambda folder, device: model)
    return tmp_path


def test_it_measures_writes_and_says_what_it_found(folder: Path, capsys: Any) -> None:
    trust_commands.trust(str(folder), "any", frames=8, starts=3)
    found = Trust.read(folder)
    assert found.cases == 36 and found.climate == pytest.approx((1.0,), rel=0.05)
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
