"""A small data set of travelling waves, and an autoencoder of it."""

from __future__ import annotations

import math

import pytest
import torch
import xarray as xr

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray
from surrogates.latent import Autoencoder
from surrogates.normalise import Normaliser
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute

FIELDS = Fields.of(Field("u", "m s-1"), Field("c", "kg m-3"))
LINE = Box.periodic((32,), 2.0)
DT = 0.1


def waves(split: str, first: int, count: int, frames: int = 9) -> xr.Dataset:
    """Two fields of three waves that move at their own speeds; one row a trajectory."""
    g = torch.Generator().manual_seed(first)
    x, t = LINE.coordinate(0) * math.pi, torch.arange(frames) * DT
    k = torch.arange(1, 4)
    amplitude, phase = torch.rand(count, 2, 3, generator=g), 2 * math.pi * torch.rand(count, 2, 3, generator=g)
    angle = k[:, None] * (x - t[:, None, None, None] * 2) + phase[:, None, ..., None]
    u = (amplitude[:, None, ..., None] * angle.sin()).sum(3) * torch.tensor([2.0, 0.1])[:, None] + torch.tensor([0.0, 5.0])[:, None]
    ids = range(first, first + count)
    given = {"split": split, "dataset": "waves", "checksum": f"waves-{split}", "lyapunov_time": 3.0, "scored_time": 0.5}
    return to_xarray(u.float(), FIELDS, LINE, time=t.tolist(), trajectories=ids, parameters={"nu": [0.1] * count}, attrs=given)


@pytest.fixture(scope="session")
def splits():
    return {"train": waves("train", 0, 6), "valid": waves("valid", 100, 2)}


@pytest.fixture
def autoencoder():
    """Of random weights, with statistics of its own."""
    torch.manual_seed(0)
    made = Surrogate(FIELDS, LINE, DT, operator=Autoencoder(2, 2, dim=1, latent=3, widths=(4, 6, 8)), target=Absolute())
    numbers = [torch.tensor(v) for v in ([0.0, 5.0], [2.0, 0.1], [0.0, 0.0], [1.0, 0.1])]
    made.normaliser.load_state_dict(Normaliser(*numbers, dim=1).state_dict())
    return made.eval()
