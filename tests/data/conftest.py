"""A small data set in memory, and the same as files in The Well's layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data.layout import Part, checksum, create
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray

FIELDS = Fields.of(Field("velocity", components=("x", "y")), Field("tracer", "K"))
BOX = Box.periodic((6, 4), (3.0, 2.0))
DT = 0.25


def random_dataset(count: int = 5, frames: int = 9, first: int = 0) -> xr.Dataset:
    """Trajectories whose values tell (trajectory, time, channel, point) apart."""
    u = torch.randn(count, frames, 3, 6, 4, generator=torch.Generator().manual_seed(first))
    return to_xarray(
        u,
        FIELDS,
        BOX,
        time=[i * DT for i in range(frames)],
        trajectories=list(range(first, first + count)),
        parameters={"viscosity": [0.1 * (i + 1 + first) for i in range(count)], "drag": [0.5] * count},
    )


@pytest.fixture
def make_dataset() -> Callable[..., xr.Dataset]:
    return random_dataset


@pytest.fixture
def dataset() -> xr.Dataset:
    return random_dataset()


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a Dataset as one split; without `finish` the file stays unfinished."""

    def one(dataset: xr.Dataset, split: str = "train", rows: int | None = None, finish: bool = True) -> Path:
        path = tmp_path / "made" / "data" / split / "made.hdf5.part"
        ids = dataset["trajectory"].values.tolist()
        create(
            path,
            name="made",
            fields=FIELDS,
            box=BOX,
            times=dataset["time"].values.tolist(),
            trajectories=ids,
            parameters={n: dataset[n].values.tolist() for n in ("viscosity", "drag")},
            attrs={"recipe": "{}", "version": "0", "seed": 0, "dt": DT},
        )
        part = Part(path)
        u = np.stack([dataset[v].values for v in ("velocity_x", "velocity_y", "tracer")], 2)
        for row in range(len(ids) if rows is None else rows):
            part.write(row, u[row])
        if finish:
            path = part.finish(
                {"checksum": checksum(path), "certificate": {"scored_time": 1.0, "lyapunov_time": 2.0, "turnover_time": 3.0}}
            )
        return path

    return one
