"""A LightningDataModule over `Windows`: whole batches are read at once, in an order that is a pure function of (seed, step).

The training loader is endless in effect: an epoch is as many batches as fit once through the windows, and the next goes on where
the last one stopped. Its state is the number of batches served, which a checkpoint keeps, so that a resumed run sees exactly the
batches that an uninterrupted one would have seen (`surrogates.data.batches`).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from jaxtyping import Int64
from lightning.pytorch import LightningDataModule
from safetensors.torch import load_file, save_file
from torch import Tensor

from surrogates.data.batches import Change, EvenBatches, TrainingBatches
from surrogates.data.coarse import Coarse
from surrogates.data.crops import Crops, check
from surrogates.data.files import join
from surrogates.data.mesh_windows import windows_of
from surrogates.data.parts import parts_of
from surrogates.data.splits import split_of
from surrogates.data.symmetries import Augment, chosen
from surrogates.data.thin import thin
from surrogates.data.windows import Windows
from surrogates.domains import Mesh
from surrogates.domains.layout import AnyDomain
from surrogates.errors import nearest
from surrogates.fields import Fields
from surrogates.interchange import TIME, domain_of
from surrogates.normalise import TRAINING, Normaliser
from surrogates.record import describe
from surrogates.scaling import Scaling, scaling_of

DT = "dt"  # among the parameters of a surrogate: the step that it is told
MOST_REGIONS = 64


class DataModule(LightningDataModule):
    """Training and validation batches of a data set: its name or path, a Dataset in memory, or a mapping of splits to Datasets or lists of
    them (parts that differ in length or mesh).

    stride, strides: frames between those of a window; of several `strides` each row of a training batch draws one, and models are told dt.
    subsample, coarsen: every n-th point, or cells averaged together ({factor: 4, by: means}; `surrogates.data.coarse`).
    crop, augment: what training sees: pieces of the box ({size: [64, 64], halo: 8}), and the symmetries of the equation (all that are
    declared, or some by name; `surrogates.data.symmetries`). flips: of an unknown equation, the scalars that change sign in a reflection.
    normalise: which statistics, and transforms (`surrogates.scaling`).
    stream, prefetch: read frames where they lie instead of packing them; how many batches are read ahead.
    validation: the number of validation windows. fold: (k, n) trains on the trajectories whose id is k modulo n alone; statistics are still
    those of the whole training split, so that models of different folds share them. max_nodes: on different meshes a batch is one
    block-diagonal mesh, of at most so many nodes.

    Before any training it tells `fields`, `domain`, `dt`, `parameter_names`, `normaliser` (from the training split alone) and `checksum`.
    Raises ValueError for data that are not there or not sound.
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
        self.dataset: str | dict[str, xr.Dataset] | dict[str, list[xr.Dataset]] = (
            split_of(dataset) if isinstance(dataset, xr.Dataset) else dataset
        )
        self.history, self.bundle, self.batch_size, self.size = history, bundle, batch_size, size
        self.seed, self.stride, self.subsample, self.validation = seed, stride, subsample, validation
        self.strides, self.coarsen = tuple(strides or (1,)), coarsen if coarsen and coarsen.factor > 1 else None
        self.crop, self.augment, self.flips, self.stream, self.prefetch = crop, augment, flips, stream, prefetch
        self.fold, self.max_nodes = fold, max_nodes
        self._scaling = scaling_of(normalise)
        if self._scaling is not None and self._scaling.regions and (augment or crop is not None):
            raise ValueError(
                f"normalise.regions ({self._scaling.regions!r}) belong to places, from which {'augment' if augment else 'crop'} moves the "
                "fields away; leave one of the two out"
            )
        self._windows: dict[str, Windows] = {}
        self._whole: dict[str, list[xr.Dataset]] = {}
        self._normaliser: Normaliser | None = None

    # -- the splits ----------------------------------------------------------------------------------------------

    def windows(self, split: str) -> Windows:
        """The windows of a split, opened on first use. Raises ValueError for one that is not there."""
        if split not in self._windows:
            source = self.dataset if isinstance(self.dataset, str) else self._memory(split)
            self._windows[split] = windows_of(
                source,
                self.history,
                self.bundle,
                max_nodes=self.max_nodes,
                stride=self.stride,
                strides=self.strides if split == TRAINING else (1,),
                subsample=self.subsample,
                change=self.coarsen,
                stream=self.stream,
                split=split,
                size=self.size if isinstance(source, str) else None,
            )
        return self._windows[split]

    def truths(self, split: str) -> list[xr.Dataset]:
        """Whole trajectories of a split on the grid and with the step of the windows, part by part where they differ in length or mesh."""
        if split not in self._whole:
            parts = parts_of(self.dataset if isinstance(self.dataset, str) else self._memory(split), split, self.size)
            coarse = parts if self.coarsen is None else [self.coarsen(p) for p in parts]
            self._whole[split] = [thin(p, self.subsample, self.stride) for p in coarse]
        return self._whole[split]

    def truth(self, split: str) -> xr.Dataset:
        """The same joined, to roll out against; of trajectories that differ in length the longest.

        Raises ValueError where they lie on different meshes, and `truths` has the parts.
        """
        parts = self.truths(split)
        if len(parts) == 1:
            return parts[0]
        if isinstance(domain_of(parts[0]), Mesh):
            return join(parts)
        return max(parts, key=lambda p: int(p.sizes[TIME]))

    def _memory(self, split: str) -> xr.Dataset | list[xr.Dataset]:
        assert not isinstance(self.dataset, str)
        if split not in self.dataset:
            raise ValueError(f"there is no split {split!r} among {list(self.dataset)}{nearest(split, self.dataset)}")
        return self.dataset[split]

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
            windows = self.windows(TRAINING)
            region, scaling = None, self._scaling
            if scaling is not None and scaling.regions:
                region, count = regions_of(windows, scaling.regions)
                scaling = replace(scaling, count=count)
            what = json.dumps([self.strides, describe(scaling)])
            plain = scaling is None and self.strides == (1,)
            label = f"stride{self.stride}" + ("" if plain else f"-{sha256(what.encode()).hexdigest()[:12]}")
            self._normaliser = remembered(windows, windows.beside(f"{label}.safetensors"), scaling, region)
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
            "coarsen": self.coarsen and str(self.coarsen),
            "crop": crop,
            "augment": self.augment,
            "flips": self.flips,
        }
        known |= {"normalise": describe(self._scaling), "max_nodes": self.max_nodes}
        return {k: v for k, v in known.items() if v not in (None, False, [1], [])}


