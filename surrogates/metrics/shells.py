"""Shell-summed spectra of a periodic Box: S_n = 1/2 sum |u_k|^2 over the modes with |k| nearest to n dk, dk = 2 pi / (longest side).

u_k are Fourier coefficients (u = sum u_k exp(i k x)), so that all modes together give 1/2 <u^2> (Parseval), whatever the resolution or
aspect ratio. Only shells that the grid holds whole are kept: (n + 1/2) dk up to the smallest Nyquist wavenumber.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box


def shell_wavenumbers(domain: Domain) -> Float[Tensor, " S"]:
    """n dk of the shells kept, n = 0, 1, ..., in radians per length, float64."""
    box = _periodic(domain)
    dk = _step(box)
    nyquist = min(torch.pi * n / length for n, length in zip(box.shape, box.lengths, strict=True))
    return dk * torch.arange(max(1, int(nyquist / dk + 0.5 + 1e-9)), dtype=torch.float64)


def shell_spectrum(u: Float[Tensor, "B T C *X"], domain: Domain) -> Float[Tensor, "B T C S"]:
    """Shell sums in units of u^2, float64. Raises ValueError on a domain that is not a periodic Box."""
    box = _periodic(domain)
    index, weight = _layout(box, u.device)
    dims = tuple(range(3, 3 + box.dim))
    power = torch.fft.rfftn(u.double(), dim=dims, norm="forward").abs().square().flatten(3) * weight
    shells = torch.zeros(*u.shape[:3], int(index.max()) + 1, dtype=torch.float64, device=u.device)
    return shells.index_add_(3, index, power)[..., : len(shell_wavenumbers(box))]


def _periodic(domain: Domain) -> Box:
    if not isinstance(domain, Box) or not domain.all_periodic:
        raise ValueError(f"shell spectra need a Box periodic on every axis, not {domain}")
    return domain


def _step(box: Box) -> float:
    return 2 * torch.pi / max(box.lengths)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _layout(box: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    """The shell of every mode of the rfftn layout, and 1/2 for modes that stand alone, 1 for those that also stand for their conjugate."""
    k = box.wavenumbers(device)
    norm = torch.sqrt(sum((q.square() for q in k), torch.zeros((), dtype=torch.float64, device=device)))
    last = k[-1].flatten()
    n = box.shape[-1]
    alone = (torch.arange(len(last), device=device) == 0) | ((n % 2 == 0) & (torch.arange(len(last), device=device) == n // 2))
    weight = torch.where(alone, 0.5, 1.0).double().expand(norm.shape)
    return torch.round(norm / _step(box)).long().flatten(), weight.flatten()
