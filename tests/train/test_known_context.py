"""Static fields and forcings that a data set declares reach the network in training, in validation and in a forecast, normalised alike."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from surrogates import simulate
from surrogates.contracts import Domain
from surrogates.data.module import DataModule
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast.surroundings import surroundings_of
from surrogates.interchange import conditions_of, declare, declared, static_of, to_xarray
from surrogates.noise import AtStep, SeededNoise
from surrogates.operators import FNO
from surrogates.refine import FlowMatching
from surrogates.saved import save
from surrogates.train.build import fresh, refined
from surrogates.train.validation import ensemble, trial

BOX = Box.periodic((8,), 2.0)
U, LAND, SUN = Fields.of(Field("u")), Fields.of(Field("height", "m")), Fields.of(Field("sun", "W m-2"))


def data(split: str = "train", trajectories: int = 3, frames: int = 9) -> xr.Dataset:
    """u moves by the sum of land and sun: what a network without them cannot know."""
    g = torch.Generator().manual_seed(trajectories)
    height = torch.randn(trajectories, 8, generator=g).double()
    sun = torch.sin(torch.arange(frames, dtype=torch.float64) * 1.3)
    u = torch.zeros(trajectories, frames, 1, 8, dtype=torch.float64)
    u[:, 0] = torch.randn(trajectories, 1, 8, generator=g)
    for n in range(1, frames):
        u[:, n, 0] = u[:, n - 1, 0] + 0.3 * height + sun[n]
    out = to_xarray(u.float(), U, BOX, time=[0.5 * n for n in range(frames)], trajectories=range(trajectories), attrs={"split": split})
    out["height"] = (("trajectory", "x"), 100 + 50 * height.numpy(), {"units": "m"})
    out["sun"] = ("time", 340 + 10 * sun.numpy(), {"units": "W m-2"})
    return declare(out, static=LAND, forcings=SUN)


def module(**arguments: Any) -> DataModule:
    return DataModule({"train": data(), "valid": data("valid", 2)}, **arguments)


class Line(nn.Module):
    """A 1x1 convolution: the law of `data` is linear in u, land and the sun ahead."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.map = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        return self.map(x)


def solved() -> Any:
    """Least squares by a quasi-Newton method: the law is in reach, so the loss goes to rounding."""
    module_ = module()
    torch.manual_seed(0)
    surrogate = fresh(module_, 1, Line)
    batch = next(iter(module_.train_dataloader()))
    optimiser = torch.optim.LBFGS(surrogate.parameters(), max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = surrogate.loss(batch.past, batch.future, batch.conditions, lambda like, draw: like).mean()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return surrogate, float(loss().detach())


def test_a_dataset_says_what_is_known_and_subsets_of_it_keep_that() -> None:
    whole = data()
    assert declared(whole, "static") == LAND and declared(whole, "forcings") == SUN and declared(whole.drop_attrs(), "static") is None
    land = static_of(whole.isel(time=0, trajectory=[2]))
    assert land is not None and land.shape == (1, 1, 8)
    assert torch.equal(torch.as_tensor(conditions_of(whole).static)[2:], land)
    with pytest.raises(ValueError, match="'sun' is none among"):
        declare(whole, static=SUN)
    with pytest.raises(ValueError, match="'height' is none among"):
        declare(whole, forcings=LAND)


def test_windows_give_each_row_its_own_and_the_sun_at_its_time() -> None:
    windows = module(bundle=2).windows("train")
    batch = windows.batch([0, len(windows) - 1])
    c = batch.conditions
    assert c.static is not None and torch.equal(c.static[1, 0], torch.from_numpy(data()["height"].values[2].astype(np.float32)))
    assert c.forcing is not None and c.forcing(c.time + 2 * c.dt)[:, 0, 0].tolist() == pytest.approx(data()["sun"].values[[2, 8]].tolist())


def test_statistics_are_those_of_the_training_split() -> None:
    surrogate = fresh(module(), 1, Line)
    assert surrogate.known is not None and surrogate.static == LAND and surrogate.forcings == SUN
    height, sun = data()["height"].values, data()["sun"].values
    assert float(surrogate.known.static_mean) == pytest.approx(height.mean())
    assert float(surrogate.known.forcing_std) == pytest.approx(sun.std())


def test_a_network_learns_the_law_that_needs_them_and_forecasts_by_it() -> None:
    surrogate, loss = solved()
    assert loss < 1e-6
    truth = data("valid", 2)
    forecast = simulate(surrogate, truth.isel(time=[0]), 8, surroundings=surroundings_of(truth))
    np.testing.assert_allclose(forecast["u"].values, truth["u"].values[:, 1:], atol=0.02)
    with pytest.raises(ValueError, match="takes the forcing fields"):
        simulate(surrogate, truth.isel(time=[0]), 8)
    rows = trial(truth, surrogate, 4, starts=2)
    made = ensemble(surrogate, rows, 4, 1, 0)[:, 0]
    torch.testing.assert_close(made, rows.truth, rtol=0, atol=0.02)


def test_a_refiner_around_a_guess_takes_what_the_guess_takes(tmp_path: Path) -> None:
    small = partial(FNO, width=4, modes=[2], layers=1)
    guess = fresh(module(), 1, small)
    save(guess, tmp_path / "guess")
    made = refined(module(), 1, tmp_path / "guess", small, FlowMatching)
    assert made.known is not None and guess.known is not None and torch.equal(made.known.static_mean, guess.known.static_mean)
    batch = next(iter(module().val_dataloader()))
    noise = AtStep(SeededNoise(0, list(range(len(batch))), [0] * len(batch)), 0)
    assert bool(made.loss(batch.past, batch.future, batch.conditions, noise).isfinite().all())


def test_another_forcing_is_another_data_set() -> None:
    other = data()
    other["sun"] = other["sun"] + 1
    sums = [DataModule({"train": d, "valid": data("valid", 2)}).checksum for d in (data(), data(), other)]
    assert sums[0] == sums[1] != sums[2]