def regions_of(windows: Windows, name: str) -> tuple[Int64[Tensor, "*X"], int]:
    """The regions that a static field of whole numbers tells apart, numbered from 0 by its values, and how many there are.

    Raises ValueError for a field that is not there, has other values or differs between trajectories.
    """
    known = windows.static_fields.channels if windows.static_fields else ()
    if name not in known or windows.static is None:
        raise ValueError(
            f"normalise.regions names {name!r}, which is no static field of the data; they have {list(known)}{nearest(name, known)}"
        )
    values = windows.static[:, known.index(name)]
    if not bool((values == values[:1]).all()):
        raise ValueError(f"the static field {name!r} differs between trajectories; regions must be the same in all")
    labels, numbers = torch.unique(values[0], return_inverse=True)
    if not bool((labels == labels.round()).all()) or len(labels) > MOST_REGIONS:
        raise ValueError(
            f"the static field {name!r} has {len(labels)} values from {float(labels.min()):g}; regions are a few whole numbers"
        )
    return numbers, len(labels)


def remembered(
    windows: Windows, path: Path | None, scaling: Scaling | None = None, region: Int64[Tensor, "*X"] | None = None
) -> Normaliser:
    """`Normaliser.fit`, read from `path` where it was written before."""
    if path is not None and path.exists():
        made = Normaliser.identity(windows.fields.count, windows.domain.dim, scaling, windows.fields, windows.domain.shape)
        made.load_state_dict(load_file(path))
        return made
    fitted = Normaliser.fit(windows, scaling, windows.fields, region)
    if path is not None:
        draft = path.with_name(f".{os.getpid()}.{path.name}")
        save_file({k: v.contiguous() for k, v in fitted.state_dict().items()}, draft)
        draft.replace(path)
    return fitted
