"""U-Net of pairs of convolutions, without residuals, in 1-3 dimensions:

    D h = act(norm(C_2 act(norm(C_1 h)))),
    h_0 = D [u, p],    h_l = D (S_l h_(l-1)) on half the points with twice the channels,    l = 1..levels,
    g_levels = h_levels,    g_(l-1) = D [h_(l-1), U_l g_l],    y = P g_0,

with S_l a convolution of stride 2 and 3 points an axis, U_l the transpose of one, P a matrix at each point, and norms over all channels and
points of a row. Without positions p it commutes with translations by 2^levels points of periodic axes, whose length must be a multiple of
that; between walls every size works, as `convolution` says. An embedding e acts by FiLM on the first norm of each D and on its result.

ClassicUNet(1, 1, dim=1, width=12, levels=2) is the "UNet;12;2;relu" of APEBench, with its 27193 parameters.
Sources: Ronneberger et al., U-Net, 2015, https://arxiv.org/abs/1505.04597; Koehler et al., APEBench, 2024, https://arxiv.org/abs/2411.00180.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.operators.checks import check_box, check_counts, per_axis
from surrogates.operators.convolution import (
    ACTIVATIONS,
    Convolution,
    Norm,
    Up,
    check_convolutional,
    check_halvings,
    fields,
    images,
    modulate,
)
from surrogates.operators.film import FiLMs
from surrogates.operators.padding import sides
from surrogates.record import recorded


@recorded
class ClassicUNet(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box` of `dim` axes.

    width: channels of the finest level; levels: how often the grid is halved and the channels doubled.
    activation: "relu", "gelu" or "silu"; walls: how fields go on behind a wall, by "zeros" or their mirror image ("reflect").
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
        width: int = 16,
        levels: int = 4,
        activation: str = "relu",
        walls: str = "zeros",
        positions: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        check_convolutional(dim, walls, activation)
        check_counts(in_channels=in_channels, out_channels=out_channels, width=width, levels=levels)
        self.in_channels, self.out_channels, self.embedding, self.dim, self.walls = in_channels, out_channels, embedding, dim, walls
        self.positions, act = per_axis("positions", positions, dim), ACTIVATIONS[activation]
        widths = [width * 2**level for level in range(levels + 1)]
        pairs = list(pairwise(widths))
        self.lift = Pair(in_channels + 2 * sum(self.positions), width, dim, act)
        self.downs = nn.ModuleList(Convolution(a, a, dim, 3, stride=2) for a, _ in pairs)
        self.falls = nn.ModuleList(Pair(a, b, dim, act) for a, b in pairs)
        self.ups = nn.ModuleList(Up(b, a, dim, 3) for a, b in reversed(pairs))
        self.rises = nn.ModuleList(Pair(2 * a, a, dim, act) for a, _ in reversed(pairs))
        self.film = FiLMs(embedding, 2 * width, [*widths, *reversed(widths[:-1])]) if embedding else None
        self.project = Convolution(width, out_channels, dim, 1)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for stretched cells, and for
        periodic axes that cannot be halved often enough.
        """
        box = check_box("ClassicUNet", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=self.dim)
        check_halvings("ClassicUNet", box, len(self.downs))
        rules = sides(box, self.walls)
        film = iter(self.film(embedding) if self.film is not None else ((None, None, None),) * (1 + 2 * len(self.downs)))
        kept = [self.lift(images(x, box, self.positions), rules, next(film))]
        for down, fall in zip(self.downs, self.falls, strict=True):
            kept.append(fall(down(kept[-1], rules), rules, next(film)))
        h = kept.pop()
        for up, rise in zip(self.ups, self.rises, strict=True):
            fine = kept.pop()
            h = rise(torch.cat([fine, up(h, rules, fine.shape[2:])], 1), rules, next(film))
        return fields(self.project(h, rules), box)


class Pair(nn.Module):
    """h -> act(norm(C_2 act(norm(C_1 h))))."""

    def __init__(self, in_channels: int, out_channels: int, dim: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.norm_first = Convolution(in_channels, out_channels, dim), Norm(out_channels)
        self.second, self.norm_second = Convolution(out_channels, out_channels, dim), Norm(out_channels)
        self.activation = activation

    def forward(
        self, h: Float[Tensor, "B Cin *S"], rules: tuple[str, ...], modulation: tuple[Tensor | None, ...]
    ) -> Float[Tensor, "B Cout *S"]:
        gain, shift, second = modulation
        h = self.activation(self.norm_first(self.first(h, rules), gain, shift))
        return modulate(self.activation(self.norm_second(self.second(h, rules))), second)
