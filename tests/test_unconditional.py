"""States without an initial state: an exact operator gives a Gaussian field of known spectrum; a small network learns one."""

from __future__ import annotations

import json
from functools import partial
from math import pi
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from mesh_examples import square
from torch import Tensor, nn

from surrogates import unconditional
from surrogates.data.mesh_windows import MeshWindows
from surrogates.data.module import DataModule
from surrogates.domains import Box, Sphere
from surrogates.fields import Field, Fields
from surrogates.interchange import from_xarray, to_xarray
from surrogates.metrics import score_samples
from surrogates.noise import AtStep, SeededNoise
from surrogates.operators import FNO, MeshGraphNet
from surrogates.refine import FEATURES, FlowMatching, GaussianVelocity, PreviousSource, features, heun
from surrogates.refine.features import time_of
from surrogates.train.optimiser import Optimiser
from surrogates.unconditional import Generator, losses, train, untrained, validation_loss

ONE, RING = Fields.of(Field("u", "K")), Box.periodic((32,), 2 * pi)


def spectrum(n: int) -> Tensor:
    """The variance P_k of the rfft's coefficients, norm "ortho": red, 1 on average over the points' waves."""
    k = torch.arange(n // 2 + 1, dtype=torch.float64)
    p = 1 / (1 + (k / 3) ** 4)
    both = torch.where((k == 0) | (2 * k == n), 1.0, 2.0)
    return p * n / (both * p).sum()


class StationaryVelocity(nn.Module):
    """E[x' | z] of N(0, P) in Fourier space on the linear path z = (1 - s) x + s e: v_k = (s - (1 - s) P_k) / ((1 - s)^2 P_k + s^2) z_k."""

    def forward(self, x: Tensor, domain: Any, embedding: Tensor | None = None) -> Tensor:
        assert embedding is not None
        s, P = time_of(embedding).double()[:, None, None], spectrum(domain.shape[0])
        z = torch.fft.rfft(x.double(), norm="ortho")
        v = (s - (1 - s) * P) / ((1 - s) ** 2 * P + s**2) * z
        return torch.fft.irfft(v, n=domain.shape[0], norm="ortho").to(x.dtype)


def truth(count: int, seed: int = 0, frames: int = 1) -> xr.Dataset:
    """Independent frames, 300 + 5 times the field of that spectrum."""
    e = torch.randn(count, frames, 1, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u = torch.fft.irfft(torch.fft.rfft(e, norm="ortho") * spectrum(32).sqrt(), n=32, norm="ortho")
    return to_xarray(300 + 5 * u, ONE, RING, time=[float(n) for n in range(frames)], trajectories=range(count), attrs={"dt": 1.0})


def physical(generator: Generator) -> Generator:
    generator.normaliser.state_mean.fill_(300.0)
    generator.normaliser.state_std.fill_(5.0)
    return generator


def exact(steps: int = 24) -> Generator:
    return physical(Generator(ONE, RING, FlowMatching(StationaryVelocity(), channels=1, sampler=heun, steps=steps)))


def test_the_exact_velocity_generates_the_law() -> None:
    """1500 states beside 1500 of the data: at the floor by every distance, and the spectrum within its sampling error."""
    made = exact().sample(1500, seed=3)
    scores = score_samples(made, truth(1500))
    assert scores["energy_distance_ratio"].item() == pytest.approx(1, abs=0.25)
    assert scores["sliced_wasserstein_2"].item() < scores["sliced_wasserstein_2_floor"].item()
    both = torch.full((16,), 2.0).double()
    both[0] = 1
    law = 25 / 32 * both * spectrum(32)[:16]
    torch.testing.assert_close(torch.from_numpy(scores["variance_spectrum"].values[0]), law, rtol=0.2, atol=0)
    torch.testing.assert_close(
        torch.from_numpy(scores["two_point"].values), torch.from_numpy(scores["two_point_truth"].values), rtol=0, atol=0.06
    )
    assert float(abs(scores["increment_flatness"] - 3).max()) < 0.5 and made["u"].attrs["units"] == "K"
    worse = score_samples(exact(2).sample(1500, seed=3), truth(1500))
    assert worse["energy_distance_ratio"].item() > 2 * scores["energy_distance_ratio"].item()


def test_a_sample_is_its_seed_s_and_number_s() -> None:
    generator = exact(4)
    whole = generator.sample(7, seed=1, batch=7)
    xr.testing.assert_allclose(generator.sample(7, seed=1, batch=3), whole, rtol=1e-6)
    assert whole["u"].dims == ("trajectory", "time", "x") and whole.sizes["time"] == 1
    assert float(abs(generator.sample(7, seed=2) - whole)["u"].max()) > 1
    generator.double()
    torch.testing.assert_close(from_xarray(generator.sample(7, seed=1)), from_xarray(whole), rtol=1e-5, atol=1e-3)


def test_it_runs_at_another_resolution_and_on_the_sphere() -> None:
    generator, fine = exact(4), Box.periodic((64,), 2 * pi)
    draws = AtStep(SeededNoise(0, [0, 1], [0, 0]), 0)
    assert generator(draws, 2, fine).shape == (2, 1, 64)
    sphere = Sphere((4, 8), "cells")
    anywhere = Generator(ONE, sphere, FlowMatching(GaussianVelocity([1.0], [[0.25]]), channels=1, steps=64))
    u = anywhere(AtStep(SeededNoise(0, range(400), [0] * 400), 0), 400)
    assert float(u.mean()) == pytest.approx(1, abs=0.02) and float(u.std()) == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match="a Dataset holds states on a Box"):
        anywhere.sample(2)


def test_the_loss_is_that_of_the_refiner_in_normalised_units() -> None:
    generator, u = exact(), from_xarray(truth(40))[:, 0]
    draws = AtStep(SeededNoise(0, range(40), [0] * 40), 0)
    direct = generator.refiner.loss((u - 300) / 5, None, u[:, :0], None, RING, draws)  # type: ignore[operator, union-attr]
    torch.testing.assert_close(generator.loss(u, draws), direct)
    assert generator.loss(u, draws).shape == (40,)


FACTORIES: dict[str, Any] = {
    "operator": partial(FNO, width=12, modes=(16,), layers=2, positions=0),
    "refiner": partial(FlowMatching, sampler=heun, steps=6),
}


def data(batch_size: int = 32) -> DataModule:
    return DataModule({"train": truth(64, 1, 9), "valid": truth(8, 2, 9)}, batch_size=batch_size)


def test_training_is_the_same_twice_and_knows_the_statistics() -> None:
    one, two = (train(data(), **FACTORIES, steps=4) for _ in range(2))
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert float(one.normaliser.state_mean) == pytest.approx(300, abs=1) and float(one.normaliser.state_std) == pytest.approx(5, rel=0.1)
    assert not one.training
    other = train(data(), **FACTORIES, steps=4, seed=1)
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def test_a_small_network_learns_the_spectrum() -> None:
    heard: list[float] = []
    source = data()
    before = validation_loss(untrained(source, **FACTORIES), source)
    settings = Optimiser(lr=5e-3, warmup=10, ema=0.97)
    generator = train(source, **FACTORIES, steps=150, optimiser=settings, report=lambda step, loss: heard.append(loss))
    assert len(heard) == 150 and validation_loss(generator, source) < 0.75 * before
    scores = score_samples(generator.sample(400), truth(400, 3))
    white = score_samples(from_white(400), truth(400, 3))
    learned, none = (abs(torch.from_numpy(d["variance_spectrum_ratio"].values).log()).mean() for d in (scores, white))
    assert learned < 0.3 * none and scores["energy_distance"].item() < 0.5 * white["energy_distance"].item()


def from_white(count: int) -> xr.Dataset:
    u = torch.randn(count, 1, 1, 32, generator=torch.Generator().manual_seed(9))
    return to_xarray(300 + 5 * u, ONE, RING, time=[0.0], trajectories=range(count))


def test_saved_and_loaded_it_samples_the_same(tmp_path: Path) -> None:
    generator = train(data(), **FACTORIES, steps=2)
    folder = unconditional.save(generator, tmp_path / "states", {"dataset": "in memory"})
    xr.testing.assert_equal(unconditional.load(folder).sample(3), generator.sample(3))
    config = json.loads((folder / "config.json").read_text())
    assert config["provenance"] == {"dataset": "in memory"} and "class" in config["generator"]
    (folder / "config.json").write_text(json.dumps({"format": 1, "surrogate": {}}))
    with pytest.raises(ValueError, match="describes no generator"):
        unconditional.load(folder)
    with pytest.raises(FileNotFoundError, match="is not a saved generator"):
        unconditional.load(tmp_path)


def on_meshes(first: int, count: int, **settings: Any) -> DataModule:
    """Fields on meshes of 16 to 36 nodes, one frame in two of them given."""
    parts = []
    for n in range(first, first + count):
        mesh = square(3 + n % 3, n)
        u = 300 + 5 * torch.sin(2 * pi * mesh.points[:, 0] + n + torch.arange(4.0)[:, None])
        parts.append(to_xarray(u[None, :, None], ONE, mesh, time=[0.0, 1.0, 2.0, 3.0], trajectories=[n]))
    return DataModule({"train": parts, "valid": parts[:2]}, **settings)


MESHES: dict[str, Any] = {"operator": partial(MeshGraphNet, width=8, layers=1, hidden=1), "refiner": partial(FlowMatching, steps=2)}


def test_on_meshes_no_batch_has_more_nodes_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    source, inner, seen = on_meshes(0, 6, batch_size=8, max_nodes=60), MeshWindows.batch, list[int]()

    def spied(self: MeshWindows, *given: Any) -> Any:
        batch = inner(self, *given)
        seen.append(batch.past.shape[-1])
        return batch

    monkeypatch.setattr(MeshWindows, "batch", spied)
    generator = train(source, **MESHES, steps=3)
    assert validation_loss(generator, source) > 0
    assert len(seen) > 5 and max(seen) <= 60
    few, many = (untrained(on_meshes(0, 6, batch_size=b), **MESHES).refiner.scale for b in (1, 8))
    torch.testing.assert_close(few, many)


def test_on_meshes_the_loss_of_a_state_does_not_know_the_others() -> None:
    source = on_meshes(0, 3)
    generator, windows = untrained(source, **MESHES), source.windows("train")
    alone = torch.cat([losses(generator, windows.batch([n]), 5) for n in (0, 4, 8)])
    torch.testing.assert_close(losses(generator, windows.batch([0, 4, 8]), 5), alone, rtol=1e-4, atol=1e-5)


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1"):
        train(data(), **FACTORIES, steps=0)
    with pytest.raises(ValueError, match="count and batch must be at least 1"):
        exact().sample(0)
    previous = Generator(ONE, RING, FlowMatching(StationaryVelocity(), channels=1, source=PreviousSource()))
    with pytest.raises(ValueError, match="starts from the previous state"):
        previous.sample(1)
    assert features(torch.zeros(1)).shape[1] == FEATURES
