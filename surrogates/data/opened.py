"""A data set opened split by split, on first use: windows to train and judge on, and whole trajectories to roll out against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import xarray as xr

from surrogates.data.coarse import Coarse
from surrogates.data.files import join
from surrogates.data.mesh_features import as_trained
from surrogates.data.mesh_windows import windows_of
from surrogates.data.parts import parts_of
from surrogates.data.thin import thin
from surrogates.data.windows import Windows
from surrogates.domains import Mesh
from surrogates.errors import nearest
from surrogates.interchange import STATIC, TIME, declared, domain_of
from surrogates.normalise import TRAINING

Splits = dict[str, xr.Dataset] | dict[str, list[xr.Dataset]]


@dataclass(frozen=True, eq=False)
class Opened:
    """`dataset` is a name or path, or a mapping of splits; the rest is that of `Windows`, whose `strides` only training draws from.

    Raises ValueError for a split that is not there, and what `Windows` raises.
    """

    dataset: str | Splits
    history: int = 1
    bundle: int = 1
    size: str | None = None
    stride: int = 1
    strides: tuple[int, ...] = (1,)
    subsample: int = 1
    coarsen: Coarse | None = None
    stream: bool = False
    max_nodes: int | None = None
    _windows: dict[str, Windows] = field(default_factory=dict, init=False, repr=False)
    _truths: dict[str, list[xr.Dataset]] = field(default_factory=dict, init=False, repr=False)

    def windows(self, split: str) -> Windows:
        """The windows of a split."""
        if split not in self._windows:
            source = self.source(split)
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
        """Whole trajectories on the grid and with the step of the windows, part by part where they differ in length or mesh."""
        if split not in self._truths:
            parts = parts_of(self.source(split), split, self.size)
            coarse = parts if self.coarsen is None else [self.coarsen(p) for p in parts]
            self._truths[split] = [thin(p, self.subsample, self.stride) for p in coarse]
        return self._truths[split]

    def truth(self, split: str) -> xr.Dataset:
        """The same joined; of trajectories that differ in length the longest. Raises ValueError where they lie on different meshes."""
        parts = self.truths(split)
        if len(parts) == 1:
            return parts[0]
        return join(parts) if isinstance(domain_of(parts[0]), Mesh) else max(parts, key=lambda p: int(p.sizes[TIME]))

    def source(self, split: str) -> str | xr.Dataset | Sequence[xr.Dataset]:
        """What a split is read from: the data set by its name, or what is in memory."""
        if isinstance(self.dataset, str):
            return self.dataset
        if split not in self.dataset:
            raise ValueError(f"there is no split {split!r} among {list(self.dataset)}{nearest(split, self.dataset)}")
        held, trained = self.dataset[split], self.dataset.get(TRAINING)
        if isinstance(held, xr.Dataset) or not trained or isinstance(trained, xr.Dataset) or split == TRAINING:
            return held
        return [as_trained(p, declared(trained[0], STATIC)) for p in held]
