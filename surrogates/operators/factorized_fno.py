"""Factorized Fourier neural operator in 1-3 dimensions: one axis at a time, summed, inside a residual feed-forward step.

    h_0 = Q [u, p],    h' = h + g (W_2 gelu(W_1 K h + b_1) + b_2)  (L times),    y = P_2 gelu(P_1 h_L),

    K h = sum_a F_a^-1 R_a F_a h

F_a is the Fourier transform along axis a alone, cut to its lowest modes k = 0, ..., m_a - 1 (each line is real, so the other half is the
conjugate), and R_a a free complex matrix on each of them. A block has 2 C^2 sum_a m_a spectral weights where an FNO has one C x C matrix
for every combination of modes, so that it can be wider or deeper; `shared` gives all blocks the same R. What one block mixes along one
axis only, the next ones and W mix on. Few modes along a line make F_a and its inverse two small real matrix products, without an FFT.

An embedding e acts by FiLM: W_1 sees (1 + gamma) K h + beta, and the step is scaled by g = 1 + gamma'. Positions p as in `FNO`: with 0
the network commutes with translations. The Fourier modes know no walls: they continue the field periodically.

Source: Tran, Mathews, Xie and Ong, Factorized Fourier Neural Operators, 2023, https://arxiv.org/abs/2111.13802 (without their weight
normalisation, with gelu for ReLU, and with one gelu more in the projection).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.operators.checks import check_box, check_numbers, check_walls, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.fourier import Matrices, axis_pair
from surrogates.operators.pointwise import Pointwise, channels_first
from surrogates.operators.positions import beside
from surrogates.record import recorded

Modulation = tuple[Tensor, ...] | None


@recorded
class FactorizedFNO(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box`, at any resolution that holds its modes.

    modes: how many modes an axis, counted from 0 on *every* axis, so at most n // 2 + 1 on an axis of n points (in an `FNO` only the
    last axis counts so). Their number is the dimension of the box.
    expansion: hidden channels of the feed-forward step as a multiple of width; lift: those of the projection.
    shared: one set of spectral weights for all blocks.
    positions: harmonics of the position that the network sees, one number or one an axis; 0 for translation equivariance.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        width: int = 32,
        modes: Sequence[int] = (16, 16),
        layers: int = 4,
        expansion: float = 2.0,
        shared: bool = False,
        positions: int | Sequence[int] = 1,
        lift: float = 2.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.modes = tuple(modes)
        inner, outer = round(expansion * width), round(lift * width)
        check_numbers(self.modes, width=width, layers=layers, expansion=inner, lift=outer)
        self.positions = per_axis("positions", positions, len(self.modes))
        self.lift = Pointwise(in_channels + 2 * sum(self.positions), width)
        self.spectral = nn.ModuleList(LineConv(width, self.modes) for _ in range(1 if shared else layers))
        self.blocks = nn.ModuleList(FeedForward(width, inner) for _ in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.project_in, self.project_out = Pointwise(width, outer), nn.Linear(outer, out_channels)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for a grid too coarse for
        the modes, for stretched cells, and for walls when the network sees no positions.
        """
        box = self._check(x, domain, embedding)
        matrices = line_matrices(box, self.modes, torch.promote_types(x.dtype, torch.float32), x.device)
        h = beside(x.movedim(1, -1), box, self.positions)
        h = self.lift(h)
        film = self.film(embedding) if self.film is not None else (None,) * len(self.blocks)
        for i, (block, modulation) in enumerate(zip(self.blocks, film, strict=True)):
            h = block(h, self.spectral[i % len(self.spectral)](h, matrices), modulation)
        h = gelu(self.project_in(h)).flatten(1, -2)
        y = channels_first(self.project_out, h)
        return y.view(len(x), -1, *box.shape)

    def _check(self, x: Tensor, domain: Domain, embedding: Tensor | None) -> Box:
        name = "FactorizedFNO"
        box = check_box(name, x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=len(self.modes))
        for axis, n, m in zip(box.axes, box.shape, self.modes, strict=True):
            if m > n // 2 + 1:
                raise ValueError(
                    f"axis {axis} has {n} points and holds {n // 2 + 1} modes, counted from 0, but this {name} has modes={self.modes}; "
                    f"use a finer grid, or build it with at most {n // 2 + 1} there"
                )
        check_walls(name, box, self.positions)
        return box


