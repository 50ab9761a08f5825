"""States out of nothing: samples of the law of single frames, without an initial state.

    u = decode(x),   x ~ refiner from its source, with a context of no channels:   the law of encode(u), u a frame of the training split

What a refiner learns of one step given a state, it can learn of the states themselves: turbulence as a probability law on fields. The
samples are initial states on the attractor for `simulate`, and a test of an operator without the help of a past. They are scored as
laws are, `surrogates.metrics.score_samples`: spectra, increments, correlations and distances over the floor of the data's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

import surrogates
from surrogates.contracts import Domain, Draws, Refiner
from surrogates.data.module import DataModule
from surrogates.data.windows import Batch
from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.interchange import to_xarray
from surrogates.noise import AtStep, SeededNoise, noise_on, splitmix
from surrogates.normalise import Normaliser
from surrogates.record import construct, describe, recorded
from surrogates.saved import CONFIG, WEIGHTS, read_weights, write_weights
from surrogates.scaling import Scaling
from surrogates.train.build import OperatorFactory, RefinerFactory, given, operator_sizes
from surrogates.train.ema import EMA
from surrogates.train.module import VALIDATION, scale_batches, together
from surrogates.train.optimiser import Optimiser

FORMAT = 1
KIND = "generator"


@recorded
class Generator(nn.Module):
    """A law on states: `fields` on `domain` from a `refiner` that needs no guess and no previous state.

    The refiner generates fields.count channels in normalised units; its operator is made for a context of none.
    """

    def __init__(self, fields: Fields, domain: Domain, refiner: nn.Module, scaling: Scaling | None = None) -> None:
        super().__init__()
        self.fields, self.domain, self.refiner = fields, domain, refiner
        self.normaliser = Normaliser.identity(fields.count, len(domain.shape), scaling, fields, domain.shape)

    def forward(self, noise: Draws, rows: int, domain: Domain | None = None) -> Float[Tensor, "B C *X"]:
        """One state a row of the noise, physical; on another `domain` than its own where the operator allows."""
        domain = domain or self.domain
        context = self.normaliser.state_mean.new_empty(rows, 0, *domain.shape)
        return self.normaliser.decode(cast(Refiner, self.refiner)(None, context, None, domain, noise))

    def loss(self, states: Float[Tensor, "B C *X"], noise: Draws, domain: Domain | None = None) -> Float[Tensor, " G"]:
        """The refiner's loss of physical states, one a member; `domain` is theirs, such as the meshes of a batch side by side."""
        truth = self.normaliser.encode(states)
        return cast(Refiner, self.refiner).loss(truth, None, truth[:, :0], None, domain or self.domain, noise)

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, *, batch: int = 64) -> xr.Dataset:
        """`count` states, dims (trajectory, time, *axes) with one time: sample i is that of (seed, i), whatever the batch.

        Raises ValueError for fewer than one, and for a domain that is no Box, which xarray's layout does not hold: call the generator.
        """
        if count < 1 or batch < 1:
            raise ValueError(f"count and batch must be at least 1, got {count} and {batch}")
        if not isinstance(self.domain, Box):
            raise ValueError(f"a Dataset holds states on a Box, not on {self.domain}; call generator(noise, rows) for tensors")
        rows = []
        for first in range(0, count, batch):
            ids = list(range(first, min(first + batch, count)))
            rows.append(self(AtStep(SeededNoise(seed, ids, [0] * len(ids)), 0), len(ids)).cpu())
        meta = {"seed": seed, "step": type(self.refiner).__name__}
        return to_xarray(torch.cat(rows)[:, None], self.fields, self.domain, time=[0.0], trajectories=range(count), attrs=meta)


