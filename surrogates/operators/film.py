"""FiLM: an embedding e scales and shifts each channel, y -> (1 + gamma(e)) y + beta(e).

The last layer of gamma, beta starts at zero, so that a network starts as if it were unconditioned. One small network serves all
blocks. Where y is affine in what came before, so is its modulation, with other coefficients: a caller that scales weights and biases
in place of y pays nothing per grid point.

Source: Perez et al., FiLM: Visual Reasoning with a General Conditioning Layer, 2018, https://arxiv.org/abs/1709.07871.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class FiLM(nn.Module):
    """gamma and beta of `layers` blocks of `channels` channels from an embedding of size `embedding`."""

    def __init__(self, embedding: int, channels: int, layers: int) -> None:
        super().__init__()
        self.layers, self.channels = layers, channels
        self.hidden = nn.Linear(embedding, 2 * channels)
        self.out = nn.Linear(2 * channels, 2 * layers * channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, embedding: Float[Tensor, "G E"]) -> Float[Tensor, "L 2 G C"]:
        """For each block: 1 + gamma, then beta."""
        y: Tensor = self.out(nn.functional.silu(self.hidden(embedding)))
        y = y.view(-1, self.layers, 2, self.channels).permute(1, 2, 0, 3)
        return y + y.new_tensor([1.0, 0.0]).view(1, 2, 1, 1)
