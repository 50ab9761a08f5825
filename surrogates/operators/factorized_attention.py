"""Attention one axis at a time: an integral operator along each axis, whose kernel is learnt from what lies across it.

    p_a(x_a) = 1/|D_a'| int h dx'             the mean of the features h over all other axes
    g_a = M_a layernorm(W_a p_a)              W_a a matrix, M_a a gated network, g = M_2 (gelu(M_1 .) * (M_1' .)), at each point of the axis
    q, k = W_q g_a, W_k g_a                   one pair of `rank` features a head
    K_a v(x_a) = 1/L_a int <R(x_a) q(x_a), R(x_a') k(x_a')> / sqrt(rank) v(x_a') dx_a'

without softmax. R turns each pair of features by m theta, theta = 2 pi (x - lower)/L on a periodic axis and half of it between walls, with
integers m spread evenly over 0..harmonics and dealt out among the heads (heads * rank/2 > harmonics, or there are gaps). So the kernel
depends on x - x' alone and has no seam; with constant q and k it is any convolution of these harmonics, and what q and k know of the field
bends it. They start with a constant part, as random convolutions. Means and integrals are the quadrature of the cell widths: they count
stretched cells by their width, and converge as the grid is refined. Positions are relative to the axis, so that a box twice as long has
kernels twice as long.

W_a acts after the mean, where it costs nothing, since means and matrices commute; the published code has two matrices before it. A kernel
is at most of rank `rank`: q (k^T v) is used instead of (q k^T) v on axes of more than 2 rank points. Fields are split into heads once,
(B, heads, *X, c), so that every integral is one batched product over rows of c values.

Source: Li, Shu and Barati Farimani, Scalable Transformer for PDE Surrogate Modeling, 2023, https://arxiv.org/abs/2305.17560.
"""

from __future__ import annotations

from functools import lru_cache
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.operators.pointwise import Pointwise
from surrogates.operators.rotary import rotate, turns

Geometry = tuple[tuple[Tensor, Tensor, Tensor | None], ...]
"""An axis: cos and sin that turn queries and keys, (n, 2, heads, rank), the keys' times the quadrature; widths (n), None if equal."""

Kernel = tuple[Tensor, Tensor]
"""Queries and keys of one axis, (B * heads, n, rank)."""

FLAT, TINY = 1e-8, 1e-20
"""Added to variances, times the squared mean and as it is: far below those of integrals, which are small since the values under them change
sign, and above what rounding leaves of a constant."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def geometry(box: Box, harmonics: tuple[int, ...], heads: int, rank: int, dtype: torch.dtype, device: torch.device) -> Geometry:
    """The tables of every axis, made once; a compiler takes them as constants of the grid."""
    return tuple(_axis(box, axis, m, heads, rank, dtype, device) for axis, m in enumerate(harmonics))


@lru_cache(maxsize=128)
def _axis(
    box: Box, axis: int, harmonics: int, heads: int, rank: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None]:
    with torch.inference_mode(False), torch.no_grad():
        turn = 2 * pi if box.boundary[axis] == PERIODIC else pi
        theta = turn * (box.coordinate(axis) - box.lower[axis]) / box.lengths[axis]
        pairs = heads * rank // 2
        waves = (torch.arange(pairs) * (harmonics + 1) // pairs).view(rank // 2, heads, 1).transpose(0, 1)
        cos, sin = turns(theta[:, None], waves.double())
        share = box.widths(axis)[:, None, None] / box.lengths[axis]
        scale = torch.stack([torch.ones_like(share), share / rank**0.5], 1)
        even = box.edges[axis] is None
        return (
            (cos[:, None] * scale).to(device, dtype),
            (sin[:, None] * scale).to(device, dtype),
            None if even else share.flatten().to(device, dtype),
        )


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def shares(box: Box, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " N"]:
    """Each cell's share of the volume, for averages over the box."""
    return _shares(box, dtype, device)


@lru_cache(maxsize=64)
def _shares(box: Box, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " N"]:
    with torch.inference_mode(False), torch.no_grad():
        return (box.measure / box.volume).flatten().to(device, dtype)


