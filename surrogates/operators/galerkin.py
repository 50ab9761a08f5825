"""Attention without softmax, as integrals: the cost grows with the number n of points, not with its square.

    galerkin:  y(x) = q(x)^T <k', v'>,            <k, v> = 1/|D| int_D k(x') v(x')^T dx'     (a projection onto learnt test functions)
    fourier:   y(x) = 1/|D| int_D (q'(x).k'(x')) v(x') dx' = q'(x)^T <k', v>                 (an integral operator with a learnt kernel)

q, k, v are linear maps of the features h at each point, one triple a head, and a prime is a layer norm over the features of a head. The
integral is the quadrature of the domain's measure, so that stretched cells and unstructured nodes count by their volume and the answer
converges as a grid is refined. A layer is h + A h, then h + M h with a two-layer network M at each point; an embedding e acts by FiLM:
h + A((1 + gamma) h + beta), then h + (1 + gamma') M h.

q.k sees where points lie in two ways. *Rotary* (the default): q and k are turned by integer wave vectors, the lowest ones, a different one
for each pair of features, so that q.k is a trigonometric polynomial in x - x' with coefficients that depend on h. *Positions*: harmonics of
x among the inputs. With rotary=True and positions=0 the network commutes with translations of a periodic box; with rotary=False it is
Cao's, which sees x among the inputs only. What it resolves is what its waves resolve: width/2 of them, up to about width/2 in 1-D and
sqrt(width/pi) in 2-D.

Source: Cao, Choose a Transformer: Fourier or Galerkin, 2021, https://arxiv.org/abs/2105.14995; rotary positions in it: Li et al.,
Transformer for Partial Differential Equations' Operator Learning, 2023, https://arxiv.org/abs/2205.13671.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm
from torch.utils.checkpoint import checkpoint as recompute

from surrogates.contracts import Domain
from surrogates.domains import Box, Mesh
from surrogates.domains.box import AXES, PERIODIC
from surrogates.errors import nearest
from surrogates.operators.checks import check_counts, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.points import check_points, points_of, repeat
from surrogates.operators.pointwise import Pointwise, channels_first
from surrogates.operators.rotary import Turns, lowest_waves, rotate, turns
from surrogates.record import recorded

KINDS = ("galerkin", "fourier")
DENSE = 128
"""Widths up to which heads are masked blocks of one product rather than products each: there the copies that part heads cost more than
the arithmetic (width 32 with 4 heads, 20 x 160 points: .8 against 4.2 ms there and back on one AMD EPYC core; 128 with 8: equal)."""


@recorded
class GalerkinTransformer(nn.Module):
    """A network from fields (B, in_channels, *X) to (B, out_channels, *X) on a `Box`, stretched or not, or on the nodes of a `Mesh`.

    dim: of the domain. kind: "galerkin" or "fourier". heads: width must be an even multiple of them where rotary.
    positions: harmonics of the position among the inputs, one number or one an axis, over a period, or half of them over the extent of
    an axis that does not repeat (a mesh member's bounding box); 0 for translation equivariance along it.
    expansion: hidden channels of the pointwise networks, as a multiple of width. checkpoint: keep only the layers' ends for the gradient
    and compute the rest again, for less memory and about a third more time. The edges of a mesh play no part.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        kind: str = "galerkin",
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
        positions: int | Sequence[int] = 1,
        rotary: bool = True,
        expansion: float = 2.0,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.heads, self.checkpoint = heads, checkpoint
        hidden = round(expansion * width)
        check_counts(dim=dim, width=width, layers=layers, heads=heads, expansion=hidden)
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} must be one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
        if dim > 3 or width % (heads * (1 + rotary)):
            raise ValueError(f"dim must be 1 to 3 and width a multiple of {1 + rotary} x heads, got {dim}, {width} and {heads}")
        self.positions = per_axis("positions", positions, dim)
        if not (rotary or any(self.positions)):
            raise ValueError("with rotary=False positions must be at least 1: points would not know where they are")
        self.pairs = width // heads // 2 if rotary else 0
        self.highest = lowest_waves(dim, heads, self.pairs).abs().amax((0, 1)).int().tolist() if rotary else [0] * dim
        self.lift_in, self.lift_out = Pointwise(in_channels + 2 * sum(self.positions), hidden), Pointwise(hidden, width)
        self.blocks = nn.ModuleList(Layer(width, heads, hidden, kind) for _ in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.project_in, self.project_out = Pointwise(width, hidden), nn.Linear(hidden, out_channels)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is neither a Box nor a Mesh, ValueError for the wrong channels, dimension or embedding, for a
        grid too coarse for the waves, and for an axis that does not repeat when the network sees no positions along it.
        """
        channels, size = self.in_channels, self.embedding
        points = check_points("GalerkinTransformer", x, domain, embedding, channels=channels, size=size, harmonics=self.positions)
        assert isinstance(domain, Box | Mesh)
        self._check_axes(domain)
        h = points.rows(x)
        by, share = _geometry(domain, self.heads, self.pairs, x.dtype, x.device)
        if any(self.positions):
            h = torch.cat([h, repeat(points.seen, len(h))], -1)
        if points.members > 1:
            by = None if by is None else (_repeat(by[0], len(h)), _repeat(by[1], len(h)))
            share = repeat(share, len(h))
        h = self.lift_out(gelu(self.lift_in(h)))
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * len(self.blocks)
        for block, modulation in zip(self.blocks, film, strict=True):
            again = self.checkpoint and torch.is_grad_enabled()
            h = recompute(block, h, by, share, *modulation, use_reentrant=False) if again else block(h, by, share, *modulation)
        h = gelu(self.project_in(h))
        return points.fields(channels_first(self.project_out, h))

    def _check_axes(self, domain: Box | Mesh) -> None:
        periodic = [kind == PERIODIC for kind in domain.boundary] if isinstance(domain, Box) else [p is not None for p in domain.periods]
        for axis, n in enumerate(self.positions):
            if not periodic[axis] and not n:
                raise ValueError(f"with positions={self.positions} it cannot see the ends of axis {AXES[axis]}; build it with positions=1")
            held = domain.shape[axis] // (2 if periodic[axis] else 1) if isinstance(domain, Box) else self.highest[axis]
            if self.highest[axis] > held:
                raise ValueError(
                    f"axis {AXES[axis]} has {domain.shape[axis]} points and holds {held} waves but the heads of this network turn by up to "
                    f"{self.highest[axis]}; use a finer grid or a smaller width"
                )


Both = tuple[Turns, Turns]
"""Rotary tables (M, n, H, D) of queries and of keys, the keys' times each point's share of its member."""

Geometry = tuple[Both | None, Tensor]
"""Tables, none for 0 pairs, and the shares (M, n, 1, 1), which are 0 where a row is filled up."""


def _geometry(domain: Box | Mesh, heads: int, pairs: int, dtype: torch.dtype, device: torch.device) -> Geometry:
    """Made once for each box; for a mesh each time, which costs less than one layer."""
    return _of_box(domain, heads, pairs, dtype, device) if isinstance(domain, Box) else _make(domain, heads, pairs, dtype, device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _of_box(box: Box, heads: int, pairs: int, dtype: torch.dtype, device: torch.device) -> Geometry:
    return _cached(box, heads, pairs, dtype, device)


@lru_cache(maxsize=64)
def _cached(box: Box, heads: int, pairs: int, dtype: torch.dtype, device: torch.device) -> Geometry:
    with torch.inference_mode(False), torch.no_grad():
        return _make(box, heads, pairs, dtype, device)


def _make(domain: Box | Mesh, heads: int, pairs: int, dtype: torch.dtype, device: torch.device) -> Geometry:
    points = points_of(domain, (1,) * domain.dim, torch.float64, device)
    weight = points.seen.new_ones(1, points.count) if points.weight is None else points.weight
    share = (weight / weight.sum(1, keepdim=True))[..., None, None]
    if not pairs:
        return None, share.to(dtype)
    theta = torch.atan2(points.seen[..., ::2], points.seen[..., 1::2])  # up to whole turns, which integer waves do not see
    cos, sin = turns(theta, lowest_waves(domain.dim, heads, pairs))
    return ((cos.to(dtype), sin.to(dtype)), ((cos * share).to(dtype), (sin * share).to(dtype))), share.to(dtype)


def _repeat(by: Turns, rows: int) -> Turns:
    return repeat(by[0], rows), repeat(by[1], rows)


class Layer(nn.Module):
    """h + A((1 + gamma) h + beta), then h + (1 + gamma') M h."""

    def __init__(self, width: int, heads: int, hidden: int, kind: str) -> None:
        super().__init__()
        self.attention = LinearAttention(width, heads, kind)
        self.inner, self.outer = Pointwise(width, hidden), Pointwise(hidden, width)

    def forward(
        self,
        h: Float[Tensor, "G n C"],
        by: Both | None,
        share: Float[Tensor, "M n 1 1"],
        gain: Float[Tensor, "G C"] | None,
        shift: Float[Tensor, "G C"] | None,
        gate: Float[Tensor, "G C"] | None,
    ) -> Float[Tensor, "G n C"]:
        seen = h if gain is None or shift is None else torch.addcmul(shift[:, None], h, gain[:, None])
        h = h + self.attention(seen, by, share)
        m = self.outer(gelu(self.inner(h)))
        return h + m if gate is None else torch.addcmul(h, m, gate[:, None])


class LinearAttention(nn.Module):
    """q^T <k, v> of every head, then a linear map."""

    def __init__(self, width: int, heads: int, kind: str) -> None:
        super().__init__()
        self.heads, self.galerkin = heads, kind == "galerkin"
        self.qkv, self.out = Pointwise(width, 3 * width), Pointwise(width, width)
        self.gain = nn.Parameter(torch.ones(2, heads, width // heads))  # of the two norms
        self.shift = nn.Parameter(torch.zeros(2, heads, width // heads))

    def forward(self, h: Float[Tensor, "G n C"], by: Both | None, share: Float[Tensor, "M n 1 1"]) -> Float[Tensor, "G n C"]:
        qkv = self.qkv(h).unflatten(-1, (3, self.heads, -1))
        some, others = qkv.split((1, 2) if self.galerkin else (2, 1), 2)
        normed = others if self.galerkin else some
        normed = torch.addcmul(self.shift, layer_norm(normed, normed.shape[-1:]), self.gain)
        q, k, v = (*some.unbind(2), *normed.unbind(2)) if self.galerkin else (*normed.unbind(2), *others.unbind(2))
        q, k = (q, k * share) if by is None else (rotate(q, by[0]), rotate(k, by[1]))
        y: Tensor = self.out(integrate(q.flatten(2), k.flatten(2), v.flatten(2), self.heads))
        return y


def integrate(q: Float[Tensor, "G n C"], k: Float[Tensor, "G n C"], v: Float[Tensor, "G n C"], heads: int) -> Float[Tensor, "G n C"]:
    """q(x)^T sum_x' k(x') v(x')^T head by head, where k holds the quadrature weights."""
    c = q.shape[-1]
    if c <= DENSE:
        head = torch.arange(c, device=q.device) // (c // heads)
        return q @ ((k.mT @ v) * (head[:, None] == head))
    q, k, v = (u.view(*u.shape[:2], heads, -1).transpose(1, 2) for u in (q, k, v))
    return (q @ (k.mT @ v)).transpose(1, 2).flatten(2)
