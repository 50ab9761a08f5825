"""Real spherical harmonic transform of a field u on a `Sphere`: coefficients c_lm of degrees l and orders 0 <= m <= l,

    c_lm = integral of u conj(Y_lm),    u = sum_l c_l0 Y_l0 + 2 sum_(0 < m <= l) Re(c_lm Y_lm),

Y_lm orthonormal on the unit sphere. Around the circles a truncated Fourier transform, then along the meridians an integral with the
Legendre functions of each order. Both are exact for fields below the degree and order that the grid holds (`legendre.held`).

*Circles*: by products with cosine and sine matrices, or by FFT where the orders are many. On an even circle the sum and the difference of
its halves have the even and the odd orders, which halves the products.

*Meridians*: one product an order, batched. Only l >= m exist: the orders are cut into bands, and the batch of a band begins at its lowest
degree. As a filter by degree wants all orders of a degree together, a spectrum is a tuple of bands of degrees, each (degree, order, 2, *F)
with real and imaginary parts, holding those of the orders `Transform.rows` that lie below the band's last degree. It is zero where l < m.
`dense` and `banded` translate to and from one tensor in order of m.

Fields come with the grid first, (lat, lon, *F): every product then takes its operands as they lie in memory, but for one copy.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from math import log2, pi
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Sphere
from surrogates.domains.legendre import NEGLIGIBLE, analysis, check_held, legendre

Spectrum = tuple[Tensor, ...]
"""Bands of degrees, each (degree, order, 2, *F)."""

FFT_PRICE = 6.0
"""An operation of an FFT (5/2 N log2 N) in multiply-adds of a matrix product, as in `fourier` but with the parts taken apart and joined:
a filter there and back takes as long by either at 256 x 128 orders (66.7 ms and 67.3 on one AMD EPYC core with gradients, 128 x 256), by
FFT 1.4 times as long at 128 x 64."""
BAND = {"cpu": 16, "cuda": 128}
"""Orders that a band must have for the work saved to outweigh one more call. On one AMD EPYC core two bands of 32 orders save 5 %, four
of 64 save 14 %. On a GPU, where a call costs more, an estimate: a launch of 5 us beside products at 50 TFLOP/s."""


class Transform(NamedTuple):
    """The matrices of one grid, truncation, type and device. A class is all orders, or the even and the odd ones of an even circle."""

    grid: tuple[int, int]
    borders: tuple[int, ...]  # of the bands of orders
    cuts: tuple[int, ...]  # of the bands of degrees: the same, but for the last
    rows: tuple[int, ...]  # the orders, as a spectrum has them
    classes: int
    there: tuple[Tensor, ...]  # (2 orders, n) a class; none by FFT
    back: tuple[tuple[Tensor, Tensor], ...]  # (n, orders), for real and imaginary parts, a class
    turn: Tensor | None  # exp(-i m west), by FFT
    analysis: tuple[Tensor, ...]  # (order, degree, lat) for every band and class
    synthesis: tuple[Tensor, ...]  # (order, lat, degree)


def by_products(circle: int, orders: int) -> bool:
    """Whether the circles cost less by products than by FFT, counting operations a channel."""
    halved = 1 if circle % 2 else 2
    return 2 * orders * circle / halved < FFT_PRICE * 2.5 * circle * log2(max(circle, 2))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def transform(sphere: Sphere, degrees: int, orders: int, dtype: torch.dtype, device: torch.device) -> Transform:
    """The transform of degrees 0..degrees-1 and orders 0..orders-1 <= degrees - 1, made once.

    Raises ValueError for more than the grid holds, and for more orders than degrees.
    """
    return _transform(replace(sphere, radius=1.0, units="1"), degrees, orders, dtype, device)


@lru_cache(maxsize=16)
def _transform(sphere: Sphere, degrees: int, orders: int, dtype: torch.dtype, device: torch.device) -> Transform:
    check_held("this transform", sphere, degrees, orders)
    if not 1 <= orders <= degrees:
        raise ValueError(f"a transform has 1 to degrees = {degrees} orders, got {orders}")
    n = sphere.shape[1]
    products = by_products(n, orders)
    classes = 2 if products and n % 2 == 0 and orders > 1 else 1
    bands = max(1, min(4, orders // BAND.get(device.type, 128)))
    borders = tuple(round(orders * i / bands) for i in range(bands + 1))
    with torch.inference_mode(False), torch.no_grad():
        there, back, turn = _circles(sphere, orders, classes) if products else ((), (), _turn(sphere, orders))
        up, down = [], []
        for lo, hi in pairwise(borders):
            whole, values = analysis(sphere, degrees, lo, hi), legendre(torch.deg2rad(sphere.coordinate(0)), degrees, lo, hi)
            for c in range(classes):
                rows = slice((c - lo) % classes, None, classes)
                up.append(_small(whole[rows], dtype, device))
                down.append(_small(values[rows].mT, dtype, device))
        return Transform(
            (sphere.shape[0], n),
            borders,
            (*borders[:-1], degrees),
            tuple(m for lo, hi in pairwise(borders) for c in range(classes) for m in range(lo, hi) if m % classes == c),
            classes,
            tuple(_small(t, dtype, device) for t in there),
            tuple((_small(a, dtype, device), _small(b, dtype, device)) for a, b in back),
            None if turn is None else turn.to(device, dtype.to_complex()),
            tuple(up),
            tuple(down),
        )


def _small(matrix: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    return matrix.where(matrix.abs() > NEGLIGIBLE, 0.0).to(device, dtype).contiguous()


def _circles(sphere: Sphere, orders: int, classes: int) -> tuple[tuple[Tensor, ...], tuple[tuple[Tensor, Tensor], ...], None]:
    n = sphere.shape[1]
    part = torch.arange(n // classes, dtype=torch.float64)
    there, back = [], []
    for c in range(classes):
        m = torch.arange(c, orders, classes, dtype=torch.float64)
        angle = 2 * pi / n * (torch.outer(m, part) % n) + (torch.deg2rad(torch.tensor(sphere.west, dtype=torch.float64)) * m)[:, None]
        cosine, sine = angle.cos(), angle.sin()
        there.append(torch.stack([cosine, -sine], 1).flatten(0, 1) / n)
        w = torch.where(m == 0, 1.0, 2.0)[:, None]
        back.append(((w * cosine).T, torch.where(m[:, None] == 0, 0.0, -w * sine).T))
    return tuple(there), tuple(back), None


def _turn(sphere: Sphere, orders: int) -> Tensor | None:
    angle = torch.deg2rad(torch.tensor(sphere.west, dtype=torch.float64)) * torch.arange(orders)
    return torch.polar(torch.ones_like(angle), -angle)[:, None] if sphere.west else None


def analyse(u: Float[Tensor, "lat lon *F"], t: Transform) -> Spectrum:
    """The spectrum of a field."""
    sizes, bands = [len(p) for p in t.analysis], [hi - lo for lo, hi in pairwise(t.cuts)]
    lines = [torch.split(z, sizes[c :: t.classes], 1) for c, z in enumerate(_around(u.flatten(2) if u.ndim > 2 else u[..., None], t))]
    columns: list[list[Tensor]] = [[] for _ in bands]
    for g, p in enumerate(t.analysis):
        band, c = divmod(g, t.classes)
        found = torch.bmm(p, lines[c][band].transpose(0, 1))
        for j, z in enumerate(torch.split(found, bands[band:], 1), start=band):
            columns[j].append(z.transpose(0, 1))
    return tuple(torch.cat(z, 1).view(n, -1, 2, *u.shape[2:]) for n, z in zip(bands, columns, strict=True))


def synthesise(spectrum: Spectrum, t: Transform) -> Float[Tensor, "lat lon *F"]:
    """The field of a spectrum. The imaginary part of order 0, and what lies below l = m, have no say."""
    sizes, rest = [len(p) for p in t.synthesis], spectrum[0].shape[3:]
    pieces = [torch.split(z.flatten(2), sizes[: (j + 1) * t.classes], 1) for j, z in enumerate(spectrum)]
    found: list[list[Tensor]] = [[] for _ in range(t.classes)]
    for g, p in enumerate(t.synthesis):
        column = [z[g] for z in pieces[g // t.classes :]]
        o = torch.cat(column) if len(column) > 1 else column[0]
        found[g % t.classes].append(torch.bmm(p, o.transpose(0, 1)))
    return _around_back([torch.cat(y) if len(y) > 1 else y[0] for y in found], t).reshape(*t.grid, *rest)


def _around(u: Float[Tensor, "lat lon F"], t: Transform) -> list[Tensor]:
    """The Fourier coefficients of every circle: (lat, order, 2F) a class."""
    if not t.there:
        z = torch.fft.rfft(u, dim=1, norm="forward").narrow(1, 0, t.borders[-1])
        z = z if t.turn is None else z * t.turn
        return [torch.cat([z.real, z.imag], 2)]
    halves = u.chunk(2, 1) if t.classes == 2 else (u,)
    sums = (halves[0] + halves[1], halves[0] - halves[1]) if t.classes == 2 else halves
    return [torch.bmm(m.expand(len(u), -1, -1), v).view(len(u), len(m) // 2, -1) for m, v in zip(t.there, sums, strict=True)]


def _around_back(found: list[Tensor], t: Transform) -> Float[Tensor, "lat lon F"]:
    """The circles of these Fourier coefficients, (order, lat, 2F) a class."""
    if not t.back:
        real, imaginary = found[0].chunk(2, 2)
        mean = torch.zeros_like(imaginary[:1])  # not every FFT library ignores the imaginary part of order 0
        z = torch.complex(real, torch.cat([mean, imaginary[1:]])).transpose(0, 1)
        z = z if t.turn is None else z * t.turn.conj()
        field: Tensor = torch.fft.irfft(z, n=t.grid[1], dim=1, norm="forward")
        return field
    fields = []
    for y, (cosine, sine) in zip(found, t.back, strict=True):
        real, imaginary = y.transpose(0, 1).chunk(2, 2)
        v = torch.bmm(cosine.expand(len(real), -1, -1), real)
        fields.append(torch.baddbmm(v, sine.expand(len(real), -1, -1), imaginary))
    return torch.cat([fields[0] + fields[1], fields[0] - fields[1]], 1) if t.classes == 2 else fields[0]


def dense(spectrum: Spectrum, t: Transform) -> Float[Tensor, "L M 2 *F"]:
    """A spectrum as one tensor, orders from 0 on."""
    out = spectrum[0].new_zeros(t.cuts[-1], t.borders[-1], *spectrum[0].shape[2:])
    for (lo, hi), z in zip(pairwise(t.cuts), spectrum, strict=True):
        out[lo:hi, t.rows[: z.shape[1]]] = z
    return out


def banded(coefficients: Float[Tensor, "L M 2 *F"], t: Transform) -> Spectrum:
    """What `dense` made, back in bands."""
    counts = [sum(len(p) for p in t.analysis[: (j + 1) * t.classes]) for j in range(len(t.borders) - 1)]
    return tuple(coefficients[lo:hi, t.rows[:count]] for (lo, hi), count in zip(pairwise(t.cuts), counts, strict=True))
