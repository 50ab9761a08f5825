"""A LightningDataModule over `Windows`: whole batches are read at once, in an order that is a pure function of (seed, step).

The training loader is endless in effect: an epoch is as many batches as fit once through the windows, and the next goes on where
the last one stopped. Its state is the number of batches served, which a checkpoint keeps, so that a resumed run sees exactly the
batches that an uninterrupted one would have seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from jaxtyping import Int64
from lightning.pytorch import LightningDataModule
from torch import Tensor

from surrogates.data.files import open_dataset
from surrogates.data.order import Order
from surrogates.data.splits import split_of
from surrogates.data.thin import thin
from surrogates.data.windows import Batch, Windows
from surrogates.domains.layout import AnyDomain
from surrogates.errors import nearest
from surrogates.fields import Fields
from surrogates.normalise import Normaliser


class TrainingBatches:
    """Batches of `windows` in the order of (seed, step), one epoch an iteration; stateful as Lightning's checkpoints know it."""

    def __init__(self, windows: Windows, batch_size: int, seed: int, chosen: Int64[Tensor, " N"] | None = None) -> None:
        """`chosen` are the windows to train on, all of them unless given."""
        self.windows = windows
        self.chosen = torch.arange(len(windows)) if chosen is None else chosen
        self.order = Order(len(self.chosen), batch_size, seed)
        self.step = 0

    def __len__(self) -> int:
        return max(1, len(self.chosen) // self.order.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches up to the end of the current epoch."""
        for _ in range(len(self) - self.step % len(self)):
            self.step += 1
            yield self.windows.batch(self.chosen[self.order(self.step - 1)])

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.step = int(state["step"])


class EvenBatches:
    """At most `limit` windows, evenly spaced over a split, always the same and in the same order."""

    def __init__(self, windows: Windows, batch_size: int, limit: int) -> None:
        self.windows, self.batch_size = windows, batch_size
        count = min(limit, len(windows))
        self.indices = torch.linspace(0, len(windows) - 1, count, dtype=torch.float64).round().long()

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for first in range(0, len(self.indices), self.batch_size):
            yield self.windows.batch(self.indices[first : first + self.batch_size])


class DataModule(LightningDataModule):
    """Training and validation batches of a data set: its name or path, a Dataset in memory, or a mapping of splits to Datasets.

    `validation` is the number of validation windows. `fold` (k, n) trains on the trajectories whose id is k modulo n alone; statistics
    are still those of the whole training split, so that models of different folds share them. Before any training it tells
    `fields`, `domain`, `dt`, `parameter_names`, `normaliser` (from the training split alone) and `checksum`. Raises ValueError for
    data that are not there or not sound.
    """

    def __init__(
        self,
        dataset: str | xr.Dataset | dict[str, xr.Dataset] = "kolmogorov2d",
        history: int = 1,
        bundle: int = 1,
        batch_size: int = 16,
        *,
        size: str | None = None,
        seed: int = 0,
        stride: int = 1,
        subsample: int = 1,
        validation: int = 128,
        fold: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if fold is not None and not 0 <= fold[0] < fold[1]:
            raise ValueError(f"fold is {list(fold)} but must be [k, n] with 0 <= k < n, such as [0, 2] for every other trajectory")
        if batch_size < 1 or validation < 1:
            raise ValueError(f"batch_size and validation must be at least 1, got {batch_size} and {validation}")
        self.dataset: str | dict[str, xr.Dataset] = split_of(dataset) if isinstance(dataset, xr.Dataset) else dataset
        self.history, self.bundle, self.batch_size, self.size = history, bundle, batch_size, size
        self.seed, self.stride, self.subsample, self.validation = seed, stride, subsample, validation
        self.fold = fold
        self._windows: dict[str, Windows] = {}
        self._normaliser: Normaliser | None = None

    # -- the splits ----------------------------------------------------------------------------------------------

    def windows(self, split: str) -> Windows:
        """The windows of a split, opened on first use. Raises ValueError for one that is not there."""
        if split not in self._windows:
            source = self.dataset if isinstance(self.dataset, str) else self._memory(split)
            self._windows[split] = Windows(
                source,
                self.history,
                self.bundle,
                stride=self.stride,
                subsample=self.subsample,
                split=split,
                size=self.size if isinstance(source, str) else None,
            )
        return self._windows[split]

    def truth(self, split: str) -> xr.Dataset:
        """Whole trajectories of a split on the grid and with the step of the windows, to roll out against."""
        whole = open_dataset(self.dataset, split, size=self.size) if isinstance(self.dataset, str) else self._memory(split)
        return thin(whole, self.subsample, self.stride)

    def _memory(self, split: str) -> xr.Dataset:
        assert not isinstance(self.dataset, str)
        if split not in self.dataset:
            raise ValueError(f"there is no split {split!r} among {list(self.dataset)}{nearest(split, self.dataset)}")
        return self.dataset[split]

    def train_dataloader(self) -> TrainingBatches:
        return TrainingBatches(self.windows("train"), self.batch_size, self.seed, self.chosen())

    def chosen(self) -> Int64[Tensor, " N"] | None:
        """The training windows of the fold; None where all are trained on. Raises ValueError for a fold without trajectories."""
        if self.fold is None:
            return None
        windows, (k, n) = self.windows("train"), self.fold
        rows = (windows.ids % n == k).nonzero()
        if not len(rows):
            raise ValueError(f"no training trajectory lies in fold {k} of {n}; there are {len(windows.ids)}")
        return (rows * windows.per_trajectory + torch.arange(windows.per_trajectory)).flatten()

    def trajectories_of(self, windows: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """The ids of the trajectories that training windows (`Batch.windows`) lie in."""
        return windows // self.windows("train").per_trajectory

    def val_dataloader(self) -> EvenBatches:
        return EvenBatches(self.windows("valid"), self.batch_size, self.validation)

    # -- what a model is made from -------------------------------------------------------------------------------

    @property
    def fields(self) -> Fields:
        return self.windows("train").fields

    @property
    def domain(self) -> AnyDomain:
        return self.windows("train").domain

    @property
    def dt(self) -> float:
        """The step between frames of a window."""
        return self.windows("train").dt

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.windows("train").parameter_names

    @property
    def parameter_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and population standard deviation of each parameter over the training trajectories, float64 (P,)."""
        values = self.windows("train").parameters
        mean = values.mean(0)
        return mean, (values - mean).square().mean(0).sqrt()

    @property
    def beside(self) -> dict[str, Fields | None]:
        """The `static` fields and `forcings` that the training split declares."""
        windows = self.windows("train")
        return {"static": windows.static_fields, "forcings": windows.forcing_fields}

    @property
    def checksum(self) -> str:
        """SHA-256 of the training split."""
        return self.windows("train").checksum

    @property
    def normaliser(self) -> Normaliser:
        """Fitted on the training split; the statistics are kept beside the packed cache."""
        if self._normaliser is None:
            windows = self.windows("train")
            self._normaliser = remembered(windows, windows.beside(f"stride{self.stride}.json"))
        return self._normaliser


def remembered(windows: Windows, path: Path | None) -> Normaliser:
    """`Normaliser.fit`, read from `path` where it was written before."""
    names = ("state_mean", "state_std", "tendency_mean", "tendency_std")
    if path is not None and path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        values = (torch.tensor(known[n], dtype=torch.float64) for n in names)
        return Normaliser(*values, dim=windows.domain.dim)
    fitted = Normaliser.fit(windows)
    if path is not None:
        draft = path.with_name(f".{path.name}")
        draft.write_text(json.dumps({n: getattr(fitted, n).flatten().tolist() for n in names}))
        draft.replace(path)
    return fitted
