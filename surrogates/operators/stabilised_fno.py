"""Stabilised Fourier neural operator in 1-3 dimensions: a residual network whose linear maps do not expand.

    h_0 = r E [u, p] + b,    h' = h + S K M h  (L times),    y = D h_L / r + b,    M = W_2 silu(W_1 h + b_1) + b_2,

    (K v)_k = m_k v_k,    m_k = sigmoid(a_k + c |s_k|) exp(i phi_k)  for modes in the ellipse sum_a (k_a / K_a)^2 <= 1, else 0

E, W_1, W_2, S and D mix channels with matrix norm at most 1, r = (width/inputs)^1/2. The modes are multiplied channel by channel, so
many may be kept, and since |m_k| < 1 the spectral part S K cannot raise the L2 norm of any field; the ellipse leaves no corner modes,
whose products alias first. A long rollout then has no layer in which a high mode can grow by itself (the residual sum still may).

The filter is *dynamic*: s is a small complex network of all channels of its mode, s = V_2 modrelu(V_1 z_k / (|z_k|^2 + eps_k^2)^1/2), with
modrelu(z) = gelu(|z| + b) z/|z|. None of this has a complex bias and only |s| acts, so that with positions=0 the network commutes with
translations. Positions p and walls as in `FNO`. An embedding e acts on the modes by FiLM, and the step is scaled by 1 + gamma': what it
makes of the gains is not bounded.

Source: McCabe, Harrington, Subramanian and Brown, Towards Stability of Autoregressive Neural Operators, 2023,
https://arxiv.org/abs/2306.10619. Three things differ: their modes are standardised over the batch, ours one by one; their filter also
turns by the phase of s, which would see the origin; their norms are estimates by power iteration, ours bounds (`nonexpansive`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, silu

from surrogates.contracts import Domain
from surrogates.operators.checks import check_input, check_numbers, check_walls, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.fourier import Matrices, analyse, analyse_fft, dft_matrices, synthesise, synthesise_fft
from surrogates.operators.nonexpansive import nonexpansive
from surrogates.operators.pointwise import Pointwise, affine
from surrogates.operators.positions import beside
from surrogates.record import recorded

Modulation = tuple[Tensor, ...] | None
SMALL = 1e-4
"""Added to squared moduli of order 1, so that they are smooth at 0."""


@recorded
class StabilisedFNO(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box`, at any resolution that holds its modes.

    modes: how many modes an axis, as in `FNO`: all but the last counted with both signs, the last from 0. Keep many: what lies above
    them is carried along unchanged.
    expansion: hidden channels of M as a multiple of width.
    dynamic: whether the filter depends on the field (c |s_k| above) or on the mode alone.
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
        modes: Sequence[int] = (32, 17),
        layers: int = 4,
        expansion: float = 4.0,
        dynamic: bool = True,
        positions: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.modes = tuple(modes)
        inner = round(expansion * width)
        check_numbers(self.modes, width=width, layers=layers, expansion=inner)
        self.positions = per_axis("positions", positions, len(self.modes))
        seen = in_channels + 2 * sum(self.positions)
        self.raised = (width / seen) ** 0.5
        self.lift, self.project = Pointwise(seen, width), nn.Linear(width, out_channels)
        self.blocks = nn.ModuleList(StableBlock(width, inner, self.modes, dynamic) for _ in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for a grid too coarse for
        the modes, for stretched cells, and for walls when the network sees no positions.
        """
        name = "StabilisedFNO"
        box = check_input(name, x, domain, embedding, channels=self.in_channels, size=self.embedding, modes=self.modes)
        check_walls(name, box, self.positions)
        matrices = dft_matrices(box, self.modes, torch.promote_types(x.dtype, torch.float32), x.device)
        lift, project, *stacks = self._bounded()
        h = beside(x.movedim(1, -1), box, self.positions)
        h = affine(h, self.raised * lift[0], self.lift.bias)
        film = self.film(embedding) if self.film is not None else (None,) * len(self.blocks)
        for block, modulation, *weights in zip(self.blocks, film, *stacks, strict=True):
            h = block(h, weights, matrices, modulation)
        y = torch.matmul(project[0] / self.raised, h.flatten(1, -2).mT) + self.project.bias[:, None]  # channels first without a copy
        return y.view(len(x), -1, *box.shape)

    def _bounded(self) -> tuple[Tensor, ...]:
        """E, D and all blocks' W_1, W_2 and S, with norms at most 1."""
        inner, outer, mix = (torch.stack([getattr(b, w).weight for b in self.blocks]) for w in ("inner", "outer", "mix"))
        return nonexpansive(self.lift.weight[None], self.project.weight[None], inner, outer, mix)


