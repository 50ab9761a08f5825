"""The spectrum of one frame, for a look: on a periodic box by shells (`metrics.shells`), elsewhere along the longest axis of equal steps.

Along an axis that ends, the mean of each line goes and a Hann window tapers it; what it takes of the variance is given back (factor 8/3).
A mesh, a stretched axis, and a frame with holes have none. The slope is that of log power over log wavenumber from the third wave to
two thirds of the shortest one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates.domains import Box, Masked, Mesh, Patch, Sphere
from surrogates.domains.box import PERIODIC
from surrogates.domains.layout import AnyDomain
from surrogates.metrics.shells import shell_spectrum, shell_wavenumbers

BARS = "▁▂▃▄▅▆▇█"
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Power at wavenumbers n = 0, 1, ... times the first; `along` says what they count: "shells", or the name of an axis."""

    wavenumbers: Numbers
    power: Numbers
    along: str

    @property
    def slope(self) -> float:
        """NaN where fewer than four waves have power."""
        n = np.arange(len(self.power))
        chosen = (n >= 3) & (n <= 2 * (len(n) - 1) // 3) & (self.power > 0)
        if chosen.sum() < 4:
            return float("nan")
        return float(np.polyfit(np.log(n[chosen]), np.log(self.power[chosen]), 1)[0])

    def bars(self, count: int = 16) -> str:
        """A plot of its logarithm over the logarithm of the wavenumber, in one line."""
        n = np.arange(1, len(self.power))
        power = self.power[1:]
        if not (power > 0).any():
            return ""
        edges = np.geomspace(1, len(n) + 1, min(count, len(n)) + 1)
        bins = np.clip(np.searchsorted(edges, n, side="right") - 1, 0, len(edges) - 2)
        log = np.array([np.log10(power[bins == b].mean()) if power[bins == b].sum() > 0 else np.nan for b in np.unique(bins)])
        low, high = np.nanmax([np.nanmin(log), np.nanmax(log) - 12]), np.nanmax(log)
        scaled = np.nan_to_num((log - low) / max(high - low, 1e-9)).clip(0, 1)
        return "".join(BARS[round(float(s) * (len(BARS) - 1))] for s in scaled)


def spectrum(u: NDArray[np.float32], domain: AnyDomain) -> Spectrum | None:
    """Of a channel (*X); None where there is none to take."""
    if isinstance(domain, Mesh | Masked) or not np.isfinite(u).all():
        return None
    if isinstance(domain, Box) and domain.all_periodic:
        shells = shell_spectrum(torch.from_numpy(np.ascontiguousarray(u))[None, None, None], domain)[0, 0, 0]
        return Spectrum(shell_wavenumbers(domain).numpy(), shells.numpy(), "shells")
    axis = _axis(domain)
    return None if axis is None else _lines(u, domain, axis)


def _axis(domain: Box | Patch | Sphere) -> int | None:
    if isinstance(domain, Sphere):
        return 1
    equal = [a for a in range(domain.dim) if isinstance(domain, Patch) or domain.edges[a] is None]
    return max(equal, key=lambda a: domain.shape[a]) if equal and max(domain.shape[a] for a in equal) >= 8 else None


def _lines(u: NDArray[np.float32], domain: Box | Patch | Sphere, axis: int) -> Spectrum:
    """1/2 |u_k|^2 along an axis, both signs of k together, averaged over the lines by their measure."""
    lines = np.moveaxis(u.astype(np.float64), axis, -1)
    weight = np.moveaxis(domain.measure.numpy(), axis, -1).mean(-1)
    n = lines.shape[-1]
    if not (isinstance(domain, Sphere) or domain.boundary[axis] == PERIODIC):
        window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
        lines = (lines - lines.mean(-1, keepdims=True)) * window * np.sqrt(8 / 3)
    power = np.abs(np.fft.rfft(lines, norm="forward")) ** 2
    power[..., 0] /= 2
    if n % 2 == 0:
        power[..., -1] /= 2
    length = 360.0 if isinstance(domain, Sphere) else domain.lengths[axis]
    mean = (power * weight[..., None]).reshape(-1, power.shape[-1]).sum(0) / weight.sum()
    waves = np.arange(power.shape[-1], dtype=np.float64) * (2 * np.pi / length)
    return Spectrum(waves, np.asarray(mean, np.float64), domain.axes[axis])
