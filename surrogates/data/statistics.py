"""Statistics of the training windows, fitted once: they are kept beside the packed cache, under a name that tells what they are of.

Streams keep theirs too, for which the whole split has to be read: beside the data, by the names, sizes and dates of all files, or under
the data root, by the origin of their arrays (`Windows.beside`). What is written is whole or not there: a fit that is interrupted leaves
nothing, and a file that cannot be read is made again.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from jaxtyping import Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from surrogates.data.windows import Windows
from surrogates.data.workers import progress
from surrogates.errors import nearest
from surrogates.normalise import Normaliser, Stretch
from surrogates.record import describe
from surrogates.scaling import Scaling

MOST_REGIONS = 64
VERSION = 1
"""Of what is kept and how it is found: another one fits everything again."""


def normaliser_of(windows: Windows, scaling: Scaling | None, stride: int, strides: Sequence[int]) -> Normaliser:
    """The normaliser of training windows, every `stride` frames and by these `strides`. Raises ValueError for `regions` that are none."""
    region = None
    if scaling is not None and scaling.regions:
        region, count = regions_of(windows, scaling.regions)
        scaling = replace(scaling, count=count)
    what = sha256(json.dumps([VERSION, tuple(strides), describe(scaling)]).encode())
    what.update(b"" if region is None else region.numpy().tobytes())
    return remembered(windows, windows.beside(f"stride{stride}-{what.hexdigest()[:16]}.safetensors"), scaling, region)


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
    """`Normaliser.fit`, read from `path` where it was written before. Of a stream a bar shows how far it is."""
    if path is not None and path.exists():
        made = Normaliser.identity(windows.fields.count, windows.domain.dim, scaling, windows.fields, windows.domain.shape)
        try:
            made.load_state_dict(load_file(path))
            return made
        except (OSError, SafetensorError, RuntimeError) as error:
            warnings.warn(f"{path} cannot be read ({error}); the statistics are taken again", stacklevel=2)
    quiet = not windows.stream or os.environ.get("LOCAL_RANK", "0") != "0"
    with progress("statistics of the training split", float(windows.frames), quiet) as tick:
        fitted = Normaliser.fit(Watched(windows, tick), scaling, windows.fields, region)
    if path is not None:
        _keep(fitted, path)
    return fitted


def _keep(fitted: Normaliser, path: Path) -> None:
    """Whole, or not at all: statistics that were hard to come by are not lost for want of a place to keep them."""
    draft = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in fitted.state_dict().items()}, draft)
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        warnings.warn(f"the statistics of the training split cannot be kept in {path} ({error}); each start takes them", stacklevel=3)
    finally:
        with suppress(OSError):
            draft.unlink()


class Watched:
    """Windows, and who is told of each block of their frames that was read."""

    def __init__(self, windows: Windows, tick: Callable[[float], None]) -> None:
        self.windows, self.tick = windows, tick
        self.split, self.channels, self.measure = windows.split, windows.channels, windows.measure

    def trajectories(self) -> Iterator[Stretch]:
        return self.windows.trajectories(self.tick)
