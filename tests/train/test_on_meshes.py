"""Training on trajectories that lie on different meshes, from files to a forecast on a mesh that was never seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from mesh_examples import square

from surrogates.constraints import HeldBoundary
from surrogates.data.formats import open_parts
from surrogates.data.mesh_features import with_features
from surrogates.data.mesh_file import Part, create
from surrogates.data.mesh_windows import MeshWindows
from surrogates.data.module import DataModule
from surrogates.domains import Mesh
from surrogates.domains.layout import same
from surrogates.fields import Field, Fields
from surrogates.forecast import simulate
from surrogates.interchange import domain_of, from_xarray, to_xarray
from surrogates.metrics import NRMSE, score
from surrogates.noise import AtStep, SeededNoise, noise_on
from surrogates.operators import MeshGraphNet
from surrogates.refine import FlowMatching
from surrogates.saved import load
from surrogates.train import NoisyPast, Training
from surrogates.train.cli import main

FIELDS = Fields.of(Field("u", "m"))
DT, FRAMES = 0.05, 7
WAVE = 2 * torch.pi


def wave(mesh: Mesh, number: int, frames: int = FRAMES) -> xr.Dataset:
    """exp(-nu t) sin(2 pi (x - t) + phase), of a phase and a viscosity of its own."""
    x, t, nu = mesh.points[:, 0], DT * torch.arange(frames, dtype=torch.float64)[:, None], 0.5 + 0.2 * (number % 3)
    u = torch.exp(-nu * t) * torch.sin(WAVE * (x - t) + 0.3 * number)
    made = to_xarray(u.float()[None, :, None], FIELDS, mesh, time=t[:, 0].tolist(), trajectories=[number], parameters={"nu": [nu]})
    return with_features(made)


def split(first: int, count: int) -> list[xr.Dataset]:
    return [wave(square(3 + n % 3, n), n, FRAMES + n % 2) for n in range(first, first + count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("waves") / "waves"
    for name, first, count in (("train", 0, 8), ("valid", 50, 2), ("test", 90, 1)):
        parts = split(first, count)
        create(home / "data" / name / "waves.hdf5.part", parts, name="waves")
        file = Part(home / "data" / name / "waves.hdf5.part")
        for row, part in enumerate(parts):
            file.write(row, from_xarray(part)[0].numpy())
        file.finish()
    return home


def config(folder: Path, out: Path) -> list[str]:
    text = f"""
data: {{dataset: {folder}, batch_size: 4, validation: 4, max_nodes: 100}}
model:
  operator: {{class: MeshGraphNet, width: 16, layers: 2, hidden: 1, boundaries: [walls, inflow, outflow]}}
  laws: {{class: HeldBoundary, field: u, boundaries: [walls]}}
  strategy: {{class: NoisyPast, sigma: 0.005, clean: [walls]}}
  rollouts: {{trajectories: 2, leads: [1, 4]}}
  optimiser: {{lr: 0.005}}
