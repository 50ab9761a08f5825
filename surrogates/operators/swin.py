"""The parts of a U-shaped Swin transformer, whose norms N_e are conditioned by an embedding e: N_e v = (g + gamma(e)) N v + b + beta(e).

    Swin layer   h' = h + N_e A h,    h'' = h' + N_e M h'         norms stand after the branches; A is the attention of `windows`
    ConvNeXt     h' = h + (g + gamma'(e)) M N_e D h               D a depthwise convolution of 7 points an axis

N is a layer norm and M a two-layer network at each token. The g that end a branch start at 0, so that every layer starts as the identity,
and beta enters once a layer. Convolutions wrap on periodic axes and see zeros beyond walls.

Sources: Liu et al., Swin Transformer V2, 2022, https://arxiv.org/abs/2111.09883; Liu et al., A ConvNet for the 2020s, 2022,
https://arxiv.org/abs/2201.03545; conditioned norms: Herde et al., Poseidon, 2024, https://arxiv.org/abs/2405.19101.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv3d, gelu, layer_norm

from surrogates.operators.padding import extend, image
from surrogates.operators.patches import from_patches, to_patches
from surrogates.operators.pointwise import Pointwise
from surrogates.operators.windows import Tokens, WindowAttention, fill

Modulation = tuple[Tensor | None, Tensor | None, Tensor | None]
REACH = 7  # points of the depthwise convolution along each axis


class SwinLayer(nn.Module):
    """h + N_e A h, then the same with M."""

    def __init__(self, width: int, heads: int, window: tuple[int, ...], hidden: int, *, shifted: bool) -> None:
        super().__init__()
        self.attention = WindowAttention(width, heads, window, shifted=shifted)
        self.inner, self.outer = Pointwise(width, hidden), Pointwise(hidden, width)
        self.gains, self.shifts = nn.Parameter(torch.zeros(2, width)), nn.Parameter(torch.zeros(2, width))

    def forward(
        self, h: Float[Tensor, "B *T C"], tokens: Tokens, gain: Tensor | None, shift: Tensor | None, second: Tensor | None
    ) -> Float[Tensor, "B *T C"]:
        h = h + self._norm(self.attention(h, tokens), 0, gain, shift)
        return h + self._norm(self.outer(gelu(self.inner(h))), 1, second, None)

    def _norm(self, v: Float[Tensor, "B *T C"], which: int, gain: Tensor | None, shift: Tensor | None) -> Float[Tensor, "B *T C"]:
        g, b = self.gains[which], self.shifts[which]
        if gain is None:
            return layer_norm(v, v.shape[-1:], g, b)
        g = spread(g + (gain - 1), v)
        return torch.addcmul(spread(b if shift is None else b + shift, v), layer_norm(v, v.shape[-1:]), g)


class ConvNeXt(nn.Module):
    """h + g M N D h."""

    def __init__(self, width: int, hidden: int, dim: int) -> None:
        super().__init__()
        reach = (1, REACH) if dim == 1 else (REACH,) * dim
        self.depthwise = nn.Parameter((torch.rand(width, 1, *reach) * 2 - 1) * REACH ** (-dim / 2))
        self.norm = nn.LayerNorm(width)
        self.inner, self.outer = Pointwise(width, hidden), Pointwise(hidden, width)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(
        self, h: Float[Tensor, "B *T C"], tokens: Tokens, gain: Tensor | None, shift: Tensor | None, gate: Tensor | None
    ) -> Float[Tensor, "B *T C"]:
        v = self.norm(convolve(h.movedim(-1, 1), self.depthwise, tokens.periodic).movedim(1, -1))
        if gain is not None and shift is not None:
            v = torch.addcmul(spread(shift, v), v, spread(gain, v))
        g = self.gate if gate is None else spread(self.gate + (gate - 1), v)
        return torch.addcmul(h, self.outer(gelu(self.inner(v))), g)


class Merge(nn.Module):
    """Two tokens along each axis become one of twice the channels; where the last has no partner, zeros stand in."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.dim, self.linear, self.norm = dim, Pointwise(2**dim * width, 2 * width, bias=False), nn.LayerNorm(2 * width)

    def forward(self, h: Float[Tensor, "B *T C"]) -> Float[Tensor, "B *U D"]:
        even = tuple(n + n % 2 for n in h.shape[1:-1])
        merged: Tensor = self.norm(self.linear(to_patches(fill(h, even), (2,) * self.dim)))
        return merged


class Expand(nn.Module):
    """One token becomes two along each axis, of half the channels."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.dim, self.linear, self.norm = dim, Pointwise(2 * width, 2**dim * width, bias=False), nn.LayerNorm(width)

    def forward(self, h: Float[Tensor, "B *U D"]) -> Float[Tensor, "B *T C"]:
        expanded: Tensor = self.norm(from_patches(self.linear(h), (2,) * self.dim))
        return expanded


def spread(v: Float[Tensor, "*G C"], like: Float[Tensor, "B *T C"]) -> Tensor:
    """A member's channels, to broadcast over its tokens."""
    return v if v.ndim == 1 else v.view(len(v), *(1,) * (like.ndim - 2), -1)


def convolve(u: Float[Tensor, "B C *X"], kernel: Tensor, periodic: tuple[bool, ...]) -> Float[Tensor, "B D *X"]:
    """With a kernel of odd sides, depthwise where it has one input channel; wrapping on periodic axes, zeros beyond walls."""
    pads, line = tuple((n // 2, n // 2) for n in kernel.shape[2:]), len(periodic) == 1
    rules = (*(("zeros",) if line else ()), *("wrap" if again else "zeros" for again in periodic))
    v = extend(image(u), pads, rules)
    y = (conv3d if v.ndim == 5 else conv2d)(v, kernel, groups=u.shape[1] // kernel.shape[1])
    return y.squeeze(2) if line else y


def identity_kernel(channels: int, side: int, dim: int) -> Float[Tensor, "C C *K"]:
    """The kernel that changes nothing."""
    kernel = torch.zeros(channels, channels, *((1, side) if dim == 1 else (side,) * dim))
    for c in range(channels):
        kernel[c, c].view(-1)[side**dim // 2] = 1
    return kernel
