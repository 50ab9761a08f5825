"""The lowest Fourier modes of a real field and back, by two routes that agree to rounding.

For modes (m_1, ..., m_d) the leading axes keep k = -(m//2), ..., m - m//2 - 1 (a full count, both signs) and the last axis keeps
k = 0, ..., m_d - 1 (a half count: the other half is the complex conjugate of a real field). With z normalised by the number of points,

    z_k  = mean_x u(x) exp(-i k.x),        u(x) = Re sum_k w_k o_k exp(i k.x),

w = 1 where the last k is 0 or the Nyquist mode of an even axis (each is its own conjugate, and its imaginary part has no say), else 2.

*Products*: few modes make the truncated transform cheaper as products with real cosine and sine matrices, one axis at a time, than
any fast transform of all modes. *FFT*: wins once the modes are many. `by_products` chooses by the arithmetic of both.

Fields are channels-last (B, *X, C); spectra are real, (B, 2, K, C): real and imaginary part, then K = prod(modes) modes in C order.
"""

from __future__ import annotations

from functools import lru_cache
from math import log2, pi, prod

import torch
from jaxtyping import Float
from torch import Tensor

FFT_PRICE = 12.0
"""What one FFT operation (5 N log2 N a real transform of N points) costs in multiply-adds of a matrix product, measured on a CPU."""


def by_products(grid: tuple[int, ...], modes: tuple[int, ...]) -> bool:
    """Whether the truncated transform by matrix products costs less than the FFT, by counting operations a channel."""
    n = prod(grid)
    cost, rest = 2.0 * n * modes[-1], 2 * modes[-1]
    for axis in reversed(range(len(grid) - 1)):
        cost += prod(grid[: axis + 1]) * 2 * modes[axis] * rest
        rest *= modes[axis]
    return cost < FFT_PRICE * 2.5 * n * log2(n)


@lru_cache(maxsize=256)
def _matrices(n: int, m: int, last: bool, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """One axis, there and back. Last: (2m, n) and (n, 2m); leading, between complex numbers as pairs: (2m, 2n) and (2n, 2m)."""
    with torch.inference_mode(False), torch.no_grad():
        k = torch.arange(m, dtype=torch.float64) - (0 if last else m // 2)
        angle = 2 * pi / n * torch.outer(k, torch.arange(n, dtype=torch.float64))
        c, s = angle.cos(), angle.sin()
        if last:
            w = torch.full((m, 1), 2.0, dtype=torch.float64)
            w[0] = 1
            if n % 2 == 0 and m == n // 2 + 1:
                w[-1] = 1
            there, back = torch.cat([c, -s]) / n, torch.cat([w * c, torch.where(w == 2, -2 * s, 0.0)]).T
        else:
            there = torch.stack([torch.stack([c, s], -1), torch.stack([-s, c], -1)]).reshape(2 * m, 2 * n) / n
            back = torch.stack([torch.cat([c.T, -s.T], 1), torch.cat([s.T, c.T], 1)], 1).reshape(2 * n, 2 * m)
        return there.to(device, dtype).contiguous(), back.to(device, dtype).contiguous()


def analyse(u: Float[Tensor, "B *X C"], modes: tuple[int, ...]) -> Float[Tensor, "B 2 K C"]:
    """The lowest modes by products."""
    b, *grid, c = u.shape
    there, _ = _matrices(grid[-1], modes[-1], True, u.dtype, u.device)
    z = there @ u.reshape(-1, grid[-1], c)
    rest = modes[-1] * c
    for axis in reversed(range(len(grid) - 1)):
        there, _ = _matrices(grid[axis], modes[axis], False, u.dtype, u.device)
        z = there @ z.reshape(-1, 2 * grid[axis], rest)
        rest *= modes[axis]
    return z.reshape(b, 2, -1, c)


def synthesise(o: Float[Tensor, "B 2 K C"], modes: tuple[int, ...], onto: Float[Tensor, "B *X C"]) -> Float[Tensor, "B *X C"]:
    """The field of these modes, added to `onto`, by products."""
    _, *grid, c = onto.shape
    rest = prod(modes) * c
    for axis in range(len(grid) - 1):
        rest //= modes[axis]
        _, back = _matrices(grid[axis], modes[axis], False, o.dtype, o.device)
        o = back @ o.reshape(-1, 2 * modes[axis], rest)
    _, back = _matrices(grid[-1], modes[-1], True, o.dtype, o.device)
    o = o.reshape(-1, 2 * modes[-1], c)
    lines = onto.reshape(-1, grid[-1], c)
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
    z = torch.view_as_real(z)
    z = torch.view_as_complex(z * _own_conjugate(grid[-1], modes[-1], z.dtype, z.device))
    field: Tensor = torch.fft.irfft(z, n=grid[-1], dim=-2, norm="forward")
    return onto + field


@lru_cache(maxsize=64)
def _own_conjugate(n: int, m: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "m 1 2"]:
    """1, but 0 for the imaginary part of modes that are their own conjugate: not every FFT library ignores it."""
    with torch.inference_mode(False), torch.no_grad():
        out = torch.ones(m, 1, 2, dtype=dtype, device=device)
        out[0, 0, 1] = 0
        if n % 2 == 0 and m == n // 2 + 1:
            out[-1, 0, 1] = 0
        return out
