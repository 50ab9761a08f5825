"""Gas on both sides of every face of a line of cells, from their averages: WENO of fifth order on characteristic variables.

Around each face the equations of (rho, u, v, p) are taken to be linear, with density and speed of sound the means of both sides. There

    p - rho c u,    p + rho c u,    rho - p/c^2,    v

are carried by themselves, and are rebuilt one by one (`surrogates.pde.weno`): waves that cross each other do not ring in one another.
A side whose density or pressure would come out below a small part of its cell's is that cell's average instead.

Source: Qiu and Shu, J. Comput. Phys. 183 (2002) 187, https://doi.org/10.1006/jcph.2002.7191 (why characteristic variables).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.pde.gas import Gas, Ratio, hllc, sound
from surrogates.pde.weno import reconstructed

DEPTH = 3  # cells beyond each end that the faces of a line need
LEAST = 1e-2  # of a cell's density and pressure, on its side of a face


def flux(w: Float[Tensor, "B 4 *X n"], gamma: Ratio, first: Bool[Tensor, "B 1 *X m"] | None = None) -> Float[Tensor, "B 4 *X m"]:
    """HLLC fluxes through the faces along the last axis, from primitive variables with `DEPTH` cells more at each end; the velocity
    normal to the faces comes first. Faces where `first` is true see the averages themselves: a scheme of first order."""
    left, right = sides(w, gamma)
    if first is not None:
        plain_left, plain_right = w[..., DEPTH - 1 : -DEPTH], w[..., DEPTH : 1 - DEPTH]
        left, right = torch.where(first, plain_left, left), torch.where(first, plain_right, right)
    return hllc(left, right, gamma)


def sides(w: Float[Tensor, "B 4 *X n"], gamma: Ratio) -> tuple[Float[Tensor, "B 4 *X m"], Float[Tensor, "B 4 *X m"]]:
    """Primitive variables on the left and on the right of each face."""
    faces = w.shape[-1] - 2 * DEPTH + 1
    cells = [w[..., i : i + faces] for i in range(2 * DEPTH)]
    before, after = cells[DEPTH - 1], cells[DEPTH]
    c = (sound(before, gamma) + sound(after, gamma)) / 2
    z = c * (before[:, 0] + after[:, 0]) / 2
    waves = [characteristic(cell, z, c) for cell in cells]
    left, right = reconstructed(*(torch.stack([waves[i], waves[-1 - i]]) for i in range(2 * DEPTH - 1)))  # the right side is a mirror image
    return kept(felt(left, z, c), before), kept(felt(right, z, c), after)


def characteristic(w: Gas, z: Tensor, c: Tensor) -> Gas:
    """Waves to the left and to the right, entropy, shear."""
    rho, u, v, p = w.unbind(1)
    return torch.stack([p - z * u, p + z * u, rho - p / c**2, v], 1)


def felt(waves: Gas, z: Tensor, c: Tensor) -> Gas:
    """Primitive variables of characteristic ones."""
    minus, plus, entropy, v = waves.unbind(1)
    p = (plus + minus) / 2
    return torch.stack([entropy + p / c**2, (plus - minus) / (2 * z), v, p], 1)


def kept(w: Gas, cell: Gas) -> Gas:
    """The cell's average where density or pressure would be lost."""
    fine = (w[:, 0] > LEAST * cell[:, 0]) & (w[:, 3] > LEAST * cell[:, 3])
    return torch.where(fine[:, None], w, cell)
