"""A problem small enough to train on in a second: waves carried round a circle, u(x, t) = sum_k a_k cos(k (x - c t) + p_k)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr

from surrogates.data.layout import Part, checksum, create
from surrogates.data.module import DataModule
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import domain_of, from_xarray, to_xarray
from surrogates.operators import FNO
from surrogates.train import Optimiser, Rollouts, Settings, Training

FIELDS = Fields.of(Field("u"))


def waves(count: int = 10, frames: int = 24, points: int = 16, dt: float = 0.1, units: float = 1.0) -> xr.Dataset:
    """Trajectories whose speed is a parameter."""
    box = Box.periodic((points,), 2 * math.pi)
    generator = torch.Generator().manual_seed(1)
    a, p = (torch.rand(count, 1, 1, 3, generator=generator, dtype=torch.float64) * s for s in (2.0, 2 * math.pi))
    speed = 0.8 + 0.4 * torch.rand(count, generator=generator, dtype=torch.float64)
    t, k = torch.arange(frames, dtype=torch.float64) * dt, torch.arange(1, 4)
    phase = box.coordinate(0)[None, None, :, None] - (speed[:, None] * t)[:, :, None, None]
    u = units * (a * torch.cos(k * phase + p)).sum(-1)
    return to_xarray(
        u[:, :, None].float(),
        FIELDS,
        box,
        time=t.tolist(),
        trajectories=range(count),
        parameters={"speed": speed.tolist()},
        attrs={"dataset": "waves"},
    )


@pytest.fixture
def data() -> Callable[..., DataModule]:
    """A data module over the waves, in memory."""
    return lambda **changed: DataModule(waves(), **{"batch_size": 8, "validation": 16, **changed})


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The waves as files: a folder with data/<split>/waves.hdf5."""
    root, u = tmp_path_factory.mktemp("waves"), waves()
    for split, rows in {"train": slice(0, 8), "valid": slice(8, 10)}.items():
        part = u.isel(trajectory=rows)
        path = root / "data" / split / "waves.hdf5.part"
        ids, speeds = part["trajectory"].values.tolist(), {"speed": part["speed"].values.tolist()}
        attrs = {"name": "waves", "dt": 0.1, "version": "0", "recipe": "{}", "seed": 7}
        create(
            path,
            name="waves",
            fields=FIELDS,
            box=domain_of(u),
            times=u["time"].values.tolist(),
            trajectories=ids,
            parameters=speeds,
            attrs=attrs,
        )
        file = Part(path)
        for row, values in enumerate(from_xarray(part).numpy()):
            file.write(row, values)
        file.finish({"checksum": checksum(path), "certificate": {}})
    return root


@pytest.fixture
def settings() -> Settings:
    return Settings(accelerator="cpu", log_every=4, validate_every=10, checkpoint_every=5, tensorboard=False, progress=False)


@pytest.fixture
def training(data: Callable[..., DataModule]) -> Callable[..., Training]:
    """A small Training; arguments change it, those of the data module under `data`."""

    def make(**changed: Any) -> Training:
        small = {
            "operator": partial(FNO, width=8, modes=(5,), layers=2),
            "optimiser": Optimiser(lr=5e-3, warmup=5, ema=0.9),
            "rollouts": Rollouts(trajectories=1, members=2, leads=(2, 4)),
        }
        module = changed.pop("data", {})
        return Training(module if isinstance(module, DataModule) else data(**module), **{**small, **changed})

    return make
