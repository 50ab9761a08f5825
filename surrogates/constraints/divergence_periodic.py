"""Leray projection in a periodic box: u_hat - k (k . u_hat) / |k|^2 in two or three dimensions.

k is the derivative wavenumber, which is zero at the Nyquist index of an even axis. There the mode itself stays: removing it would destroy
fields that are divergence-free on the grid, and keeping k would take a real field out of the reals and make the projection applied twice
differ from once. At k = 0 nothing is removed: the mean flow stays. Only directions matter, so k is taken in units of its largest value:
no square of it overflows or vanishes in float32, whatever the units of length and however long the box.

Source: Canuto, Hussaini, Quarteroni and Zang, Spectral Methods: Evolution to Complex Geometries, 2007, chapter 3,
https://doi.org/10.1007/978-3-540-30728-0.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from operator import add
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Box


class Waves(NamedTuple):
    """Derivatives of the modes of a box, one tensor an axis: k, or i k where modes are complex and mix with real ones."""

    derivative: tuple[Tensor, ...]
    inverse: Float[Tensor, "*K"]  # 1 / |k|^2, and 0 where k = 0
    weight: Float[Tensor, "*K"]  # 2 where a mode stands for its conjugate too


def compressive(u: Float[Tensor, "B D *X"], box: Box) -> Float[Tensor, "B D *X"]:
    """grad(inv_laplacian(div u)): the part of a vector field that is a gradient."""
    dims = tuple(range(2, 2 + box.dim))
    found = gradient_part(torch.fft.rfftn(u, dim=dims), waves(box, u.dtype, u.device))
    out: Tensor = torch.fft.irfftn(found, s=box.shape, dim=dims)
    return out


def defect(u: Float[Tensor, "B D *X"], box: Box) -> Float[Tensor, "B 1"]:
    """||k . u_hat|| / || |k| u_hat || = ||div u|| / ||grad u||, float64; 0 for a uniform flow."""
    return ratio(torch.fft.rfftn(u, dim=tuple(range(2, 2 + box.dim))), waves(box, u.dtype, u.device))


def gradient_part(u_hat: Tensor, w: Waves) -> Tensor:
    """k (k . u_hat) / |k|^2, (B, D, *K)."""
    potential = _divergence(u_hat, w) * w.inverse
    return torch.stack([k.conj() * potential for k in w.derivative], 1)


def ratio(u_hat: Tensor, w: Waves) -> Float[Tensor, "B 1"]:
    """||k . u_hat|| / || |k| u_hat || by Parseval, sums in float64.

    The gradient is taken as at least the root of the rounding of u times its largest: a uniform flow has none but that of its rounding.
    """
    k2 = w.inverse.where(w.inverse > 0, torch.inf).reciprocal() + torch.finfo(w.inverse.dtype).eps
    divergence = _norm(_divergence(u_hat, w) * w.weight.sqrt())
    return divergence / _norm(u_hat * (k2 * w.weight).sqrt()).clamp_min(1e-300)


def _divergence(u_hat: Tensor, w: Waves) -> Tensor:
    return reduce(add, (k * u_hat[:, a] for a, k in enumerate(w.derivative)))


def _norm(z: Tensor) -> Float[Tensor, "B 1"]:
    parts = torch.view_as_real(z) if z.is_complex() else z
    out: Tensor = torch.linalg.vector_norm(parts.flatten(1).double(), dim=1, keepdim=True)  # its gradient is 0, not NaN, where the norm is
    return out


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def waves(box: Box, dtype: torch.dtype, device: torch.device) -> Waves:
    """Of a periodic box, made once."""
    return _waves(box, dtype, device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _waves(box: Box, dtype: torch.dtype, device: torch.device) -> Waves:
    n = box.shape[-1]
    weight = torch.full((n // 2 + 1,), 2.0, dtype=dtype, device=device)
    weight[0] = 1
    if n % 2 == 0:
        weight[-1] = 1
    return made(box.wavenumbers(device, derivative=True), weight, dtype)


def made(k: tuple[Tensor, ...], weight: Tensor, dtype: torch.dtype) -> Waves:
    """Waves of wavenumbers in float64 (or i times them), in units of the largest."""
    unit = max(float(q.abs().max()) for q in k) or 1.0
    k = tuple(q / unit for q in k)
    k2 = reduce(add, (q.abs().square() for q in k))
    small = tuple(q.to(dtype.to_complex() if q.is_complex() else dtype) for q in k)
    return Waves(small, torch.where(k2 > 0, 1 / k2, 0.0).to(dtype), weight.to(dtype))
