"""Runge-Kutta of order four in two registers for N, the trapezoidal rule for L in every stage: what many turbulence codes use.

    r <- N(w) + a_i r,      (1 - m_i L) w <- (1 + m_i L) w + b_i h r,      m_i = h (c_{i+1} - c_i)/2,      i = 1..5

Fourth order where L = 0, second order in L: at the same step an ETDRK4 step is more accurate and needs four evaluations of N, not five.
Sources: Carpenter and Kennedy, NASA TM 109112 (1994), solution 3; with L as in Canuto et al., Spectral Methods (2007), appendix D.3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from surrogates.pde.etd import Advance, Nonlinear, rows

A = (
    0.0,
    -567301805773 / 1357537059087,
    -2404267990393 / 2016746695238,
    -3550918686646 / 2091501179385,
    -1275806237668 / 842570457699,
)
B = (
    1432997174477 / 9575080441755,
    5161836677717 / 13612068292357,
    1720146321549 / 2090206949498,
    3134564353537 / 4481467310338,
    2277821191437 / 14882151754819,
)
C = (0.0, B[0], 2526269341429 / 6820363962896, 2006345519317 / 3224310063776, 2802321613138 / 2924317926251, 1.0)


def rk4_crank_nicolson(L: Inexact[Tensor, "R C *K"], h: Float[Tensor, " S"], dtype: torch.dtype) -> Advance:
    """Five evaluations of N a step. `dtype` is that of the spectrum (complex)."""
    h = rows(h, L).to(L.device)
    halves = [h * (C[i + 1] - C[i]) / 2 for i in range(5)]
    stages = [(a, ((1 + m * L) / (1 - m * L)).to(dtype), (b * h / (1 - m * L)).to(dtype)) for a, b, m in zip(A, B, halves, strict=True)]

    def advance(w: Tensor, N: Nonlinear) -> Tensor:
        r = None
        for a, decay, gain in stages:
            r = N(w) if r is None else torch.add(N(w), r, alpha=a)
            w = torch.addcmul(decay * w, gain, r)
        return w

    return advance
