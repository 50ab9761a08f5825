"""Attention within windows of tokens, after Swin V2: what windows there are, what they see, and the attention itself.

    y = softmax(cos(q, k)/tau + b(x - x') + mask) v        within w_1 x ... x w_d tokens

with tau learnt for each head (at least .01) and a bias b given by a two-layer network of the logarithms of the distances in tokens,
l = sign(D) log2(1 + 8|D|/(w - 1))/3, so that it goes on smoothly to distances it was not trained with. In every second layer the
windows are shifted by half of one. On a periodic axis the shift runs over the seam and there is nothing to mask. Between walls a window
at the end holds tokens of both ends, which the mask keeps apart, and the last windows are filled up with tokens that no other sees. An
axis that is no longer than a window is one window; if periodic, distances take the nearest image.

Source: Liu et al., Swin Transformer V2, 2022, https://arxiv.org/abs/2111.09883.
"""

from __future__ import annotations

from functools import lru_cache
from math import log, prod
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import pad, relu, rms_norm

from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.operators.patches import tokens_of
from surrogates.operators.pointwise import Pointwise

BIAS_WIDTH = 64
"""Hidden units of the bias's network (512 in the paper, for 100 times our parameters)."""
Sizes = tuple[int, ...]


class Tokens(NamedTuple):
    """Tokens that stand for `unit` points of a box along each axis."""

    box: Box
    unit: Sizes

    @property
    def shape(self) -> Sizes:
        return tokens_of(self.box, self.unit)

    @property
    def periodic(self) -> tuple[bool, ...]:
        return tuple(kind == PERIODIC for kind in self.box.boundary)


def window_of(n: int, window: int, periodic: bool) -> int | None:
    """Tokens of a window on an axis of n: all that fit between walls; a periodic axis is divided evenly, by at least half the window.

    None where that is impossible.
    """
    if not periodic or n <= window:
        return min(n, window)
    most = max(w for w in range(1, window + 1) if n % w == 0)
    return most if 2 * most >= window else None


def windows_of(shape: Sizes, periodic: tuple[bool, ...], window: Sizes) -> Sizes:
    """The window on each axis. Raises ValueError where there is none."""
    sizes = []
    for n, w, again in zip(shape, window, periodic, strict=True):
        size = window_of(n, w, again)
        if size is None:
            raise ValueError(f"windows of {-(-w // 2)} to {w} tokens do not divide {n} tokens on a periodic axis")
        sizes.append(size)
    return tuple(sizes)


