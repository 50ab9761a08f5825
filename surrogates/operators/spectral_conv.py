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

from surrogates.operators.fourier import Matrices, analyse, analyse_fft, synthesise, synthesise_fft


class SpectralConv(nn.Module):
    """Multiply the lowest modes of a channels-last field by a matrix each, and add the result to another field.

    It has no bias (that is the pointwise skip's). Under autocast and for half-precision fields all of this runs in float32.
    """

    def __init__(self, channels: int, modes: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, self.modes = channels, modes
        zero = [m // 2 for m in modes[:-1]] + [0]
        self.zero = sum(k * prod(modes[axis + 1 :]) for axis, k in enumerate(zero))  # where the mean's mode lies
        # the variance 1/C of a complex entry keeps the energy of the modes that pass
        self.weight = nn.Parameter(torch.randn(prod(modes), channels, 2 * channels) * (0.5 / channels) ** 0.5)

    def forward(
        self,
        u: Float[Tensor, "B *X C"],
        onto: Float[Tensor, "B *X C"],
        matrices: Matrices,
        gain: Float[Tensor, "B C"] | None = None,
        shift: Float[Tensor, "B C"] | None = None,
    ) -> Float[Tensor, "B *X C"]:
        """onto + gain * K u + shift, where gain and shift are applied to the modes and so cost nothing a grid point."""
        dtype, asked = torch.promote_types(u.dtype, torch.float32), onto.dtype
        with torch.autocast(u.device.type, enabled=False):
            u, onto = u.to(dtype), onto.to(dtype)
            z = analyse(u, self.modes, matrices) if matrices else analyse_fft(u, self.modes)
            o = multiply(z, self.weight.to(z.dtype))
            if gain is not None:
                o = o * gain[:, None, None].to(dtype)
            if shift is not None:
                o[:, 0, self.zero] += shift.to(dtype)
            y = synthesise(o, self.modes, matrices, onto) if matrices else synthesise_fft(o, self.modes, onto)
        return y.to(asked)


def multiply(z: Float[Tensor, "B 2 K C"], weight: Float[Tensor, "K C FF"]) -> Float[Tensor, "B 2 K F"]:
    """The complex product mode by mode, weights [real | imaginary]: rows (b, part of z), columns (part of weight, f)."""
    b, _, k, c = z.shape
    y = torch.bmm(z.reshape(2 * b, k, c).transpose(0, 1), weight)
    rr, ri, ir, ii = y.view(k, b, 4, -1).unbind(2)
    return torch.stack([(rr - ii).transpose(0, 1), (ri + ir).transpose(0, 1)], dim=1)