trainer: {{progress: false, tensorboard: false, validate_every: 20, checkpoint_every: 20, log_every: 10, accelerator: cpu}}
"""
    file = out.with_suffix(".yaml")
    file.write_text(text)
    return ["--config", str(file), "--out", str(out), "--steps", "60"]


def test_from_files_to_a_forecast_on_a_mesh_never_seen(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path / "root"))
    run = main(config(folder, tmp_path / "run"))
    first, last = run.log.rows["valid"][0], run.log.rows["valid"][-1]
    assert last["loss"] < first["loss"] and last["nrmse_1"] < first["nrmse_1"], "it learns"
    surrogate = load(tmp_path / "run")
    assert surrogate.static.channels == ("boundary_walls", "boundary_inflow", "boundary_outflow", "wall_distance")
    (truth,) = open_parts(folder)["test"]
    assert not any(same(domain_of(truth), domain_of(p)) for p in open_parts(folder)["train"])
    forecast = simulate(surrogate, truth.isel(time=slice(0, 1)), 4)
    scores = score(forecast, truth, [NRMSE(FIELDS)])["nrmse_field"]
    assert scores.sizes["lead_time"] == 4 and bool((scores < 3).all())
    walls = domain_of(truth).boundary("walls").numpy()
    assert abs(forecast["u"].values[0][:, walls] - truth["u"].values[0, 0, walls]).max() == 0, "walls are held"


def training(**parts: object) -> Training:
    data = DataModule({"train": split(0, 3), "valid": split(50, 1)}, batch_size=3)
    torch.manual_seed(0)
    return Training(
        data, lambda *sizes: MeshGraphNet(*sizes, width=8, layers=1, hidden=1, boundaries=("walls", "inflow", "outflow")), **parts
    )


def test_the_scale_is_fitted_on_batches_of_so_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = training(refiner=lambda network, channels: FlowMatching(network, channels=channels, steps=2))
    windows, seen = model.data.windows("train"), list[int]()
    assert isinstance(windows, MeshWindows)
    windows.max_nodes, inner = int(windows.nodes.max()), MeshWindows.batch

    def spied(self: MeshWindows, *given: Any) -> Any:
        batch = inner(self, *given)
        seen.append(batch.past.shape[-1])
        return batch

    monkeypatch.setattr(MeshWindows, "batch", spied)
    model.fit_scale()
    assert len(seen) > 1 and max(seen) <= windows.max_nodes


@pytest.mark.parametrize("kind", ["guess", "refiner"])
def test_the_loss_of_a_member_does_not_know_the_others(kind: str) -> None:
    refiner = {} if kind == "guess" else {"refiner": lambda network, channels: FlowMatching(network, channels=channels, steps=2)}
    model = training(**refiner)
    if kind == "refiner":
        model.fit_scale()
    windows, surrogate = model.data.windows("train"), model.surrogate.eval()

    def losses(indices: list[int]) -> torch.Tensor:
        batch = windows.batch(indices)
        noise = noise_on(batch.conditions.domain, 5, batch.windows.tolist(), [0] * len(batch))
        return surrogate.loss(batch.past, batch.future, batch.conditions, AtStep(noise, 0))

    with torch.no_grad():
        together = losses([0, 7, 13])
        assert together.shape == (3,)
        torch.testing.assert_close(together, torch.cat([losses([i]) for i in (0, 7, 13)]), rtol=1e-4, atol=1e-6)


def test_the_loss_is_a_mean_over_the_measure() -> None:
    model = training()
    windows, surrogate = model.data.windows("train"), model.surrogate
    batch = windows.batch([0, 7])
    last, zero = batch.past[:, -1], torch.zeros_like(batch.past[:, -1])
    surrogate.operator.forward = lambda x, domain, embedding: zero
    found = surrogate.loss(batch.past, batch.future, batch.conditions, AtStep(SeededNoise(0, [0], [0]), 0))
    error = surrogate.target.encode(batch.future, last, surrogate.normaliser).square()
    domain = batch.conditions.domain
    for g, mesh in enumerate(domain.separate()):
        own = error[0, 0, domain.member == g].double()
        torch.testing.assert_close(found[g].double(), (own * mesh.measure).sum() / mesh.measure.sum(), rtol=1e-5, atol=0)


def test_noise_of_training_leaves_what_is_given() -> None:
    model = training()
    batch, strategy = model.data.windows("train").batch([0, 7]), NoisyPast(0.1, ("walls",))
    noise = noise_on(batch.conditions.domain, 1, batch.windows.tolist(), [0, 0])
    noisy = strategy.perturbed(model.surrogate, batch.past, batch.conditions, noise)
    walls, std = batch.conditions.domain.boundary("walls"), model.surrogate.normaliser.state_std.flatten()
    assert torch.equal(noisy[..., walls], batch.past[..., walls])
    change = ((noisy - batch.past) / std)[..., ~walls]
    assert bool((change != 0).all()) and 0.05 < float(change.std()) < 0.2
    with pytest.raises(ValueError, match="sigma must be positive"):
        NoisyPast(0.0)


def test_held_boundaries_are_recorded() -> None:
    law = HeldBoundary(FIELDS, "u", ("walls",))
    assert law.arguments["boundaries"] == ("walls",)