def check_harmonics(name: str, box: Box, harmonics: tuple[int, ...], positions: tuple[int, ...]) -> None:
    """Raise ValueError where an axis does not hold its harmonics, or has walls that the network cannot see."""
    for axis, (n, m, kind) in enumerate(zip(box.shape, harmonics, box.boundary, strict=True)):
        held = n // 2 if kind == PERIODIC else n - 1
        if m > held:
            raise ValueError(
                f"axis {box.axes[axis]} has {n} points and holds harmonics up to {held} but this {name} has harmonics={harmonics}; "
                f"use a finer grid, or build it with at most {held} there"
            )
        if kind != PERIODIC and not positions[axis]:
            raise ValueError(
                f"with positions={positions} a {name} cannot see the walls of axis {box.axes[axis]}; build it with positions=1"
            )


class AxisKernels(nn.Module):
    """The kernels of all axes from the features of a field, of its own weights each."""

    def __init__(self, width: int, heads: int, rank: int, dim: int) -> None:
        super().__init__()
        self.axes = nn.ModuleList(AxisKernel(width, heads, rank) for _ in range(dim))

    def forward(self, h: Float[Tensor, "B *X C"], tables: Geometry) -> list[Kernel]:
        """One kernel an axis, each from the mean of h over the others."""
        kernels = []
        for axis, kernel in enumerate(self.axes):
            p = h
            for other in reversed(range(len(tables))):
                if other != axis:
                    p = _average(p, 1 + other, tables[other][2])
            kernels.append(kernel(p, tables[axis][0], tables[axis][1]))
        return kernels


def _average(h: Tensor, dim: int, share: Tensor | None) -> Tensor:
    if share is None:
        return h.mean(dim)
    return (h * share.view(-1, *(1,) * (h.ndim - 1 - dim))).sum(dim)


class AxisKernel(nn.Module):
    """Features along one axis (B, n, C) -> queries and keys (B * heads, n, rank), turned; the keys carry the quadrature."""

    def __init__(self, width: int, heads: int, rank: int) -> None:
        super().__init__()
        self.heads, self.rank = heads, rank
        self.reduce = Pointwise(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.gated, self.mix = Pointwise(width, 2 * width), Pointwise(width, width)
        self.queries_keys = Pointwise(width, 2 * heads * rank, bias=False)
        nn.init.normal_(self.mix.bias)
        nn.init.normal_(self.queries_keys.weight, std=width**-0.5)

    def forward(self, p: Float[Tensor, "B n C"], cos: Float[Tensor, "n 2 H R"], sin: Float[Tensor, "n 2 H R"]) -> Kernel:
        a, b = self.gated(self.norm(self.reduce(p))).chunk(2, -1)
        qk = self.queries_keys(self.mix(gelu(a) * b)).view(*p.shape[:2], 2, self.heads, self.rank)
        q, k = rotate(qk, (cos, sin)).permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)
        return q, k


def integrate(kernel: Kernel, v: Float[Tensor, "B H *X C"], axis: int) -> Float[Tensor, "B H *X C"]:
    """The integral operator of this kernel along one axis."""
    q, k = kernel
    v = v.movedim(2 + axis, 2)
    columns = v.reshape(len(q), q.shape[1], -1)
    k = k.mT
    columns = torch.bmm(q, torch.bmm(k, columns)) if q.shape[1] > 2 * q.shape[2] else torch.bmm(torch.bmm(q, k), columns)
    return columns.view(v.shape).movedim(2, 2 + axis)


def standardise(z: Float[Tensor, "B *X C"], share: Float[Tensor, " N"], groups: int) -> Float[Tensor, "B *X C"]:
    """Mean 0 and variance 1 over the domain, and over the channels of each of `groups` groups: instance norm for one channel each.

    Without parameters. The mean goes first, so that half precision will do for the squares, and averages are products that read once.
    """
    b, c = len(z), z.shape[-1]

    def average(y: Tensor) -> Tensor:
        each = torch.matmul(share, y).view(b, groups, -1)
        return each.mean(-1, keepdim=True).expand_as(each).reshape(b, 1, c)

    flat = z.reshape(b, -1, c)
    mean = average(flat)
    flat = flat - mean
    return (flat * (average(flat * flat) + FLAT * mean * mean + TINY).rsqrt()).view(z.shape)
