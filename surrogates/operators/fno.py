"""Fourier neural operator in 1-3 dimensions, conditioned by an embedding.

    h_0 = Q_2 gelu(Q_1 [u, p]),    y = P_2 gelu(P_1 h_L),
    v = gelu(K h + S h + b),       h' = gelu(M v + g h)        in each of L blocks, the last without these two gelu

K is a convolution on the lowest Fourier modes, S a matrix, M a two-layer network at each point, g a gate per channel. This is the block
of neuraloperator 2.0, and with positions=0 the same function of the same weights. An embedding e acts by FiLM where that is free:
v = gelu((1 + gamma) K h + S h + b + beta), with the factor on the modes and beta on the mean's, and h' = gelu(M v + (1 + gamma') g h).

Positions p: a periodic box has no origin. With positions=0 the network commutes with translations, which is right for laws that do
(Kuramoto-Sivashinsky, Burgers, free decay). A forcing such as sin(k y), or walls, must be seen; so positions=n, 1 by default, adds the
sine and cosine of the first n harmonics of 2 pi x/L on each axis (continuous over the seam, unlike a ramp), of pi x/L between walls.
Where the law depends on some axes only, say so: positions=(0, 4) for a forcing along x by sin(4 y) keeps translations along x.
The Fourier modes know no walls: they continue the field periodically.

Source: Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, 2021, https://arxiv.org/abs/2010.08895.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from surrogates.contracts import Domain
from surrogates.operators.checks import check_input, check_numbers, check_walls, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.fourier import Matrices, dft_matrices
from surrogates.operators.pointwise import Pointwise, channels_first
from surrogates.operators.positions import beside
from surrogates.operators.spectral_conv import SpectralConv
from surrogates.record import recorded

Modulation = tuple[Tensor | None, Tensor | None, Tensor | None]


@recorded
class FNO(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box`, at any resolution that holds its modes.

    modes: how many modes an axis, all but the last counted with both signs, the last from 0: (24, 13) keeps k_x = -12..11 and
    k_y = 0..12 (neuraloperator calls this n_modes=(24, 24)). Their number is the dimension of the box.
    positions: harmonics of the position that the network sees, one number or one an axis; 0 for translation equivariance.
    expansion: hidden channels of the pointwise networks inside the blocks, as a multiple of width; lift: the same at both ends.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        width: int = 32,
        modes: Sequence[int] = (24, 13),
        layers: int = 4,
        positions: int | Sequence[int] = 1,
        expansion: float = 0.5,
        lift: float = 2.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.modes = tuple(modes)
        inner, outer = round(expansion * width), round(lift * width)
        check_numbers(self.modes, width=width, layers=layers, expansion=inner, lift=outer)
        self.positions = per_axis("positions", positions, len(self.modes))
        seen = in_channels + 2 * sum(self.positions)
        self.lift_in, self.lift_out = Pointwise(seen, outer), Pointwise(outer, width)
        self.blocks = nn.ModuleList(FourierBlock(width, self.modes, inner, last=i == layers - 1) for i in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.project_in, self.project_out = Pointwise(width, outer), nn.Linear(outer, out_channels)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for a grid too coarse for
        the modes, for stretched cells, and for walls when the network sees no positions.
        """
        box = check_input("FNO", x, domain, embedding, channels=self.in_channels, size=self.embedding, modes=self.modes)
        check_walls("FNO", box, self.positions)
        matrices = dft_matrices(box, self.modes, torch.promote_types(x.dtype, torch.float32), x.device)
        h = beside(x.movedim(1, -1), box, self.positions)
        h = self.lift_out(gelu(self.lift_in(h)))
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * len(self.blocks)
        for block, modulation in zip(self.blocks, film, strict=True):
            h = block(h, matrices, modulation)
        h = gelu(self.project_in(h)).flatten(1, -2)
        y = channels_first(self.project_out, h)
        return y.view(len(x), -1, *box.shape)


class FourierBlock(nn.Module):
    """h -> gelu(M gelu(K h + S h + b) + g h), channels last; `last` leaves the two gelu out."""

    def __init__(self, width: int, modes: tuple[int, ...], hidden: int, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.spectral = SpectralConv(width, modes)
        self.skip = Pointwise(width, width)
        self.inner, self.outer = Pointwise(width, hidden), Pointwise(hidden, width)
        self.gate = nn.Parameter(torch.ones(width))

    def forward(self, h: Float[Tensor, "B *X C"], matrices: Matrices, modulation: Modulation) -> Float[Tensor, "B *X C"]:
        gain, shift, gate = modulation
        v = self.spectral(h, self.skip(h), matrices, gain, shift)
        g = self.gate if gate is None else (self.gate * gate).view(len(h), *(1,) * (h.ndim - 2), -1)
        if self.last:
            return torch.addcmul(self.outer(gelu(self.inner(v))), h, g)
        return gelu(torch.addcmul(self.outer(gelu(self.inner(gelu(v)))), h, g))
