"""Modern U-Net in 1-3 dimensions: residual blocks on ever coarser grids and back, with attention on the coarsest.

    R h = A h + C_2 act(norm(C_1 act(norm(h)))),     A a matrix at each point where the width changes,
    down   `blocks` of R at each level, then a convolution with stride 2; every result is kept,
    middle R, softmax attention between all points, R,
    up     `blocks` + 1 of R at each level, each on [h, what was kept last], then a transposed convolution.

Norms run over all channels and points of a row. An embedding e acts by FiLM on a block's second norm ("adaptive group norm") and on what
the block adds to A h. Without positions p it commutes with translations by 2^(levels - 1) points of periodic axes, whose length must be
a multiple of that; between walls every size works, as `convolution` says. Strided kernels have 4 points (the source: 3 down, 4 up).

UNet(width=64, multipliers=(1, 2, 4, 16)) is the shape of PDEArena's "Unetmodattn-64", in 2-D with 149 million parameters.
Source: Gupta and Brandstetter, Towards Multi-spatiotemporal-scale Generalized PDE Modeling, 2022, https://arxiv.org/abs/2209.15616.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint as recompute

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
from surrogates.operators.padding import forward_mode, sides
from surrogates.record import recorded

Modulation = tuple[Tensor | None, ...]
PLAIN: Modulation = (None, None, None)


@recorded
class UNet(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box` of `dim` axes.

    width, multipliers: level l, of 2^l times the grid's spacing, has width * multipliers[l] channels.
    blocks: residual ones a level on the way down; heads: of the attention at the bottom, 0 for none.
    activation: "gelu", "relu" or "silu"; walls: how fields go on behind a wall, by "zeros" or their mirror image ("reflect").
    positions: harmonics of the position that the network sees, one number or one an axis; 0 for translation equivariance.
    checkpoint: compute blocks again in the backward pass instead of keeping what is inside them: less memory, a third more time.
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
        multipliers: Sequence[int] = (1, 2, 4),
        blocks: int = 2,
        heads: int = 1,
        activation: str = "gelu",
        walls: str = "zeros",
        positions: int | Sequence[int] = 0,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_convolutional(dim, walls, activation)
        check_counts(in_channels=in_channels, out_channels=out_channels, width=width, blocks=blocks)
        if not multipliers or min(multipliers) < 1:
            raise ValueError(f"multipliers must be one or more counts from 1 on, one a level, got {tuple(multipliers)}")
        widths = [width * m for m in multipliers]
        if heads < 0 or (heads and widths[-1] % heads):
            raise ValueError(f"heads must be 0 or divide the {widths[-1]} channels of the coarsest level, got {heads}")
        self.in_channels, self.out_channels, self.embedding, self.dim, self.walls = in_channels, out_channels, embedding, dim, walls
        self.positions, self.checkpoint, self.blocks = per_axis("positions", positions, dim), checkpoint, blocks
        act = ACTIVATIONS[activation]
        self.lift = Convolution(in_channels + 2 * sum(self.positions), width, dim)
        kept, c = [width], width
        self.falls, self.downs = nn.ModuleList(), nn.ModuleList()
        for i, w in enumerate(widths):
            self.falls.extend(Residual(a, w, dim, act) for a in (c, *[w] * (blocks - 1)))
            kept, c = [*kept, *[w] * blocks], w
            if i < len(widths) - 1:
                self.downs.append(Convolution(w, w, dim, 4, stride=2))
                kept.append(w)
        self.middle = nn.ModuleList(Residual(c, c, dim, act) for _ in range(2))
        self.attention = Attention(c, heads) if heads else None
        self.rises, self.ups = nn.ModuleList(), nn.ModuleList()
        for i in reversed(range(len(widths))):
            for out in (*[widths[i]] * blocks, (width, *widths)[i]):
                self.rises.append(Residual(c + kept.pop(), out, dim, act))
                c = out
            if i:
                self.ups.append(Up(c, c, dim))
        self.norm, self.activation, self.out = Norm(c), act, Convolution(c, out_channels, dim)
        every = [block.out_channels for block in self.residuals()]
        self.film = FiLMs(embedding, 2 * width, every) if embedding else None

    def residuals(self) -> list[Residual]:
        """All residual blocks in the order of their use."""
        return [block for blocks in (self.falls, self.middle, self.rises) for block in blocks if isinstance(block, Residual)]

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for stretched cells, and for
        periodic axes that cannot be halved often enough.
        """
        box = check_box("UNet", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=self.dim)
        check_halvings("UNet", box, len(self.downs))
        rules = sides(box, self.walls)
        h = self.lift(images(x, box, self.positions), rules)
        film = iter(self.film(embedding) if self.film is not None else (PLAIN,) * len(self.residuals()))
        kept = [h]
        for i, block in enumerate(self.falls):
            h = self._block(block, h, None, rules, next(film))
            kept.append(h)
            if (i + 1) % self.blocks == 0 and len(kept) < len(self.rises):
                h = self.downs[i // self.blocks](h, rules)
                kept.append(h)
        h = self._block(self.middle[0], h, None, rules, next(film))
        h = h if self.attention is None else self.attention(h)
        h = self._block(self.middle[1], h, None, rules, next(film))
        for i, block in enumerate(self.rises):
            h = self._block(block, h, kept.pop(), rules, next(film))
            if (i + 1) % (self.blocks + 1) == 0 and kept:
                h = self.ups[i // (self.blocks + 1)](h, rules, kept[-1].shape[2:])
        return fields(self.out(self.activation(self.norm(h)), rules), box)

    def _block(self, block: nn.Module, *arguments: object) -> Tensor:
        if self.checkpoint and torch.is_grad_enabled():
            again: Tensor = recompute(block, *arguments, use_reentrant=False, preserve_rng_state=False)
            return again
        h: Tensor = block(*arguments)
        return h


class Residual(nn.Module):
    """h -> A h + C_2 act(norm(C_1 act(norm(h)))), where h may come in two parts."""

    def __init__(self, in_channels: int, out_channels: int, dim: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.out_channels, self.activation = out_channels, activation
        self.norm_in, self.first = Norm(in_channels), Convolution(in_channels, out_channels, dim)
        self.norm_out, self.second = Norm(out_channels), Convolution(out_channels, out_channels, dim)
        self.shortcut = Convolution(in_channels, out_channels, dim, 1) if in_channels != out_channels else None

    def forward(
        self, h: Float[Tensor, "B C1 *S"], kept: Float[Tensor, "B C2 *S"] | None, rules: tuple[str, ...], modulation: Modulation
    ) -> Float[Tensor, "B C *S"]:
        h = h if kept is None else torch.cat([h, kept], 1)
        gain, shift, second = modulation
        v = self.first(self.activation(self.norm_in(h)), rules)
        v = self.second(self.activation(self.norm_out(v, gain, shift)), rules)
        return modulate(v, second) + (h if self.shortcut is None else self.shortcut(h, rules))


class Attention(nn.Module):
    """h -> h + O softmax(Q K^T / sqrt d) V between all points of a row."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, Norm(channels)
        self.inward, self.outward = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, h: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        points = self.norm(h).flatten(2).mT
        q, k, v = self.inward(points).view(*points.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = attend(q, k, v).transpose(1, 2).flatten(2)
        update: Tensor = self.outward(y).mT.reshape(h.shape)
        return h + update


def attend(q: Float[Tensor, "B H T D"], k: Float[Tensor, "B H T D"], v: Float[Tensor, "B H T D"]) -> Float[Tensor, "B H T D"]:
    """Softmax attention; written out in forward mode, which the fused kernels have no derivative for."""
    if forward_mode():
        weights: Tensor = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        return weights @ v
    return scaled_dot_product_attention(q, k, v)
