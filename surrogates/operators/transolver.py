"""Transolver: attention among slices of the points instead of among the points.

In each of L blocks, for a head of size d and points i with measures m_i (their mean is 1),

    w_is = softmax_s((P (W_x h_i) + c)/tau)                   how much of point i is in slice s = 1..S
    z_s = sum_i m_i w_is (W_f h_i) / sum_i m_i w_is           what is in a slice: a token
    z' = softmax(Q z (K z)^T/sqrt(d)) V z                     attention among S tokens
    o_i = W_o sum_s w_is z'_s                                 and back to the points, linear in their number

and h' = h + o(norm h), h'' = h' + M(norm h'), M a network of two layers at each point. An embedding e acts by FiLM, on the first norm and
on M's result.

*Measure.* The paper sums over points. Here a token is a quadrature, a mean over the volume of a slice, so that a cell cut in two counts as
much as before and the answer converges where a mesh is refined. With equal cells both are the same.

*One product each way.* Nothing non-linear stands between h and W_x, W_f or W_o: so P W_x is one matrix, the mean of a slice is taken of h
before W_f, and W_o acts on the tokens. Three products of size points x (heads S) x width remain.

*Neighbours.* Slices know no neighbours, and a value tells little of where it is going. Two additions, off by default. gradient=True gives
the network the gradient of its input as well, with respect to the angles that positions are seen as, so that it means the same on any mesh;
this is ours. kernel=3, on the regular grid of a `Box`, takes h in a neighbourhood, K norm h with a convolution K, as the paper does for
structured meshes, one for all three projections, and adds it: h' = h + K norm h + o(K norm h). Periodic axes wrap and walls mirror.

Source: Wu et al., Transolver: A Fast Transformer Solver for PDEs on General Geometries, 2024, https://arxiv.org/abs/2402.02366.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.domains.mesh import Mesh
from surrogates.operators.checks import check_counts, check_walls, per_axis
from surrogates.operators.convolution import Convolution
from surrogates.operators.film import FiLM
from surrogates.operators.padding import sides
from surrogates.operators.points import Points, check_points, repeat
from surrogates.operators.pointwise import Pointwise, channels_first
from surrogates.record import recorded

Modulation = tuple[Tensor | None, Tensor | None, Tensor | None]
EMPTY = 1e-7
"""Part of the volume below which a slice counts as empty: its token fades to 0, which 0/0 would not. The published code has 1e-5 points, a
part that depends on the resolution."""


@recorded
class Transolver(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on the points of a `Box` or a `Mesh` of `dim` dimensions.

    slices: S, tokens a head. expansion: hidden channels of M as a multiple of width. positions: harmonics of the position that the network
    sees (see `points`), one number or one an axis; 0 for a map of values alone, which commutes with translations of a periodic box.
    gradient: whether it sees the gradient of what it is given: by spectra and differences on a box, least squares on a mesh.
    kernel: points an axis, odd, in the neighbourhood that a block sees; 1 for none, more on a `Box` with equal cells only.
    Several meshes are filled up to the longest, so batch those of like size. Compiled whole on a
    box and on one mesh; to count members breaks the graph, and so does the gradient (of a box: a type's complex one; of a mesh: a lock).
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
        heads: int = 4,
        slices: int = 32,
        layers: int = 4,
        expansion: float = 1.0,
        positions: int | Sequence[int] = 4,
        gradient: bool = False,
        kernel: int = 1,
    ) -> None:
        super().__init__()
        self.in_channels, self.embedding, self.gradient, self.kernel = in_channels, embedding, gradient, kernel
        hidden = round(expansion * width)
        check_counts(width=width, heads=heads, slices=slices, layers=layers, expansion=hidden)
        if not 1 <= dim <= 3:
            raise ValueError(f"dim must be 1 to 3, got {dim}")
        if width % heads:
            raise ValueError(f"heads must divide the width, got {heads} heads and width={width}")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that a point lies in the middle, got {kernel}")
        self.positions = per_axis("positions", positions, dim)
        seen = in_channels * (1 + dim * gradient) + 2 * sum(self.positions)
        self.lift_in, self.lift_out = Pointwise(seen, 2 * width), Pointwise(2 * width, width)
        self.blocks = nn.ModuleList(SliceBlock(width, heads, slices, hidden, dim, kernel) for _ in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.norm, self.project = nn.LayerNorm(width), nn.Linear(width, out_channels)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is neither Box nor Mesh, ValueError for the wrong dimension, channels or embedding, for walls
        of a box when the network sees no positions, and with kernel > 1 for a mesh, stretched cells or axes shorter than the kernel.
        """
        points = check_points("Transolver", x, domain, embedding, channels=self.in_channels, size=self.embedding, harmonics=self.positions)
        self._check_geometry(domain)
        h = points.rows(torch.cat([x, gradient(x, domain, points)], 1) if self.gradient else x)
        if any(self.positions):
            h = torch.cat([h, repeat(points.seen, len(h))], -1)
        h = self.lift_out(gelu(self.lift_in(h)))
        weight = None if points.weight is None else repeat(points.weight, len(h))[..., None]
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * len(self.blocks)
        for block, modulation in zip(self.blocks, film, strict=True):
            h = block(h, weight, modulation, domain)
        return points.fields(channels_first(self.project, self.norm(h)))

    def _check_geometry(self, domain: Domain) -> None:
        if isinstance(domain, Box):
            check_walls("Transolver", domain, self.positions)
        if self.kernel == 1:
            return
        if not isinstance(domain, Box) or any(edges is not None for edges in domain.edges):
            raise ValueError(f"kernel={self.kernel} needs the neighbours of a Box with equal cells; build the Transolver with kernel=1")
        if min(domain.shape) < self.kernel:
            raise ValueError(f"the box {domain.shape} has an axis shorter than kernel={self.kernel}; use a finer grid or a smaller kernel")


