"""Windows: H past and T future frames of one trajectory, `stride` frames apart, read a batch at a time.

Of a trajectory of F frames, W = F - (H + T - 1) stride windows are cut; window i is number i % W of row i // W. A window with
stride 1 is one block of the packed cache, so a batch is as many copies of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from jaxtyping import Float, Int64
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.data.cache import cache_home, key_of, pack, packed
from surrogates.data.files import SPLIT, locate, open_dataset
from surrogates.data.series import Series
from surrogates.data.thin import thin
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Fields
from surrogates.interchange import FORCINGS, STATIC, TIME, declared, domain_of, fields_of, parameters_of, static_of, trajectories_of


@dataclass(frozen=True)
class Batch:
    """Physical frames, the conditions at the last past frame, and the global ids of the windows (keys for noise)."""

    past: Float[Tensor, "B H C *X"]
    future: Float[Tensor, "B T C *X"]
    conditions: Conditions
    windows: Int64[Tensor, " B"]

    def to(self, device: torch.device | str) -> Batch:
        """The same on `device`; time and dt stay float64 on the CPU."""
        past, future = self.past.to(device, non_blocking=True), self.future.to(device, non_blocking=True)
        return replace(self, past=past, future=future, conditions=self.conditions.to(device))

    def __len__(self) -> int:
        return self.past.shape[0]


class Windows:
    """The windows of one split of a data set known by name or path, or of an xarray Dataset in memory.

    `history` and `bundle` are H and T; `stride` steps over frames (the step in time is then stride dt); `subsample` keeps every
    n-th point of each axis. Raises ValueError for data that are not sound, and for windows longer than the trajectories.
    """

    def __init__(
        self,
        source: str | Path | xr.Dataset,
        history: int = 1,
        bundle: int = 1,
        *,
        stride: int = 1,
        subsample: int = 1,
        split: str | None = None,
        size: str | None = None,
    ) -> None:
        for name, value in (("history", history), ("bundle", bundle), ("stride", stride), ("subsample", subsample)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        dataset = source if isinstance(source, xr.Dataset) else open_dataset(source, split, size=size)
        declared = str(dataset.attrs.get(SPLIT, ""))
        if split and declared and split != declared:
            raise ValueError(f"this Dataset is the split {declared!r}, not {split!r}; open the other one")
        self.split = split or declared
        self.history, self.bundle, self.stride = history, bundle, stride
        self._home: tuple[Path, str] | None = None
        self._cut(dataset)
        if subsample > 1 or isinstance(source, xr.Dataset) or not split:
            dataset = thin(dataset, subsample)
            self._values = pack(dataset)
        else:
            folder = locate(source, size)
            self._values = packed(dataset, folder, split)
            self._home = (cache_home(folder), f"{split}-{key_of(dataset, folder, split)}")
        self._describe(dataset)

    def _cut(self, dataset: xr.Dataset) -> None:
        frames, length = int(dataset.sizes.get(TIME, 0)), (self.history + self.bundle - 1) * self.stride + 1
        if frames < length:
            raise ValueError(
                f"a window of history {self.history} and bundle {self.bundle} with stride {self.stride} spans {length} frames but the "
                f"trajectories have {frames}; shorten the history, the bundle or the stride"
            )
        self.per_trajectory = frames - length + 1

    def _describe(self, dataset: xr.Dataset) -> None:
        if "dt" not in dataset.attrs:
            raise ValueError("the Dataset has no attribute 'dt' (the frame step); set dataset.attrs['dt']")
        self.fields: Fields = fields_of(dataset)
        self.domain: AnyDomain = domain_of(dataset)
        self.dt = float(dataset.attrs["dt"]) * self.stride
        self._ids: npt.NDArray[np.int64] = np.array(trajectories_of(dataset), np.int64)
        self.ids = torch.from_numpy(self._ids)
        frames = self._values.shape[1]
        start = dataset[TIME].values if TIME in dataset.coords else np.arange(frames) * float(dataset.attrs["dt"])
        self._time: npt.NDArray[np.float64] = np.array(start, np.float64)
        parameters = parameters_of(dataset)
        self.parameter_names = tuple(parameters)
        columns = [v.expand(len(self.ids)) for v in parameters.values()]
        self.parameters = torch.stack(columns, 1) if columns else torch.zeros(len(self.ids), 0, dtype=torch.float64)
        self._declared = str(dataset.attrs.get("checksum", ""))
        self.static_fields, self.forcing_fields = declared(dataset, STATIC), declared(dataset, FORCINGS)
        self.static = static_of(dataset)
        names = [v for f in self.forcing_fields or () for v in f.variables]
        self.forcing = Series(dataset, names, self.domain.shape).of(self._ids.tolist()) if names else None

    # -- reading -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.ids) * self.per_trajectory

    def batch(self, indices: Sequence[int] | Int64[Tensor, " B"]) -> Batch:
        """The windows `indices`, in that order, float32. Raises IndexError for one that does not exist."""
        wanted = np.asarray(indices, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"window {wanted.tolist()} asked for, but there are {len(self)}")
        rows, starts = np.divmod(wanted, self.per_trajectory)
        frames = self.read(rows.tolist(), starts.tolist())
        ids = torch.from_numpy(self._ids[rows] * self.per_trajectory + starts)
        return Batch(frames[:, : self.history], frames[:, self.history :], self._conditions(rows, starts), ids)

    def read(self, rows: Sequence[int], starts: Sequence[int]) -> Float[Tensor, "B HT C *X"]:
        """Frames start, start + stride, ... of the trajectories `rows`, copied."""
        values, stride, length = self._values, self.stride, self.history + self.bundle
        out = np.empty((len(rows), length, *values.shape[2:]), np.float32)
        span = (length - 1) * stride + 1
        for b, (n, t) in enumerate(zip(rows, starts, strict=True)):
            out[b] = values[n, t : t + span : stride]
        return torch.from_numpy(out)

    def _conditions(self, rows: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> Conditions:
        """Domain, time of the last past frame, dt, parameters, and what is known beside the state, of windows."""
        time = torch.from_numpy(self._time[starts + (self.history - 1) * self.stride])
        parameters = self.parameters[torch.from_numpy(rows)].to(torch.float32)
        static = None if self.static is None else self.static[torch.from_numpy(rows)]
        forcing = None if self.forcing is None else self.forcing.at_rows(torch.from_numpy(rows))
        dt = torch.full_like(time, self.dt)
        return Conditions(self.domain, time, dt, parameters, self.parameter_names, static, forcing)

    def forcings(self) -> Iterator[Float[Tensor, "B Cf *X"]]:
        """Those that are declared, at every time of theirs, of all trajectories, or once where these share them."""
        yield from () if self.forcing is None else self.forcing.frames()

    # -- what statistics are taken from --------------------------------------------------------------------------

    @property
    def channels(self) -> tuple[str, ...]:
        return self.fields.channels

    def trajectories(self) -> Iterator[Float[Tensor, "T C *X"]]:
        """Every trajectory, once for each phase of the stride, so that successive frames are one window step apart."""
        for row in self._values:
            for phase in range(self.stride):
                frames = row[phase :: self.stride]
                if len(frames) > 1:
                    yield torch.from_numpy(np.ascontiguousarray(frames))

    @cached_property
    def checksum(self) -> str:
        """That of the files, or for a Dataset in memory SHA-256 of the packed values."""
        if self._home is not None and self._declared:
            return self._declared
        import hashlib

        digest = hashlib.sha256(np.ascontiguousarray(self._values).data)
        if self.static is not None:
            digest.update(self.static.numpy().tobytes())
        for values in self.forcings():
            digest.update(values.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def beside(self, suffix: str) -> Path | None:
        """Where something derived from these values may be kept: beside the cache, or nowhere for data in memory."""
        return None if self._home is None else self._home[0] / f"{self._home[1]}-{suffix}"
