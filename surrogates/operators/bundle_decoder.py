"""The temporal bundle of message-passing PDE solvers: several frames at once from the features h of a node,

    d = conv_2(silu(conv_1 h)),    conv_1: 1 -> 8 channels, conv_2: 8 -> C channels, along the features.

The second convolution leaves `frames` places. The first has 16 taps, or as many as fit, and the largest stride that leaves the second
8 taps or more: 16 taps by 3 and 14 taps for 25 frames of 128 features, 16 by 4 and 10 for 20, which is the published choice (there 15
by 4 and 10), 16 by 2 and 8 for 50.

Source: Brandstetter, Worrall, Welling, Message Passing Neural PDE Solvers, 2022, https://arxiv.org/abs/2202.03376.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, silu

from surrogates.operators.pointwise import affine

TAPS, FEWEST, INNER = 16, 8, 8  # taps of the first convolution where they fit, least taps of the second, channels between


class BundleDecoder(nn.Module):
    """conv_2(silu(conv_1 h)) along the features of each node, as products with the matrices of both convolutions.

    Raises ValueError unless out_channels are `frames` times as many channels and the width holds that many frames.
    """

    def __init__(self, width: int, out_channels: int, frames: int) -> None:
        super().__init__()
        if out_channels < 1 or out_channels % frames:
            raise ValueError(
                f"out_channels={out_channels} is no multiple of frames={frames}; it must be frames * C, ordered (frame, channel)"
            )
        taps = min(TAPS, width - frames - FEWEST + 2)
        if taps < FEWEST // 2:
            least = frames + FEWEST + FEWEST // 2 - 2
            raise ValueError(f"width={width} is too little for {frames} frames; build it with width={least} or more, or with fewer frames")
        stride = max(s for s in range(1, taps + 1) if (width - taps) // s + 1 >= frames + FEWEST - 1)
        self.width, self.frames, self.places = width, frames, (width - taps) // stride + 1
        self.first = nn.Conv1d(1, INNER, taps, stride)
        self.second = nn.Conv1d(INNER, out_channels // frames, self.places + 1 - frames)

    def forward(self, h: Float[Tensor, "node B W"]) -> Float[Tensor, "node B TC"]:
        """Channels ordered (frame, channel)."""
        one, two = self.first, self.second
        units = torch.eye(self.width, dtype=h.dtype, device=h.device)[:, None]
        into = conv1d(units, one.weight, stride=one.stride).flatten(1)  # a matrix: what becomes of each unit vector
        units = torch.eye(INNER * self.places, dtype=h.dtype, device=h.device).view(-1, INNER, self.places)
        out = conv1d(units, two.weight).mT.flatten(1)
        assert one.bias is not None and two.bias is not None
        z = silu(affine(h, into.T, one.bias.repeat_interleave(self.places)))
        return affine(z, out.T, two.bias.repeat(self.frames))
