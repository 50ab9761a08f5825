"""Fourier neural operator in 1-3 dimensions, conditioned by an embedding.

    h_0 = Q_2 gelu(Q_1 [u, p]),   v_l = gelu(K_l h_l + S_l h_l + b_l),   h_{l+1} = gelu(M_l v_l + g_l * h_l),   y = P_2 gelu(P_1 h_L)

K is a convolution on the lowest Fourier modes, S a matrix, M a two-layer network at each point, g a gate per channel; the last block
goes without these two gelu. This is the block of neuraloperator 2.0, and with positions=0 the same function of the same weights.
An embedding modulates K h + S h + b by FiLM.

Positions p: a periodic box has no origin. With positions=0 the network commutes with translations, which is right for laws that do
(Kuramoto-Sivashinsky, Burgers, free decay); a forcing such as sin(k y), or walls, must be seen, so positions=n, n=1 by default, adds
sin and cos of the first n harmonics of 2 pi x/L an axis (continuous over the periodic seam, unlike a ramp), of pi x/L between walls.
The Fourier modes themselves know no walls: they extend the field periodically in the index.

Source: Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, 2021, https://arxiv.org/abs/2010.08895.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.operators.film import FiLM
from surrogates.operators.spectral_conv import SpectralConv
from surrogates.record import recorded


@recorded
class FNO(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box`, at any resolution that holds its modes.

    modes: how many modes an axis, all but the last counted with both signs, the last from 0: (24, 13) keeps k_x = -12..11 and
    k_y = 0..12 (neuraloperator calls this n_modes=(24, 24)). Their number is the dimension of the box.
    positions: harmonics of the position that the network sees; 0 for translation equivariance.
    expansion: hidden channels of the pointwise networks inside the blocks, as a multiple of width; lift: the same at both ends.
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
        positions: int = 1,
        expansion: float = 0.5,
        lift: float = 2.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.modes, self.positions = tuple(modes), positions
        _check_numbers(self.modes, width, layers, positions)
        seen, hidden = in_channels + 2 * positions * len(self.modes), round(lift * width)
        self.lift_in, self.lift_out = nn.Linear(seen, hidden), nn.Linear(hidden, width)
        self.blocks = nn.ModuleList(FourierBlock(width, self.modes, round(expansion * width), last=i == layers - 1) for i in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.project_in, self.project_out = nn.Linear(width, hidden), nn.Linear(hidden, out_channels)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for a grid too coarse for
        the modes, for stretched cells, and for walls when the network sees no positions.
        """
        box = self._check(x, domain, embedding)
        h = self._lift(x, box)
        film = [None] * len(self.blocks) if self.film is None else self.film(embedding)
        for block, modulation in zip(self.blocks, film, strict=True):
            h = block(h, modulation)
        h = gelu(self.project_in(h)).flatten(1, -2)
        y = torch.matmul(self.project_out.weight, h.mT) + self.project_out.bias[:, None]
        return y.view(len(x), -1, *box.shape)

    def _lift(self, x: Float[Tensor, "B Cin *X"], box: Box) -> Float[Tensor, "B *X W"]:
        """Q_2 gelu(Q_1 [u, p]), where Q_1 [u, p] + b = Q_u u + (Q_p p + b): the positions' share is computed once for all rows."""
        own, place = self.lift_in.weight[:, : self.in_channels], self.lift_in.weight[:, self.in_channels :]
        base: Tensor = self.lift_in.bias
        if self.positions:
            p = _positions(box, self.positions, x.dtype if x.dtype == torch.float64 else torch.float32, x.device)
            base = linear(p, place, base)
        h: Tensor = torch.matmul(x.flatten(2).mT, own.T).view(len(x), *box.shape, -1) + base
        h = self.lift_out(gelu(h))
        return h

    def _check(self, x: Tensor, domain: Domain, embedding: Tensor | None) -> Box:
        if not isinstance(domain, Box):
            raise TypeError(f"FNO works on a regular Box, got a {type(domain).__name__}; choose an operator for that geometry")
        if domain.dim != len(self.modes):
            raise ValueError(f"modes {self.modes} are for {len(self.modes)} dimensions but the box {domain.shape} has {domain.dim}")
        domain.check(x)
        if x.shape[1] != self.in_channels:
            raise ValueError(f"x has {x.shape[1]} channels but this FNO was built with in_channels={self.in_channels}")
        for axis, (n, m) in enumerate(zip(domain.shape, self.modes, strict=True)):
            held = n // 2 + 1 if axis == domain.dim - 1 else n
            if m > held:
                raise ValueError(
                    f"axis {domain.axes[axis]} has {n} points and holds {held} modes but the FNO has modes={self.modes}; "
                    f"use a finer grid, or build it with at most {held} there"
                )
        if any(e is not None for e in domain.edges):
            raise ValueError("FNO needs equal cells but this Box is stretched; resample the fields to an even grid")
        if not self.positions and not domain.all_periodic:
            raise ValueError(f"with positions=0 an FNO cannot see walls but the box has {domain.boundary}; build it with positions=1")
        size = 0 if embedding is None else embedding.shape[1]
        if size != self.embedding or (embedding is not None and len(embedding) != len(x)):
            got = "none" if embedding is None else f"one of shape {tuple(embedding.shape)}"
            raise ValueError(f"this FNO takes an embedding of shape {(len(x), self.embedding)} (batch, embedding), got {got}")
        return domain


class FourierBlock(nn.Module):
    """h -> gelu(M gelu(K h + S h + b) + g * h), channels last, with K h + S h + b modulated by FiLM where one is given."""

    def __init__(self, width: int, modes: tuple[int, ...], hidden: int, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.spectral = SpectralConv(width, modes)
        self.skip = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gate = nn.Parameter(torch.ones(width))

    def forward(self, h: Float[Tensor, "B *X C"], modulation: Float[Tensor, "2 B C"] | None) -> Float[Tensor, "B *X C"]:
        if modulation is None:
            v = self.spectral(h, self.skip(h))
        else:
            scale, shift = modulation
            weight = self.skip.weight.T * scale[:, None]
            bias = (self.skip.bias * scale + shift)[:, None]
            skip = torch.baddbmm(bias, h.flatten(1, -2), weight).view(h.shape)
            v = self.spectral(h, skip, scale)
        if self.last:
            return torch.addcmul(self.outer(gelu(self.inner(v))), h, self.gate)
        return gelu(torch.addcmul(self.outer(gelu(self.inner(gelu(v)))), h, self.gate))


@lru_cache(maxsize=64)
def _positions(box: Box, harmonics: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "*X P"]:
    """sin and cos of n theta, an axis: theta = 2 pi (x - lower)/L on a periodic axis, half of it between walls."""
    with torch.inference_mode(False), torch.no_grad():
        out = []
        for axis, x in enumerate(box.grid()):
            turn = 2 * torch.pi if box.boundary[axis] == PERIODIC else torch.pi
            theta = turn * (x - box.lower[axis]) / box.lengths[axis]
            for n in range(1, harmonics + 1):
                out += [(n * theta).sin(), (n * theta).cos()]
        return torch.stack(out, -1).to(device, dtype)


def _check_numbers(modes: tuple[int, ...], width: int, layers: int, positions: int) -> None:
    if not 1 <= len(modes) <= 3 or min(modes) < 1:
        raise ValueError(f"modes must be 1 to 3 positive counts, one an axis, got {modes}")
    if width < 1 or layers < 1 or positions < 0:
        raise ValueError(f"width and layers must be positive and positions at least 0, got {width}, {layers} and {positions}")
