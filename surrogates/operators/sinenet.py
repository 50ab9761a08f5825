"""SineNet: several narrow U-Nets ("waves") in a row in place of one wide one, in 1-3 dimensions.

    h_0 = S [u, p],    h' = h + wave(h),    y = P h_L,    S and P convolutions.

In a deep U-Net the features kept on the way down are those of the old time, and meet features of the new time on the way up. Each
wave moves them only part of the way. A wave goes down by averaging pairs, h_l = A_l m h_(l-1) + D [m h_(l-1), m^l h] with m the mean of
pairs and [.., m^l h] what the wave began with (from the second level on), and up by linear interpolation i,
g_(l-1) = B_l i g_l + D [h_(l-1), i g_l]; D are pairs of convolutions with norm and activation, A and B matrices at each point.
Level l has int(width * growth^l) channels: a lower growth pays for more waves with the same number of parameters.

An embedding e acts by FiLM on the first norm of each D and on its result. Without positions p it commutes with translations by 2^levels
points of periodic axes, whose length must be a multiple of that; between walls every size works, and the last mean of an odd axis is of
one cell. The source interpolates by cubics, which exist in 2-D alone. SineNet(12, 3), eight waves of growth 1.425, is its
"sinenet8-dual" for the Navier-Stokes data of PDEArena, with its 35490219 parameters.
Source: Zhang et al., SineNet: Learning Temporal Dynamics in Time-Dependent PDEs, 2024, https://arxiv.org/abs/2403.19507.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, avg_pool3d, interpolate
from torch.utils.checkpoint import checkpoint as recompute

from surrogates.contracts import Domain
from surrogates.operators.checks import check_box, check_counts, per_axis
from surrogates.operators.classic_unet import Pair
from surrogates.operators.convolution import ACTIVATIONS, Convolution, check_convolutional, check_halvings, fields, images
from surrogates.operators.film import FiLMs
from surrogates.operators.padding import extend, sides
from surrogates.record import recorded

Modulation = tuple[Tensor | None, ...]


@recorded
class SineNet(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box` of `dim` axes.

    width: channels of the finest level; waves: U-Nets in a row; levels: how often each halves the grid; growth: of channels a level.
    activation: "gelu", "relu" or "silu"; walls: how fields go on behind a wall, by "zeros" or their mirror image ("reflect").
    positions: harmonics of the position that the network sees, one number or one an axis; 0 for translation equivariance.
    checkpoint: compute waves again in the backward pass instead of keeping what is inside them: less memory, a third more time.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        width: int = 64,
        waves: int = 8,
        levels: int = 4,
        growth: float = 1.425,
        activation: str = "gelu",
        walls: str = "zeros",
        positions: int | Sequence[int] = 0,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_convolutional(dim, walls, activation)
        widths = [int(width * growth**level) for level in range(levels + 1)]
        check_counts(in_channels=in_channels, out_channels=out_channels, width=width, waves=waves, levels=levels)
        if min(widths) < 1:
            raise ValueError(f"growth must be large enough for a channel at each level, got {growth} and so {widths}")
        self.in_channels, self.out_channels, self.embedding, self.dim, self.walls = in_channels, out_channels, embedding, dim, walls
        self.positions, self.checkpoint, self.levels = per_axis("positions", positions, dim), checkpoint, levels
        self.lift = Convolution(in_channels + 2 * sum(self.positions), width, dim)
        self.waves = nn.ModuleList(Wave(widths, dim, ACTIVATIONS[activation]) for _ in range(waves))
        one = [*widths[1:], *reversed(widths[:-1])]
        self.film = FiLMs(embedding, 2 * width, one * waves) if embedding else None
        self.out = Convolution(width, out_channels, dim)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for stretched cells, and for
        periodic axes that cannot be halved often enough.
        """
        box = check_box("SineNet", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=self.dim)
        check_halvings("SineNet", box, self.levels)
        rules = sides(box, self.walls)
        h = self.lift(images(x, box, self.positions), rules)
        blocks = 2 * self.levels
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * (blocks * len(self.waves))
        for i, wave in enumerate(self.waves):
            modulations = film[blocks * i : blocks * (i + 1)]
            if self.checkpoint and torch.is_grad_enabled():
                h = recompute(wave, h, rules, modulations, use_reentrant=False, preserve_rng_state=False)
            else:
                h = wave(h, rules, modulations)
        return fields(self.out(h, rules), box)


class Wave(nn.Module):
    """h -> h + what a U of pairs of convolutions makes of it."""

    def __init__(self, widths: Sequence[int], dim: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        steps, first = list(pairwise(widths)), widths[0]
        self.falls = nn.ModuleList(Pair(a + (first if i else 0), b, dim, activation) for i, (a, b) in enumerate(steps))
        self.fall_shortcuts = nn.ModuleList(Convolution(a, b, dim, 1) for a, b in steps)
        self.rises = nn.ModuleList(Pair(a + b, a, dim, activation) for a, b in reversed(steps))
        self.rise_shortcuts = nn.ModuleList(Convolution(b, a, dim, 1) for a, b in reversed(steps))

    def forward(self, h: Float[Tensor, "B C *S"], rules: tuple[str, ...], modulations: Sequence[Modulation]) -> Float[Tensor, "B C *S"]:
        film: Iterator[Modulation] = iter(modulations)
        kept, start = [h], h
        for i, (fall, shortcut) in enumerate(zip(self.falls, self.fall_shortcuts, strict=True)):
            coarse, start = halve(kept[-1]), halve(start)
            kept.append(fall(torch.cat([coarse, start], 1) if i else coarse, rules, next(film)) + shortcut(coarse, rules))
        g = kept.pop()
        for rise, shortcut in zip(self.rises, self.rise_shortcuts, strict=True):
            fine = double(g, rules, kept[-1].shape[2:])
            g = rise(torch.cat([kept.pop(), fine], 1), rules, next(film)) + shortcut(fine, rules)
        return h + g


def halve(u: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *Z"]:
    """The mean of each pair of points an axis, of the last point alone where it has no partner."""
    pool, pair = avg_pool2d if u.ndim == 4 else avg_pool3d, [min(2, n) for n in u.shape[2:]]
    return pool(u, pair, ceil_mode=True, count_include_pad=False)


def double(u: Float[Tensor, "B C *S"], rules: tuple[str, ...], shape: torch.Size) -> Float[Tensor, "B C *Z"]:
    """Linear interpolation between the centres of pairs, onto `shape`; constant from the last centre to a wall."""
    edges = tuple((1, 1) if rule == "wrap" else (0, 0) for rule in rules)
    scale = [1.0 if n == m == 1 else 2.0 for n, m in zip(u.shape[2:], shape, strict=True)]
    y = interpolate(extend(u, edges, rules), scale_factor=scale, mode="bilinear" if u.ndim == 4 else "trilinear")
    for d, (n, (before, _)) in enumerate(zip(shape, edges, strict=True), start=2):
        y = y.narrow(d, 2 * before, n) if y.shape[d] != n else y
    return y
