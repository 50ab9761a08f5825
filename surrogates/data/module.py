"""A LightningDataModule over `Windows`: whole batches are read at once, in an order that is a pure function of (seed, step).

The training loader is endless in effect: an epoch is as many batches as fit once through the windows, and the next goes on where
the last one stopped. Its state is the number of batches served, which a checkpoint keeps, so that a resumed run sees exactly the
batches that an uninterrupted one would have seen (`surrogates.data.batches`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
import xarray as xr
from jaxtyping import Int64
from lightning.pytorch import LightningDataModule
from torch import Tensor

from surrogates.data.batches import Change, EvenBatches, TrainingBatches
from surrogates.data.coarse import Coarse
from surrogates.data.crops import Crops, check
from surrogates.data.opened import Opened
from surrogates.data.splits import split_of
from surrogates.data.statistics import normaliser_of
from surrogates.data.symmetries import Augment, chosen
from surrogates.data.windows import Windows
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Fields
from surrogates.normalise import TRAINING, Normaliser
from surrogates.record import describe
from surrogates.scaling import Scaling, scaling_of

DT = "dt"  # among the parameters of a surrogate: the step that it is told


class DataModule(LightningDataModule):
    """Training and validation batches of a data set.

    Before any training it tells `fields`, `domain`, `dt`, `parameter_names`, `normaliser` (from the training split alone) and `checksum`.
    Raises ValueError for data that are not there or not sound.

    Args:
        dataset: a name or path, a Dataset in memory, or a mapping of splits to Datasets or lists of them (parts that differ in length or
            mesh).
        history: given frames of a window.
        bundle: future frames of a window.
        batch_size: windows of a batch.
        size: which of the sizes that were made (default: the largest).
        seed: of the order of the windows, and of all that is drawn for them.
        stride: frames between those of a window.
        strides: several strides, multiples of `stride`; each row of a training batch draws one, and models are told dt.
        subsample: keep every n-th point of each axis.
        coarsen: a coarser grid, such as {factor: 4, by: means} (`surrogates.data.coarse`).
        crop: train on pieces of the box, such as {size: [64, 64], halo: 8}.
        augment: the symmetries of the equation: true for all that are declared, or some by name (`surrogates.data.symmetries`).
        flips: of an equation that is not known, the scalars that change sign in a reflection.
        normalise: which statistics, and transforms, such as {by: level} (`surrogates.scaling`).
        stream: read frames where they lie instead of packing them.
        prefetch: how many batches are read ahead.
        validation: the number of validation windows.
        fold: [k, n] trains on the trajectories whose id is k modulo n alone; statistics are still those of the whole training split, so
            that models of different folds share them.
        max_nodes: on different meshes a batch is one block-diagonal mesh, of at most so many nodes.
    """

    def __init__(
        self,
        dataset: str | xr.Dataset | dict[str, xr.Dataset] | dict[str, list[xr.Dataset]] = "kolmogorov2d",
        history: int = 1,
        bundle: int = 1,
        batch_size: int = 16,
        *,
        size: str | None = None,
        seed: int = 0,
        stride: int = 1,
        strides: list[int] | None = None,
        subsample: int = 1,
        coarsen: Coarse | None = None,
        crop: Crops | None = None,
        augment: bool | list[str] = False,
        flips: list[str] | None = None,
        normalise: dict[str, Any] | None = None,
        stream: bool = False,
        prefetch: int = 0,
        validation: int = 128,
        fold: tuple[int, int] | None = None,
        max_nodes: int | None = None,
    ) -> None:
        super().__init__()
        if fold is not None and not 0 <= fold[0] < fold[1]:
            raise ValueError(f"fold is {list(fold)} but must be [k, n] with 0 <= k < n, such as [0, 2] for every other trajectory")
        if batch_size < 1 or validation < 1:
            raise ValueError(f"batch_size and validation must be at least 1, got {batch_size} and {validation}")
        if prefetch < 0:
            raise ValueError(f"prefetch must be at least 0 (nothing is read ahead), got {prefetch}")
        if subsample > 1 and coarsen is not None:
            raise ValueError("subsample and coarsen both make the grid coarser; give one of them")
        self.opened = Opened(
            split_of(dataset) if isinstance(dataset, xr.Dataset) else dataset,
            history,
            bundle,
            size=size,
            stride=stride,
            strides=tuple(strides or (1,)),
            subsample=subsample,
            coarsen=coarsen if coarsen and coarsen.factor > 1 else None,
            stream=stream,
            max_nodes=max_nodes,
        )
        self.history, self.bundle, self.max_nodes = history, bundle, max_nodes
        self.stride, self.strides, self.subsample = stride, self.opened.strides, subsample
        self.batch_size, self.seed, self.prefetch, self.validation, self.fold = batch_size, seed, prefetch, validation, fold
        self.crop, self.augment, self.flips = crop, augment, flips
        self._scaling = scaling_of(normalise)
        if self._scaling is not None and self._scaling.regions and (augment or crop is not None):
            raise ValueError(
                f"normalise.regions ({self._scaling.regions!r}) belong to places, from which {'augment' if augment else 'crop'} moves the "
                "fields away; leave one of the two out"
            )
        self._normaliser: Normaliser | None = None

    # -- the splits ----------------------------------------------------------------------------------------------

    def windows(self, split: str) -> Windows:
        """The windows of a split, opened on first use. Raises ValueError for one that is not there."""
        return self.opened.windows(split)

    def truths(self, split: str) -> list[xr.Dataset]:
        """Whole trajectories of a split on the grid and with the step of the windows, part by part where they differ in length or mesh."""
        return self.opened.truths(split)

    def truth(self, split: str) -> xr.Dataset:
        """The same joined, to roll out against; of trajectories that differ in length the longest.

        Raises ValueError where they lie on different meshes, and `truths` has the parts.
        """
        return self.opened.truth(split)

    def train_dataloader(self) -> TrainingBatches:
        windows = self.windows(TRAINING)
        return TrainingBatches(windows, self.batch_size, self.seed, self.chosen(), changes=self.changes(), prefetch=self.prefetch)

    def changes(self) -> list[Change]:
        """What is made of a training batch: symmetries, then pieces. Raises ValueError for those that the data do not have, or that do not
        fit them."""
        windows, out = self.windows(TRAINING), list[Change]()
        if self.augment:
            values = {n: windows.parameters[:, i].tolist() for i, n in enumerate(windows.parameter_names)}
            beside = windows.static_fields, windows.forcing_fields
            found = chosen(self.augment, windows.equation, values, windows.domain, *beside, fields=windows.fields, flips=self.flips)
            out.append(Augment(found, windows.fields, windows.static_fields))
        if self.crop is not None:
            check(self.crop, windows.domain)
            out.append(self.crop)
        return out

    def chosen(self) -> Int64[Tensor, " N"] | None:
        """The training windows of the fold; None where all are trained on. Raises ValueError for a fold without trajectories."""
        if self.fold is None:
            return None
        windows, (k, n) = self.windows(TRAINING), self.fold
        rows = (windows.ids % n == k).nonzero()[:, 0]
        if not len(rows):
            raise ValueError(f"no training trajectory lies in fold {k} of {n}; there are {len(windows.ids)}")
        return windows.of_trajectories(rows)

    def trajectories_of(self, windows: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """The ids of the trajectories that training windows (`Batch.windows`) lie in."""
        return windows // self.windows(TRAINING).per_trajectory

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
        """What models may be conditioned on: the parameters of the data, and dt where it differs from row to row."""
        return (*self.windows(TRAINING).parameter_names, *((DT,) if len(self.strides) > 1 else ()))

    @property
    def parameter_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and population standard deviation of each over the training trajectories, float64 (P,); of dt, of ln(dt / `self.dt`)."""
        values = self.windows(TRAINING).parameters
        mean = values.mean(0)
        std = (values - mean).square().mean(0).sqrt()
        if len(self.strides) > 1:
            logs = torch.tensor(self.strides, dtype=torch.float64).log()
            mean, std = torch.cat([mean, logs.mean()[None]]), torch.cat([std, logs.std(correction=0)[None]])
        return mean, std

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
            self._normaliser = normaliser_of(self.windows(TRAINING), self._scaling, self.stride, self.strides)
        return self._normaliser

    @property
    def scaling(self) -> Scaling | None:
        """How it normalises; None for each channel by itself."""
        return self.normaliser.scaling

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the batches of training and is not as it is unless said, for the record of a run."""
        crop = None if self.crop is None else asdict(self.crop)
        known: dict[str, Any] = {
            "strides": list(self.strides),
            "coarsen": self.opened.coarsen and str(self.opened.coarsen),
            "crop": crop,
            "augment": self.augment,
            "flips": self.flips,
        }
        known |= {"normalise": describe(self._scaling), "max_nodes": self.max_nodes}
        return {k: v for k, v in known.items() if v not in (None, False, [1], [])}
