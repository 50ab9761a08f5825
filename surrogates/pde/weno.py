"""Fluxes between the cells of a periodic line from their averages: WENO reconstruction of fifth order, Godunov's flux for u^2/2.

The value of u at the right face of cell i, seen from the left, is a mean of three parabolas over cells i-2..i+2,

    p_0 = (2 u_{i-2} - 7 u_{i-1} + 11 u_i)/6,  p_1 = (-u_{i-1} + 5 u_i + 2 u_{i+1})/6,  p_2 = (2 u_i + 5 u_{i+1} - u_{i+2})/6

with weights in proportion to d_r/(eps + beta_r)^2, d = (1, 6, 3)/10: of fifth order where u is smooth, while a parabola across a jump
(large beta_r, its roughness) has no say. Seen from the right it is the mirror image.

Source: Jiang and Shu, Efficient implementation of weighted ENO schemes, 1996, https://doi.org/10.1006/jcph.1996.0130.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPS = 1e-6


def reconstructed(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor) -> Tensor:
    """u at the far face of the middle cell of five."""
    p0, p1, p2 = 2 * a - 7 * b + 11 * c, 5 * c + 2 * d - b, 2 * c + 5 * d - e
    s0 = 13 / 12 * (a - 2 * b + c).square() + (a - 4 * b + 3 * c).square() / 4
    s1 = 13 / 12 * (b - 2 * c + d).square() + (b - d).square() / 4
    s2 = 13 / 12 * (c - 2 * d + e).square() + (3 * c - 4 * d + e).square() / 4
    w0, w1, w2 = 1 / (EPS + s0).square(), 6 / (EPS + s1).square(), 3 / (EPS + s2).square()
    out: Tensor = (w0 * p0 + w1 * p1 + w2 * p2) / (6 * (w0 + w1 + w2))
    return out


def sides(u: Float[Tensor, "*B n"]) -> tuple[Float[Tensor, "*B n"], Float[Tensor, "*B n"]]:
    """u on the left and on the right of the face between cells i and i + 1."""
    m2, m1, p1, p2, p3 = (u.roll(s, -1) for s in (2, 1, -1, -2, -3))
    return reconstructed(m2, m1, u, p1, p2), reconstructed(p3, p2, p1, u, m1)


def godunov(left: Tensor, right: Tensor) -> Tensor:
    """The flux u^2/2 of the exact solution of the Riemann problem, at the face."""
    flux: Tensor = torch.maximum(left.clamp_min(0).square(), right.clamp_max(0).square()) / 2
    return flux


def convection(u: Float[Tensor, "*B n"], spacing: float) -> Float[Tensor, "*B n"]:
    """-(u^2/2)_x as averages over cells."""
    flux = godunov(*sides(u))
    return (flux.roll(1, -1) - flux) / spacing
