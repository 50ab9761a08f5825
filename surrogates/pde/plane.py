"""Plane spectra stored from -K to K along both axes, and the two real fields of a velocity carried as one complex field z = u + i v.

With d = d/dx - i d/dy, a plane flow of vorticity w and zero divergence has d z = i w, that is z_k = w_k / (kx - i ky), and
z^2 = (u^2 - v^2) + 2i uv holds both products of Basdevant's form: one complex transform each way where two real pairs were needed.
The mode w_0 is zero for every flow, so its slot carries the mean velocity U + i V, which is z_0.

Storing k at index k + K multiplies the field on the grid by exp(iK.x), hence a product of two by exp(2iK.x): its modes -K..K are
found at K..3K, one slice without wrap-around since 3K < n, which is the 2/3 rule again.

Source: Basdevant, J. Comput. Phys. 50 (1983) 209 (the form with two products); the packing is worked out above.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Box


def wavenumbers(box: Box, modes: tuple[int, ...], device: torch.device) -> tuple[Float[Tensor, "Kx 1"], Float[Tensor, "1 Ky"]]:
    """2 pi / L times -K..K along each axis, float64."""
    kx, ky = (
        torch.arange(-m, m + 1, dtype=torch.float64, device=device) * (2 * torch.pi / length)
        for m, length in zip(modes, box.lengths, strict=True)
    )
    return kx[:, None], ky[None, :]


def conjugate(kx: Float[Tensor, "Kx 1"], ky: Float[Tensor, "1 Ky"]) -> Complex[Tensor, "Kx Ky"]:
    """kx - i ky, of which i times is the symbol of d."""
    return torch.complex(kx.expand(-1, ky.shape[1]), -ky.expand(kx.shape[0], -1))


def velocity_symbol(kx: Float[Tensor, "Kx 1"], ky: Float[Tensor, "1 Ky"]) -> Complex[Tensor, "Kx Ky"]:
    """z_k / w_k: 1/(kx - i ky), and 1 at the mean, where w_0 stands for U + i V."""
    k = conjugate(kx, ky)
    return torch.where(k == 0, 1, 1 / k.where(k != 0, 1))


def to_grid(spectrum: Complex[Tensor, "B F Kx Ky"], shape: tuple[int, ...]) -> Complex[Tensor, "B F Y X"]:
    """exp(iK.x) times the field with these modes, y before x: every transform runs along contiguous numbers."""
    lines = torch.fft.ifft(spectrum, n=shape[1], dim=-1, norm="forward")
    grid: Tensor = torch.fft.ifft(lines.mT, n=shape[0], dim=-1, norm="forward")
    return grid


def of_product(product: Complex[Tensor, "B F Y X"], modes: tuple[int, ...]) -> Complex[Tensor, "B F Kx Ky"]:
    """Modes -K..K of a product of two fields that both came from `to_grid`."""
    i, j = modes
    lines = torch.fft.fft(product, dim=-1, norm="forward")[..., i : 3 * i + 1].mT.contiguous()
    spectrum: Tensor = torch.fft.fft(lines, dim=-1, norm="forward")[..., j : 3 * j + 1]
    return spectrum


def hermitian(half: Complex[Tensor, "B F Kx Ky"]) -> Complex[Tensor, "B F Kx Ky"]:
    """h(k) + conj h(-k): twice the modes of the real part, exactly symmetric."""
    return half + torch.conj_physical(half.flip((-2, -1)))


def analyse(field: Complex[Tensor, "B F X Y"], modes: tuple[int, ...]) -> Complex[Tensor, "B F Kx Ky"]:
    """Modes -K..K of a complex field on any grid; those at or above its Nyquist are zero."""
    spectrum = torch.fft.fft2(field, norm="forward")
    have = tuple(min((n - 1) // 2, m) for n, m in zip(field.shape[-2:], modes, strict=True))
    for dim, h in zip((-2, -1), have, strict=True):
        spectrum = spectrum.roll(h, dim).narrow(dim, 0, 2 * h + 1)
    return torch.nn.functional.pad(spectrum, [m - h for m, h in zip(reversed(modes), reversed(have), strict=True) for _ in (0, 1)])


def synthesise(spectrum: Complex[Tensor, "B F Kx Ky"], shape: tuple[int, ...]) -> Complex[Tensor, "B F X Y"]:
    """The complex field on any grid; modes at or above its Nyquist are dropped."""
    modes = tuple(min((n - 1) // 2, s // 2) for n, s in zip(shape, spectrum.shape[-2:], strict=True))
    cut = spectrum
    for dim, m in zip((-2, -1), modes, strict=True):
        cut = cut.narrow(dim, spectrum.shape[dim] // 2 - m, 2 * m + 1)
    padding = [p for n, m in zip(reversed(shape), reversed(modes), strict=True) for p in (0, n - 2 * m - 1)]
    full = torch.nn.functional.pad(cut, padding).roll([-m for m in modes], (-2, -1))
    grid: Tensor = torch.fft.ifft2(full, norm="forward")
    return grid
