"""Statistics of the training windows, fitted once: they are kept beside the packed cache, under a name that tells what they are of."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from jaxtyping import Int64
from safetensors.torch import load_file, save_file
from torch import Tensor

from surrogates.data.windows import Windows
from surrogates.errors import nearest
from surrogates.normalise import Normaliser
from surrogates.record import describe
from surrogates.scaling import Scaling

MOST_REGIONS = 64


def normaliser_of(windows: Windows, scaling: Scaling | None, stride: int, strides: Sequence[int]) -> Normaliser:
    """The normaliser of training windows, every `stride` frames and by these `strides`. Raises ValueError for `regions` that are none."""
    region = None
    if scaling is not None and scaling.regions:
        region, count = regions_of(windows, scaling.regions)
        scaling = replace(scaling, count=count)
    what = json.dumps([tuple(strides), describe(scaling)])
    plain = scaling is None and tuple(strides) == (1,)
    label = f"stride{stride}" + ("" if plain else f"-{sha256(what.encode()).hexdigest()[:12]}")
    return remembered(windows, windows.beside(f"{label}.safetensors"), scaling, region)


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
