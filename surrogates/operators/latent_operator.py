"""Encode, process, decode on latents: fields at any points to a fixed set of local latents, and from these to any other points.

With gamma(x) the harmonics of a position (see `points`), values u_i and measures m_i at points x_i, and latents l = 1..L,

    z_l = T_l + W sum_i a_li V(u_i) * s(gamma_i),   a_l = softmax_i(q_l . K gamma_i + log m_i)    encoder
    z = B_n(... B_1(z))                                                                           self-attention among the latents
    y_c(x) = sum_k b_ck(x) t_k(x) + b_c,        b(x) = W' sum_l softmax_l(Q gamma(x) . k_l(z_l)) v_l(z_l)      decoder

The encoder attends by position only, with learnt queries q (AROMA), and the measure makes its softmax a quadrature: a latent holds means,
within its window, of functions V of the value times test functions s of the position, and converges where a mesh is refined.

The head is a DeepONet's: branch b from the latents, trunk t from the position alone, and their inner product. The branch is that of the
latents near x; with a single latent it is the same everywhere, a DeepONet proper.

*Local.* q . K gamma starts as kappa cos(theta - theta_l) on every axis, a window around an anchor theta_l, half as wide as anchors are
apart in the first head and twice as wide from head to head; the decoder's starts the same. All of it is learnt from there.

Source: Serrano et al., AROMA: Preserving Spatial Structure for Latent PDE Modeling with Local Neural Fields, 2024,
https://arxiv.org/abs/2406.02176; Lu et al., DeepONet, 2021, https://arxiv.org/abs/1910.03193.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from surrogates.contracts import Domain
from surrogates.operators.attention import attention
from surrogates.operators.checks import check_counts, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.points import Points, check_points, repeat
from surrogates.operators.pointwise import Pointwise
from surrogates.record import recorded

FEW = 1 << 24
"""Attention weights that are not worth the fused kernel on a CPU."""

Modulation = tuple[Tensor | None, Tensor | None, Tensor | None]


@recorded
class LatentOperator(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X), or to values anywhere, on a `Box` or a `Mesh`.

    latents: L. layers: blocks among the latents. expansion: hidden channels in them as a multiple of width. basis: how many products of
    branch and trunk make a value. harmonics: of the position, one number or one an axis: finer detail than these needs a latent nearby.
    periodic: whether an axis repeats, one answer or one each. It says only where the latents start; other domains are taken too.
    No value passes from a point to itself but through the latents, so give it tendencies to learn rather than states.
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
        latents: int = 64,
        heads: int = 4,
        layers: int = 4,
        expansion: float = 2.0,
        harmonics: int | Sequence[int] = 8,
        basis: int = 64,
        periodic: bool | Sequence[bool] = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.embedding, self.basis = in_channels, embedding, basis
        hidden = round(expansion * width)
        check_counts(width=width, latents=latents, heads=heads, layers=layers, expansion=hidden, basis=basis)
        if not 1 <= dim <= 3:
            raise ValueError(f"dim must be 1 to 3, got {dim}")
        if width % heads or width // heads < 2 * dim:
            raise ValueError(f"heads must divide the width and leave each at least {2 * dim} channels, got {heads} heads and width={width}")
        self.harmonics, turns = per_axis("harmonics", harmonics, dim, 1), per_axis("periodic", periodic, dim)
        seen = 2 * sum(self.harmonics)
        self.lift_in, self.lift_out = Pointwise(in_channels, hidden), Pointwise(hidden, width)
        self.test_in, self.test_out = Pointwise(seen, hidden), Pointwise(hidden, width)
        self.encoder = Windows(width, latents, heads, self.harmonics, turns)
        self.gather, self.token = nn.Linear(width, width), nn.Parameter(torch.randn(latents, width))
        self.blocks = nn.ModuleList(LatentBlock(width, heads, hidden) for _ in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.decoder = Windows(width, latents, heads, self.harmonics, turns)
        self.key, self.value = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        nn.init.zeros_(self.key.weight)
        self.branch, self.bias = nn.Linear(width, out_channels * basis), nn.Parameter(torch.zeros(out_channels))
        self.trunk_in, self.trunk_out = Pointwise(seen, hidden), Pointwise(hidden, basis)

    def forward(
        self,
        x: Float[Tensor, "B Cin *X"],
        domain: Domain,
        embedding: Float[Tensor, "G E"] | None = None,
        queries: Float[Tensor, "query D"] | None = None,
    ) -> Float[Tensor, "B Cout *Y"]:
        """Normalised fields to normalised fields, at the domain's points or at other `queries`, positions in its units: (B, Cout, query).

        Positions outside the domain have an answer without meaning; periodic axes repeat. Raises TypeError for a domain that is neither Box
        nor Mesh, ValueError for the wrong dimension, channels, embedding or queries, and for queries of several meshes at once.
        """
        points = check_points(
            "LatentOperator", x, domain, embedding, channels=self.in_channels, size=self.embedding, harmonics=self.harmonics
        )
        h = points.rows(x)
        z = self.encode(h, points)
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * len(self.blocks)
        for block, modulation in zip(self.blocks, film, strict=True):
            z = block(z, modulation)
        if queries is None:
            return points.fields(self.decode(z, points.seen))
        if queries.shape[1] != len(self.harmonics) or points.members > 1:
            raise ValueError(
                f"queries are positions (query, {len(self.harmonics)}) in one mesh or box, got shape {tuple(queries.shape)} for "
                f"{points.members} of them; ask several meshes in turn: mesh.separate()"
            )
        return self.decode(z, points.see(queries))

    def encode(self, u: Float[Tensor, "G n C"], points: Points) -> Float[Tensor, "G L W"]:
        """Values at points to latents. Weights depend on positions only: one softmax for all rows."""
        v = self.lift_out(gelu(self.lift_in(u))).view(-1, *points.seen.shape[:2], self.token.shape[-1])
        v = v * self.test_out(gelu(self.test_in(points.seen)))
        logits = self.encoder.anchor @ self.encoder.look(points.seen).mT
        if points.weight is not None:
            logits = logits + points.weight.log()[:, None, None]  # a weight of 0 fills a row up and is not seen
        v = v.view(*v.shape[:3], self.encoder.heads, -1)
        z = torch.einsum("mhln,bmnhd->bmlhd", logits.softmax(-1), v).flatten(3).flatten(0, 1)
        latents: Tensor = self.token + self.gather(z)
        return latents

    def decode(self, z: Float[Tensor, "G L W"], there: Float[Tensor, "M n P"]) -> Float[Tensor, "G Cout n"]:
        """Latents to values at points, M rows of them or the same for all."""
        heads = self.decoder.heads
        k = self.decoder.anchor + split(self.key(z), heads)
        branch = self.branch(attend(repeat(self.decoder.look(there), len(z)), k, split(self.value(z), heads)))
        trunk = self.trunk_out(gelu(self.trunk_in(there)))
        products = branch.view(len(z), -1, len(self.bias), self.basis) @ repeat(trunk, len(z))[..., None]
        y: Tensor = (products[..., 0] + self.bias).mT
        return y


class Windows(nn.Module):
    """Which positions belong to which latent: logits anchor_l . K gamma(x), a head each, that start as kappa cos(theta - theta_l)."""

    def __init__(self, width: int, latents: int, heads: int, harmonics: tuple[int, ...], periodic: tuple[int, ...]) -> None:
        super().__init__()
        self.heads, size, dim = heads, width // heads, len(harmonics)
        self.matrix = nn.Parameter(torch.zeros(heads, size, 2 * sum(harmonics)))
        self.anchor = nn.Parameter(torch.zeros(heads, latents, size))
        theta = pi * (1 + torch.tensor(periodic)) * spread(latents, dim)
        with torch.no_grad():
            for head in range(heads):
                for axis in range(dim):
                    distance = pi * (1 + periodic[axis]) * latents ** (-1 / dim)
                    root = 2.0 ** (1 - head) / distance  # of kappa
                    for part, f in enumerate((torch.sin, torch.cos)):
                        self.matrix[head, 2 * axis + part, 2 * sum(harmonics[:axis]) + part] = root
                        self.anchor[head, :, 2 * axis + part] = root * f(theta[:, axis])
            rest = slice(2 * dim, None)
            self.matrix[:, rest] = torch.randn_like(self.matrix[:, rest]) * self.matrix.shape[-1] ** -0.5

    def look(self, seen: Float[Tensor, "G n P"]) -> Float[Tensor, "G head n d"]:
        """K gamma."""
        return split(linear(seen, self.matrix.flatten(0, 1)), self.heads)


class LatentBlock(nn.Module):
    """z' = z + attention(norm z), z'' = z' + M(norm z')."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, z: Float[Tensor, "G L W"], modulation: Modulation) -> Float[Tensor, "G L W"]:
        gain, shift, gate = modulation
        v = self.before(z)
        if gain is not None and shift is not None:
            v = torch.addcmul(shift[:, None], v, gain[:, None])
        q, k, v = (split(part, self.heads) for part in self.mix(v).chunk(3, -1))
        z = z + self.out(attend(q * q.shape[-1] ** -0.5, k, v))
        m = self.outer(gelu(self.inner(self.between(z))))
        return z + m if gate is None else torch.addcmul(z, m, gate[:, None])


def split(h: Float[Tensor, "G n W"], heads: int) -> Float[Tensor, "G head n d"]:
    """Channels to heads."""
    return h.view(*h.shape[:-1], heads, -1).transpose(1, 2)


def attend(q: Float[Tensor, "G head n d"], k: Float[Tensor, "G head m d"], v: Float[Tensor, "G head m e"]) -> Float[Tensor, "G n W"]:
    """softmax(q k^T) v with the heads joined.

    Where all weights are few, the fused kernel takes longer.
    """
    few = q.is_cpu and q.shape[:-1].numel() * k.shape[2] < FEW
    y = (q @ k.mT).softmax(-1) @ v if few else attention(q, k, v, scale=1.0)
    return y.transpose(1, 2).flatten(2)


def spread(count: int, dim: int) -> Float[Tensor, "count dim"]:
    """Points that fill the unit cube evenly: equal steps on the first axis, multiples of (generalised) golden ratios on others."""
    n = torch.arange(count, dtype=torch.float64) + 0.5
    ratio = {1: 1.0, 2: 1.618033988749895, 3: 1.324717957244746}[dim]
    columns = [n / count] + [n * ratio**-power % 1 for power in range(1, dim)]
    return torch.stack(columns, 1).float()
