"""FactFormer: attention that factorizes over the axes of a box, in 1-3 dimensions, conditioned by an embedding.

    h <- P_l p + h,    w = layernorm(h),    z = K_z K_y K_x V w,    h <- h + B gelu(A groupnorm(z))        in each of L blocks

V is a matrix to heads * head channels, K_x, K_y, K_z are integral operators along one axis with a kernel a head (`factorized_attention`),
applied in a chain; the group norm has no parameters and takes each head over the whole domain; A and B are matrices, p are harmonics of the
position. The cost is that of n values an axis, not of n^d points, for each point. Ends: h = Q u, then in a latent space, in steps

    l <- l + t_i,    l <- l + N_2 gelu(N_1 layernorm(l)),    y_i = D_2 gelu(D_1 l)        for i = 1..frames

so that several frames are decoded from one pass through the blocks, the more the later. The embedding e acts by FiLM:
w = (1 + gamma) layernorm(h) + beta, and h + (1 + gamma') B gelu(...).

With positions=0 the network commutes with translations of a periodic box. Walls end the integrals: nothing wraps around them.
Here A, B, V, the kernels and the latent steps are those of the published code; position is seen as harmonics in place of random features,
rotary angles are whole multiples (theirs have a seam), kernels are scaled as quadratures (theirs grow with the number of points, which
their group norm undoes), and the decoder has no grouped convolution.

Source: Li, Shu and Barati Farimani, Scalable Transformer for PDE Surrogate Modeling, 2023, https://arxiv.org/abs/2305.17560.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from surrogates.contracts import Domain
from surrogates.operators.checks import check_box, check_counts, per_axis
from surrogates.operators.factorized_attention import AxisKernels, Geometry, check_harmonics, geometry, integrate, shares, standardise
from surrogates.operators.film import FiLM
from surrogates.operators.pointwise import Pointwise, channels_first
from surrogates.operators.positions import positions as harmonics_of
from surrogates.record import recorded

Modulation = tuple[Tensor | None, Tensor | None, Tensor | None]


@recorded
class FactFormer(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box` of `dim` axes, periodic, walled or stretched.

    heads, head: kernels an axis and channels that each acts on. rank: of a kernel, an even number.
    harmonics: the highest wave of a kernel, one number or one an axis: periods of the box, or half periods between walls.
    positions: harmonics of the position that the network sees, one number or one an axis; 0 for translation equivariance.
    latent: channels of the decoder's latent space, as a multiple of width. frames: how many are decoded; out_channels are theirs together,
    ordered (frame, channel). Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
        head: int = 32,
        rank: int = 64,
        harmonics: int | Sequence[int] = 16,
        positions: int | Sequence[int] = 1,
        latent: float = 1.0,
        frames: int = 1,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding, self.frames = in_channels, out_channels, embedding, frames
        inner = round(latent * width)
        check_sizes(dim, rank, width=width, layers=layers, heads=heads, head=head, latent=inner, frames=frames)
        if out_channels % frames:
            raise ValueError(f"out_channels={out_channels} must be a multiple of frames={frames}: the channels of all frames together")
        self.heads, self.rank = heads, rank
        self.harmonics, self.positions = per_axis("harmonics", harmonics, dim), per_axis("positions", positions, dim)
        self.lift = Pointwise(in_channels, width)
        places = 2 * sum(self.positions)
        self.blocks = nn.ModuleList(FactorizedBlock(width, heads, head, rank, dim, places) for _ in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.expand = Pointwise(width, inner, bias=False)
        self.times = nn.Parameter(0.02 * torch.randn(frames, inner))
        self.step = LatentStep(inner, width)
        self.project_in, self.project_out = Pointwise(inner, width), nn.Linear(width, out_channels // frames)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels, dimension or embedding, for a grid too coarse
        for the harmonics, and for walls when the network sees no positions along that axis.
        """
        box = check_box(
            "FactFormer", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=len(self.harmonics), stretched=True
        )
        check_harmonics("FactFormer", box, self.harmonics, self.positions)
        tables = geometry(box, self.harmonics, self.heads, self.rank, x.dtype, x.device)
        share = shares(box, x.dtype, x.device)
        p = harmonics_of(box, self.positions, x.dtype, x.device)
        h = self.lift(x.movedim(1, -1))
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * len(self.blocks)
        for block, modulation in zip(self.blocks, film, strict=True):
            h = block(h, p, tables, share, modulation)
        return self._decode(self.expand(h)).view(len(x), -1, *box.shape)

    def _decode(self, h: Float[Tensor, "B *X L"]) -> Float[Tensor, "B Cout N"]:
        """The frames in turn, each a step further in the latent space."""
        out = []
        for time in self.times:
            h = self.step(h + time.to(h.dtype))
            y = gelu(self.project_in(h)).flatten(1, -2)
            out.append(channels_first(self.project_out, y))
        return torch.cat(out, 1)


