"""Residual network of convolutions, activated after the sum and without norms, in 1-3 dimensions:

    h_0 = S [u, p],    h' = act(h + C_2 act(C_1 h)) in each block,    y = P h_L,

with S and P matrices, the same at each point. Without positions p it commutes with translations of periodic axes. It sees
blocks (kernel - 1) points to each side. An embedding e acts by FiLM: C_2 act((1 + gamma) C_1 h + beta), times 1 + gamma'.

ResNet(1, 1, dim=1, width=26, blocks=8) is the "Res;26;8;relu" of APEBench, with its 32943 parameters, and hard to beat there.
Sources: He et al., Deep Residual Learning for Image Recognition, 2016, https://arxiv.org/abs/1512.03385;
Koehler et al., APEBench, 2024, https://arxiv.org/abs/2411.00180.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from surrogates.operators.checks import check_counts
from surrogates.operators.convolution import ACTIVATIONS, Convolution, check_convolutional, modulate
from surrogates.operators.stack import Stack
from surrogates.record import recorded


@recorded
class ResNet(Stack):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box` of `dim` axes, at any resolution.

    blocks: of two convolutions with `width` channels; kernel: odd, points an axis; activation: "relu", "gelu" or "silu".
    walls: how fields go on behind a wall, by "zeros" or their mirror image ("reflect"); periodic axes wrap.
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
        width: int = 26,
        blocks: int = 8,
        kernel: int = 3,
        activation: str = "relu",
        walls: str = "zeros",
        positions: int | Sequence[int] = 0,
    ) -> None:
        check_convolutional(dim, walls, activation, kernel)
        check_counts(in_channels=in_channels, out_channels=out_channels, width=width, blocks=blocks)
        block = partial(ResidualBlock, width, dim, kernel, ACTIVATIONS[activation])
        super().__init__(in_channels, out_channels, embedding, block, blocks, dim=dim, width=width, walls=walls, positions=positions)


class ResidualBlock(nn.Module):
    """h -> act(h + C_2 act(C_1 h))."""

    def __init__(self, width: int, dim: int, kernel: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = Convolution(width, width, dim, kernel), Convolution(width, width, dim, kernel)
        self.activation = activation

    def forward(self, h: Float[Tensor, "B C *S"], rules: tuple[str, ...], modulation: tuple[Tensor | None, ...]) -> Float[Tensor, "B C *S"]:
        gain, shift, second = modulation
        v = self.activation(modulate(self.first(h, rules), gain, shift))
        return self.activation(h + modulate(self.second(v, rules), second))