def train(
    data: DataModule,
    operator: OperatorFactory,
    refiner: RefinerFactory,
    *,
    steps: int,
    optimiser: Optimiser | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Callable[[int, float], None] | None = None,
) -> Generator:
    """A generator of the frames of the training split, its averaged weights, in evaluation mode.

    operator: a factory (in_channels, out_channels, embedding) -> network; refiner: a factory (operator, channels=...) -> refiner, as
    for `Training`. `report(step, loss)` hears of every step. The same arguments give the same weights; a run that was stopped begins
    again. Raises ValueError for steps < 1, and where the operator is not made for what the refiner hands it.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    settings, generator = optimiser or Optimiser(), untrained(data, operator, refiner, seed).to(device)
    weights = [w for w in generator.parameters() if w.requires_grad]
    adam, ema = settings.build(weights), EMA(settings.ema)
    for step, batch in zip(range(steps), endless(data), strict=False):
        loss = losses(generator, batch, splitmix(seed, step)).mean()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, settings.clip)
        for group in adam.param_groups:
            group["lr"] = settings.rate(step, steps)
        adam.step()
        ema.update(weights)
        if report is not None:
            report(step, float(loss.detach()))
    ema.swap(weights)
    return generator.eval()


def untrained(data: DataModule, operator: OperatorFactory, refiner: RefinerFactory, seed: int = 0) -> Generator:
    """A generator of new weights with the statistics of the training split."""
    channels = data.fields.count
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(splitmix(seed) >> 1)
        network = operator(*operator_sizes(refiner, channels, 0, 0, False, 1))
        generator = Generator(data.fields, data.domain, refiner(network, **given(refiner, channels, 1)), data.scaling)
    generator.normaliser.load_state_dict(data.normaliser.state_dict())
    fit_scale = getattr(generator.refiner, "fit_scale", None)
    if fit_scale is not None:
        fit_scale(together([(generator.normaliser.encode(b.past[:, -1]), b.conditions.domain) for b in scale_batches(data)]))
    return generator


def losses(generator: Generator, batch: Batch, seed: int) -> Float[Tensor, " G"]:
    """The loss of the last given frame of each window of a batch, on its own mesh, under noise that is the window's own."""
    domain = batch.conditions.domain
    noise = noise_on(domain, seed, batch.windows.tolist(), [0] * len(batch))
    moved = batch.to(generator.normaliser.state_mean.device)
    return generator.loss(moved.past[:, -1], AtStep(noise, 0), moved.conditions.domain)


@torch.no_grad()
def validation_loss(generator: Generator, data: DataModule, seed: int = 0) -> float:
    """The mean loss of validation frames under noise that is always the same."""
    total, count = 0.0, 0
    for batch in data.val_dataloader():
        total += float(losses(generator, batch, splitmix(seed, VALIDATION)).double().sum())
        count += len(batch)
    return total / count


def endless(data: DataModule) -> Iterator[Batch]:
    """Training batches, epoch after epoch, in the order of the data's seed."""
    loader = data.train_dataloader()
    while True:
        yield from loader


def save(generator: Generator, folder: str | os.PathLike[str], provenance: Mapping[str, Any] | None = None) -> Path:
    """config.json and weights.safetensors, each whole or not at all. Raises FileExistsError where `folder` is a file."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file; give a folder for the generator")
    path.mkdir(parents=True, exist_ok=True)
    versions = {"surrogates": surrogates.__version__, "torch": torch.__version__}
    config = {"format": FORMAT, "versions": versions, "provenance": dict(provenance or {}), KIND: describe(generator)}
    write_weights(generator, path)
    (path / (CONFIG + ".part")).write_text(json.dumps(config, indent=1))
    os.replace(path / (CONFIG + ".part"), path / CONFIG)
    return path


def load(folder: str | os.PathLike[str], device: str = "cpu") -> Generator:
    """The generator in a folder, in evaluation mode. Raises FileNotFoundError or ValueError where the folder holds no whole one."""
    path = Path(folder)
    if not (path / CONFIG).is_file() or not (path / WEIGHTS).is_file():
        raise FileNotFoundError(f"{path} is not a saved generator: it needs {CONFIG} and {WEIGHTS}; `unconditional.save` writes both")
    config: dict[str, Any] = json.loads((path / CONFIG).read_text())
    if config.get("format") != FORMAT or KIND not in config:
        raise ValueError(f"{path / CONFIG} describes no generator of format {FORMAT}; `surrogates.load` opens surrogates")
    generator = construct(config[KIND])
    if not isinstance(generator, Generator):
        raise ValueError(f"{path / CONFIG} describes a {type(generator).__name__}, not a Generator")
    read_weights(generator, path)
    return generator.to(device).eval()