class FeedForward(nn.Module):
    """h + g (W_2 gelu(W_1 v + b_1) + b_2) of v = K h, channels last, with FiLM on v and on the step."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = Pointwise(width, hidden), Pointwise(hidden, width)

    def forward(self, h: Float[Tensor, "B *X C"], v: Float[Tensor, "B *X C"], modulation: Modulation) -> Float[Tensor, "B *X C"]:
        if modulation is None:
            return torch.add(h, self.outer(gelu(self.inner(v))))
        gain, shift, gate = (m.view(len(h), *(1,) * (h.ndim - 2), -1) for m in modulation)
        return torch.addcmul(h, self.outer(gelu(self.inner(torch.addcmul(shift, v, gain)))), gate)


class LineConv(nn.Module):
    """K: the sum over axes of a convolution along that axis, a complex matrix on each of its lowest modes. No bias.

    The weights of an axis are real, (m, C, 2C) = [real | imaginary]. Under autocast and for half-precision fields it runs in float32.
    """

    def __init__(self, channels: int, modes: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = channels
        scale = (0.5 / (channels * len(modes))) ** 0.5  # keeps the energy of modes that pass along every axis
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(m, channels, 2 * channels) * scale) for m in modes)

    def forward(self, u: Float[Tensor, "B *X C"], matrices: Matrices) -> Float[Tensor, "B *X C"]:
        """Field to field, `matrices` from `line_matrices` of its grid."""
        y: Tensor | None = None
        with torch.autocast(u.device.type, enabled=False):
            v = u.to(matrices[0][0].dtype)
            for axis, (weight, pair) in enumerate(zip(self.weights, matrices, strict=True), start=1):
                y = self._along(v, axis, weight.to(v.dtype), *pair, y)
        assert y is not None
        return y.view(u.shape).to(u.dtype)

    def _along(self, u: Tensor, axis: int, weight: Tensor, there: Tensor, back: Tensor, onto: Tensor | None) -> Tensor:
        """One axis, added to `onto`: lines (l, n, r c), with l before the axis and r after it, become modes (m, l r, parts c)."""
        n, (m, c) = u.shape[axis], weight.shape[:2]
        lines = prod(u.shape[:axis])
        z = (there @ u.reshape(lines, n, -1)).view(lines, m, 2, -1, c).permute(1, 0, 3, 2, 4)
        swapped = torch.cat([-weight[:, :, c:], weight[:, :, :c]], 2)  # the product's share of the imaginary part
        o = torch.bmm(z.reshape(m, -1, 2 * c), torch.cat([weight, swapped], 1))
        o = o.view(m, lines, -1, 2, c).permute(1, 0, 3, 2, 4).reshape(lines, 2 * m, -1)
        if onto is None:
            return torch.matmul(back, o)
        return torch.baddbmm(onto.view(lines, n, -1), back.expand(lines, -1, -1), o)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def line_matrices(box: Box, modes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Matrices:
    """For each axis the transform (2m, n) of its lines to their lowest modes, rows (mode, part), and back (n, 2m); cached."""
    return tuple(_line(n, m, dtype, device) for n, m in zip(box.shape, modes, strict=True))


@lru_cache(maxsize=64)
def _line(n: int, m: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.no_grad():
        there, back = axis_pair(n, m, True)  # parts first, then modes
        there = there.view(2, m, n).transpose(0, 1).reshape(2 * m, n)
        back = back.reshape(n, 2, m).transpose(1, 2).reshape(n, 2 * m)
        return there.to(device, dtype).contiguous(), back.to(device, dtype).contiguous()
