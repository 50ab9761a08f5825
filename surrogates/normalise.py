"""Normalisation: z = (f(u) - m) / s for states, and the same with statistics of their own for tendencies.

f is the identity, but for fields with a transform (`surrogates.transforms`). A tendency is the difference of f of successive frames,
f(u[t + dt]) - f(u[t]): in the units of u where there is no transform. Which channels share m and s, and whether regions of a static field
have their own, says a `Scaling`; they are fitted on the training split alone (`surrogates.fitted`).

Constants have the shape (C, 1, ..., 1) with one 1 an axis of space, so that (B, C, *X), (B, H, C, *X) and (B, T, C, *X) are all normalised
by plain broadcasting. Those of R regions are a table (4, C, R) beside a map of region numbers (*X): they hold on that grid alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from surrogates.fields import Fields
from surrogates.fitted import TRAINING, Stretch, Trajectories, fitted
from surrogates.moments import Moments
from surrogates.scaling import Scaling, warped

NAMES = ("state_mean", "state_std", "tendency_mean", "tendency_std")
__all__ = ["NAMES", "TRAINING", "Moments", "Normaliser", "Stretch", "Trajectories"]


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
        constants, dim, regional = fitted(source, scaling, fields, region)
        return cls(*constants, dim=dim, scaling=scaling, fields=fields, regional=regional, region=region)

    @property
    def channels(self) -> int:
        return self.state_mean.shape[0]

    def warp(self, u: Float[Tensor, "*B C *X"]) -> Float[Tensor, "*B C *X"]:
        """Physical states with their transforms, not yet centred and scaled: what tendencies are differences of."""
        return warped(u, self.warps, self.dim)

    def unwarp(self, v: Float[Tensor, "*B C *X"]) -> Float[Tensor, "*B C *X"]:
        """The inverse of `warp`."""
        return warped(v, [(span, t.inverse) for span, t in self.warps], self.dim)

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
