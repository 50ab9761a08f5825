"""Residual networks of convolutions: project . block_n . ... . block_1 . lift, each block under a modulation of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.operators.checks import check_box, per_axis
from surrogates.operators.convolution import Convolution, fields, images
from surrogates.operators.film import FiLM
from surrogates.operators.padding import sides


class Stack(nn.Module):
    """`blocks` of what `block` makes, maps (h, rules, modulation) -> h of `width` channels; the rest as in `ResNet`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int,
        block: Callable[[], nn.Module],
        blocks: int,
        *,
        dim: int,
        width: int,
        walls: str,
        positions: int | Sequence[int],
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding, self.dim, self.walls = in_channels, out_channels, embedding, dim, walls
        self.positions = per_axis("positions", positions, dim)
        self.lift = Convolution(in_channels + 2 * sum(self.positions), width, dim, 1)
        self.blocks = nn.ModuleList(block() for _ in range(blocks))
        self.film = FiLM(embedding, width, blocks) if embedding else None
        self.project = Convolution(width, out_channels, dim, 1)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, and for stretched cells.
        """
        box = check_box(type(self).__name__, x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=self.dim)
        rules = sides(box, self.walls)
        h = self.lift(images(x, box, self.positions), rules)
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * len(self.blocks)
        for block, modulation in zip(self.blocks, film, strict=True):
            h = block(h, rules, modulation)
        return fields(self.project(h, rules), box)
