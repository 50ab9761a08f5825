"""Windows: H past and T future frames of one trajectory, `stride` frames apart, read a batch at a time.

A split is a list of parts (B, T, C, *X), each with trajectories of a length of its own. Windows begin wherever none of their frames is
missing and no step between them is (`surrogates.data.starts`); they are numbered trajectory by trajectory. A window with stride 1 is one
block of the packed cache, so a batch is as many copies of memory.

With several `strides` the step in time may differ from row to row of a batch: stride s makes dt s times that of the frames, and a window
begins only where each of them may. Statistics of increments are then those of all strides together, and how they grow with dt is left to
the network, which is told dt (`surrogates.surrogate.TIME_STEP`).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from jaxtyping import Float, Int64
from torch import Tensor

from surrogates import catalog
from surrogates.contracts import Conditions
from surrogates.data.cache import Change, cache_home, check_dims, key_of, owner, pack, packed
from surrogates.data.files import SPLIT, locate
from surrogates.data.mesh_order import NodeOrder
from surrogates.data.order import Order
from surrogates.data.origin import origin
from surrogates.data.parts import Source, parts_of
from surrogates.data.phases import phases
from surrogates.data.series import Series
from surrogates.data.starts import Flags, Runs, allowed, stretches
from surrogates.data.steady import not_steady
from surrogates.data.stream import Row, Stored, ahead, gather
from surrogates.data.thin import Thin, follows, thin
from surrogates.data.together import Together
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Fields
from surrogates.interchange import (
    FORCINGS,
    STATIC,
    TIME,
    declared,
    domain_of,
    fields_of,
    parameters_of,
    static_of,
    times_of,
    trajectories_of,
)
from surrogates.normalise import Stretch

Frames = npt.NDArray[np.float32]
SAMPLED = 64  # frames of streamed data that their checksum looks at


@dataclass(frozen=True)
class Batch:
    """Physical frames, the conditions at the last past frame, and the global ids of the windows (keys for noise), one a member."""

    past: Float[Tensor, "B H C *X"]
    future: Float[Tensor, "B T C *X"]
    conditions: Conditions
    windows: Int64[Tensor, " G"]

    def to(self, device: torch.device | str) -> Batch:
        """The same on `device`; time and dt stay float64 on the CPU."""
        past, future = self.past.to(device, non_blocking=True), self.future.to(device, non_blocking=True)
        return replace(self, past=past, future=future, conditions=self.conditions.to(device))

    def __len__(self) -> int:
        return len(self.windows)


class Windows:
    """The windows of one split of a data set known by name or path, of an xarray Dataset in memory, or of a list of parts.

    `history` and `bundle` are H and T; `stride` steps over frames (the step in time is then stride dt), `strides` are multiples of it that
    a batch may ask for; `subsample` keeps every n-th point of each axis, `change` is made to every Dataset before it is packed (a coarser
    grid, `surrogates.data.coarse`). With `stream` nothing is packed: frames are read where they lie as they are asked for
    (`surrogates.data.stream`), and a gap must be one of the clock or said by a coordinate "missing" (True where a frame is).
    Raises ValueError for data that are not sound, and for windows longer than the trajectories.
    """

    def __init__(
        self,
        source: Source,
        history: int = 1,
        bundle: int = 1,
        *,
        stride: int = 1,
        strides: Sequence[int] = (1,),
        subsample: int = 1,
        change: Change | None = None,
        stream: bool = False,
        split: str | None = None,
        size: str | None = None,
    ) -> None:
        for name, value in (("history", history), ("bundle", bundle), ("stride", stride), ("subsample", subsample)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not strides or min(strides) < 1 or len(set(strides)) < len(strides):
            raise ValueError(f"strides must be different whole numbers from 1 up, such as [1, 2, 4], got {list(strides)}")
        parts = parts_of(source, split, size)
        said = str(parts[0].attrs.get(SPLIT, ""))
        if split and said and split != said:
            raise ValueError(f"this Dataset is the split {said!r}, not {split!r}; open the other one")
        self.split, self.stream = split or said, stream
        self.history, self.bundle, self.stride, self.strides = history, bundle, stride, tuple(sorted(strides))
        self._home: tuple[Path, str] | None = None
        self._check_length(parts)
        if subsample > 1 and change is not None:
            raise ValueError("subsample and change both make the grid coarser; give one of them")
        if subsample > 1 and stream:
            parts = [thin(p, subsample) for p in parts]
        elif subsample > 1:
            change = Thin(subsample)
        self._of_files = isinstance(source, str | Path)
        in_memory = not isinstance(source, str | Path) or not split
        read: list[tuple[Any, Flags]]
        if stream:
            read = [streamed(p, change) for p in parts]
            if isinstance(source, str | Path) and split:
                folder, ending = locate(source, size), f"-every{subsample}" if subsample > 1 else ""
                self._home = (cache_home(folder), f"{owner(folder, split)}{key_of(parts[0], folder, split)}{ending}-stream")
        else:
            read = [pack(p, change=change) for p in parts] if in_memory else self._packed(parts, source, split or "", size, change)
        self._describe(parts, change)
        self._cut(read, parts)

    def _packed(self, parts: list[xr.Dataset], source: Any, split: str, size: str | None, change: Change | None) -> list[Any]:
        folder, ending = locate(source, size), "" if change is None else f"-{change}"
        key = key_of(parts[0], folder, split)
        self._home = (cache_home(folder), f"{owner(folder, split)}{key}{ending}")
        suffixes = [f"{ending}-{n}" if n else ending for n in range(len(parts))]
        return [packed(p, folder, split, s, change, key) for p, s in zip(parts, suffixes, strict=True)]

    def _check_length(self, parts: Sequence[xr.Dataset]) -> None:
        not_steady(parts)
        frames = max(int(p.sizes.get(TIME, 0)) for p in parts)
        length = (self.history + self.bundle - 1) * self.stride * self.strides[-1] + 1
        if frames < length:
            raise ValueError(
                f"a window of history {self.history} and bundle {self.bundle} with stride {self.stride * self.strides[-1]} spans {length} "
                f"frames but the trajectories have {frames}; shorten the history, the bundle or the stride"
            )
        self.per_trajectory = frames - length + 1
        """As many as the longest trajectory holds; the id of a window is its start plus this times its trajectory's id."""

    def _describe(self, parts: Sequence[xr.Dataset], change: Change | None) -> None:
        first = parts[0]
        self.attrs = dict(first.attrs)
        """Of the data, the first part's where there are several."""
        if "dt" not in first.attrs:
            raise ValueError("the Dataset has no attribute 'dt' (the frame step); set dataset.attrs['dt']")
        self.fields: Fields = fields_of(first)
        shown = parts if change is None else [change(p.drop_vars(v for f in self.fields for v in f.variables)) for p in parts]
        self.domain: AnyDomain = domain_of(shown[0])
        self.dt = float(first.attrs["dt"]) * self.stride
        self._ids: npt.NDArray[np.int64] = np.array([i for p in parts for i in trajectories_of(p)], np.int64)
        self.ids = torch.from_numpy(self._ids)
        self.parameter_names = tuple(parameters_of(first))
        self.equation = str(json.loads(str(first.attrs.get("recipe") or "{}")).get("equation", ""))
        """What the recipe says that the data solve; "" where there is none."""
        self.parameters = torch.cat([_columns(p) for p in parts])
        sums = [str(p.attrs.get("checksum", "")) for p in parts]
        self._declared = sums[0] if len(sums) == 1 else sha256("".join(sums).encode()).hexdigest() if all(sums) else ""
        self.static_fields, self.forcing_fields = declared(first, STATIC), declared(first, FORCINGS)
        static = [s for s in map(static_of, shown) if s is not None]
        self.static = torch.cat(static) if static else None
        names = [v for f in self.forcing_fields or () for v in f.variables]
        series = [Series(p, names, self.domain.shape).of(trajectories_of(p)) for p in shown] if names else []
        which = torch.tensor([n for n, p in enumerate(parts) for _ in trajectories_of(p)])
        rows = torch.tensor([i for p in parts for i in range(len(trajectories_of(p)))])
        self.forcing = None if not series else series[0] if len(series) == 1 else Together(series, which, rows)

    def _cut(self, read: Sequence[tuple[Any, Flags]], parts: Sequence[xr.Dataset]) -> None:
        """Trajectories, one after the other, and where windows may begin in them."""
        step = self.dt / self.stride
        self._frames, self._times, self._present, self._onward = [], [], [], []
        for (values, missing), p in zip(read, parts, strict=True):
            time = times_of(p) if TIME in p.coords else np.arange(values.shape[1]) * step
            onward = follows(p)
            plain = (
                values if isinstance(values, Stored) else np.asarray(values)
            )  # without numpy's class for memory maps, whose slices cost ten times as much
            self._frames += [plain[n] for n in range(len(plain))]
            self._present += list(~missing)
            self._times += [time] * len(plain)
            self._onward += [onward] * len(plain)
        count, strides = self.history + self.bundle, [self.stride * s for s in self.strides]
        self.runs = Runs.of([allowed(p, o, count, strides) for p, o in zip(self._present, self._onward, strict=True)])
        if not len(self.runs):
            raise ValueError(
                f"no {(count - 1) * strides[-1] + 1} successive frames lie between the gaps of the split {self.split!r}; "
                "shorten the history, the bundle or the stride"
            )
        whole = sum(max(0, len(p) - (count - 1) * strides[-1]) for p in self._present)
        if len(self.runs) < whole / 2:
            warnings.warn(
                f"gaps leave {len(self.runs)} of {whole} windows of the split {self.split!r}: frames are missing, or do not lie "
                f"dt = {step:g} apart; correct dt, or resample the data, where that is not so",
                stacklevel=3,
            )

    # -- reading -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.runs)

    def batch(self, indices: Sequence[int] | Int64[Tensor, " B"], strides: Sequence[int] | None = None) -> Batch:
        """The windows `indices`, in that order, float32; row b with stride `strides[b]` of the strides here, the smallest unless given.

        Raises IndexError for a window that does not exist.
        """
        wanted = np.asarray(indices, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"window {wanted.tolist()} asked for, but there are {len(self)}")
        rows, starts = self.runs.find(wanted)
        every = np.full(len(wanted), self.strides[0]) if strides is None else np.asarray(strides, np.int64)
        frames = self.read(rows.tolist(), starts.tolist(), every.tolist())
        ids = torch.from_numpy(self._ids[rows] * self.per_trajectory + starts)
        return Batch(frames[:, : self.history], frames[:, self.history :], self._conditions(rows, starts, every), ids)

    def read(self, rows: Sequence[int], starts: Sequence[int], strides: Sequence[int] | None = None) -> Float[Tensor, "B HT C *X"]:
        """Frames start, start + stride, ... of the trajectories `rows`, copied."""
        out = np.empty((len(rows), self.history + self.bundle, *self._frames[0].shape[1:]), np.float32)
        self.read_into(out, rows, starts, strides or (self.strides[0],) * len(rows))
        return torch.from_numpy(out)

    def read_into(self, out: Sequence[Frames] | Frames, rows: Sequence[int], starts: Sequence[int], strides: Sequence[int]) -> None:
        """The same, each (H + T, C, *X) into an array of its own. Raises ValueError for streamed values that are not finite."""
        span = self.history + self.bundle - 1
        slices = [slice(t, t + span * s * self.stride + 1, s * self.stride) for t, s in zip(starts, strides, strict=True)]
        gather([self._frames[n] for n in rows], slices, out)
        if not self.stream:
            return
        for values, row, frames in zip(out, rows, slices, strict=True):
            if not np.isfinite(values).all():
                raise ValueError(
                    f"frames {frames.start} to {frames.stop - 1} of trajectory {self._ids[row]} hold values that are not finite; "
                    'mark missing frames by a coordinate "missing" on time, or pack the data (stream: false), which finds them'
                )

    def _conditions(self, rows: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], strides: npt.NDArray[np.int64]) -> Conditions:
        """Domain, time of the last past frame, dt, parameters, and what is known beside the state, of windows."""
        last = starts + (self.history - 1) * self.stride * strides
        time = torch.tensor([self._times[n][t] for n, t in zip(rows, last, strict=True)], dtype=torch.float64)
        index = torch.from_numpy(rows)
        parameters = self.parameters[index].to(torch.float32)
        static = None if self.static is None else self.static[index]
        forcing = None if self.forcing is None else self.forcing.at_rows(index)
        dt = self.dt * torch.from_numpy(strides).double()
        return Conditions(self.domain, time, dt, parameters, self.parameter_names, static, forcing)

    def forcings(self, most: int | None = None) -> Iterator[Float[Tensor, "B Cf *X"]]:
        """Those that are declared, at every time of theirs or at most so many, of all trajectories, or once where these share them."""
        yield from () if self.forcing is None else self.forcing.frames(most)

    def statics(self) -> Iterator[Float[Tensor, "B Cs *X"]]:
        """The static fields of all trajectories, where there are any."""
        yield from () if self.static is None else (self.static,)

    def order(self, chosen: Int64[Tensor, " N"], batch_size: int, seed: int) -> Order | NodeOrder:
        """Which of the `chosen` windows make the batch of a step."""
        return Order(len(chosen), batch_size, seed)

    def cut(self, chosen: Int64[Tensor, " N"], batch_size: int) -> list[Int64[Tensor, " B"]]:
        """The chosen windows in their order, in batches."""
        return [chosen[first : first + batch_size] for first in range(0, len(chosen), batch_size)]

    def of_trajectories(self, rows: Int64[Tensor, " N"]) -> Int64[Tensor, " M"]:
        """The numbers of the windows of trajectories, these by their place in `ids`."""
        return torch.from_numpy(self.runs.of_rows(rows.numpy()))

    # -- what statistics are taken from --------------------------------------------------------------------------

    @property
    def channels(self) -> tuple[str, ...]:
        return self.fields.channels

    @property
    def measure(self) -> Float[Tensor, "*X"] | None:
        """What each cell counts for in statistics; None where all count alike."""
        weights = self.domain.measure
        return None if bool((weights == weights.flatten()[0]).all()) else weights

    def trajectories(self, read: Callable[[int], None] = lambda frames: None) -> Iterator[Stretch]:
        """Every stretch of frames without a gap, once for each phase of each stride, so that successive frames are one window step apart.

        Each frame is read once (`surrogates.data.phases`), in blocks of at most 256 MB, and `read` is told how many a block had.
        """
        strides = [s * self.stride for s in self.strides]
        for values, (start, stop) in self._stretches():
            yield from phases(values, start, stop, strides, read)

    @property
    def frames(self) -> int:
        """How many frames `trajectories` reads."""
        return sum(stop - start for _, (start, stop) in self._stretches())

    def _stretches(self) -> Iterator[tuple[Any, tuple[int, int]]]:
        for values, present, onward in zip(self._frames, self._present, self._onward, strict=True):
            yield from ((values, span) for span in stretches(present, onward))

    @cached_property
    def checksum(self) -> str:
        """That of the files where they have one, else SHA-256 of the packed values; of streamed ones, of what tells them apart and
        of frames spread evenly over them."""
        if self._of_files and self._declared:
            return self._declared
        digest = sha256()
        for values in self._frames:
            if isinstance(values, np.ndarray):
                digest.update(np.ascontiguousarray(values).data)
                continue
            digest.update(str(values.about).encode())
            some = np.unique(np.linspace(0, len(values) - 1, max(1, SAMPLED // len(self._frames)), dtype=np.int64)).tolist()
            for values_of_one in ahead(partial(_frame, values), some, 4):
                digest.update(values_of_one.data)
        if self.static is not None:
            digest.update(self.static.numpy().tobytes())
        for frame in self.forcings(SAMPLED if self.stream else None):
            digest.update(frame.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def beside(self, suffix: str) -> Path | None:
        """Where something derived from these values may be kept: beside the cache, or nowhere for data in memory.

        Of streamed Datasets: under the data root, where they tell by themselves what they are (`surrogates.data.origin`), else nowhere.
        """
        if self.stream and self._home is None:
            self._home = self._of_stream()
        return None if self._home is None else self._home[0] / f"{self._home[1]}-{suffix}"

    def _of_stream(self) -> tuple[Path, str] | None:
        """By the origin of all values, by what counts among them and for how much, and by a look at some of them."""
        told = [origin(a) for values in dict.fromkeys(v.stored for v in self._frames) for a in values.variables]
        if None in told:
            return None
        digest = sha256(json.dumps([told, self.split, self.fields.to_json(), self.dt / self.stride, self.checksum]).encode())
        weights = [] if self.measure is None else [self.measure.numpy()]
        for one in (*self._present, *self._onward, *self._times, *weights):
            digest.update(np.ascontiguousarray(one).data)
        return catalog.data_root() / "cache" / "streams", digest.hexdigest()[:20]


def streamed(part: xr.Dataset, change: Change | None) -> tuple[Stored, Flags]:
    """A part whose frames are read when they are asked for, and which are said to be missing. Raises ValueError for a change."""
    if change is not None:
        raise ValueError("data that are streamed are read as they are; coarsen them once (`surrogates data convert`), or leave stream out")
    check_dims(part, "the Dataset")
    stored = Stored(part)
    said = part["missing"].values.astype(bool) if "missing" in part.coords else np.zeros(stored.shape[1], bool)
    return stored, np.broadcast_to(said, stored.shape[:2])


def _frame(values: Row, t: int) -> Frames:
    return values[slice(t, t + 1)]


def _columns(part: xr.Dataset) -> Float[Tensor, "B P"]:
    """The parameters of a part, a column each."""
    count, known = len(trajectories_of(part)), parameters_of(part)
    return torch.stack([v.expand(count) for v in known.values()], 1) if known else torch.zeros(count, 0, dtype=torch.float64)
