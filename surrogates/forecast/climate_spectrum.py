"""Noise with the climate's spectrum: a colour for `Gaussian` whose modes have the variance that the climate's have, and random phases.

    E |e_k|^2 = E_n(k) / N_n        E_n the energy of shell n in the training split, N_n its number of modes,

scaled to unit deviation, each channel by its own spectrum. Modes beyond the last whole shell have none, so has the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.interchange import TRAJECTORY, domain_of, fields_of, from_xarray
from surrogates.metrics.shells import shell_spectrum, shell_wavenumbers
from surrogates.record import recorded


@recorded
@dataclass(frozen=True)
class ClimateSpectrum:
    """`energy` of each channel and shell; another resolution takes the shells that both hold. Raises TypeError off a periodic Box."""

    energy: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(cls, training: xr.Dataset) -> ClimateSpectrum:
        """The mean spectrum of the training split. Raises ValueError for another split, and for a domain without shells."""
        if training.attrs.get("split", "train") != "train":
            raise ValueError(f"the climate is that of the split 'train', not of {training.attrs['split']!r}")
        fields, domain = fields_of(training), domain_of(training)
        rows = range(training.sizes.get(TRAJECTORY, 1))
        parts = [training.isel({TRAJECTORY: [i]}) if TRAJECTORY in training.dims else training for i in rows]
        mean = torch.stack([shell_spectrum(from_xarray(p, fields), domain)[0].mean(0) for p in parts]).mean(0)
        return cls(tuple(tuple(row) for row in mean.tolist()))

    def __call__(self, eps: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B C *X"]:
        if not isinstance(domain, Box) or not domain.all_periodic:
            raise TypeError(f"a spectrum of shells filters Fourier modes of a periodic Box, got {domain}; take another colour")
        if len(self.energy) != eps.shape[1]:
            raise ValueError(f"the climate's spectrum has {len(self.energy)} channels but the state {eps.shape[1]}; fit it to these fields")
        dims = tuple(range(2, eps.ndim))
        size = _amplitudes(domain, self.energy, eps.dtype, eps.device)
        filtered: Tensor = torch.fft.irfftn(torch.fft.rfftn(eps, dim=dims) * size, s=domain.shape, dim=dims)
        return filtered


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _amplitudes(box: Box, energy: Sequence[Sequence[float]], dtype: torch.dtype, device: torch.device) -> Float[Tensor, " C *K"]:
    """One a channel and mode of the rfftn layout, with a mean square of one over all modes: then white numbers keep their variance."""
    step = 2 * torch.pi / max(box.lengths)
    k2 = torch.zeros((), dtype=torch.float64)
    for k in box.wavenumbers():
        k2 = k2 + k.square()
    shell = torch.round(k2.sqrt() / step).long()
    n = box.shape[-1]
    twice = torch.full_like(k2, 2.0)  # a mode and its conjugate, which the layout leaves out
    twice[..., 0] = 1
    if n % 2 == 0:
        twice[..., -1] = 1
    count = torch.zeros(int(shell.max()) + 1, dtype=torch.float64).index_add_(0, shell.flatten(), twice.flatten())
    shared = min(len(shell_wavenumbers(box)), len(energy[0]))
    table = torch.zeros(len(energy), len(count), dtype=torch.float64)
    table[:, 1:shared] = torch.tensor([row[1:shared] for row in energy], dtype=torch.float64)
    power = (table / count.clamp_min(1))[:, shell]
    total = (power * twice).flatten(1).sum(1).reshape(-1, *(1,) * k2.ndim)
    points = float(twice.sum())
    return (power * torch.where(total > 0, points / total, 0.0)).sqrt().to(device, dtype)
