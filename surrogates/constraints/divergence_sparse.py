"""Projection where derivatives are sparse matrices: the nearest gradient, by a factorisation that is made once.

G_a p is the derivative of a potential along axis a, m the measure. With B^T = m^(1/2) [G_1; G_2; ...] and v = m^(1/2) u the part of u
that is a gradient is B^T (B B^T)^+ B v. B B^T may be singular in more ways than one: potentials that are constant in each of several
basins, that alternate between neighbours, nodes without neighbours. So B B^T + e I is factorised, e = 1e-12 of its diagonal (B scaled to
rows of length one), and what is left is projected again: an error falls by e / (e + eigenvalue) each time, and what has no gradient
is multiplied by none. Eigenvalues are about (cells from end to end)^-2, so twice is rounding for grids of a thousand cells a side.

The matrix is symmetric, so the projection is its own derivative and its own adjoint. It runs in float64 on the CPU, whatever the device.
Source of the iteration: Parikh and Boyd, Proximal Algorithms, 2014, section 4.1.2, https://doi.org/10.1561/2400000003.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from surrogates.domains.kept import kept

SHIFT = 1e-12
PASSES = 2


@dataclass(frozen=True, eq=False)
class Factors:
    """Of derivatives G_1..G_D (n x n) and a measure (n,): what projects, and what takes divergences."""

    scaled: Any  # scipy: (n, D n)
    solver: Any  # scipy: of B B^T + e I
    root: Float[Tensor, " n"]  # of the measure
    adjoint: tuple[tuple[Tensor, Tensor, Tensor], ...]  # m^(-1/2) G_a^T m^(1/2) as rows, columns, values
    steepest: float  # the largest derivative of a field of size one
    devices: dict[torch.device, tuple[Any, ...]] = field(default_factory=dict)

    def on(self, device: torch.device) -> tuple[Tensor, tuple[tuple[Tensor, Tensor, Tensor], ...]]:
        """Root and adjoints on a device, copied there once."""
        if device not in self.devices:
            with kept():
                parts = tuple((i.to(device), j.to(device), x.to(device)) for i, j, x in self.adjoint)
                self.devices[device] = (self.root.to(device), parts)
        root, adjoint = self.devices[device]
        return root, adjoint

    def project(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """B^T (B B^T)^+ B v for columns v (D n, B)."""
        found = np.zeros_like(v)
        for _ in range(PASSES):
            found += self.scaled.T @ self.solver.solve(self.scaled @ (v - found))
        return found


def factorise(gradient: Sequence[Any], measure: Float[Tensor, " n"]) -> Factors:
    """gradient: a scipy matrix (n x n) an axis."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    root = np.sqrt(measure.cpu().numpy())
    weighted = sparse.hstack([(sparse.diags(root) @ g).T for g in gradient], format="csr")
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).reshape(-1))
    scaled = (sparse.diags(1 / np.where(length > 0, length, 1)) @ weighted).tocsr()
    normal = (scaled @ scaled.T + SHIFT * sparse.identity(len(root))).tocsc()
    solver = splu(normal, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    with kept():
        adjoint = [sparse.diags(1 / root) @ g.T @ sparse.diags(root) for g in gradient]
        steepest = max(float(abs(g).sum(axis=1).max()) for g in adjoint)
        return Factors(scaled, solver, torch.from_numpy(root), tuple(_triplets(g) for g in adjoint), steepest)


def _triplets(matrix: Any) -> tuple[Tensor, Tensor, Tensor]:
    m = matrix.tocoo()
    return torch.from_numpy(m.row.astype(np.int64)), torch.from_numpy(m.col.astype(np.int64)), torch.from_numpy(m.data)


def gradient_part(u: Float[Tensor, "B D n"], factors: Factors) -> Float[Tensor, "B D n"]:
    """The gradient nearest to u in the measure; float64 within, in the type of u."""
    root, _ = factors.on(u.device)
    v = (u.double() * root).flatten(1)
    found: Tensor = _nearest(v, factors)
    return (found.view(u.shape) / root).to(u.dtype)


def squares(u: Float[Tensor, "B D n"], factors: Factors) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
    """|div u|^2 and |grad u|^2 at every point times its measure, float64; all derivatives are adjoints -G_a^* of the gradient's.

    The gradient is taken as at least the root of the rounding of u times its largest: a uniform flow has none but that of its rounding.
    """
    root, adjoint = factors.on(u.device)
    v = u.double() * root
    slopes = torch.stack([_product(v, *part) for part in adjoint], 2)  # (B, component, axis, n)
    rounding = torch.finfo(u.dtype).eps * factors.steepest**2 * v.square().sum(1)
    return torch.einsum("biin->bn", slopes).square(), slopes.square().sum((1, 2)) + rounding


def ratio(divergence2: Float[Tensor, "G 1"], gradient2: Float[Tensor, "G 1"]) -> Float[Tensor, "G 1"]:
    """The ratio of the roots, with a gradient of 0 where the divergence is; 0 for 0 / 0."""
    small = 1e-300  # clamped before the root: its gradient at 0 would be infinite
    return torch.where(divergence2 > 0, (divergence2.clamp_min(small) / gradient2.clamp_min(small)).sqrt(), 0.0)


def _product(v: Tensor, row: Tensor, column: Tensor, value: Tensor) -> Tensor:
    return torch.zeros_like(v).index_add(-1, row, v.index_select(-1, column) * value)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _nearest(v: Float[Tensor, "B m"], factors: Factors) -> Float[Tensor, "B m"]:
    found: Tensor = Nearest.apply(v, factors)  # type: ignore[no-untyped-call]
    return found


class Nearest(torch.autograd.Function):
    """`Factors.project` of rows."""

    @staticmethod
    def forward(v: Tensor, factors: Factors) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(factors.project(v.detach().cpu().numpy().T).T)).to(v)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Factors], output: Tensor) -> None:
        ctx.factors = inputs[1]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return _nearest(g, ctx.factors), None

    @staticmethod
    def jvp(ctx: Any, t: Tensor, _: None) -> Tensor:
        along: Tensor = _nearest(t, ctx.factors)
        return along

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], v: Tensor, factors: Factors) -> tuple[Tensor, int]:
        rows = v.movedim(in_dims[0], 0)
        return _nearest(rows.flatten(0, 1), factors).view(rows.shape), 0