class SliceBlock(nn.Module):
    """h' = h + o(norm h), h'' = h' + M(norm h'); between norm and o a convolution where the kernel is larger than a point."""

    def __init__(self, width: int, heads: int, slices: int, hidden: int, dim: int, kernel: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.neighbours = Convolution(width, width, dim, kernel) if kernel > 1 else None
        self.attention = SliceAttention(width, heads, slices)
        self.inner, self.outer = Pointwise(width, hidden), Pointwise(hidden, width)

    def forward(self, h: Float[Tensor, "G n C"], weight: Tensor | None, modulation: Modulation, domain: Domain) -> Float[Tensor, "G n C"]:
        gain, shift, gate = modulation
        v = self.before(h)
        if gain is not None and shift is not None:
            v = torch.addcmul(shift[:, None], v, gain[:, None])
        if self.neighbours is not None:
            assert isinstance(domain, Box)
            v = convolve(self.neighbours, v, domain)
            h = h + v
        h = h + self.attention(v, weight)
        m = self.outer(gelu(self.inner(self.between(h))))
        return h + m if gate is None else torch.addcmul(h, m, gate[:, None])


class SliceAttention(nn.Module):
    """Points to tokens of slices, attention among these, and back."""

    def __init__(self, width: int, heads: int, slices: int) -> None:
        super().__init__()
        self.heads, size = heads, width // heads
        self.sort, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.slice = nn.Linear(size, slices)
        nn.init.orthogonal_(self.slice.weight)
        self.log_temperature = nn.Parameter(torch.full((heads,), 0.5).log())
        self.mix = nn.Linear(size, 3 * size, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, h: Float[Tensor, "G n C"], weight: Float[Tensor, "G n 1"] | None) -> Float[Tensor, "G n C"]:
        g, n, c = h.shape
        w = self.shares(h)
        heavy = w if weight is None else w * weight
        volume = n if weight is None else weight.sum(1)
        means = torch.bmm(heavy.mT, h) / (heavy.sum(1) + EMPTY * volume)[..., None]
        value = self.value.weight.view(self.heads, -1, c)
        tokens = torch.einsum("ghsc,hdc->ghsd", means.view(g, self.heads, -1, c), value) + self.value.bias.view(self.heads, 1, -1)
        q, k, v = self.mix(tokens).chunk(3, -1)
        mixed = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1) @ v
        spread = torch.einsum("ghsd,chd->ghsc", mixed, self.out.weight.view(c, self.heads, -1)).reshape(g, -1, c)
        return torch.baddbmm(self.out.bias, w, spread)

    def shares(self, h: Float[Tensor, "G n C"]) -> Float[Tensor, "G n slice"]:
        """w, all slices of the first head, then of the next."""
        g, n, c = h.shape
        scale = (-self.log_temperature).exp()[:, None, None]
        sort = scale * (self.slice.weight @ self.sort.weight.view(self.heads, -1, c))
        bias = scale[..., 0] * linear(self.sort.bias.view(self.heads, -1), self.slice.weight, self.slice.bias)
        return linear(h, sort.flatten(0, 1), bias.flatten()).view(g, n, self.heads, -1).softmax(-1).view(g, n, -1)


def gradient(x: Float[Tensor, "B C *X"], domain: Domain, points: Points) -> Float[Tensor, "B CD *X"]:
    """d x_c / d theta_a, with the angle theta in which `points` measures the axis a."""
    if isinstance(domain, Box):
        slopes = torch.stack([domain.derivative(x, axis) for axis in range(domain.dim)], 2)
    else:
        assert isinstance(domain, Mesh)
        slopes = domain.gradient(x)
    turn = domain.expand(points.turn.repeat(len(x), 1).to(x.dtype))
    return (slopes / turn[:, None]).flatten(1, 2)


def convolve(layer: Convolution, h: Float[Tensor, "G n C"], box: Box) -> Float[Tensor, "G n C"]:
    """A convolution on the grid of a box, from rows of points to rows of points; walls mirror."""
    line = (1,) if box.dim == 1 else ()
    image = h.view(len(h), *line, *box.shape, -1).movedim(-1, 1)
    y: Tensor = layer(image, sides(box, "reflect"))
    return y.movedim(1, -1).flatten(1, -2)
