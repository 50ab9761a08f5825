"""Steady diffusion on a Box, -div(k grad u) = f with u = 0 on its walls, by finite volumes: k is constant in each cell and may jump.

    F_(i+1/2) = -2 k_i k_(i+1)/(k_i + k_(i+1)) (u_(i+1) - u_i)/h,    F_wall = -+ 2 k u/h,    sum of F out of a cell = f times its size

The harmonic mean is the flux between the middles of two layers, exactly, so that jumps along faces cost no order; walled axes are closed by
half a cell, periodic ones by themselves. The matrix is symmetric and positive and is factorised once, without iterations; one correction
by the residual in its flux form makes the balance of every cell exact to rounding at any contrast.

Source: Samarskii, The Theory of Difference Schemes (2001), 3.2; Eymard, Gallouet and Herbin, Finite volume methods, Handbook of Numerical
Analysis 7 (2000) 713, https://doi.org/10.1016/S1570-8659(00)07005-8.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu
from torch import Tensor

from surrogates.domains import Box
from surrogates.domains.box import PERIODIC

Array = npt.NDArray[np.float64]


def solve(k: Float[Tensor, "B 1 *X"], f: Float[Tensor, "B 1 *X"], box: Box) -> Float[Tensor, "B 1 *X"]:
    """u, as values at the middles of cells, float64. Not differentiable. Raises ValueError unless the box has a wall and k is positive."""
    if box.all_periodic:
        raise ValueError("without a wall u is known up to a constant only; give the box one, such as walls: [x, y] in a recipe's domain")
    if not bool((k > 0).all()):
        raise ValueError(f"the coefficient must be positive, got {float(k.min()):g}")
    rows = [_solved(a, b, box) for a, b in zip(_array(k), _array(f), strict=True)]
    return torch.from_numpy(np.stack(rows))[:, None].to(k.device)


def fluxes(u: Float[Tensor, "B 1 *X"], k: Float[Tensor, "B 1 *X"], box: Box, axis: int) -> Float[Tensor, "B 1 *Y"]:
    """F through the faces across an axis, from its lower to its upper end: one more than cells."""
    h = box.spacing[axis]
    flux = [np.moveaxis(_flux(a, b, h, axis, box), 0, axis) for a, b in zip(_array(u), _array(k), strict=True)]
    return torch.from_numpy(np.stack(flux))[:, None].to(u.device)


def _array(u: Tensor) -> Array:
    out: Array = u[:, 0].detach().double().cpu().numpy()
    return out


def _solved(k: Array, f: Array, box: Box) -> Array:
    factors = splu(_matrix(k, box), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    u: Array = factors.solve(f.ravel()).reshape(k.shape)
    change: Array = factors.solve((f - _operator(u, k, box)).ravel()).reshape(k.shape)
    return u + change


def _operator(u: Array, k: Array, box: Box) -> Array:
    """-div(k grad u) from the fluxes."""
    out = np.zeros_like(u)
    for axis, h in enumerate(box.spacing):
        out += np.moveaxis(np.diff(_flux(u, k, h, axis, box), axis=0) / h, 0, axis)
    return out


def _flux(u: Array, k: Array, h: float, axis: int, box: Box) -> Array:
    """With the axis first."""
    u, (inner, ends) = np.moveaxis(u, axis, 0), _conductances(np.moveaxis(k, axis, 0), box.boundary[axis])
    middle = -inner * np.diff(u, axis=0)
    if box.boundary[axis] == PERIODIC:
        around = -ends[:1] * (u[:1] - u[-1:])
        return np.concatenate([around, middle, around]) / h
    return np.concatenate([-ends[:1] * u[:1], middle, ends[1:] * u[-1:]]) / h


def _conductances(k: Array, boundary: str) -> tuple[Array, Array]:
    """Of the faces between cells, and of those at both ends of the first axis."""
    inner = 2 * k[1:] * k[:-1] / (k[1:] + k[:-1])
    if boundary == PERIODIC:
        around = 2 * k[:1] * k[-1:] / (k[:1] + k[-1:])
        return inner, np.concatenate([around, around])
    return inner, 2 * k[[0, -1]]


def _matrix(k: Array, box: Box) -> object:
    index, diagonal = np.arange(k.size).reshape(k.shape), np.zeros_like(k)
    i, j, value = [], [], []
    for axis, h in enumerate(box.spacing):
        cells, total = np.moveaxis(index, axis, 0), np.moveaxis(diagonal, axis, 0)  # views
        inner, ends = _conductances(np.moveaxis(k, axis, 0), box.boundary[axis])
        inner, ends = inner / h**2, ends / h**2
        total[1:] += inner
        total[:-1] += inner
        total[0] += ends[0]
        total[-1] += ends[1]
        pairs = [(cells[1:], cells[:-1], inner)] + ([(cells[:1], cells[-1:], ends[:1])] if box.boundary[axis] == PERIODIC else [])
        for a, b, g in pairs:
            i += [a.ravel(), b.ravel()]
            j += [b.ravel(), a.ravel()]
            value += [-g.ravel()] * 2
    entries = np.concatenate([*value, diagonal.ravel()])
    places = np.concatenate([*i, index.ravel()]), np.concatenate([*j, index.ravel()])
    return coo_matrix((entries, places), shape=(k.size, k.size)).tocsc()
