"""The same affine map at every point of a channels-last field: y(x) = W u(x) + b.

In float32 on a CPU it runs as a convolution with a 1 x 1 kernel over small images, because oneDNN multiplies a tall matrix with a small
one up to 2.3 times faster than the general product behind `linear` (32768 x 64 x 64 on one AMD EPYC core: 1.7 against 3.9 ms, with
gradients 8.8 against 12.4 ms). Where gradients are compiled it stays `linear`: the loops that a compiler fuses around a convolution
follow its layout, and a step took 1.25 times an eager one, with `linear` 1.06 (64^2, width 64, float32; .96 in bfloat16).

With one thread torch asks oneDNN only from 16 images on; images below 100 points cost more, and a side of 1 leaves the layout in doubt.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

IMAGE, FEWEST = (8, 16), 16
ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class Pointwise(nn.Linear):
    """`Linear` over the last axis, with the same parameters and values."""

    def forward(self, u: Float[Tensor, "*X Cin"]) -> Float[Tensor, "*X Cout"]:
        """W u + b."""
        return affine(u, self.weight, self.bias)


def affine(u: Float[Tensor, "*X Cin"], weight: Float[Tensor, "Cout Cin"], bias: Float[Tensor, " Cout"] | None) -> Float[Tensor, "*X Cout"]:
    """W u + b of given W and b."""
    points, image = u.numel() // u.shape[-1], IMAGE[0] * IMAGE[1]
    general = not ONEDNN or not u.is_cpu or u.dtype == torch.float64 or (torch.compiler.is_compiling() and torch.is_grad_enabled())
    if general or points % image or points < FEWEST * image:
        return linear(u, weight, bias)
    v = u.reshape(-1, *IMAGE, u.shape[-1]).permute(0, 3, 1, 2)  # channels_last in memory: a view
    y = conv2d(v, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*u.shape[:-1], -1)


def channels_first(out: nn.Linear, h: Float[Tensor, "B N Cin"]) -> Float[Tensor, "B Cout N"]:
    """W h + b with the channels before the points, without a copy."""
    return torch.matmul(out.weight, h.mT) + out.bias[:, None]
