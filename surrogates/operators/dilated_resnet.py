"""Dilated residual network in 1-3 dimensions: stencils that widen and narrow again see far without leaving the grid.

    h_0 = S [u, p],    h' = h + B h,    y = P h_L,
    B: v <- act(C_d norm(v)) for each dilation d in turn, 1, 2, 4, 8, 4, 2, 1 by default,

with S and P matrices, the same at each point, and norm over all channels and points of a row. Without positions p it commutes with
translations of periodic axes. It sees blocks * sum(dilations) (kernel - 1)/2 points to each side. With dilations=(1,) * k it is a plain
residual network of the same depth. An embedding e acts by FiLM on a block's first norm and on what the block adds.

DilatedResNet(1, 1, dim=1, blocks=2, dilations=(1, 2, 4, 2, 1), activation="relu") is the "Dil;2;32;2;relu" of APEBench, with its 31777
parameters; the defaults are PDEArena's "DilResNet", whose ends have two layers.
Sources: Stachenfeld et al., Learned Coarse Models for Efficient Turbulence Simulation, 2022, https://arxiv.org/abs/2112.15275;
Gupta and Brandstetter, Towards Multi-spatiotemporal-scale Generalized PDE Modeling, 2022, https://arxiv.org/abs/2209.15616.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from surrogates.operators.checks import check_counts
from surrogates.operators.convolution import ACTIVATIONS, Convolution, Norm, check_convolutional, modulate
from surrogates.operators.stack import Stack
from surrogates.record import recorded


@recorded
class DilatedResNet(Stack):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box` of `dim` axes, at any resolution.

    dilations: the distances between a stencil's points, one convolution of `width` channels each, in every one of `blocks`.
    kernel: odd, points an axis; norm: False leaves the norms out; activation: "relu", "gelu" or "silu".
    walls: how fields go on behind a wall, by "zeros" or their mirror image ("reflect"); periodic axes wrap, if need be many times.
    positions: harmonics of the position that the network sees, one number or one an axis; 0 for translation equivariance.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        width: int = 32,
        blocks: int = 4,
        dilations: Sequence[int] = (1, 2, 4, 8, 4, 2, 1),
        kernel: int = 3,
        norm: bool = True,
        activation: str = "gelu",
        walls: str = "zeros",
        positions: int | Sequence[int] = 0,
    ) -> None:
        check_convolutional(dim, walls, activation, kernel)
        check_counts(in_channels=in_channels, out_channels=out_channels, width=width, blocks=blocks)
        if not dilations or min(dilations) < 1:
            raise ValueError(f"dilations must be one or more distances from 1 on, got {tuple(dilations)}")
        block = partial(DilatedBlock, width, dim, kernel, tuple(dilations), norm, ACTIVATIONS[activation])
        super().__init__(in_channels, out_channels, embedding, block, blocks, dim=dim, width=width, walls=walls, positions=positions)


class DilatedBlock(nn.Module):
    """h -> h + B h."""

    def __init__(
        self, width: int, dim: int, kernel: int, dilations: tuple[int, ...], norm: bool, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Convolution(width, width, dim, kernel, dilation=d) for d in dilations)
        self.norms = nn.ModuleList(Norm(width) for _ in dilations) if norm else None
        self.activation = activation

    def forward(self, h: Float[Tensor, "B C *S"], rules: tuple[str, ...], modulation: tuple[Tensor | None, ...]) -> Float[Tensor, "B C *S"]:
        gain, shift, second = modulation
        v = h
        for i, layer in enumerate(self.layers):
            v = v if self.norms is None else self.norms[i](v)
            v = v if i else modulate(v, gain, shift)
            v = self.activation(layer(v, rules))
        return h + modulate(v, second)
