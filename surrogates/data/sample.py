"""Statistics from a sample: some frames, evenly spread over trajectories and time, in float64 under the domain's measure.

    mean = sum w u / sum w,  std^2 = sum w u^2 / sum w - mean^2,  w the area or volume of a point (dry and missing ones have none)

A frame is read once. Spectra are averaged over the sampled frames that lack nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.spectra import Spectrum, spectrum
from surrogates.data.written import channels
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Fields
from surrogates.interchange import MEMBER, TIME, TRAJECTORY, domain_of, fields_of

FRAMES, VALUES = 32, 4096
Frame = NDArray[np.float32]


@dataclass
class Moments:
    """Of every channel (C,): extremes, weighted sums, how many values are missing in wet cells and how many there are."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    sums: NDArray[np.float64]  # (3, C): of w, w u, w u^2
    missing: NDArray[np.int64]
    cells: int = 0

    @classmethod
    def none(cls, count: int) -> Moments:
        """Of nothing yet."""
        inf = np.full(count, np.inf)
        return cls(inf, -inf, np.zeros((3, count)), np.zeros(count, np.int64))

    def add(self, u: Frame, weight: NDArray[np.float64]) -> None:
        """One frame (C, *X) under weights (*X)."""
        flat, w = u.reshape(len(u), -1).astype(np.float64), weight.ravel()
        wet = w > 0
        flat, w = flat[:, wet], w[wet]
        known = np.isfinite(flat)
        held = np.where(known, flat, 0.0)
        self.low = np.minimum(self.low, np.where(known, flat, np.inf).min(1, initial=np.inf))
        self.high = np.maximum(self.high, np.where(known, flat, -np.inf).max(1, initial=-np.inf))
        self.sums += np.stack([known @ w, held @ w, held**2 @ w])
        self.missing += (~known).sum(1)
        self.cells += flat.shape[1]

    @property
    def mean(self) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.sums[1] / self.sums[0])

    @property
    def std(self) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.sqrt(np.maximum(self.sums[2] / self.sums[0] - self.mean**2, 0.0)))


@dataclass
class Sample:
    """What some frames of some parts tell; `values` are some of those of each channel, for a histogram."""

    fields: Fields
    moments: Moments
    frames: int = 0
    total: int = 0
    values: list[list[NDArray[np.float32]]] = field(default_factory=list)
    spectra: dict[str, list[Spectrum | None]] = field(default_factory=dict)

    def spectrum(self, channel: int) -> Spectrum | None:
        """The mean one; None where the domain has none, or no frame was whole."""
        found = [s for s in self.spectra.get(str(channel), []) if s is not None]
        if not found or len({len(s.power) for s in found}) > 1:
            return None
        return Spectrum(found[0].wavenumbers, np.mean([s.power for s in found], 0), found[0].along)


def sample_of(parts: Sequence[xr.Dataset], most: int = FRAMES) -> Sample:
    """Statistics of at most `most` frames of parts with the same fields. Raises ValueError where they differ."""
    fields = fields_of(parts[0])
    if any(fields_of(p).channels != fields.channels for p in parts):
        raise ValueError(f"the parts differ in fields: {sorted({fields_of(p).channels for p in parts})}")
    out = Sample(fields, Moments.none(fields.count), total=sum(_frames(p) for p in parts), values=[[] for _ in fields.channels])
    for domain, u in frames_of(parts, most):
        out.frames += 1
        out.moments.add(u, domain.measure.numpy())
        for c, channel in enumerate(u):
            known = channel[np.isfinite(channel)]
            out.values[c].append(known[:: max(1, len(known) // VALUES)])
            out.spectra.setdefault(str(c), []).append(spectrum(channel, domain))
    return out


def frames_of(parts: Sequence[xr.Dataset], most: int) -> Iterator[tuple[AnyDomain, Frame]]:
    """Frames (C, *X) evenly spread over the parts, with their domains; of members the first."""
    edges = np.cumsum([0, *(_frames(p) for p in parts)])
    wanted = np.unique(np.linspace(0, edges[-1] - 1, min(most, int(edges[-1]))).round().astype(int))
    for part, first, last in zip(parts, edges[:-1], edges[1:], strict=True):
        mine = wanted[(wanted >= first) & (wanted < last)] - first
        if len(mine):
            domain, fields, whole = domain_of(part), fields_of(part), one_member(part)
            for row, time in zip(*np.divmod(mine, part.sizes[TIME]), strict=True):
                yield domain, channels(whole.isel({TRAJECTORY: int(row), TIME: int(time)}), fields, ())


def one_member(part: xr.Dataset) -> xr.Dataset:
    """A part with a dim of trajectories, and the first member where it has several."""
    part = part.isel({MEMBER: 0}) if MEMBER in part.dims else part
    return part if TRAJECTORY in part.dims else part.expand_dims(TRAJECTORY)


def _frames(part: xr.Dataset) -> int:
    return int(part.sizes.get(TRAJECTORY, 1) * part.sizes[TIME])
