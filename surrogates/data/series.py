"""Fields known ahead as a function of time: linear between the frames of a Dataset, w f(t_i) + (1 - w) f(t_{i+1}), never beyond them.

What drives a step or lies around it (forcings, boundary values, prescribed parameters) is such a function of physical time, one time a
row; what does not vary is a static field. Both are told apart by their dims, and picked by name. Only the frames around the times that
are asked for are read, so a file of any length may lie on the disk. A series that has dates is counted as the forecast is (`counted`).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.dates import recounted
from surrogates.errors import nearest
from surrogates.identity import identity_of
from surrogates.interchange import SINCE, TIME, TRAJECTORY, are_dates, time_attrs_of, times_of, trajectories_of

HELD = 16  # frames kept in memory


class Series:
    """Variables of a Dataset, or of a file that xarray opens, as channels: t (G,) -> (G, C, *X) float32.

    Dims are ([trajectory,] time, *axes); `axes` are all others in the order of the file, and a variable without any is the same everywhere
    (`shape` says over what it is spread). Times are dates, or numbers with or without CF units; t is counted as they are, until `simulate`
    has them count as its own (`counted`). Without a dim "trajectory" every row has the same; else `of(trajectories)` picks rows by their
    ids. Raises ValueError for names that are not there, for a variable that does not vary in time, for times that do not rise, and, when
    called, for a time outside the file's.
    """

    def __init__(self, source: str | os.PathLike[str] | xr.Dataset, names: Sequence[str], shape: Sequence[int] = ()) -> None:
        self.names, self.shape = tuple(names), tuple(shape)
        self.dataset = opened(source)
        self.arguments = {"source": identity_of(source), "names": list(self.names), "shape": list(self.shape)}
        for name in self.names:
            if name not in self.dataset:
                known = sorted(map(str, self.dataset.data_vars))
                raise ValueError(f"there is no variable {name!r} among {known}{nearest(name, known)}")
            if TIME not in self.dataset[name].dims:
                raise ValueError(f"{name!r} has no dim 'time': it is static; pass it as a static field")
        self.about = time_attrs_of(self.dataset)
        self.times = torch.from_numpy(times_of(self.dataset))
        if not bool((self.times.diff() > 0).all()):
            raise ValueError("the times of a series must rise; sort it with .sortby('time')")
        self.rows: Tensor | None = None
        self._frames: OrderedDict[int, Tensor] = OrderedDict()

    def counted(self, about: Mapping[str, str]) -> Series:
        """The series with times that count as `about` says, CF units and calendar; numbers that stand for no date stay.

        Raises ValueError for another calendar, and for dates where `about` tells none.
        """
        if SINCE not in about.get("units", "") and are_dates(self.dataset):
            raise ValueError(
                f"{', '.join(self.names)} are known by date but the times of the forecast are plain numbers; give its initial state CF "
                "units, as in initial.time.attrs['units'] = 'hours since 1996-01-01'"
            )
        times = recounted(self.times.numpy(), self.about, about)
        if np.array_equal(times, self.times.numpy()):
            return self
        out = Series.__new__(Series)
        out.__dict__.update({**self.__dict__, "times": torch.from_numpy(times), "about": dict(about)})
        out.arguments = {**self.arguments, "counted": [self.about, dict(about)]}
        return out

    def of(self, trajectories: Sequence[int]) -> Series:
        """The series of these trajectories, a row each. Raises ValueError for an id that the file lacks."""
        if not any(TRAJECTORY in self.dataset[n].dims for n in self.names):
            return self
        ids = trajectories_of(self.dataset)
        missing = sorted(set(trajectories) - set(ids))
        if missing:
            raise ValueError(f"the series has no trajectories {missing}; it has {ids}")
        return self.at_rows(torch.tensor([ids.index(i) for i in trajectories]))

    def at_rows(self, rows: Tensor) -> Series:
        """The series of rows by their number in the file."""
        out = Series.__new__(Series)
        out.__dict__.update(self.__dict__)
        out.rows = rows if self.rows is None else self.rows[rows]
        return out

    def __call__(self, t: Float[Tensor, " G"]) -> Float[Tensor, "G C *X"]:
        """The values at times t, in float64 on the CPU; the result is float32 on the CPU."""
        first, last = float(self.times[0]), float(self.times[-1])
        when, eps = t.double().cpu(), torch.finfo(torch.float32).eps
        gap = float(self.times[-1] - self.times[-2]) if len(self.times) > 1 else 0.0
        slack = 1e-6 * gap + eps * max(abs(first), abs(last))  # clocks that were stored as float32 are that far from the true ones
        if bool(((when < first - slack) | (when > last + slack)).any()):
            raise ValueError(
                f"{', '.join(self.names)} are known from time {first:g} to {last:g} but asked for at {when.min():g} to {when.max():g}; "
                "give a longer series, or forecast less"
            )
        when = when.clamp(first, last)
        right = torch.searchsorted(self.times, when).clamp(1, max(1, len(self.times) - 1))
        left = right - 1
        right = right.clamp(max=len(self.times) - 1)
        gaps = (self.times[right] - self.times[left]).clamp_min(torch.finfo(torch.float64).tiny)
        weight = ((when - self.times[left]) / gaps).clamp(0, 1)
        a, b = self._gather(left), self._gather(right)
        w = weight.to(a.dtype).reshape(-1, *(1,) * (a.ndim - 1))
        return torch.where(w == 0, a, torch.where(w == 1, b, a + w * (b - a)))

    def frames(self, most: int | None = None) -> Iterator[Float[Tensor, "R C *X"]]:
        """Every frame of the file, or at most so many spread over it, of all its rows, or of one where they share it."""
        count = len(self.times)
        for i in np.unique(np.linspace(0, count - 1, min(count, most or count)).astype(int)).tolist():
            yield self._frame(i)

    def _gather(self, index: Tensor) -> Float[Tensor, "G C *X"]:
        """Frame index[g] of row g."""
        frames = {i: self._frame(i) for i in sorted(set(index.tolist()))}
        return torch.stack([frames[i][g if len(frames[i]) > 1 else 0] for g, i in enumerate(index.tolist())])

    def _frame(self, i: int) -> Float[Tensor, "R C *X"]:
        """All rows at frame i, remembered."""
        if i in self._frames:
            self._frames.move_to_end(i)
            whole = self._frames[i]
        else:
            whole = values_of(self.dataset.isel({TIME: i}), self.names, self.shape)
            self._frames[i] = whole
            while len(self._frames) > HELD:
                self._frames.popitem(last=False)
        return whole if self.rows is None or len(whole) == 1 else whole[self.rows]


def values_of(dataset: xr.Dataset, names: Sequence[str], shape: Sequence[int] = ()) -> Float[Tensor, "R C *X"]:
    """Variables without a dim "time" as channels, float32: R trajectories, or one where they have no such dim; numbers fill `shape`."""
    axes = [d for name in names for d in dataset[name].dims if d != TRAJECTORY]
    axes = list(dict.fromkeys(axes))
    grid = [int(dataset.sizes[d]) for d in axes] or list(shape)
    rows = max((int(dataset[n].sizes.get(TRAJECTORY, 1)) for n in names), default=1)
    out = []
    for name in names:
        array = dataset[name]
        lead = (TRAJECTORY,) if TRAJECTORY in array.dims else ()
        own = [d for d in axes if d in array.dims]
        if own and own != axes:
            raise ValueError(f"{name!r} lies on {own} but its neighbours on {axes}; broadcast it over the whole grid")
        values = np.array(array.transpose(*lead, *own).values, np.float32)
        values = values if lead else values[None]
        values = values.reshape(len(values), *(grid if own else (1,) * len(grid)))
        out.append(torch.from_numpy(values).expand(rows, *grid))
    return torch.stack(out, 1)


def opened(source: str | os.PathLike[str] | xr.Dataset) -> xr.Dataset:
    """A Dataset as it is, a Zarr folder or a file, lazily. Raises ValueError where nothing opens it."""
    if isinstance(source, xr.Dataset):
        return source
    path = os.fspath(source)
    if not os.path.exists(path):
        raise ValueError(f"{path}: no such file or folder")
    try:
        found: xr.Dataset = xr.open_zarr(path, consolidated=False) if os.path.isdir(path) else xr.open_dataset(path)
        return found
    except Exception as error:
        raise ValueError(f"xarray cannot open {path} ({error}); pass a Dataset, a Zarr folder or a NetCDF file") from error