class StableBlock(nn.Module):
    """h + S K M h, channels last. Under autocast and for half-precision fields S K runs in float32."""

    kept: Tensor

    def __init__(self, width: int, hidden: int, modes: tuple[int, ...], dynamic: bool) -> None:
        super().__init__()
        self.modes = modes
        self.inner, self.outer, self.mix = Pointwise(width, hidden), Pointwise(hidden, width), nn.Linear(width, width, bias=False)
        kept = inside(modes)
        self.cut = len(kept) < prod(modes)
        self.filter = SpectralFilter(width, len(kept), dynamic)
        self.register_buffer("kept", torch.tensor(kept), persistent=False)
        self.mean = kept.index(_zero(modes))

    def forward(self, h: Float[Tensor, "B *X C"], weights: list[Tensor], matrices: Matrices, modulation: Modulation) -> Tensor:
        inner, outer, mix = weights
        v = affine(silu(affine(h, inner, self.inner.bias)), outer, self.outer.bias)
        return self.spectral(v, h, mix, matrices, modulation)

    def spectral(
        self, v: Float[Tensor, "B *X C"], onto: Float[Tensor, "B *X C"], mix: Tensor, matrices: Matrices, modulation: Modulation = None
    ) -> Float[Tensor, "B *X C"]:
        """onto + S K v; S acts on the modes, of which there are fewer than points."""
        dtype, asked = torch.promote_types(v.dtype, torch.float32), onto.dtype
        with torch.autocast(v.device.type, enabled=False):
            v, onto, mix = v.to(dtype), onto.to(dtype), mix.to(dtype)
            z = analyse(v, self.modes, matrices) if matrices else analyse_fft(v, self.modes)
            whole, z = z.shape, z.transpose(1, 2)
            o = self.filter(z.index_select(1, self.kept) if self.cut else z)
            if modulation is None:
                o = linear(o, mix)
            else:
                gain, shift, gate = (m.to(dtype) for m in modulation)
                o = o * gain[:, None, None]
                o[:, self.mean, 0] += shift
                o = linear(o, mix) * gate[:, None, None]
            o = o.transpose(1, 2)
            if self.cut:
                o = o.new_zeros(whole).index_copy(2, self.kept, o)
            y = synthesise(o, self.modes, matrices, onto) if matrices else synthesise_fft(o, self.modes, onto)
        return y.to(asked)


class SpectralFilter(nn.Module):
    """z_k -> m_k z_k, channel by channel, with |m_k| < 1; modes are (B, K, 2, C): real and imaginary part, then channels."""

    def __init__(self, channels: int, modes: int, dynamic: bool) -> None:
        super().__init__()
        self.modulus, self.phase = nn.Parameter(torch.randn(modes, channels)), nn.Parameter(torch.randn(modes, channels))
        self.sense = ModeNetwork(channels, modes) if dynamic else None

    def forward(self, z: Float[Tensor, "B K 2 C"]) -> Float[Tensor, "B K 2 C"]:
        logit = self.modulus[:, None] if self.sense is None else self.modulus[:, None] + self.sense(z)
        sine = self.phase.sin()
        turned = torch.addcmul(z * self.phase.cos()[:, None], z.flip(2), torch.stack([-sine, sine], 1))
        return logit.sigmoid() * turned


class ModeNetwork(nn.Module):
    """c |s_k|, where s is a complex network of two layers of the channels of one mode, which is brought to a modulus below 1 before.

    Complex matrices are stored real, (C, 2C) = [real | imaginary].
    """

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        scale = (0.5 / channels) ** 0.5
        self.enter, self.leave = (nn.Parameter(torch.randn(channels, 2 * channels) * scale) for _ in range(2))
        self.threshold, self.weight = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.ones(channels))
        self.level = nn.Parameter(torch.full((modes, 1, 1), -0.5 * log(modes)))  # log eps_k, at first that of white noise

    def forward(self, z: Float[Tensor, "B K 2 C"]) -> Float[Tensor, "B K 1 C"]:
        power = 2 * z.square().mean((2, 3), keepdim=True)
        z = complex_linear(z * (power + (2 * self.level).exp()).rsqrt(), self.enter)
        r = modulus(z)
        s = complex_linear(z * (gelu(r + self.threshold) / r), self.leave)
        return self.weight * modulus(s)


def complex_linear(z: Float[Tensor, "B K 2 C"], weight: Float[Tensor, "C CC"]) -> Float[Tensor, "B K 2 C"]:
    """The row vectors z times a complex matrix, as one real product of twice the size."""
    re, im = weight.to(z.dtype).chunk(2, dim=1)
    block = torch.cat([torch.cat([re, im], 1), torch.cat([-im, re], 1)])
    return (z.flatten(2) @ block).view(z.shape)


def modulus(z: Float[Tensor, "B K 2 C"]) -> Float[Tensor, "B K 1 C"]:
    """|z|, rounded off at 0."""
    return (z.square().sum(2, keepdim=True) + SMALL).sqrt()


def inside(modes: tuple[int, ...]) -> list[int]:
    """Which of the modes, numbered in C order, lie in the ellipse whose half-axes are the largest |k| of each axis."""
    square = torch.zeros(())
    for axis, m in enumerate(modes):
        first = 0 if axis == len(modes) - 1 else m // 2
        k = torch.arange(m, dtype=torch.float64) - first
        square = square[..., None] + (k / max(first, m - 1 - first, 1)).square()
    return [int(i) for i in (square.flatten() <= 1 + 1e-9).nonzero()]


def _zero(modes: tuple[int, ...]) -> int:
    return sum(m // 2 * prod(modes[axis + 1 :]) for axis, m in enumerate(modes[:-1]))
