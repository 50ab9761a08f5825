"""FiLM: an embedding e scales and shifts each channel, y -> (1 + gamma(e)) y + beta(e).

The last layer starts at zero, so that a network starts as if it were unconditioned; one small network serves all blocks.

Source: Perez et al., FiLM: Visual Reasoning with a General Conditioning Layer, 2018, https://arxiv.org/abs/1709.07871.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu


class FiLMs(nn.Module):
    """For blocks of `widths` channels: a gain that starts at 1, a shift that starts at 0 and a second gain, each per member and channel."""

    def __init__(self, embedding: int, hidden: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.hidden = nn.Linear(embedding, hidden)
        self.out = nn.Linear(hidden, 3 * sum(widths))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, embedding: Float[Tensor, "G E"]) -> tuple[tuple[Float[Tensor, "G _"], ...], ...]:
        """(gain, shift, second gain) for each block, as wide as it is."""
        y: Tensor = self.out(silu(self.hidden(embedding)))
        rows = [row.chunk(3, 1) for row in torch.split(y, [3 * w for w in self.widths], 1)]
        return tuple((1 + gain, shift, 1 + second) for gain, shift, second in rows)


class FiLM(FiLMs):
    """`FiLMs` for `blocks` of the same width, with twice as many hidden channels."""

    def __init__(self, embedding: int, channels: int, blocks: int) -> None:
        super().__init__(embedding, 2 * channels, [channels] * blocks)
