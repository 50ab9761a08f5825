"""Fourier layer: a convolution whose kernel is a free matrix on each of the lowest modes and zero on the others.

    z = F_modes u,    o_k = z_k W_k  (W_k complex, C x C),    K u = F_modes^-1 o

The weights are stored real, (modes, C, 2C) = [real | imaginary], so that one real batched product with the rows (real z, imaginary z)
gives all four parts of the complex product; real parameters also suit fused optimisers, sharding and compilation.

Source: Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, 2021, https://arxiv.org/abs/2010.08895.
"""

from __future__ import annotations

from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.operators.fourier import analyse, analyse_fft, by_products, synthesise, synthesise_fft


class SpectralConv(nn.Module):
    """Multiply the lowest modes of a channels-last field by a matrix each, and add the result to another field.

    It has no bias (that is the pointwise skip's). Under autocast and for half-precision fields the transform runs in float32.
    """

    def __init__(self, channels: int, modes: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, self.modes = channels, modes
        # the variance 1/C of a complex entry keeps the energy of the modes that pass
        self.weight = nn.Parameter(torch.randn(prod(modes), channels, 2 * channels) * (0.5 / channels) ** 0.5)

    def forward(
        self, u: Float[Tensor, "B *X C"], onto: Float[Tensor, "B *X C"], scale: Float[Tensor, "B C"] | None = None
    ) -> Float[Tensor, "B *X C"]:
        """onto + scale * K u."""
        dtype = torch.promote_types(u.dtype, torch.float32)
        with torch.autocast(u.device.type, enabled=False):
            u, onto, weight = u.to(dtype), onto.to(dtype), self.weight.to(dtype)
            products = by_products(tuple(u.shape[1:-1]), self.modes)
            z = (analyse if products else analyse_fft)(u, self.modes)
            o = _multiply(z, weight)
            if scale is not None:
                o = o * scale[:, None, None].to(dtype)
            return (synthesise if products else synthesise_fft)(o, self.modes, onto)


def _multiply(z: Float[Tensor, "B 2 K C"], weight: Float[Tensor, "K C 2*C"]) -> Float[Tensor, "B 2 K C"]:
    """The complex product mode by mode: rows (b, part of z), columns (part of W, c)."""
    b, _, k, c = z.shape
    y = torch.bmm(z.reshape(2 * b, k, c).transpose(0, 1), weight).view(k, b, 2, 2, c)
    o = torch.stack([y[:, :, 0, 0] - y[:, :, 1, 1], y[:, :, 0, 1] + y[:, :, 1, 0]])
    return o.permute(2, 0, 1, 3)
