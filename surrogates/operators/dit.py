"""Diffusion transformer: patches as tokens, every token attends to every other.

    t = P patch(u) + Q p,    t' = t + alpha * A(N t),    t'' = t' + alpha' * M(N t'),    y = unpatch(R N t_L)

N is a layer norm without parameters, A attention with rotary positions, M a two-layer network at each token. adaLN-zero: each N is followed
by (1 + gamma) N + beta and each branch ends in a gate alpha; gamma, beta and alpha depend on the embedding e, and at the start gamma =
beta = alpha = 0, so that every layer starts as the identity. Without an embedding alpha alone is left, one learnt number a channel.

Queries and keys are scaled to unit mean square, with a learnt gain on the query, so that logits stay bounded. They are turned by the
harmonics 1, 2, ... of each axis, which are whole on a periodic axis: a logit is a function of x - x' on the circle, and with positions=0
the network commutes with translations by whole patches. The cost grows with the square of the number of tokens.

Source: Peebles and Xie, Scalable Diffusion Models with Transformers, 2023, https://arxiv.org/abs/2212.09748; norms of queries and keys:
Dehghani et al., Scaling Vision Transformers to 22 Billion Parameters, 2023, https://arxiv.org/abs/2302.05442.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, rms_norm
from torch.utils.checkpoint import checkpoint as recompute

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.operators.attention import attention
from surrogates.operators.checks import check_box, check_counts, check_walls, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.patches import check_patch, from_patches, multiples_near, to_patches, token_positions, tokens_of, with_sizes
from surrogates.operators.pointwise import Pointwise
from surrogates.operators.rotary import Turns, axial_waves, rotate, turns
from surrogates.record import recorded

Modulation = tuple[Tensor | None, Tensor | None, Tensor | None]


@recorded
class DiT(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box` whose axes are multiples of the patch.

    patch: points of a token along each axis; their number is the dimension of the box. heads: width must be an even multiple of them.
    positions: harmonics of each token's position that the network sees, one number or one an axis; 0 for equivariance under
    translations by whole patches. expansion: hidden channels of the networks at each token, as a multiple of width.
    checkpoint: keep only the layers' ends for the gradient and compute the rest again, for less memory and about a third more time.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        patch: Sequence[int] = (4, 4),
        width: int = 128,
        layers: int = 6,
        heads: int = 4,
        positions: int | Sequence[int] = 1,
        expansion: float = 4.0,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.patch, self.checkpoint = tuple(patch), checkpoint
        hidden, points = round(expansion * width), prod(self.patch)
        check_patch(self.patch)
        check_counts(width=width, layers=layers, heads=heads, expansion=hidden)
        if width % (2 * heads):
            raise ValueError(f"width must be a multiple of 2 x heads, got {width} and {heads}")
        self.positions = per_axis("positions", positions, len(self.patch))
        self.pairs = width // heads // 2
        self.embed = Pointwise(points * in_channels, width)
        self.place = nn.Linear(2 * sum(self.positions), width, bias=False) if any(self.positions) else None
        self.blocks = nn.ModuleList(Layer(width, heads, hidden) for _ in range(layers))
        self.film = FiLM(embedding, width, 2 * layers) if embedding else None
        self.project = Pointwise(width, points * out_channels)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for axes that are not multiples
        of the patch, for stretched cells, and for walls when the network sees no positions along their axis.
        """
        d, channels = len(self.patch), self.in_channels
        box = check_box("DiT", x, domain, embedding, channels=channels, size=self.embedding, dim=d)
        check_walls("DiT", box, self.positions)
        for name, n, p in zip(box.axes, box.shape, self.patch, strict=True):
            if n % p:
                raise ValueError(f"axis {name} has {n} points, which patches of {p} do not fill; use {multiples_near(n, p)} points there")
        tokens = tokens_of(box, self.patch)
        h = self.embed(to_patches(with_sizes(x, box).movedim(1, -1), self.patch))
        if self.place is not None:
            h = h + self.place(token_positions(box, self.patch, self.positions, x.dtype, x.device))
        h = h.flatten(1, -2)
        by = _turns(box, self.patch, self.pairs, x.dtype, x.device)
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * (2 * len(self.blocks))
        for i, block in enumerate(self.blocks):
            again = self.checkpoint and torch.is_grad_enabled()
            more = (by, film[2 * i], film[2 * i + 1])
            h = recompute(block, h, *more, use_reentrant=False) if again else block(h, *more)
        h = self.project(layer_norm(h, h.shape[-1:]))
        return from_patches(h.view(len(x), *tokens, -1), self.patch).movedim(-1, 1)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _turns(box: Box, patch: tuple[int, ...], pairs: int, dtype: torch.dtype, device: torch.device) -> Turns:
    """The rotary tables of every token, (n, 1, D)."""
    return _make(box.boundary, tokens_of(box, patch), pairs, dtype, device)


@lru_cache(maxsize=64)
def _make(boundary: tuple[str, ...], tokens: tuple[int, ...], pairs: int, dtype: torch.dtype, device: torch.device) -> Turns:
    with torch.inference_mode(False), torch.no_grad():
        round_ = [2 * torch.pi if kind == PERIODIC else torch.pi for kind in boundary]
        index = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in tokens)).view(-1, len(tokens))
        theta = index * torch.tensor(round_, dtype=torch.float64) / torch.tensor(tokens)
        cos, sin = turns(theta, axial_waves(len(tokens), pairs))
        return cos.to(device, dtype), sin.to(device, dtype)


class Layer(nn.Module):
    """t + alpha A((1 + gamma) N t + beta), then the same with M."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = Pointwise(width, 3 * width), Pointwise(width, width)
        self.sharpness = nn.Parameter(torch.ones(heads, width // heads))
        self.inner, self.outer = Pointwise(width, hidden), Pointwise(hidden, width)
        self.gates = nn.Parameter(torch.zeros(2, width))

    def forward(self, h: Float[Tensor, "B n C"], by: Turns, first: Modulation, second: Modulation) -> Float[Tensor, "B n C"]:
        a, gate = self._norm(h, first, self.gates[0])
        h = torch.addcmul(h, self._attend(a, by), gate)
        m, gate = self._norm(h, second, self.gates[1])
        return torch.addcmul(h, self.outer(gelu(self.inner(m), approximate="tanh")), gate)

    def _norm(self, h: Float[Tensor, "B n C"], by: Modulation, gate: Float[Tensor, " C"]) -> tuple[Tensor, Tensor]:
        """(1 + gamma) N h + beta, and alpha."""
        n = layer_norm(h, h.shape[-1:])
        gain, shift, more = by
        if gain is None or shift is None or more is None:
            return n, gate
        return torch.addcmul(shift[:, None], n, gain[:, None]), (gate + (more - 1))[:, None]

    def _attend(self, h: Float[Tensor, "B n C"], by: Turns) -> Float[Tensor, "B n C"]:
        qk, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).split((2, 1), 2)
        q, k = rms_norm(qk, qk.shape[-1:], eps=1e-6).unbind(2)
        q, k = rotate(q * self.sharpness, by).transpose(1, 2), rotate(k, by).transpose(1, 2)
        y: Tensor = self.out(attention(q, k, v.squeeze(2).transpose(1, 2)).transpose(1, 2).flatten(2))
        return y
