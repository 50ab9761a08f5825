"""A sea with land: what lies in dry cells has no say in statistics, losses, scores or forecasts, from a file to a trained surrogate."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data import layout
from surrogates.data.module import DataModule
from surrogates.domains import Box, Masked
from surrogates.fields import Field, Fields
from surrogates.forecast import simulate
from surrogates.interchange import from_xarray, to_xarray
from surrogates.metrics import NRMSE, score
from surrogates.operators import FNO, UNet
from surrogates.train import Optimiser, Rollouts, Training
from surrogates.train.cli import main

FIELDS = Fields.of(Field("level", "m"), Field("current", "m s-1", ("x", "y")))
WET = torch.ones(12, 8, dtype=torch.bool)
WET[3:6, 2:5] = False
SEA = Masked(Box.periodic((12, 8), (3.0, 2.0), "m"), WET)


def sea(land: float, rows: int = 4, frames: int = 8) -> xr.Dataset:
    """Waves that pass by an island, on which the file holds `land`."""
    x, y = SEA.box.grid()
    t = torch.arange(frames, dtype=torch.float64) * 0.1
    p = torch.arange(rows, dtype=torch.float64)[:, None, None, None] * 1.3
    phase = 2 * math.pi * (x / 3 + y / 2 - 0.3 * t[:, None, None]) + p
    u = torch.stack([5 + phase.cos(), phase.sin(), 0.5 * phase.cos() + 0.2 * (2 * phase).sin()], 2).float()
    u[..., ~WET] = land
    return to_xarray(u, FIELDS, SEA, time=t.tolist(), trajectories=range(rows))


def module(land: float) -> DataModule:
    return DataModule({"train": sea(land), "valid": sea(land, 2)}, batch_size=4, validation=4)


def training(land: float, operator: type) -> Training:
    made = {"width": 6, "modes": (4, 3), "layers": 1} if operator is FNO else {"width": 8, "dim": 2, "multipliers": (1, 2), "blocks": 1}
    return Training(module(land), partial(operator, **made), optimiser=Optimiser(warmup=1), rollouts=Rollouts(1, leads=(2,)))


@pytest.mark.parametrize("operator", [FNO, UNet])
def test_land_has_no_say(operator: type) -> None:
    """NaN, zero or nonsense: the same statistics, loss, gradients, scores and forecast."""
    seen = []
    for land in (math.nan, 0.0, -1e6):
        made = training(land, operator)
        batch = next(iter(made.data.train_dataloader()))
        loss = made.loss(batch, 0)
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in made.weights if p.grad is not None])
        made.surrogate.eval()
        forecast = simulate(made.surrogate, made.data.truth("valid").isel(time=[0]), 3)
        nrmse = score(forecast, made.data.truth("valid"), [NRMSE(FIELDS)])["nrmse_field"]
        wet = from_xarray(forecast)[..., WET]
        with torch.no_grad():
            scores = made.scores()
        seen.append((made.surrogate.normaliser.state_std, loss, gradient, wet, torch.from_numpy(nrmse.values), scores))
    for other in seen[1:]:
        for a, b in zip(seen[0][:-1], other[:-1], strict=True):
            assert a.isfinite().all()
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        assert seen[0][-1] == pytest.approx(other[-1], rel=1e-4)


def test_what_a_network_makes_on_land_is_not_its_loss() -> None:
    made = training(math.nan, FNO)
    batch = next(iter(made.data.train_dataloader()))
    surrogate = made.surrogate
    before = made.loss(batch, 0)
    inner = surrogate.operator
    assert inner is not None

    class Noisy(torch.nn.Module):
        def forward(self, x: torch.Tensor, domain: object, embedding: object = None) -> torch.Tensor:
            assert bool((x[..., ~WET] == 0).all())  # networks see zeros there, whatever the normalisation
            y: torch.Tensor = inner(x, domain, embedding)
            return torch.where(WET, y, 1e9)

    surrogate.operator = Noisy()
    torch.testing.assert_close(made.loss(batch, 0), before)
    state = surrogate.begin(batch.past, batch.conditions)
    future, _ = surrogate(state, batch.conditions)
    assert bool((future[..., ~WET] == 0).all())


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_transforms_of_land_have_no_say(power: float) -> None:
    """ln 0 and the slope of a root at 0, which dry cells hold, reach neither losses nor gradients."""
    data = DataModule(
        {"train": sea(math.nan), "valid": sea(math.nan, 2)},
        batch_size=4,
        normalise={"transforms": {"level": {"class": "BoxCox", "power": power}, "current": "SignedPower"}},
    )
    made = Training(data, partial(UNet, width=8, dim=2, multipliers=(1, 2), blocks=1), optimiser=Optimiser(warmup=1))
    loss = made.loss(next(iter(data.train_dataloader())), 0)
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in made.surrogate.parameters())


def write(folder: Path) -> Path:
    for split, rows in (("train", 4), ("valid", 2)):
        path, data = folder / "data" / split / "sea.hdf5.part", sea(math.nan, rows)
        data["level"].values[0, 3, 0, 0] = np.nan  # a gap in the open sea
        layout.create_like(path, data.assign_attrs(gaps="NaN"), name="sea", attrs={"recipe": "{}", "version": "0", "seed": 0})
        part = layout.Part(path)
        values = np.stack([data[v].values for v in ("level", "current_x", "current_y")], 2)
        for n in range(rows):
            part.write(n, values[n])
        part.finish({"checksum": layout.checksum(path), "certificate": {}})
    return folder


CONFIG = """
data: {dataset: DATA, batch_size: 4, validation: 4, strides: [1, 2], prefetch: 1, crop: {size: [12, 6], halo: 1},
       normalise: {by: level, transforms: {level: {class: Log, eps: 1.0}}}, augment: [translate]}
model:
  operator: {class: UNet, width: 8, dim: 2, multipliers: [1, 2], blocks: 1}
  optimiser: {warmup: 2}
  rollouts: {trajectories: 1, leads: [2]}
trainer: {accelerator: cpu, log_every: 2, validate_every: 4, tensorboard: false, progress: false}
steps: 4
"""


def test_a_file_with_land_and_gaps_trains_from_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sea.yaml"
    file.write_text(CONFIG.replace("DATA", str(write(tmp_path / "sea"))).replace(", augment: [translate]", ""))
    run = main(["--config", str(file), "--out", str(tmp_path / "run")])
    assert run.surrogate.domain == SEA and run.surrogate.parameters_used == ("dt",)
    valid = run.log.rows["valid"][-1]
    assert math.isfinite(valid["loss"]) and math.isfinite(valid["nrmse_2"])
    card = (tmp_path / "run" / "card.md").read_text()
    assert "Log(m)" in card and "| current_x | m s-1 |" in card
    again = main(["--config", str(file), "--out", str(tmp_path / "run")])
    assert torch.equal(again.surrogate.normaliser.tendency_std, run.surrogate.normaliser.tendency_std)
    assert run.surrogate.normaliser.encode(torch.ones(1, 3, 12, 8)).shape == (1, 3, 12, 8)
    assert (tmp_path / "sea" / "cache").is_dir() and list((tmp_path / "sea" / "cache").glob("*.missing.npy"))
    file.write_text(CONFIG.replace("DATA", str(tmp_path / "sea")))
    with pytest.raises(ValueError, match="augment works on a Box or a Sphere"):
        main(["--config", str(file), "--out", str(tmp_path / "other")])
