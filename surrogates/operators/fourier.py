"""The lowest Fourier modes of a real field and back, by two routes that agree to rounding.

For modes (m_1, ..., m_d) the leading axes keep k = -(m//2), ..., m - m//2 - 1 (a full count, both signs) and the last axis keeps
k = 0, ..., m_d - 1 (a half count: the other half is the complex conjugate of a real field):

    z_k  = mean_x u(x) exp(-i k.x),        u(x) = Re sum_k w_k o_k exp(i k.x),

w = 1 where the last k is 0 or the Nyquist mode of an even axis (each is its own conjugate, and its imaginary part has no say), else 2.

*Products*: few modes make the truncated transform cheaper as products with real cosine and sine matrices, one axis at a time, than
any fast transform of all modes; `dft_matrices` chooses by counting the arithmetic of both. *FFT*: wins once the modes are many.

Fields are channels-last (B, *X, C); spectra are real, (B, 2, K, C): real and imaginary part, then K = prod(modes) modes in C order.
"""

from __future__ import annotations

from functools import lru_cache
from math import log2, pi, prod

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Box

Matrices = tuple[tuple[Tensor, Tensor], ...]
"""There and back, an axis: (2m, n) and (n, 2m) for the last; for the others, between complex numbers as pairs, (2m, 2n) and (2n, 2m)."""

FFT_PRICE = 4.0
"""An operation of an FFT (5/2 N log2 N for N real points) in multiply-adds of a matrix product: 3.2 to 5.2 there and back, 2.8 to 7.4 with
gradients, from 160 to 4096 points, 48^2 to 256^2 and 32^3 to 64^3, on one AMD EPYC core."""


def by_products(grid: tuple[int, ...], modes: tuple[int, ...]) -> bool:
    """Whether the truncated transform by matrix products costs less than the FFT, counting operations a channel."""
    n, rest = prod(grid), 2 * modes[-1]
    cost = 2.0 * n * modes[-1]
    for axis in reversed(range(len(grid) - 1)):
        cost += prod(grid[: axis + 1]) * 2 * modes[axis] * rest
        rest *= modes[axis]
    return cost < FFT_PRICE * 2.5 * n * log2(n)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def dft_matrices(box: Box, modes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Matrices:
    """The matrices of every axis, made once; none where the FFT is cheaper. A compiler takes them as constants of the grid."""
    return _dft_matrices(box.shape, modes, dtype, device) if by_products(box.shape, modes) else ()


@lru_cache(maxsize=64)
def _dft_matrices(grid: tuple[int, ...], modes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Matrices:
    with torch.inference_mode(False), torch.no_grad():
        pairs = [axis_pair(n, m, axis == len(grid) - 1) for axis, (n, m) in enumerate(zip(grid, modes, strict=True))]
        return tuple((there.to(device, dtype).contiguous(), back.to(device, dtype).contiguous()) for there, back in pairs)


def axis_pair(n: int, m: int, last: bool) -> tuple[Tensor, Tensor]:
    k = torch.arange(m, dtype=torch.float64) - (0 if last else m // 2)
    angle = 2 * pi / n * (torch.outer(k, torch.arange(n, dtype=torch.float64)) % n)
    c, s = angle.cos(), angle.sin()
    if last:
        w = torch.full((m, 1), 2.0, dtype=torch.float64)
        w[own_conjugates(n, m)] = 1
        return torch.cat([c, -s]) / n, torch.cat([w * c, torch.where(w == 2, -2 * s, 0.0)]).T
    there = torch.stack([torch.stack([c, s], -1), torch.stack([-s, c], -1)]).reshape(2 * m, 2 * n) / n
    return there, torch.stack([torch.cat([c.T, -s.T], 1), torch.cat([s.T, c.T], 1)], 1).reshape(2 * n, 2 * m)


def own_conjugates(n: int, m: int) -> list[int]:
    """Modes of the last axis that are their own conjugate."""
    return [0, n // 2] if n % 2 == 0 and m == n // 2 + 1 else [0]


def analyse(u: Float[Tensor, "B *X C"], modes: tuple[int, ...], matrices: Matrices) -> Float[Tensor, "B 2 K C"]:
    """The lowest modes by products."""
    b, *grid, c = u.shape
    z, rest = matrices[-1][0] @ u.reshape(-1, grid[-1], c), modes[-1] * c
    for axis in reversed(range(len(grid) - 1)):
        z = matrices[axis][0] @ z.reshape(-1, 2 * grid[axis], rest)
        rest *= modes[axis]
    return z.reshape(b, 2, -1, c)


def synthesise(
    o: Float[Tensor, "B 2 K C"], modes: tuple[int, ...], matrices: Matrices, onto: Float[Tensor, "B *X C"]
) -> Float[Tensor, "B *X C"]:
    """The field of these modes, added to `onto`, by products."""
    _, *grid, c = onto.shape
    rest = prod(modes) * c
    for axis in range(len(grid) - 1):
        rest //= modes[axis]
        o = matrices[axis][1] @ o.reshape(-1, 2 * modes[axis], rest)
    o, lines, back = o.reshape(-1, 2 * modes[-1], c), onto.reshape(-1, grid[-1], c), matrices[-1][1]
    return torch.baddbmm(lines, back.expand(len(o), -1, -1), o).reshape(onto.shape)


def analyse_fft(u: Float[Tensor, "B *X C"], modes: tuple[int, ...]) -> Float[Tensor, "B 2 K C"]:
    """The lowest modes by FFT."""
    b, *grid, c = u.shape
    z = torch.fft.rfftn(u, dim=tuple(range(1, u.ndim - 1)), norm="forward").narrow(-2, 0, modes[-1])
    for axis, (n, m) in enumerate(zip(grid[:-1], modes[:-1], strict=True), start=1):
        z = torch.cat([z.narrow(axis, n - m // 2, m // 2), z.narrow(axis, 0, m - m // 2)], dim=axis)
    return torch.view_as_real(z).movedim(-1, 1).reshape(b, 2, -1, c)


def synthesise_fft(o: Float[Tensor, "B 2 K C"], modes: tuple[int, ...], onto: Float[Tensor, "B *X C"]) -> Float[Tensor, "B *X C"]:
    """The field of these modes, added to `onto`, by FFT."""
    b, *grid, c = onto.shape
    z = torch.complex(o[:, 0], o[:, 1]).reshape(b, *modes, c)
    for axis, (n, m) in enumerate(zip(grid[:-1], modes[:-1], strict=True), start=1):
        gap = z.new_zeros(*z.shape[:axis], n - m, *z.shape[axis + 1 :])
        z = torch.cat([z.narrow(axis, m // 2, m - m // 2), gap, z.narrow(axis, 0, m // 2)], dim=axis)
        z = torch.fft.ifft(z, dim=axis, norm="forward")
    parts = onto.new_ones(modes[-1], 1, 2)  # not every FFT library ignores the imaginary part of modes that are their own conjugate
    parts[own_conjugates(grid[-1], modes[-1]), :, 1] = 0
    z = torch.view_as_complex(torch.view_as_real(z) * parts)
    field: Tensor = torch.fft.irfft(z, n=grid[-1], dim=-2, norm="forward")
    return onto + field
