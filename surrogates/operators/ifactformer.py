"""IFactFormer-m: one block of parallel axis attention, iterated; in 1-3 dimensions, conditioned by an embedding.

    h_0 = Q_2 gelu(Q_1 u) + P p,
    w = layernorm(h),    z = [K_x V w, K_y V w, K_z V w],    h <- h + (1/n) B gelu(A instancenorm(z))        n times with the same weights

V is a matrix to heads * head channels; K_x, K_y, K_z are integral operators along one axis with a kernel a head, made afresh from w in each
iteration (`factorized_attention`). All act on the same values and their results lie side by side in the channels: no order of axes is
preferred, and errors of one kernel do not pass through another. The instance norm takes each channel over the whole domain and has no
parameters; A and B are matrices, p harmonics of the position. The iteration is an explicit Euler scheme of n steps, hence "implicit" in
the sense of one layer for all depths: n may be changed after training. The answer is y = D_2 gelu(D_1 h_n).

The embedding e acts by FiLM, the same in every iteration: w = (1 + gamma) layernorm(h) + beta, h + (1 + gamma')/n B gelu(...).
With positions=0 the network commutes with translations of a periodic box. Walls end the integrals: nothing wraps around them.

Source: Yang, Wang and Wang, Implicit factorized transformer approach to fast prediction of turbulent channel flows, 2025,
https://arxiv.org/abs/2412.18840.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from surrogates.contracts import Domain
from surrogates.operators.checks import check_box, per_axis
from surrogates.operators.factformer import Modulation, add, check_sizes, modulate
from surrogates.operators.factorized_attention import AxisKernels, Geometry, check_harmonics, geometry, integrate, shares, standardise
from surrogates.operators.film import FiLM
from surrogates.operators.pointwise import Pointwise, channels_first
from surrogates.operators.positions import positions as harmonics_of
from surrogates.record import recorded


@recorded
class IFactFormer(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box` of `dim` axes, periodic, walled or stretched.

    iterations: how often the one block acts, a share of 1/iterations each time. Else as in `FactFormer`: heads and head channels of each,
    rank of a kernel (even), harmonics: its highest wave an axis, positions: harmonics of the position that are seen, 0 for translation
    equivariance. Published: width=96, heads=5, head=96, rank=288, iterations=10. Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        width: int = 64,
        iterations: int = 10,
        heads: int = 4,
        head: int = 32,
        rank: int = 64,
        harmonics: int | Sequence[int] = 16,
        positions: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding, self.iterations = in_channels, out_channels, embedding, iterations
        check_sizes(dim, rank, width=width, iterations=iterations, heads=heads, head=head)
        self.heads, self.rank = heads, rank
        self.harmonics, self.positions = per_axis("harmonics", harmonics, dim), per_axis("positions", positions, dim)
        half, places = max(width // 2, 1), 2 * sum(self.positions)
        self.lift_in, self.lift_out = Pointwise(in_channels, half), Pointwise(half, width, bias=False)
        self.place = nn.Linear(places, width) if places else None
        self.block = ParallelBlock(width, heads, head, rank, dim)
        self.film = FiLM(embedding, width, 1) if embedding else None
        self.project_in, self.project_out = Pointwise(width, half, bias=False), nn.Linear(half, out_channels)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels, dimension or embedding, for a grid too coarse
        for the harmonics, and for walls when the network sees no positions along that axis.
        """
        box = check_box(
            "IFactFormer", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=len(self.harmonics), stretched=True
        )
        check_harmonics("IFactFormer", box, self.harmonics, self.positions)
        tables = geometry(box, self.harmonics, self.heads, self.rank, x.dtype, x.device)
        share = shares(box, x.dtype, x.device)
        h = self.lift_out(gelu(self.lift_in(x.movedim(1, -1))))
        if self.place is not None:
            h = h + self.place(harmonics_of(box, self.positions, x.dtype, x.device)).to(h.dtype)
        gain, shift, gate = self.film(embedding)[0] if self.film is not None else (None, None, None)
        for _ in range(self.iterations):
            h = self.block(h, tables, share, self.iterations, (gain, shift, gate))
        y = gelu(self.project_in(h)).flatten(1, -2)
        return channels_first(self.project_out, y).view(len(x), -1, *box.shape)


class ParallelBlock(nn.Module):
    """h -> h + (1/n) B gelu(A instancenorm([K_x, K_y, K_z] V layernorm(h))), channels last."""

    def __init__(self, width: int, heads: int, head: int, rank: int, dim: int) -> None:
        super().__init__()
        self.heads, self.head = heads, head
        self.norm = nn.LayerNorm(width)
        self.value = Pointwise(width, heads * head, bias=False)
        self.kernels = AxisKernels(width, heads, rank, dim)
        self.inner, self.outer = Pointwise(dim * heads * head, width, bias=False), Pointwise(width, width, bias=False)

    def forward(
        self, h: Float[Tensor, "B *X C"], tables: Geometry, share: Float[Tensor, " N"], iterations: int, modulation: Modulation
    ) -> Float[Tensor, "B *X C"]:
        gain, shift, gate = modulation
        w = modulate(self.norm(h), gain, shift)
        v = self.value(w).unflatten(-1, (self.heads, self.head)).movedim(-2, 1).contiguous()
        z = torch.cat([integrate(kernel, v, axis).movedim(1, -2) for axis, kernel in enumerate(self.kernels(w, tables))], -2)
        z = standardise(z.flatten(-2), share, z.shape[-2] * self.head)
        y = self.outer(gelu(self.inner(z)))
        return torch.add(h, y.to(h.dtype), alpha=1 / iterations) if gate is None else add(h, y, gate / iterations)
