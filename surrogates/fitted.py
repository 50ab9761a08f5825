"""The constants of a normaliser, from a training split: means and deviations of its states and tendencies.

Population moments over trajectories, times and points of the *training split only*, each point weighted with its measure and dry ones left
out, merged chunk by chunk in float64 (`surrogates.moments`); after the transforms of a `Scaling`, for the groups of channels that it joins,
and for each of its regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from surrogates.fields import Fields
from surrogates.moments import Moments
from surrogates.scaling import Scaling, warped
from surrogates.transforms import Transform

TRAINING = "train"


class Stretch(NamedTuple):
    """Successive frames in physical units, of which the first `seen` ended the stretch that these go on from: their states count there."""

    frames: Float[Tensor, "T C *X"]
    seen: int = 0


@runtime_checkable
class Trajectories(Protocol):
    """What statistics are taken from: the trajectories of one split, in stretches.

    It may have `measure`, the weight of each point ("*X", or None where all count alike).
    """

    @property
    def split(self) -> str: ...
    @property
    def channels(self) -> Sequence[str]: ...
    def trajectories(self) -> Iterator[Stretch]: ...


class Fitted(NamedTuple):
    """Mean and deviation of states, then of tendencies, each "C"; their number of axes of space; the same four in each region."""

    constants: tuple[Tensor, ...]
    dim: int
    regional: Float[Tensor, "4 C R"] | None


def fitted(source: Trajectories, scaling: Scaling | None, fields: Fields | None, region: Int64[Tensor, "*X"] | None) -> Fitted:
    """The moments of a training split, by a scaling whose `count` regions the map `region` tells apart.

    Raises ValueError for another split, a constant channel, a value that is not finite or that a transform does not take.
    """
    if source.split != TRAINING:
        raise ValueError(f"statistics come from the split 'train' only, not from {source.split!r}; the model must not see the others")
    measure: Tensor | None = getattr(source, "measure", None)
    warps = scaling.of_channels(fields) if scaling is not None and fields is not None else []
    count = 0 if scaling is None or region is None else scaling.count
    sums, dim = [[Moments.none(), Moments.none()] for _ in range(1 + count)], 1
    for stretch in source.trajectories():
        physical, seen = stretch.frames, stretch.seen
        dim = physical.ndim - 2
        u = warped(physical, warps, dim)
        _check_floor(physical, warps, measure, source.channels)
        steps = u[1:].double() - u[:-1].double()
        for n, total in enumerate(sums):
            weights = measure if n == 0 else (region == n - 1) * (torch.ones(()) if measure is None else measure)
            for k, values in enumerate((u[seen:], steps)):
                total[k] = total[k] + Moments.of(values, weights)
    for label, moments in zip(("state", "tendency"), sums[0], strict=True):
        _check(label, moments, source.channels)
    groups = [] if scaling is None or fields is None else scaling.groups(fields)
    pooled = [[m.pooled(groups) for m in pair] for pair in sums]
    whole = tuple(v for m in pooled[0] for v in (m.mean, m.std))
    return Fitted(whole, dim, _table(pooled[1:], whole) if count else None)


def _table(regions: Sequence[Sequence[Moments]], whole: Sequence[Tensor]) -> Float[Tensor, "4 C R"]:
    """The four constants in each region; those of the whole where a channel is absent from it or does not vary there."""
    columns = []
    for pair in regions:
        column = []
        for k, m in enumerate(pair):
            mean, std = (m.mean, m.std) if not m.empty else (whole[2 * k], 0 * whole[2 * k + 1])
            fit = std > 1e-7 * mean.abs().clamp_min(1e-30)
            column += [torch.where(fit, mean, whole[2 * k]), torch.where(fit, std, whole[2 * k + 1])]
        columns.append(torch.stack(column))
    return torch.stack(columns, -1)


def _check_floor(u: Tensor, warps: Sequence[tuple[slice, Transform]], measure: Tensor | None, channels: Sequence[str]) -> None:
    for span, transform in warps:
        for c in range(span.start, span.stop):
            values = u[:, c] if measure is None else u[:, c][:, measure > 0]
            if bool((values <= transform.floor).any()):
                raise ValueError(
                    f"channel {channels[c]!r} goes down to {float(values.min()):.4g} in the training split, but {transform} takes values "
                    f"above {transform.floor:g}; choose SignedPower or Asinh, or another constant"
                )


def _check(label: str, moments: Moments, channels: Sequence[str]) -> None:
    if moments.empty:
        raise ValueError(f"the training split holds no {label} to take statistics from; it needs trajectories of two frames or more")
    for name, mean, std in zip(channels, moments.mean.tolist(), moments.std.tolist(), strict=True):
        if not (abs(mean) < float("inf") and std < float("inf")):
            raise ValueError(f"channel {name!r} of the training split has {label} values that are not finite; run `surrogates data check`")
        if std <= 1e-7 * max(abs(mean), 1e-30):
            raise ValueError(
                f"channel {name!r} has a constant {label} ({mean:.4g}) in the training split; drop it or give it as a static field"
            )
