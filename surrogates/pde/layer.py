"""Spectra between free-slip walls, y = 0 and y = H, periodic in x: cosines and sines along y, by real transforms alone.

Continued beyond the walls as a mirror does it, u and the pressure are even in y, v and what vanishes at the walls are odd. Of an even E =
sum a_k cos(k pi y/H) and an odd O = sum b_k sin(k pi y/H) make z = E + i O: its modes (a_k + b_k)/2 at k and (a_k - b_k)/2 at -k are real
in y, so that z on the grid comes from one *real* transform of the doubled height, half of which is kept. Products stay of this kind:

    z^2 = (u^2 - v^2) + 2i u v,    z (i s) = -v s + i u s        for z = u + i v and an odd s,

which is all that advection of vorticity (Basdevant's form) and of an odd scalar asks for. The mirror symmetry is built in.

A spectrum is (B, F, Kx+1, Ky+1): modes 0..Kx of x, complex, by 0..Ky half waves of y. Inside a solver points along y begin at the wall;
data lie at the centres of cells, half a spacing higher, which is a phase of each mode.

Source: Basdevant, J. Comput. Phys. 50 (1983) 209 (the form with two products); the packing is worked out above.
"""

from __future__ import annotations

from math import pi

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Box


def cutoff(box: Box) -> tuple[int, int]:
    """The largest modes under the 2/3 rule, along y of the doubled height."""
    return (box.shape[0] - 1) // 3, (2 * box.shape[1] - 1) // 3


def wavenumbers(box: Box, modes: tuple[int, int], device: torch.device) -> tuple[Float[Tensor, "Kx 1"], Float[Tensor, "1 Ky"]]:
    """2 pi/L times 0..Kx and pi/H times 0..Ky, float64."""
    kx, ky = (torch.arange(m + 1, dtype=torch.float64, device=device) for m in modes)
    return (2 * pi / box.lengths[0] * kx)[:, None], (pi / box.lengths[1] * ky)[None, :]


def joined(even: Tensor, odd: Tensor) -> Complex[Tensor, "B F Kx J"]:
    """Modes -Ky..Ky along y, in the order 0..Ky, -Ky..-1, of E + i O. The sine of k = 0 does not count."""
    above, below = (even + odd)[..., 1:] / 2, (even - odd)[..., 1:] / 2
    return torch.cat([even[..., :1], above, below.flip(-1)], -1)


def parted(z: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The cosines and sines 0..most of E and O, from modes along y in the order of a transform."""
    above, below = z[..., 1 : most + 1], z[..., -most:].flip(-1)
    mean = z[..., :1]
    return torch.cat([mean, above + below], -1), torch.cat([torch.zeros_like(mean), above - below], -1)


def to_grid(z: Complex[Tensor, "B F Kx J"], shape: tuple[int, int]) -> Complex[Tensor, "B F X Y"]:
    """The conjugate of E + i O at the points x_i, y_j = j H/n of the walls and between: j = 0..n."""
    n, m = shape
    most = z.shape[-1] // 2
    padded = torch.cat([z[..., : most + 1], z.new_zeros(*z.shape[:-1], 2 * m - 2 * most - 1), z[..., most + 1 :]], -1)
    lines = torch.fft.irfft(padded, n=n, dim=-2, norm="forward")
    grid: Tensor = torch.fft.rfft(lines, dim=-1)
    return grid


def of_product(product: Complex[Tensor, "B F X Y"], modes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The cosines of the even, the sines of the odd part of a product of two results of `to_grid`."""
    lines = torch.fft.irfft(product, n=2 * (product.shape[-1] - 1), dim=-1)
    return parted(torch.fft.rfft(lines, dim=-2, norm="forward")[..., : modes[0] + 1, :], modes[1])


def analyse(u: Float[Tensor, "B F X Y"], modes: tuple[int, int], odd: bool) -> Complex[Tensor, "B F Kx Ky"]:
    """Cosines or sines of a field at the centres of cells; modes that the grid does not hold are zero."""
    n, m = u.shape[-2:]
    have = min((n - 1) // 2, modes[0]), min(m - 1, modes[1])
    mirror = -u.flip(-1) if odd else u.flip(-1)
    both = torch.fft.fft(torch.fft.rfft(torch.cat([u, mirror], -1), dim=-2, norm="forward"), dim=-1, norm="forward")
    k = torch.arange(have[1] + 1, dtype=u.dtype, device=u.device)
    cut = both[..., : have[0] + 1, : have[1] + 1] * torch.polar(torch.ones_like(k), -pi / (2 * m) * k)
    cut = cut * torch.where(k > 0, 2, 1) * (1j if odd else 1)
    return torch.nn.functional.pad(cut, (0, modes[1] - have[1], 0, modes[0] - have[0]))


def synthesise(spectrum: Complex[Tensor, "B F Kx Ky"], shape: tuple[int, int], odd: bool) -> Float[Tensor, "B F X Y"]:
    """The field at the centres of cells of any grid; modes that it does not hold are dropped."""
    n, m = shape
    have = min((n - 1) // 2, spectrum.shape[-2] - 1), min(m - 1, spectrum.shape[-1] - 1)
    k = torch.arange(have[1] + 1, device=spectrum.device, dtype=torch.float64)
    angle = pi / m * k[:, None] * (torch.arange(m, device=k.device) + 0.5)
    waves = (angle.sin() if odd else angle.cos()).to(spectrum.dtype)
    u: Tensor = torch.fft.irfft(spectrum[..., : have[0] + 1, : have[1] + 1] @ waves, n=n, dim=-2, norm="forward")
    return u
