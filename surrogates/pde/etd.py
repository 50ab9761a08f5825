"""Exponential time differencing for w' = L w + N(w), with L diagonal: the linear part is exact, only N is approximated.

    phi_1(z) = (e^z - 1)/z      phi_2(z) = (e^z - 1 - z)/z^2      phi_3(z) = (e^z - 1 - z - z^2/2)/z^3

lose all their digits near z = 0, so they are averaged over a circle around z (Cauchy): exact but for rounding with 32 points. The
whole circle is taken, which is right for complex L too (dispersion); the half circle with the real part is right for real L only.
The points lie at odd multiples of pi/32, so that for L on the real or imaginary axis none falls on the origin.

A scheme is a function (L, h, dtype) -> advance, and advance(w, N) is w one step h later. Coefficients are made once, in double
precision; L and h may carry a row each: (B | 1, C, *K) and (B | 1).

Sources: Cox and Matthews, J. Comput. Phys. 176 (2002) 430, eqs. 22 and 26-29; Kassam and Trefethen, SIAM J. Sci. Comput. 26 (2005) 1214.
"""

from __future__ import annotations

from cmath import rect
from collections.abc import Callable
from math import pi
from typing import TypeAlias

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

Nonlinear: TypeAlias = Callable[[Tensor], Tensor]
Advance: TypeAlias = Callable[[Tensor, Nonlinear], Tensor]
Scheme: TypeAlias = Callable[[Tensor, Tensor, torch.dtype], Advance]

POINTS = 32


def phi(z: Inexact[Tensor, "*K"]) -> tuple[Inexact[Tensor, "*K"], Inexact[Tensor, "*K"], Inexact[Tensor, "*K"]]:
    """phi_1, phi_2 and phi_3 of z, real where z is: means over the unit circle around each value."""
    sums = [torch.zeros_like(z, dtype=torch.complex128) for _ in range(3)]
    for j in range(POINTS):
        c = z + rect(1.0, (2 * j + 1) * pi / POINTS)
        p = torch.exp(c)
        for order in range(3):  # phi_{n+1} = (phi_n - 1/n!) / z, with phi_0 = exp
            p = (p - (1.0, 1.0, 0.5)[order]) / c
            sums[order] = sums[order] + p
    means = [s / POINTS for s in sums]
    one, two, three = means if z.is_complex() else [m.real for m in means]
    return one, two, three


def rows(h: Float[Tensor, " R"], like: Tensor) -> Tensor:
    """h, one value a row, shaped to multiply a spectrum of as many axes as `like`."""
    return h.reshape(-1, *(1,) * (like.ndim - 1))


def etdrk2(L: Inexact[Tensor, "R C *K"], h: Float[Tensor, " S"], dtype: torch.dtype) -> Advance:
    """Second order, two evaluations of N a step. `dtype` is that of the spectrum (complex)."""
    h = rows(h, L).to(L.device)
    one, two, _ = phi(h * L)
    E, P, Q = (c.to(dtype) for c in (torch.exp(h * L), h * one, h * two))

    def advance(w: Tensor, N: Nonlinear) -> Tensor:
        n = N(w)
        a = torch.addcmul(E * w, P, n)
        return torch.addcmul(a, Q, N(a) - n)

    return advance


def etdrk4(L: Inexact[Tensor, "R C *K"], h: Float[Tensor, " S"], dtype: torch.dtype) -> Advance:
    """Fourth order, four evaluations of N a step. `dtype` is that of the spectrum (complex)."""
    h = rows(h, L).to(L.device)
    half, _, _ = phi(h * L / 2)
    one, two, three = phi(h * L)
    exact = (torch.exp(h * L), torch.exp(h * L / 2), h / 2 * half)
    weights = (h * (one - 3 * two + 4 * three), h * (2 * two - 4 * three), h * (4 * three - two))
    E, E2, Q, f1, f2, f3 = (c.to(dtype) for c in (*exact, *weights))

    def advance(w: Tensor, N: Nonlinear) -> Tensor:
        e = E2 * w
        n = N(w)
        a = torch.addcmul(e, Q, n)
        na = N(a)
        b = torch.addcmul(e, Q, na)
        nb = N(b)
        c = torch.addcmul(E2 * a, Q, 2 * nb - n)
        out = torch.addcmul(E * w, f1, n)
        out = torch.addcmul(out, f2, na + nb)
        return torch.addcmul(out, f3, N(c))

    return advance