def check_sizes(dim: int, rank: int, **counts: int) -> None:
    """Raise ValueError for impossible sizes of a network of axis kernels."""
    check_counts(dim=dim, rank=rank, **counts)
    if dim > 3 or rank % 2:
        raise ValueError(f"dim must be 1 to 3 and rank must be even, as rotary positions turn pairs, got {dim} and {rank}")


class FactorizedBlock(nn.Module):
    """h -> h + P p, then h + B gelu(A groupnorm(K_z K_y K_x V layernorm(h))), channels last."""

    def __init__(self, width: int, heads: int, head: int, rank: int, dim: int, places: int) -> None:
        super().__init__()
        self.heads, self.head = heads, head
        self.place = nn.Linear(places, width, bias=False) if places else None
        self.norm = nn.LayerNorm(width)
        self.value = Pointwise(width, heads * head, bias=False)
        self.kernels = AxisKernels(width, heads, rank, dim)
        self.inner, self.outer = Pointwise(heads * head, width, bias=False), Pointwise(width, width, bias=False)

    def forward(
        self, h: Float[Tensor, "B *X C"], p: Float[Tensor, "*X P"], tables: Geometry, share: Float[Tensor, " N"], modulation: Modulation
    ) -> Float[Tensor, "B *X C"]:
        gain, shift, gate = modulation
        if self.place is not None:
            h = h + self.place(p).to(h.dtype)
        w = modulate(self.norm(h), gain, shift)
        z = self.value(w).unflatten(-1, (self.heads, self.head)).movedim(-2, 1)
        for axis, kernel in enumerate(self.kernels(w, tables)):
            z = integrate(kernel, z, axis)
        z = standardise(z.movedim(1, -2).flatten(-2), share, self.heads)
        return add(h, self.outer(gelu(self.inner(z))), gate)


def modulate(h: Float[Tensor, "B *X C"], gain: Tensor | None, shift: Tensor | None) -> Float[Tensor, "B *X C"]:
    """gain h + shift, a value a row and channel each."""
    if gain is None or shift is None:
        return h
    row = (len(h), *(1,) * (h.ndim - 2), -1)
    return torch.addcmul(shift.view(row), h, gain.view(row))


def add(h: Float[Tensor, "B *X C"], y: Float[Tensor, "B *X C"], gate: Tensor | None) -> Float[Tensor, "B *X C"]:
    """h + gate y, of h's type: sums of two types are slow."""
    y = y.to(h.dtype)
    return h + y if gate is None else torch.addcmul(h, y, gate.view(len(h), *(1,) * (h.ndim - 2), -1))


class LatentStep(nn.Module):
    """l -> l + N_2 gelu(N_1 layernorm(l))."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.inner, self.outer = Pointwise(channels, hidden), Pointwise(hidden, channels)

    def forward(self, h: Float[Tensor, "B *X L"]) -> Float[Tensor, "B *X L"]:
        y: Tensor = self.outer(gelu(self.inner(self.norm(h))))
        return h + y.to(h.dtype)
