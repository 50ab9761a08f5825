"""Scalable operator transformer, a U-shaped Swin transformer with conditioned norms, in the manner of Poseidon's scOT.

    h_0 = N P patch(u) + Q p                      tokens, C channels
    h_{l+1} = merge(S_l h_l)                      2^d tokens become one, of twice the channels; L levels
    h_l <- S'_l(expand(h_{l+1}) + M_l S_l h_l)    and back, with ConvNeXt blocks M_l on the skips; the coarsest level comes once
    y = conv(unpatch(R h_0))                      a 5^d convolution, the identity at first, smooths the patches' seams

S_l are Swin layers with windows at rest and shifted in turn, M_l convolutional; both are in `swin`. The embedding (the lead time in the
paper) conditions their norms. With positions=0 the network commutes with translations by whole windows of the coarsest level.

Source: Herde et al., Poseidon: Efficient Foundation Models for PDEs, 2024, https://arxiv.org/abs/2405.19101.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.operators.checks import check_box, check_counts, check_walls, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.patches import check_patch, from_patches, to_patches, token_positions, with_sizes
from surrogates.operators.pointwise import Pointwise
from surrogates.operators.swin import ConvNeXt, Expand, Merge, Modulation, SwinLayer, convolve, identity_kernel
from surrogates.operators.windows import Tokens, crop, fill, window_of
from surrogates.record import recorded

SEAM = 5  # points of the last convolution along each axis


@recorded
class ScOT(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box`.

    patch: points of a token along each axis; their number is the dimension of the box. width, heads: of the finest level, doubled from
    level to level; width must be a multiple of heads. depths: Swin layers of each level, finest first, once on the way down and once on
    the way up. window: most tokens of a window, one number or one an axis. skips: ConvNeXt blocks on each skip.
    positions: harmonics of each token's position that the network sees, one number or one an axis. expansion: hidden channels of the
    networks at each token, as a multiple of the level's width. checkpoint: keep only the blocks' ends for the gradient and compute the
    rest again, for less memory and about a third more time.

    A walled axis may have any length: what patches, merges and windows lack at its end is filled up and not seen. A periodic axis must
    be a multiple of patch * 2^(levels - 1), with tokens at every level that windows of at least half of `window` divide.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        patch: Sequence[int] = (4, 4),
        width: int = 48,
        depths: Sequence[int] = (2, 2, 2),
        heads: int = 3,
        window: int | Sequence[int] = 8,
        skips: int = 1,
        positions: int | Sequence[int] = 1,
        expansion: float = 4.0,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.patch, self.depths, self.checkpoint = tuple(patch), tuple(depths), checkpoint
        check_patch(self.patch)
        dim, points, last = len(self.patch), prod(self.patch), len(self.depths) - 1
        hidden = round(expansion * width)
        check_counts(width=width, levels=len(self.depths), heads=heads, depths=min(self.depths, default=0), expansion=hidden)
        if width % heads or skips < 0:
            raise ValueError(f"width must be a multiple of heads and skips from 0 on, got width={width}, heads={heads}, skips={skips}")
        self.window, self.positions = per_axis("window", window, dim, 1), per_axis("positions", positions, dim)

        def layers(level: int) -> nn.ModuleList:
            c, h = 2**level * width, 2**level * heads
            return nn.ModuleList(SwinLayer(c, h, self.window, 2**level * hidden, shifted=i % 2 == 1) for i in range(self.depths[level]))

        widths = [2**level * width for level in range(last + 1)]
        self.embed, self.embed_norm = Pointwise(points * in_channels, width), nn.LayerNorm(width)
        self.place = nn.Linear(2 * sum(self.positions), width, bias=False) if any(self.positions) else None
        self.down, self.up = nn.ModuleList(map(layers, range(last + 1))), nn.ModuleList(map(layers, range(last)))
        self.merge = nn.ModuleList(Merge(c, dim) for c in widths[:-1])
        self.expand = nn.ModuleList(Expand(c, dim) for c in widths[:-1])
        self.skips = nn.ModuleList(
            nn.ModuleList(ConvNeXt(c, 2**level * hidden, dim) for _ in range(skips)) for level, c in enumerate(widths[:-1])
        )
        counts = [2 * n + skips for n in self.depths[:-1]] + [self.depths[-1]]
        self.film = nn.ModuleList(FiLM(embedding, c, n) for c, n in zip(widths, counts, strict=True)) if embedding else None
        self.project = Pointwise(width, points * out_channels)
        self.smooth = nn.Parameter(identity_kernel(out_channels, SEAM, dim))

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for periodic axes that patches,
        merges or windows do not divide (with sizes that work), for stretched cells, and for walls without positions along their axis.
        """
        box = check_box("ScOT", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=len(self.patch))
        check_walls("ScOT", box, self.positions)
        levels = self._levels(box)
        nothing: Iterator[Modulation] = repeat((None, None, None))
        modulations = [nothing] * len(levels) if self.film is None else [iter(film(embedding)) for film in self.film]
        h = self._tokens(with_sizes(x, box), levels[0])
        kept = []
        for level, tokens in enumerate(levels):
            h = self._run(self.down[level], h, tokens, modulations[level])
            if level < len(levels) - 1:
                kept.append(h)
                h = self.merge[level](h)
        for level in reversed(range(len(kept))):
            skip = self._run(self.skips[level], kept[level], levels[level], modulations[level])
            h = crop(self.expand[level](h), levels[level].shape) + skip
            h = self._run(self.up[level], h, levels[level], modulations[level])
        y = crop(from_patches(self.project(h), self.patch), box.shape)
        return convolve(y.movedim(-1, 1), self.smooth, levels[0].periodic)

    def _levels(self, box: Box) -> list[Tokens]:
        """The tokens of every level."""
        last = len(self.depths) - 1
        for axis, (n, p, w, kind) in enumerate(zip(box.shape, self.patch, self.window, box.boundary, strict=True)):
            if kind == PERIODIC and not _divided(n, p, w, last):
                unit = p * 2**last
                good = [m for m in range(unit, 4 * n + 8 * w * unit, unit) if _divided(m, p, w, last)]
                near = ", ".join(map(str, sorted(sorted(good, key=lambda m: abs(m - n))[:3])))
                raise ValueError(
                    f"axis {box.axes[axis]} is periodic and its {n} points are no whole patches of {p} on {last + 1} levels, in windows of "
                    f"{-(-w // 2)} to {w} tokens; {near} points are"
                )
        return [Tokens(box, tuple(p * 2**level for p in self.patch)) for level in range(last + 1)]

    def _tokens(self, x: Float[Tensor, "B Cin *X"], tokens: Tokens) -> Tensor:
        whole = tuple(n * p for n, p in zip(tokens.shape, self.patch, strict=True))
        h: Tensor = self.embed_norm(self.embed(to_patches(fill(x.movedim(1, -1), whole), self.patch)))
        if self.place is not None:
            h = h + self.place(token_positions(*tokens, self.positions, x.dtype, x.device))
        return h

    def _run(self, blocks: nn.Module, h: Tensor, tokens: Tokens, modulations: Iterator[Modulation]) -> Tensor:
        """Blocks one after the other, each with the next modulation."""
        for block in blocks.children():
            modulation = next(modulations)
            again = self.checkpoint and torch.is_grad_enabled()
            h = recompute(block, h, tokens, *modulation, use_reentrant=False) if again else block(h, tokens, *modulation)
        return h


def _divided(n: int, patch: int, window: int, last: int) -> bool:
    """Whether patches, merges and windows divide a periodic axis at every level."""
    counts = (n // (patch * 2**level) for level in range(last + 1))
    return n % (patch * 2**last) == 0 and all(window_of(count, window, periodic=True) is not None for count in counts)