def shift_of(shape: Sizes, sizes: Sizes, shifted: bool) -> Sizes:
    """Half a window, on axes of more than one."""
    return tuple(w // 2 if shifted and w < n else 0 for n, w in zip(shape, sizes, strict=True))


def _grid(box: Box, unit: Sizes) -> tuple[Sizes, tuple[bool, ...]]:
    tokens = Tokens(box, unit)
    return tokens.shape, tokens.periodic


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def distances(box: Box, unit: Sizes, window: Sizes, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The different distances within a window, (K, d) as log-coordinates, and which of them each pair has, (n * n,)."""
    return _distances(*_grid(box, unit), window, dtype, device)


@lru_cache(maxsize=64)
def _distances(shape: Sizes, periodic: tuple[bool, ...], window: Sizes, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.no_grad():
        sizes = windows_of(shape, periodic, window)
        place = torch.cartesian_prod(*(torch.arange(w) for w in sizes)).view(-1, len(sizes))
        apart = place[:, None] - place[None]
        for axis, (n, w, again) in enumerate(zip(shape, sizes, periodic, strict=True)):
            if again and n == w:
                apart[..., axis] = (apart[..., axis] + w // 2) % w - w // 2
        distinct, index = torch.unique(apart.flatten(0, 1), dim=0, return_inverse=True)
        scaled = 8.0 * distinct.double() / torch.tensor([max(w - 1, 1) for w in window])
        return (scaled.sign() * (1 + scaled.abs()).log2() / 3).to(device, dtype), index.to(device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def walls_mask(box: Box, unit: Sizes, window: Sizes, dtype: torch.dtype, device: torch.device, *, shifted: bool) -> Tensor | None:
    """0 where a token may see another and -inf where not, (windows, 1, n, n); None where each may see all of its window."""
    return _walls_mask(*_grid(box, unit), window, shifted, dtype, device)


@lru_cache(maxsize=64)
def _walls_mask(
    shape: Sizes, periodic: tuple[bool, ...], window: Sizes, shifted: bool, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    with torch.inference_mode(False), torch.no_grad():
        sizes, label = windows_of(shape, periodic, window), torch.zeros((), dtype=torch.long)
        for n, w, s, again in zip(shape, sizes, shift_of(shape, sizes, shifted), periodic, strict=True):
            at = torch.arange(-(-n // w) * w)
            side = (at < s).long() + 2 * (at >= n)  # beyond the seam of the shift; filling
            label = 4 * label[..., None] + (0 * side if again else side).roll(-s)
        rows = split_windows(label[None, ..., None, None, None], sizes)[0, 0, :, 0, :, 0]
        same = rows[:, :, None] == rows[:, None, :]
        if bool(same.all()):
            return None
        return torch.where(same, 0.0, -torch.inf)[:, None].to(device, dtype)


def split_windows(u: Shaped[Tensor, "B *T K H D"], sizes: Sizes) -> Shaped[Tensor, "K B W H n D"]:
    """K tensors of tokens, parted by windows and heads."""
    b, *tokens, k, heads, each = u.shape
    d = len(sizes)
    u = u.reshape(b, *(v for n, w in zip(tokens, sizes, strict=True) for v in (n // w, w)), k, heads, each)
    u = u.permute(1 + 2 * d, 0, *range(1, 2 * d, 2), 2 + 2 * d, *range(2, 2 * d + 1, 2), 3 + 2 * d)
    return u.reshape(k, b, -1, heads, prod(sizes), each)


def join_windows(u: Float[Tensor, "B W H n D"], sizes: Sizes, tokens: Sizes) -> Float[Tensor, "B *T C"]:
    """Back to tokens, the heads one after the other."""
    b, _, heads, _, each = u.shape
    d = len(sizes)
    u = u.reshape(b, *(n // w for n, w in zip(tokens, sizes, strict=True)), heads, *sizes, each)
    u = u.permute(0, *(v for axis in range(d) for v in (1 + axis, 2 + d + axis)), 1 + d, 2 + 2 * d)
    return u.reshape(b, *tokens, heads * each)


class WindowAttention(nn.Module):
    """Attention of tokens (B, *T, C) on a grid of them, in windows of at most `window`, shifted by half of one or not."""

    def __init__(self, width: int, heads: int, window: Sizes, *, shifted: bool) -> None:
        super().__init__()
        self.heads, self.window, self.shifted = heads, window, shifted
        self.qkv, self.out = Pointwise(width, 3 * width), Pointwise(width, width)
        self.sharpness = nn.Parameter(torch.full((heads, 1, 1), log(10.0)))  # log 1/tau
        self.bias_in, self.bias_out = nn.Linear(len(window), BIAS_WIDTH), nn.Linear(BIAS_WIDTH, heads, bias=False)

    def forward(self, h: Float[Tensor, "B *T C"], tokens: Tokens) -> Float[Tensor, "B *T C"]:
        shape = tokens.shape
        sizes = windows_of(shape, tokens.periodic, self.window)
        filled = tuple(-(-n // w) * w for n, w in zip(shape, sizes, strict=True))
        shift, axes = shift_of(shape, sizes, self.shifted), tuple(range(1, 1 + len(shape)))
        h = fill(h, filled)
        h = h.roll(tuple(-s for s in shift), axes) if any(shift) else h
        qk, v = split_windows(self.qkv(h).unflatten(-1, (3, self.heads, -1)), sizes).split_with_sizes((2, 1))
        y = join_windows(self._attend(qk, v[0], tokens), sizes, filled)
        y = y.roll(shift, axes) if any(shift) else y
        mixed: Tensor = self.out(crop(y, shape))
        return mixed

    def _attend(self, qk: Tensor, v: Tensor, tokens: Tokens) -> Float[Tensor, "B W H n D"]:
        q, k = rms_norm(qk, qk.shape[-1:], eps=1e-6)
        bias, mask = self.bias(tokens, v), walls_mask(*tokens, self.window, v.dtype, v.device, shifted=self.shifted)
        sharpness = self.sharpness.clamp(max=log(100.0)).exp() / v.shape[-1]
        logits = (q * sharpness) @ k.mT + (bias if mask is None else bias + mask)
        return torch.softmax(logits, -1) @ v

    def bias(self, tokens: Tokens, like: Tensor) -> Float[Tensor, "H n n"]:
        """16 sigmoid of the network of each distance."""
        coordinates, index = distances(*tokens, self.window, like.dtype, like.device)
        values = 16 * torch.sigmoid(self.bias_out(relu(self.bias_in(coordinates))))
        side = round(len(index) ** 0.5)
        return values.mT.index_select(1, index).view(self.heads, side, side)


def fill(h: Float[Tensor, "B *T C"], grid: Sizes) -> Float[Tensor, "B *Z C"]:
    """Zeros behind the last token of each axis, up to `grid`."""
    if tuple(h.shape[1:-1]) == grid:
        return h
    behind = [v for n, m in zip(reversed(h.shape[1:-1]), reversed(grid), strict=True) for v in (0, m - n)]
    return pad(h, [0, 0, *behind])  # which counts axes from the last


def crop(h: Float[Tensor, "B *Z C"], grid: Sizes) -> Float[Tensor, "B *T C"]:
    """The first tokens of each axis: undoes `fill`."""
    return h[(slice(None), *(slice(n) for n in grid))]
