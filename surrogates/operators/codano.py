"""Codomain attention neural operator in 1-3 dimensions: every variable is a token, and a token is a function on the whole box.

    h_t = Q_2 gelu(w u_t + A_t [1, p]),    h' = h + attention(norm h) + M norm(h + attention(norm h))  (L times),    y_t = P_2 gelu(P_1 h_t)

    q, k = F^-1 R_q F h, F^-1 R_k F h,    v = F^-1 R_v F h + S h + b,    attention_i = sum_j softmax_j(<q_i, k_j> / d^1/2) v_j

One set of weights serves all variables; only the encoding A_t, a function with as many harmonics as the positions p have, tells them
apart. So a trained network goes over to other variables with `adapted`: what it learnt is kept, and each variable that is new brings one
new encoding. R are free matrices on the lowest Fourier modes F. The scores are L2 inner products, the same at any resolution, and by
Parseval's identity taken on the modes, sum_k w_k Re q_k conj k_k (w as in `fourier`), so that q and k never become fields. The norm is that
of a token: mean 0 and variance 1 over points and channels together, which keeps how the channels compare. M is a two-layer network at
each point.

*Which tokens are read.* There are max(in_channels, out_channels) tokens. Input channel i enters at token i, and tokens beyond the inputs
start from their encoding alone (u_t = 0). Output channel i is read from token i: the first out_channels tokens. So a refiner's context,
which comes after the state, is attended to and not read.

An embedding e acts by FiLM, alike on all tokens: on R_v's modes by gain and shift, on M's output by a second gain. With positions=0 the
network commutes with translations; walls as in `FNO`.

Source: Rahman et al., Pretraining Codomain Attention Neural Operators for Solving Multiphysics PDEs, 2024,
https://arxiv.org/abs/2403.12553. Here M acts at points where theirs is two Fourier layers, norms come first and span a token's channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, pad

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.operators.checks import check_input, check_numbers, check_walls, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.fourier import Matrices, analyse, analyse_fft, dft_matrices, own_conjugates, synthesise, synthesise_fft
from surrogates.operators.pointwise import Pointwise
from surrogates.operators.positions import positions as harmonics_of
from surrogates.operators.spectral_conv import multiply
from surrogates.record import recorded

Modulation = tuple[Tensor, ...] | None


@recorded
class CoDANO(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box`, at any resolution that holds its modes.

    width: channels of a token. modes: as in `FNO`, all but the last axis counted with both signs, the last from 0.
    heads: attentions with scores of their own, each for its part of the width; keys: channels of q and k in a head.
    expansion: hidden channels of M as a multiple of width; lift: the same at both ends.
    positions: harmonics of the position in the encodings, one number or one an axis; 0 for translation equivariance.
    Raises ValueError for impossible numbers, and for a width that the heads do not divide.
    """

    arguments: dict[str, Any]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        width: int = 32,
        modes: Sequence[int] = (24, 13),
        layers: int = 4,
        heads: int = 1,
        keys: int = 4,
        expansion: float = 2.0,
        positions: int | Sequence[int] = 1,
        lift: float = 2.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.variables = max(in_channels, out_channels)
        self.modes = tuple(modes)
        inner, outer = round(expansion * width), round(lift * width)
        check_numbers(self.modes, width=width, layers=layers, heads=heads, keys=keys, expansion=inner, lift=outer)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got width={width} and heads={heads}")
        self.positions = per_axis("positions", positions, len(self.modes))
        functions = 1 + 2 * sum(self.positions)
        self.lift_in, self.lift_out = nn.Parameter(torch.rand(outer) * 2 - 1), Pointwise(outer, width)
        self.encodings = nn.Parameter(torch.randn(self.variables, functions, outer) * functions**-0.5)
        self.blocks = nn.ModuleList(CodomainBlock(width, self.modes, inner, heads, keys) for _ in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.project_in, self.project_out = Pointwise(width, outer), nn.Linear(outer, 1)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, for a grid too coarse for
        the modes, for stretched cells, and for walls when the network sees no positions.
        """
        box = check_input("CoDANO", x, domain, embedding, channels=self.in_channels, size=self.embedding, modes=self.modes)
        check_walls("CoDANO", box, self.positions)
        dtype = torch.promote_types(x.dtype, torch.float32)
        matrices, weight = dft_matrices(box, self.modes, dtype, x.device), parseval(box, self.modes, dtype, x.device)
        if self.variables > self.in_channels:
            x = pad(x, (0, 0) * box.dim + (0, self.variables - self.in_channels))
        h = self.lift_out(gelu(torch.addcmul(self._encode(box, x), x[..., None], self.lift_in))).flatten(0, 1)
        film: Sequence[Modulation] = (None,) * len(self.blocks)
        if self.film is not None and embedding is not None:
            film = self.film(embedding.repeat_interleave(self.variables, 0))
        for block, modulation in zip(self.blocks, film, strict=True):
            h = block(h, self.variables, matrices, weight, modulation)
        h = h.view(len(x), self.variables, *h.shape[1:])[:, : self.out_channels]
        y: Tensor = self.project_out(gelu(self.project_in(h)))
        return y.squeeze(-1)

    def _encode(self, box: Box, x: Tensor) -> Float[Tensor, "T *X H"]:
        """A_t [1, p], with axes of length 1 where there are no positions."""
        ones = (1,) * box.dim
        constant = self.encodings[:, 0].view(self.variables, *ones, -1)
        if not any(self.positions):
            return constant
        rest = self.encodings[:, 1:].view(self.variables, *ones[1:], *self.encodings[0, 1:].shape)
        varying: Tensor = constant + harmonics_of(box, self.positions, x.dtype, x.device) @ rest
        return varying

    def adapted(self, in_channels: int, out_channels: int, like: Sequence[int | None] | None = None) -> CoDANO:
        """A new network for other variables, with this one's weights, to be tuned further.

        like: for each of its max(in_channels, out_channels) tokens, the token of this network whose encoding it starts with, None
        for a fresh one; by default tokens keep their number and those beyond this network's are fresh.
        Raises ValueError for another number of tokens and for tokens that this network does not have.
        """
        tokens = max(in_channels, out_channels)
        origin = [t if t < self.variables else None for t in range(tokens)] if like is None else list(like)
        if len(origin) != tokens or any(t is not None and not 0 <= t < self.variables for t in origin):
            raise ValueError(f"like must name for each of {tokens} tokens one of 0 to {self.variables - 1}, or None, got {like}")
        new = CoDANO(**self.arguments | {"in_channels": in_channels, "out_channels": out_channels})
        new.to(self.encodings)
        shared = self.state_dict()
        shared["encodings"] = torch.stack([e if t is None else self.encodings[t] for e, t in zip(new.encodings, origin, strict=True)])
        new.load_state_dict(shared)
        return new


class CodomainBlock(nn.Module):
    """h + attention + M, on tokens (B T, *X, C), channels last."""

    def __init__(self, width: int, modes: tuple[int, ...], hidden: int, heads: int, keys: int) -> None:
        super().__init__()
        self.modes, self.heads, self.keys = modes, heads, keys
        self.mean = sum(m // 2 * prod(modes[axis + 1 :]) for axis, m in enumerate(modes[:-1]))  # where the mean's mode lies
        scale = (0.5 / width) ** 0.5
        self.value = nn.Parameter(torch.randn(prod(modes), width, 2 * width) * scale)
        self.score = nn.Parameter(torch.randn(prod(modes), width, 4 * heads * keys) * scale)
        self.skip = Pointwise(width, width)
        self.inner, self.outer = Pointwise(width, hidden), Pointwise(hidden, width)

    def forward(
        self, h: Float[Tensor, "BT *X C"], tokens: int, matrices: Matrices, weight: Float[Tensor, " K"], modulation: Modulation
    ) -> Float[Tensor, "BT *X C"]:
        gain, shift, gate = (None, None, None) if modulation is None else modulation
        a, v = self.attend(_norm(h), tokens, matrices, weight, gain, shift)
        heads = v.view(len(a), tokens, -1, self.heads, v.shape[-1] // self.heads).permute(0, 3, 1, 2, 4)  # b head token point channel
        mixed = a @ heads.reshape(*a.shape[:3], -1)
        h = h + mixed.view(heads.shape).permute(0, 2, 3, 1, 4).reshape(h.shape)
        step: Tensor = self.outer(gelu(self.inner(_norm(h))))
        return h + step if gate is None else torch.addcmul(h, step, gate.view(len(h), *(1,) * (h.ndim - 2), -1))

    def attend(
        self, h: Float[Tensor, "BT *X C"], tokens: int, matrices: Matrices, weight: Tensor, gain: Tensor | None, shift: Tensor | None
    ) -> tuple[Float[Tensor, "B head T T"], Float[Tensor, "BT *X C"]]:
        """Who listens to whom, and the values. Spectra are float32 under autocast and for half-precision fields."""
        skip = self.skip(h)
        with torch.autocast(h.device.type, enabled=False):
            u, onto = h.to(weight.dtype), skip.to(weight.dtype)
            z = analyse(u, self.modes, matrices) if matrices else analyse_fft(u, self.modes)
            s = multiply(z, self.score.to(z.dtype) * (weight / self.keys**0.5).sqrt()[:, None, None])
            s = s.view(-1, tokens, 2 * len(weight), 2, self.heads, self.keys).permute(3, 0, 4, 1, 2, 5).flatten(4)
            a = (s[0] @ s[1].mT).softmax(-1)
            o = multiply(z, self.value.to(z.dtype))
            if gain is not None and shift is not None:
                o = o * gain[:, None, None].to(o.dtype)
                o[:, 0, self.mean] += shift.to(o.dtype)
            v = synthesise(o, self.modes, matrices, onto) if matrices else synthesise_fft(o, self.modes, onto)
        return a.to(skip.dtype), v.to(skip.dtype)


def _norm(h: Float[Tensor, "BT *X C"]) -> Float[Tensor, "BT *X C"]:
    """Mean 0 and variance 1 of each token, over points and channels."""
    return layer_norm(h, h.shape[1:])


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def parseval(box: Box, modes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Float[Tensor, " K"]:
    """How often each kept mode counts in an inner product: twice, for itself and its conjugate, but once where it is its own."""
    return _parseval(box.shape[-1], modes, dtype, device)


@lru_cache(maxsize=64)
def _parseval(n: int, modes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Float[Tensor, " K"]:
    with torch.inference_mode(False), torch.no_grad():
        w = torch.full((modes[-1],), 2.0, dtype=dtype)
        w[own_conjugates(n, modes[-1])] = 1
        return w.repeat(prod(modes[:-1])).to(device)
