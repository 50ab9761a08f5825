"""Orthonormal associated Legendre functions, and the matrices that integrate with them over the latitudes of a sphere.

P_lm(sin phi) exp(i m lambda) are the spherical harmonics Y_lm, with the Condon-Shortley phase and a mean square of 1/(4 pi):

    P_mm = -sqrt((2m+1)/(2m)) cos(phi) P_(m-1)(m-1),    P_lm = a_lm (sin(phi) P_(l-1)m - b_lm P_(l-2)m),
    a_lm^2 = (4l^2 - 1)/(l^2 - m^2),    b_lm^2 = ((l-1)^2 - m^2)/(4(l-1)^2 - 1).

In float64 this is good to about degree 1900; what underflows near the poles, cos(phi)^m, is of no account below that.

Analysis is the integral of P_lm u_m over sin(phi), u_m the part of a field of order m. On a Gauss grid the quadrature does it. On an
equiangular grid of K latitudes the plain rule is exact below degree K in all, half of what the grid holds. But u_m continues over the
poles as a series of cosines (even m) or sines (odd m), so it is known at twice as many latitudes, and the rule there is exact for every
product of a degree below K with such a series. Interpolation, weights and P make one matrix, no larger than that of the plain rule.

Sources: Holmes and Featherstone, A unified approach to the Clenshaw summation and the recursive computation of very high degree and order
normalised associated Legendre functions, 2002, https://doi.org/10.1007/s00190-002-0216-2; Swarztrauber, On the spectral approximation of
discrete scalar and vector functions on the sphere, 1979, https://doi.org/10.1137/0716069.
"""

from __future__ import annotations

from math import pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Sphere
from surrogates.domains.sphere import GAUSS, POLES

NEGLIGIBLE = 1e-30
"""Matrix entries below this are zero: their products would be denormal in float32, which processors multiply slowly."""


def held(sphere: Sphere) -> tuple[int, int]:
    """How many degrees l = 0, 1, ... and orders m = 0, 1, ... the grid tells apart (sines vanish at the poles, and at Nyquist)."""
    return sphere.shape[0] - (sphere.grid == POLES), (sphere.shape[1] + 1) // 2


def check_held(name: str, sphere: Sphere, degrees: int, orders: int) -> None:
    """Raise ValueError unless the grid holds that many degrees and orders."""
    most = held(sphere)
    if degrees > most[0] or orders > most[1]:
        raise ValueError(
            f"{name} has {degrees} degrees and {orders} orders but a grid {sphere.grid!r} of {sphere.shape} holds {most[0]} and {most[1]}; "
            "use a finer grid, or build it with fewer"
        )


def legendre(phi: Float[Tensor, " K"], degrees: int, first: int, last: int) -> Float[Tensor, "M L K"]:
    """P_lm at latitudes phi (radians) for orders first <= m < last and degrees first <= l < degrees, zero below l = m; float64."""
    sine, cosine = phi.sin(), phi.cos()
    p = phi.new_zeros(last - first, degrees - first, len(phi))
    m = torch.arange(first, last, dtype=torch.float64)[:, None]
    seed = torch.full_like(phi, 1 / sqrt(4 * pi))
    for order in range(1, last):
        if order > first:
            p[order - 1 - first, order - 1 - first] = seed
        seed = seed * cosine * -sqrt((2 * order + 1) / (2 * order))
    p[last - 1 - first, last - 1 - first] = seed
    for degree in range(first + 1, degrees):
        k, at = min(degree, last) - first, degree - first  # orders below the degree, and where it lies
        a = ((4 * degree**2 - 1) / (degree**2 - m[:k].square())).sqrt()
        p[:k, at] = a * sine * p[:k, at - 1]
        if at > 1:
            b = (((degree - 1) ** 2 - m[:k].square()) / (4 * (degree - 1) ** 2 - 1)).sqrt()
            p[:k, at] -= a * b * p[:k, at - 2]
    return p


