"""Normalisation: z = (f(u) - m) / s for states, and the same with statistics of their own for tendencies.

f is the identity, but for fields with a transform (`surrogates.transforms`). A tendency is the difference of f of successive frames,
f(u[t + dt]) - f(u[t]): in the units of u where there is no transform. Statistics are population moments over trajectories, times and points
of the *training split only*, each point weighted with its measure and dry ones left out, merged chunk by chunk in float64
(`surrogates.moments`). Which channels share them, and whether regions of a static field have their own, says a `Scaling`.

Constants have the shape (C, 1, ..., 1) with one 1 an axis of space, so that (B, C, *X), (B, H, C, *X) and (B, T, C, *X) are all normalised
by plain broadcasting. Those of R regions are a table (4, C, R) beside a map of region numbers (*X): they hold on that grid alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from surrogates.fields import Fields
from surrogates.moments import Moments
from surrogates.scaling import Scaling

TRAINING = "train"
NAMES = ("state_mean", "state_std", "tendency_mean", "tendency_std")
__all__ = ["NAMES", "Moments", "Normaliser", "Stretch", "Trajectories"]


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


class Normaliser(nn.Module):
    """Physical <-> normalised. Buffers are float32 (C, 1, ..., 1): `state_mean`, `state_std`, `tendency_mean`, `tendency_std`.

    With a `scaling` of regions there are two more: `regional` (4, C, R), those four in each region, and `region` (*X).
    """

    state_mean: Tensor
    state_std: Tensor
    tendency_mean: Tensor
    tendency_std: Tensor
    regional: Tensor
    region: Tensor

    def __init__(
        self,
        state_mean: Float[Tensor, " C"],
        state_std: Float[Tensor, " C"],
        tendency_mean: Float[Tensor, " C"],
        tendency_std: Float[Tensor, " C"],
        *,
        dim: int,
        scaling: Scaling | None = None,
        fields: Fields | None = None,
        regional: Float[Tensor, "4 C R"] | None = None,
        region: Int64[Tensor, "*X"] | None = None,
    ) -> None:
        """Per-channel constants for fields on `dim` axes of space. Raises ValueError for a std that is not positive, and for transforms
        without the fields that say which channels they act on."""
        super().__init__()
        given = dict(zip(NAMES, (state_mean, state_std, tendency_mean, tendency_std), strict=True))
        for name, values in given.items():
            if name.endswith("std") and not bool((values > 0).all()):
                raise ValueError(f"{name} must be positive in every channel, got {values.tolist()}")
            self.register_buffer(name, values.to(torch.float32, copy=True).reshape(-1, *(1,) * dim))
        if scaling is not None and scaling.transforms and fields is None:
            raise ValueError("a normaliser with transforms needs the fields, which say where their channels lie")
        self.dim, self.scaling = dim, scaling
        self.warps = scaling.of_channels(fields) if scaling is not None and fields is not None else []
        if regional is not None and region is not None:
            self.register_buffer("regional", regional.to(torch.float32, copy=True))
            self.register_buffer("region", region.clone())

    @classmethod
    def identity(
        cls, channels: int, dim: int, scaling: Scaling | None = None, fields: Fields | None = None, shape: Sequence[int] = ()
    ) -> Normaliser:
        """For `channels` channels on `dim` axes, one that changes nothing but by the transforms of a scaling."""
        zero, one = torch.zeros(channels), torch.ones(channels)
        regions: dict[str, Tensor] = {}
        if scaling is not None and scaling.count:
            table = torch.stack([zero, one, zero, one])[..., None].expand(-1, -1, scaling.count)
            regions = {"regional": table, "region": torch.zeros(tuple(shape), dtype=torch.int64)}
        return cls(zero, one, zero, one, dim=dim, scaling=scaling, fields=fields, **regions)

    @classmethod
    def fit(
        cls, source: Trajectories, scaling: Scaling | None = None, fields: Fields | None = None, region: Int64[Tensor, "*X"] | None = None
    ) -> Normaliser:
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
            u = _warped(physical, warps)
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
        whole = [v for m in pooled[0] for v in (m.mean, m.std)]
        regions: dict[str, Tensor] = {}
        if count and region is not None:
            regions = {"regional": _table(pooled[1:], whole), "region": region}
        return cls(*whole, dim=dim, scaling=scaling, fields=fields, **regions)

    @property
    def channels(self) -> int:
        return self.state_mean.shape[0]

    def warp(self, u: Float[Tensor, "*B C *X"]) -> Float[Tensor, "*B C *X"]:
        """Physical states with their transforms, not yet centred and scaled: what tendencies are differences of."""
        return _warped(u, self.warps, self.dim)

    def unwarp(self, v: Float[Tensor, "*B C *X"]) -> Float[Tensor, "*B C *X"]:
        """The inverse of `warp`."""
        return _warped(v, [(span, t.inverse) for span, t in self.warps], self.dim)

    def encode(self, u: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Physical states (B, C, *X) or (B, H, C, *X) -> normalised."""
        mean, std = self._constants(0, u)
        return (self.warp(u) - mean) / std

    def decode(self, z: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Normalised states -> physical; the inverse of `encode`."""
        mean, std = self._constants(0, z)
        return self.unwarp(z * std + mean)

    def encode_tendency(self, du: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Differences of successive frames of `warp` -> normalised."""
        mean, std = self._constants(2, du)
        return (du - mean) / std

    def decode_tendency(self, dz: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Normalised differences -> those of `warp`; the inverse of `encode_tendency`."""
        mean, std = self._constants(2, dz)
        return dz * std + mean

    def _constants(self, first: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation, of states (0) or tendencies (2), on the grid of `like`. Raises ValueError for regions of another grid."""
        if "region" not in self._buffers:
            mean, std = (getattr(self, name) for name in NAMES[first : first + 2])
        else:
            if like.shape[like.ndim - self.dim :] != self.region.shape:
                raise ValueError(
                    f"statistics of regions were taken on a grid {tuple(self.region.shape)} and hold there alone, not on "
                    f"{tuple(like.shape[like.ndim - self.dim :])}; normalise without regions for other grids"
                )
            mean, std = self.regional[first : first + 2, :, self.region]
        return mean.to(like.dtype), std.to(like.dtype)

    def table(self, fields: Fields) -> list[str]:
        """A line a channel: mean and deviation of states and of increments, with units."""
        by_name = {name: getattr(self, name).flatten().tolist() for name in NAMES}
        named = {c: type(t).__name__ for span, t in self.warps for c in range(span.start, span.stop)}
        lines = []
        for c, (name, units) in enumerate(zip(fields.channels, fields.units, strict=True)):
            unit = f"{named[c]}({units})" if c in named else units
            numbers = " | ".join(f"{by_name[n][c]:.6g}" for n in NAMES)
            lines.append(f"| {name} | {unit} | {numbers} |")
        return lines


def _warped(u: Tensor, warps: Sequence[tuple[slice, object]], dim: int | None = None) -> Tensor:
    """u (..., C, *X) with functions on some of its channels, as a new tensor where there are any."""
    if not warps:
        return u
    axis = 1 if dim is None else u.ndim - 1 - dim
    parts = list(u.unbind(axis))
    for span, function in warps:
        for c in range(span.start, span.stop):
            parts[c] = function(parts[c])  # type: ignore[operator]
    return torch.stack(parts, axis)


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


def _check_floor(u: Tensor, warps: Sequence[tuple[slice, object]], measure: Tensor | None, channels: Sequence[str]) -> None:
    for span, transform in warps:
        floor = float(transform.floor)  # type: ignore[attr-defined]
        for c in range(span.start, span.stop):
            values = u[:, c] if measure is None else u[:, c][:, measure > 0]
            if bool((values <= floor).any()):
                raise ValueError(
                    f"channel {channels[c]!r} goes down to {float(values.min()):.4g} in the training split, but {transform} takes values "
                    f"above {floor:g}; choose SignedPower or Asinh, or another constant"
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
