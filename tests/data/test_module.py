"""The DataModule: told before training, in memory as from files, and resumed to the very batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data.coarse import Coarse
from surrogates.data.module import DataModule, TrainingBatches
from surrogates.data.windows import Batch, Windows
from surrogates.fields import Field, Fields
from surrogates.interchange import declare, domain_of, from_xarray

Write = Callable[..., Path]


@pytest.fixture
def folder(make_dataset: Callable[..., xr.Dataset], write: Write) -> Path:
    for split, count, first in (("train", 4, 0), ("valid", 2, 4)):
        path = write(make_dataset(count, first=first), split)
    return path.parents[2]


def test_it_tells_what_a_model_is_made_from(folder: Path) -> None:
    data = DataModule(str(folder), history=2, bundle=3, stride=2)
    assert data.fields.channels == ("velocity_x", "velocity_y", "tracer")
    assert data.domain.shape == (6, 4) and data.dt == 0.5
    assert data.parameter_names == ("viscosity", "drag")
    assert data.checksum == Windows(folder, split="train").checksum
    mean, std = data.parameter_statistics
    torch.testing.assert_close(mean, torch.tensor([0.25, 0.5], dtype=torch.float64))
    assert std[0] > 0 and std[1] == 0
    assert data.truth("valid").sizes["time"] == 5


def test_statistics_are_kept_and_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = DataModule(str(folder)).normaliser
    monkeypatch.setattr("surrogates.normalise.Normaliser.fit", None)
    again = DataModule(str(folder)).normaliser
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))


def test_memory_trains_as_files_do(folder: Path, make_dataset: Callable[..., xr.Dataset]) -> None:
    memory = DataModule({"train": make_dataset(4), "valid": make_dataset(2, first=4)}, batch_size=5)
    files = DataModule(str(folder), batch_size=5)
    for a, b in ((memory.train_dataloader(), files.train_dataloader()), (memory.val_dataloader(), files.val_dataloader())):
        for one, other in zip(a, b, strict=True):
            assert torch.equal(one.past, other.past) and torch.equal(one.windows, other.windows)
    assert torch.equal(memory.normaliser.state_std, files.normaliser.state_std)


def test_a_dataset_without_splits_keeps_its_last_tenth_for_validation(dataset: xr.Dataset) -> None:
    data = DataModule(dataset)
    assert data.truth("train").sizes["trajectory"] == 4 and data.truth("valid")["trajectory"].values.tolist() == [4]


def test_epochs_go_on_where_the_last_one_stopped(dataset: xr.Dataset) -> None:
    batches = TrainingBatches(Windows(dataset), batch_size=7, seed=3)
    per_epoch = len(batches)
    first, second = [b.windows for b in batches], [b.windows for b in batches]
    assert len(first) == len(second) == per_epoch == 40 // 7
    order = torch.cat([*first, *second])[:40]
    assert sorted(order.tolist()) == sorted(Windows(dataset).batch(range(40)).windows.tolist())


@pytest.mark.parametrize("stop", [0, 3, 5, 8])
def test_a_restored_loader_serves_the_batches_that_were_to_come(dataset: xr.Dataset, stop: int) -> None:
    def endless(batches: TrainingBatches) -> Any:
        while True:
            yield from batches

    whole = TrainingBatches(Windows(dataset), batch_size=7, seed=3)
    wanted = [next(s).windows for s in [endless(whole)] for _ in range(12)]
    begun = TrainingBatches(Windows(dataset), batch_size=7, seed=3)
    stream = endless(begun)
    for _ in range(stop):
        next(stream)
    resumed = TrainingBatches(Windows(dataset), batch_size=7, seed=3)
    resumed.load_state_dict(begun.state_dict())
    stream = endless(resumed)
    assert [next(stream).windows.tolist() for _ in range(12 - stop)] == [w.tolist() for w in wanted[stop:]]


def test_lightning_resumes_in_the_middle_of_an_epoch(dataset: xr.Dataset, tmp_path: Path) -> None:
    import lightning.pytorch as pl

    class Recorder(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

        def training_step(self, batch: Batch, index: int) -> torch.Tensor:
            self.seen.append(batch.windows.tolist())
            return self.weight**2

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "max_epochs": -1}

    def fit(steps: int, resume: Path | None = None) -> tuple[pl.Trainer, Recorder]:
        model, trainer = Recorder(), pl.Trainer(max_steps=steps, default_root_dir=tmp_path, enable_checkpointing=False, **quiet)
        trainer.fit(model, datamodule=DataModule(dataset, batch_size=7, seed=1), ckpt_path=resume, weights_only=False)
        return trainer, model

    _, whole = fit(11)
    trainer, begun = fit(7)
    trainer.save_checkpoint(tmp_path / "middle.ckpt")
    _, resumed = fit(11, tmp_path / "middle.ckpt")
    assert begun.seen + resumed.seen == whole.seen


def test_a_batch_moves_whole(dataset: xr.Dataset) -> None:
    batch = Windows(dataset).batch([1, 2]).to("meta")
    assert batch.past.device.type == batch.future.device.type == batch.conditions.parameters.device.type == "meta"
    assert batch.conditions.time.device.type == "cpu" and len(batch) == 2


def test_validation_windows_are_spread_and_always_the_same(dataset: xr.Dataset) -> None:
    data = DataModule({"train": dataset, "valid": dataset}, batch_size=4, validation=6)
    ids = [b.windows.tolist() for b in data.val_dataloader()]
    assert [len(b) for b in ids] == [4, 2] and ids[0][0] == 0
    assert ids == [b.windows.tolist() for b in data.val_dataloader()]


def test_folds_part_the_trajectories_and_share_the_statistics(dataset: xr.Dataset) -> None:
    splits = {"train": dataset, "valid": dataset}
    folds = [DataModule(splits, batch_size=1, fold=(k, 2)) for k in range(2)]
    seen = [{int(w) for b in f.train_dataloader() for w in b.windows} for f in folds]
    assert seen[0].isdisjoint(seen[1]) and len(seen[0] | seen[1]) == 40
    assert {int(t) % 2 for t in folds[1].trajectories_of(torch.tensor(sorted(seen[1])))} == {1}
    assert torch.equal(folds[0].normaliser.state_mean, folds[1].normaliser.state_mean)


def test_steps_of_several_lengths_are_drawn_by_seed_and_step(dataset: xr.Dataset) -> None:
    data = DataModule({"train": dataset, "valid": dataset}, strides=[1, 2, 4], batch_size=8, seed=1)
    batches = data.train_dataloader()
    steps = [batches.at(n).conditions.dt for n in range(6)]
    assert {round(float(v) / 0.25) for s in steps for v in s} == {1, 2, 4}
    assert all(torch.equal(s, data.train_dataloader().at(n).conditions.dt) for n, s in enumerate(steps))
    assert {float(v) for b in data.val_dataloader() for v in b.conditions.dt} == {0.25} and data.dt == 0.25
    assert data.parameter_names == ("viscosity", "drag", "dt")
    mean, std = data.parameter_statistics
    assert float(mean[-1]) == pytest.approx(torch.tensor([1.0, 2.0, 4.0]).log().mean().item()) and std[-1] > 0
    single = [DataModule({"train": dataset}, stride=s).normaliser.tendency_std for s in (1, 2, 4)]
    lowest, highest = torch.stack(single).amin(0), torch.stack(single).amax(0)
    assert bool(((data.normaliser.tendency_std >= lowest) & (data.normaliser.tendency_std <= highest)).all())


def test_what_validation_is_compared_with_lies_on_the_grid_of_the_windows(folder: Path) -> None:
    data = DataModule(str(folder), coarsen=Coarse(2), normalise={"by": "field"})
    assert data.domain.shape == (3, 2) and domain_of(data.truth("valid")).shape == (3, 2)
    assert torch.equal(data.windows("valid").batch([0]).past[0, 0], from_xarray(data.truth("valid"))[0, 0])
    assert data.normaliser.state_std[0] == data.normaliser.state_std[1] != data.normaliser.state_std[2]
    assert data.settings == {"coarsen": "means2", "normalise": data.settings["normalise"]} and DataModule(str(folder)).settings == {}


def test_statistics_of_regions_come_from_a_static_field(dataset: xr.Dataset, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    land = (np.arange(24).reshape(6, 4) % 3 == 0).astype(np.float32)
    known = declare(dataset.assign(land=(("x", "y"), land, {"units": "1"})), static=Fields.of(Field("land")))
    data = DataModule({"train": known}, normalise={"regions": "land"})
    assert data.scaling is not None and data.scaling.count == 2
    u = from_xarray(dataset)
    z = data.normaliser.encode(u)[..., torch.from_numpy(land) == 1]
    torch.testing.assert_close(z.mean((0, 1, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 1, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="no static field of the data; they have \\['land'\\]; did you mean 'land'"):
        _ = DataModule({"train": known}, normalise={"regions": "lands"}).normaliser
    with pytest.raises(ValueError, match="regions are a few whole numbers"):
        _ = DataModule({"train": known.assign(land=known["land"] + 0.5)}, normalise={"regions": "land"}).normaliser


def test_bad_arguments_are_named(dataset: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="batch_size and validation must be at least 1"):
        DataModule(dataset, batch_size=0)
    with pytest.raises(ValueError, match=r"no split 'train' among \['trai'\]"):
        DataModule({"trai": dataset}).windows("train")
    with pytest.raises(ValueError, match="did you mean 'kdv'"):
        _ = DataModule("kdvs").fields
    with pytest.raises(ValueError, match=r"fold is \[2, 2\]"):
        DataModule(dataset, fold=(2, 2))