def analysis(sphere: Sphere, degrees: int, first: int, last: int) -> Float[Tensor, "M L K"]:
    """What takes u_m(phi) to its coefficients 2 pi integral P_lm u_m d(sin phi), for the orders and degrees of `legendre`; float64."""
    if sphere.grid == GAUSS:
        return 2 * pi * sphere.quadrature * legendre(_latitudes(sphere), degrees, first, last)
    n = sphere.shape[0]
    fine = sphere.with_shape((2 * n - (sphere.grid == POLES), sphere.shape[1]))
    p = 2 * pi * fine.quadrature * legendre(_latitudes(fine), degrees, first, last)
    out = p.new_empty(*p.shape[:2], n)
    for parity in {first % 2, (first + 1) % 2}:
        rows = slice((parity - first) % 2, None, 2)
        out[rows] = p[rows] @ interpolation(sphere, fine, odd=bool(parity))
    return out


def interpolation(sphere: Sphere, fine: Sphere, *, odd: bool) -> Float[Tensor, "F K"]:
    """From K latitudes to those of `fine`, exact on cosines (or sines) of j theta, theta = 90 degrees - phi, that K latitudes hold."""
    n, poles = sphere.shape[0], sphere.grid == POLES
    theta, there = pi / 2 - _latitudes(sphere), pi / 2 - _latitudes(fine)
    j = torch.arange(1 if odd else 0, n - 1 if odd and poles else n, dtype=torch.float64)
    wave = torch.sin if odd else torch.cos
    weight = torch.full((len(j), n), 2 / (n - 1 if poles else n), dtype=torch.float64)
    weight[j == 0] /= 2
    if poles:
        weight[j == n - 1] /= 2
        weight[:, [0, -1]] /= 2
    return wave(torch.outer(there, j)) @ (weight * wave(torch.outer(j, theta)))


def _latitudes(sphere: Sphere) -> Tensor:
    return torch.deg2rad(sphere.coordinate(0))


def tangent(sphere: Sphere, degrees: int, first: int, last: int) -> tuple[Float[Tensor, "M L K"], Float[Tensor, "M L K"]]:
    """dP_lm/dphi and m P_lm/cos(phi) at the latitudes of a grid, first <= m < last and first <= l < degrees; float64.

    Without a division by cos(phi), so that they hold at the poles themselves (the recurrences of the angular momentum operators):

        dP_lm/dphi = 1/2 (sqrt((l+m)(l-m+1)) P_l(m-1) - sqrt((l-m)(l+m+1)) P_l(m+1)),    P_l(-1) = -P_l1,
        m P_lm/cos(phi) = -1/2 sqrt((2l+1)/(2l-1)) (sqrt((l-m)(l-m-1)) P_(l-1)(m+1) + sqrt((l+m)(l+m-1)) P_(l-1)(m-1)).
    """
    lo = max(first - 1, 0)
    table = legendre(torch.deg2rad(sphere.coordinate(0)), degrees, lo, min(last + 1, degrees))  # orders and degrees from lo on
    p = torch.cat([table, torch.zeros_like(table[:1]).expand(2, -1, -1)])  # there are no orders above the degree
    p = torch.cat([-p[1:2], p]) if first == 0 else p  # from order first - 1 on
    here, lower = p[:, first - lo :], torch.cat([torch.zeros_like(p[:, :1]), p[:, :-1]], 1)[:, first - lo :]  # l and l - 1
    before, after = slice(0, last - first), slice(2, last - first + 2)
    m = torch.arange(first, last, dtype=torch.float64)[:, None, None]
    degree = torch.arange(first, degrees, dtype=torch.float64)[:, None]

    def root(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).clamp_min(0).sqrt()

    slope = root(degree + m, degree - m + 1) * here[before] - root(degree - m, degree + m + 1) * here[after]
    over = root(degree - m, degree - m - 1) * lower[after] + root(degree + m, degree + m - 1) * lower[before]
    over = over * ((2 * degree + 1) / (2 * degree - 1).clamp_min(1)).sqrt()
    exists = (degree >= m) & (degree > 0)
    return slope.where(exists, 0.0) / 2, -over.where(exists, 0.0) / 2
