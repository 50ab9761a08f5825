"""Scalar equations on a periodic line in conservation form, u_t + (c u^2/2)_x = L u: what Burgers, KdV and Kuramoto-Sivashinsky share.

Each says its linear symbol L(k) and its c. The mean of u is conserved exactly: N has no mode zero, and L(0) = 0.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.pde.coefficients import Parameters
from surrogates.pde.etd import Nonlinear
from surrogates.pde.initial import scalar
from surrogates.pde.spectral import Spectral, column, cutoff


class Line(Spectral):
    """A scalar u, (B, 1, x). State: its modes 0..K, (B, 1, K+1)."""

    fields = Fields.of(Field("u"))
    dim = 1
    convection: ClassVar[float] = 1.0

    @abstractmethod
    def symbol(self, k: Float[Tensor, " K"], p: Parameters) -> Inexact[Tensor, "R 1 K"]:
        """L(k) with a row for each value of the parameters."""

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        (n,), (K,) = box.shape, cutoff(box)
        k = box.wavenumbers(device)[0][: K + 1]
        flux = (-0.5j * self.convection * k).to(dtype)

        def nonlinear(w: Tensor) -> Tensor:
            u = torch.fft.irfft(w, n=n, norm="forward")
            u2: Tensor = torch.fft.rfft(u * u, norm="forward")[..., : K + 1]
            return flux * u2

        return self.symbol(k, {name: column(v, k) for name, v in p.items()}), nonlinear

    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        (K,), n = cutoff(box), u.shape[-1]
        w = torch.fft.rfft(u, norm="forward")[..., : min(K, (n - 1) // 2) + 1]
        return torch.nn.functional.pad(w, (0, K + 1 - w.shape[-1]))

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        u: Tensor = torch.fft.irfft(spectrum[..., : (shape[0] - 1) // 2 + 1], n=shape[0], norm="forward")
        return u

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 3.0, rms: float | int = 1.0
    ) -> Float[Tensor, "B 1 X"]:
        """Random smooth states, float64, one a trajectory: zero mean, amplitudes exp(-3/4 (k/peak)^2), k in waves of the box."""
        return scalar(domain, trajectories, seed, peak=peak, rms=rms)
