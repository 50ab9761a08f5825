"""Spectra of real fields in three dimensions: modes -K..K along x and y, centred, 0..K along z, and their way to the grid and back.

Of n points along an axis a solver under the 2/3 rule carries 2n/3 modes, so a transform taken axis by axis works only on lines that
are not zero: 4/9 of them along x, 2/3 along y, all along z (`to_grid`; `of_grid` the other way round).

The modes k and -k of the plane kz = 0 are both stored; they are conjugate in exact arithmetic, and `hermitian` makes them so.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Box

X, Y, Z = -3, -2, -1


def wavenumbers(box: Box, modes: tuple[int, ...], device: torch.device) -> Float[Tensor, "3 Kx Ky Kz"]:
    """The vector k of every mode, float64."""
    k = [
        torch.arange(0 if axis == 2 else -m, m + 1, dtype=torch.float64, device=device) * (2 * torch.pi / length)
        for axis, (m, length) in enumerate(zip(modes, box.lengths, strict=True))
    ]
    return torch.stack(torch.meshgrid(*k, indexing="ij"))


def spread(spectrum: Tensor, n: int, axis: int) -> Tensor:
    """Centred modes in the order of a transform of n points, zeros between."""
    m = spectrum.shape[axis] // 2
    shape = list(spectrum.shape)
    shape[axis] = n
    out = spectrum.new_zeros(shape)
    out.narrow(axis, 0, m + 1).copy_(spectrum.narrow(axis, m, m + 1))
    if m:
        out.narrow(axis, n - m, m).copy_(spectrum.narrow(axis, 0, m))
    return out


def gathered(line: Tensor, m: int, axis: int) -> Tensor:
    """Modes -m..m of a transform, centred."""
    n = line.shape[axis]
    return torch.cat([line.narrow(axis, n - m, m), line.narrow(axis, 0, m + 1)], axis)


def to_grid(spectrum: Complex[Tensor, "B F Kx Ky Kz"], shape: tuple[int, ...]) -> Float[Tensor, "B F X Y Z"]:
    """The real fields on a grid of more points than modes."""
    lines = torch.fft.ifft(spread(spectrum, shape[0], X), dim=X, norm="forward")
    lines = torch.fft.ifft(spread(lines, shape[1], Y), dim=Y, norm="forward")
    u: Tensor = torch.fft.irfft(lines, n=shape[2], dim=Z, norm="forward")
    return u


def of_grid(u: Float[Tensor, "B F X Y Z"], modes: tuple[int, ...]) -> Complex[Tensor, "B F Kx Ky Kz"]:
    """The modes of real fields on a grid of more points than modes."""
    i, j, k = modes
    lines = torch.fft.rfft(u, dim=Z, norm="forward")[..., : k + 1]
    lines = gathered(torch.fft.fft(lines, dim=Y, norm="forward"), j, Y)
    return gathered(torch.fft.fft(lines, dim=X, norm="forward"), i, X)


def analyse(u: Float[Tensor, "B F X Y Z"], modes: tuple[int, ...]) -> Complex[Tensor, "B F Kx Ky Kz"]:
    """The modes of real fields on any grid; those at or above its Nyquist are zero."""
    have = tuple(min((n - 1) // 2, m) for n, m in zip(u.shape[2:], modes, strict=True))
    return fit(of_grid(u, have), modes)


def synthesise(spectrum: Complex[Tensor, "B F Kx Ky Kz"], shape: tuple[int, ...]) -> Float[Tensor, "B F X Y Z"]:
    """The real fields on any grid; modes at or above its Nyquist are dropped."""
    return to_grid(fit(spectrum, tuple(min((n - 1) // 2, m) for n, m in zip(shape, carried(spectrum), strict=True))), shape)


def carried(spectrum: Complex[Tensor, "B F Kx Ky Kz"]) -> tuple[int, int, int]:
    """The largest mode along each axis."""
    return spectrum.shape[X] // 2, spectrum.shape[Y] // 2, spectrum.shape[Z] - 1


def fit(spectrum: Complex[Tensor, "B F Kx Ky Kz"], modes: tuple[int, ...]) -> Complex[Tensor, "B F Lx Ly Lz"]:
    """Cut or padded with zeros to other largest modes."""
    i, j, k = (new - old for new, old in zip(modes, carried(spectrum), strict=True))
    return spectrum if i == j == k == 0 else torch.nn.functional.pad(spectrum, (0, k, j, j, i, i))


def hermitian(spectrum: Complex[Tensor, "B F Kx Ky Kz"]) -> Complex[Tensor, "B F Kx Ky Kz"]:
    """The same real field, its plane kz = 0 symmetric to the last bit."""
    plane = spectrum[..., :1]
    return torch.cat([(plane + torch.conj_physical(plane.flip((X, Y)))) / 2, spectrum[..., 1:]], Z)


def projected(u: Complex[Tensor, "B 3 Kx Ky Kz"], k: Float[Tensor, "3 Kx Ky Kz"]) -> Complex[Tensor, "B 3 Kx Ky Kz"]:
    """u - k (k.u)/k^2: without divergence. The mean stays."""
    k2 = k.square().sum(0)
    along = (k * u).sum(1, keepdim=True) / torch.where(k2 > 0, k2, 1)
    return u - k * along


def norm2(u: Complex[Tensor, "B F Kx Ky Kz"]) -> Float[Tensor, " B"]:
    """The average of u^2 over space, by Parseval: modes with kz > 0 stand for two."""
    square = u.real.square() + u.imag.square()
    return 2 * square.flatten(1).sum(1) - square[..., 0].flatten(1).sum(1)
