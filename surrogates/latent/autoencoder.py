"""A convolutional autoencoder on a box of 1-3 dimensions, as an operator: x -> D(E(x)).

    E    lift; then on each level a residual block and a convolution of stride 2; one more block; C_out to L channels; saturation
    D    lift; then on each level a residual block and a transposed convolution of stride 2; one more block; C_out to the fields

on a grid of f = 2^levels fewer points an axis. The saturation

    z <- z / sqrt(1 + z^2/B^2)

keeps latents within (-B, B) and leaves small ones alone: what a Kullback-Leibler term does for a variational autoencoder, without its
noise and its weight. There is no norm on the way but inside the blocks: the residual stream carries the amplitude of the fields.
Translations by f points of a periodic axis commute with E and D; convolutions wrap there, and at walls see what `walls` says.
Source: Rozet et al., "Lost in latent space: an empirical study of latent diffusion models for physics emulation", 2025, section 3.2,
https://arxiv.org/abs/2507.02608.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.operators.checks import check_box, check_counts
from surrogates.operators.convolution import ACTIVATIONS, Convolution, Up, check_convolutional, fields
from surrogates.operators.padding import image, sides
from surrogates.operators.unet import PLAIN, Residual
from surrogates.record import recorded


@recorded
class Autoencoder(nn.Module):
    """An operator from fields to the same fields, through `latent` channels on a grid of 2^levels fewer points an axis.

    widths: channels of each level, finest first, one more than there are levels. bound: B, which no latent reaches.
    activation: "gelu", "relu" or "silu"; walls: how fields go on behind a wall, by "zeros" or their mirror image ("reflect").
    Raises ValueError for impossible numbers, for other fields out than in, and for an embedding: what is conditioned is the surrogate
    in latent space.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        latent: int = 4,
        widths: Sequence[int] = (16, 32, 64),
        bound: float = 5.0,
        activation: str = "silu",
        walls: str = "zeros",
    ) -> None:
        super().__init__()
        check_convolutional(dim, walls, activation)
        check_counts(in_channels=in_channels, latent=latent, levels=len(widths) - 1, **{f"widths[{i}]": w for i, w in enumerate(widths)})
        if in_channels != out_channels or embedding:
            raise ValueError(
                f"an Autoencoder gives back what it takes, one frame, and hears no parameters; got {in_channels} channels in, "
                f"{out_channels} out and an embedding of {embedding}; set `data: {{history: 1, bundle: 1}}` and `parameters: []`"
            )
        if not bound > 0:
            raise ValueError(f"bound is {bound} but latents need room; write bound=5.0")
        self.in_channels, self.dim, self.latent, self.bound, self.walls = in_channels, dim, latent, bound, walls
        act, pairs = ACTIVATIONS[activation], list(pairwise(widths))
        self.lift = Convolution(in_channels, widths[0], dim)
        self.falls = nn.ModuleList(Residual(a, a, dim, act) for a, _ in pairs)
        self.downs = nn.ModuleList(Convolution(a, b, dim, 4, stride=2) for a, b in pairs)
        self.low = Residual(widths[-1], widths[-1], dim, act)
        self.into = Convolution(widths[-1], latent, dim)
        self.out_of = Convolution(latent, widths[-1], dim)
        self.high = Residual(widths[-1], widths[-1], dim, act)
        self.ups = nn.ModuleList(Up(b, a, dim) for a, b in reversed(pairs))
        self.rises = nn.ModuleList(Residual(a, a, dim, act) for a, _ in reversed(pairs))
        self.project = Convolution(widths[0], in_channels, dim)

    @property
    def factor(self) -> int:
        """How many points an axis become one."""
        return 1 << len(self.downs)

    def latent_box(self, domain: Domain) -> Box:
        """The grid of the latents. Raises TypeError off a Box, ValueError where an axis is no multiple of `factor` or stretched."""
        if not isinstance(domain, Box):
            raise TypeError(f"an Autoencoder works on a Box, got a {type(domain).__name__}")
        for axis, n in zip(domain.axes, domain.shape, strict=True):
            if n % self.factor:
                near = " or ".join(str(m * self.factor) for m in (n // self.factor, n // self.factor + 1) if m)
                raise ValueError(
                    f"axis {axis} has {n} points but this Autoencoder makes one of every {self.factor}; resample to {near} points, or "
                    "build it with fewer widths"
                )
        return domain.with_shape([n // self.factor for n in domain.shape])

    def encode(self, x: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B L *Z"]:
        """Normalised fields to latents, on `latent_box`."""
        box = check_box("Autoencoder", x, domain, None, channels=self.in_channels, size=0, dim=self.dim)
        coarse, rules = self.latent_box(box), sides(box, self.walls)
        h = self.lift(image(x), rules)
        for fall, down in zip(self.falls, self.downs, strict=True):
            h = down(fall(h, None, rules, PLAIN), rules)
        z = fields(self.into(self.low(h, None, rules, PLAIN), rules), coarse)
        return z * torch.rsqrt(1 + (z / self.bound).square())

    def decode(self, z: Float[Tensor, "B L *Z"], domain: Domain) -> Float[Tensor, "B C *X"]:
        """Latents to normalised fields, on `domain`."""
        coarse = self.latent_box(domain)
        assert isinstance(domain, Box)
        check_box("Autoencoder", z, coarse, None, channels=self.latent, size=0, dim=self.dim)
        rules = sides(domain, self.walls)
        h = self.high(self.out_of(image(z), rules), None, rules, PLAIN)
        for up, rise in zip(self.ups, self.rises, strict=True):
            h = rise(up(h, rules, _twice(h, self.dim)), None, rules, PLAIN)
        return fields(self.project(h, rules), domain)

    def forward(self, x: Float[Tensor, "B C *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None) -> Float[Tensor, "B C *X"]:
        """The reconstruction."""
        return self.decode(self.encode(x, domain), domain)


def _twice(h: Tensor, dim: int) -> tuple[int, ...]:
    """The shape of an image of `dim` axes at twice the resolution; a line has one row, which stays."""
    shape = tuple(h.shape[2:])
    return (shape[0], 2 * shape[1]) if dim == 1 else tuple(2 * n for n in shape)
