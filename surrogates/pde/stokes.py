"""Modes of plane flow between two walls: velocities (psi', -i k psi) e^{ikx} that Stokes' equation lets decay one by one,

    int (psi'_m phi' + k^2 psi_m phi) dy = delta_mn,     lambda_m: the rate of decay over the viscosity        (psi = psi' = 0 at y = +-1)

No divergence, no slip and no pressure are left to deal with, and friction is exact in time. They are combinations of Shen's polynomials

    phi_j = (L_j - 2 (2j+5)/(2j+7) L_{j+2} + (2j+3)/(2j+7) L_{j+4}) / sqrt(2 (2j+3)^2 (2j+5)),     int phi_i'' phi_j'' = delta_ij

in which the two forms are well conditioned; at k = 0 the mean flow U(y) is one of (L_j - L_{j+2})/sqrt(4j+6), and psi' stands for U.
Of n polynomials about half of the modes are those of the equation, to many digits.

Source: Shen, Efficient spectral-Galerkin method I, SIAM J. Sci. Comput. 15 (1994) 1489, https://doi.org/10.1137/0915089.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from numpy.polynomial import legendre
from scipy.interpolate import CubicSpline
from scipy.linalg import eigh
from torch import Tensor

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Modes:
    """n modes at each of the waves 0..K along a channel of `length`, by coefficients of Legendre polynomials of psi (U at k = 0)."""

    k: Array  # (K+1)
    rate: Array  # (K+1, n), lambda
    legendre: Array  # (K+1, n, degree+1)

    def at(self, y: Array, derivative: int = 0) -> Float[Tensor, "K Q n"]:
        """psi at points, or a derivative."""
        coefficients = legendre.legder(self.legendre, derivative, axis=2) if derivative else self.legendre
        return torch.from_numpy(np.einsum("qd,knd->kqn", legendre.legvander(y, coefficients.shape[2] - 1), coefficients))

    def velocity(self, y: Array) -> tuple[Float[Tensor, "K Q n"], Float[Tensor, "K Q n"]]:
        """u, and i v: real both."""
        psi, slope = self.at(y), self.at(y, 1)
        slope[0] = psi[0]
        return slope, torch.from_numpy(self.k)[:, None, None] * psi

    def vorticity(self, y: Array) -> Float[Tensor, "K Q n"]:
        """v_x - u_y."""
        k = torch.from_numpy(self.k)[:, None, None]
        out = k.square() * self.at(y) - self.at(y, 2)
        out[0] = -self.at(y, 1)[0]
        return out


@lru_cache(maxsize=16)
def modes(count: int, n: int, length: float) -> Modes:
    """Those of the waves 0..count of a channel of this length, half a unit to each wall from the middle being 1."""
    k: Array = 2 * np.pi / length * np.arange(count + 1, dtype=np.float64)
    y, w = legendre.leggauss(n + 5)
    clamped, mean = _clamped(n), _mean(n)
    value, slope = (legendre.legvander(y, n + 3 - d) @ legendre.legder(clamped, d, axis=1).T for d in (0, 1))
    mass, stretch = value.T * w @ value, slope.T * w @ slope
    rates, rows = np.empty((count + 1, n)), np.zeros((count + 1, n, n + 4))
    for i in range(1, count + 1):
        energy, friction = stretch + k[i] ** 2 * mass, np.eye(n) + 2 * k[i] ** 2 * stretch + k[i] ** 4 * mass
        rates[i], rows[i] = _diagonal(energy, friction, clamped)
    value = legendre.legvander(y, n + 3) @ mean.T
    rates[0], rows[0] = _diagonal(value.T * w @ value, np.eye(n), mean)
    return Modes(k, rates, rows)


def _diagonal(energy: Array, friction: Array, basis: Array) -> tuple[Array, Array]:
    """lambda rising, and the modes of unit energy: the inverse problem, as friction is the better conditioned form."""
    inverse, vectors = eigh(energy, friction)
    order = np.argsort(-inverse)
    inverse, vectors = inverse[order], vectors[:, order]
    return 1 / inverse, (vectors / np.sqrt(inverse)).T @ basis


def _clamped(n: int) -> Array:
    j = np.arange(n)
    out = np.zeros((n, n + 4))
    size = 1 / np.sqrt(2 * (2 * j + 3) ** 2 * (2 * j + 5))
    out[j, j], out[j, j + 2], out[j, j + 4] = size, -size * 2 * (2 * j + 5) / (2 * j + 7), size * (2 * j + 3) / (2 * j + 7)
    return out


def _mean(n: int) -> Array:
    """Padded to the degree of the others."""
    j = np.arange(n)
    out, size = np.zeros((n, n + 4)), 1 / np.sqrt(4 * j + 6)
    out[j, j], out[j, j + 2] = size, -size
    return out


@lru_cache(maxsize=16)
def spline(cells: int, points: int) -> Float[Tensor, "Q n"]:
    """From values at the middles of cells to Gauss's points, zero at the walls: a matrix, of fourth order."""
    y = (2 * np.arange(cells) + 1) / cells - 1
    values = np.concatenate([np.zeros((1, cells)), np.eye(cells), np.zeros((1, cells))])
    return torch.from_numpy(CubicSpline(np.concatenate([[-1.0], y, [1.0]]), values)(legendre.leggauss(points)[0]))
