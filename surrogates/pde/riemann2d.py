"""Riemann problems in the plane: four quadrants, each with a random state of its own, that run into one another.

    log rho, log p  uniform on +- log(contrast)/2,    (u, v) = mach sqrt(gamma) (a, b),  a and b uniform on [-1, 1]

The quadrants meet at a random point of the middle third; on a periodic axis also half the box further on. Shocks, contacts, rarefactions
and slip lines come of all pairs. Averages over cells are exact, those that an edge of a quadrant runs through included.

Source of the family: Schulz-Rinne, Collins and Glaz, SIAM J. Sci. Comput. 14 (1993) 1394, https://doi.org/10.1137/0914082 (there the states
are chosen so that one wave joins each pair; here they are random).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.noise import splitmix
from surrogates.pde import gas
from surrogates.pde.compressible import Compressible, columns
from surrogates.record import recorded

KEY = 0x71756164  # of these draws


@recorded
class Riemann2d(Compressible):
    """`Compressible` from four quadrants."""

    def initial(
        self,
        domain: Box,
        trajectories: Sequence[int],
        seed: int,
        *,
        contrast: float | int = 4.0,
        mach: float | int = 0.7,
        conditions: Conditions | None = None,
    ) -> Float[Tensor, "B 4 X Y"]:
        """Averages over cells, float64, the same for a trajectory in any batch. Raises ValueError unless contrast >= 1 and mach >= 0."""
        if not (contrast >= 1 and mach >= 0):
            raise ValueError(f"contrast must be at least 1 and mach not negative, got {contrast} and {mach}")
        p = torch.stack([drawn(seed, i) for i in trajectories])
        size = torch.tensor([float(contrast)], dtype=torch.float64).log()
        gamma = self.gammas(conditions, len(trajectories))
        rho, pressure = torch.exp((p[:, 0] - 0.5) * size), torch.exp((p[:, 1] - 0.5) * size)
        u, v = (mach * gamma.sqrt()[:, None] * (2 * p[:, c] - 1) for c in (2, 3))
        states = gas.conserved(torch.stack([rho, u, v, pressure], 1)[..., None], gamma.reshape(-1, 1, 1))[..., 0]
        middle = (1 + p[:, 4, :2]) / 3
        share = [share_above(domain, axis, middle[:, axis]) for axis in (0, 1)]
        x, y = (torch.stack([1 - s, s], 1) for s in share)
        return torch.einsum("bcij,bix,bjy->bcxy", states.reshape(*states.shape[:2], 2, 2), x, y)

    def gammas(self, conditions: Conditions | None, rows: int) -> Float[Tensor, " B"]:
        """The ratio of heats of each row, float64."""
        if conditions is None:
            return torch.full((rows,), float(self.constants["gamma"] or 1.4), dtype=torch.float64)
        (gamma,) = columns(self.parameters(conditions), torch.empty(0, dtype=torch.float64), "gamma")
        return gamma.flatten().expand(rows)


def drawn(seed: int, trajectory: int) -> Float[Tensor, "5 4"]:
    """Uniform on [0, 1): density, pressure and velocity of four quadrants, and in the last row where they meet."""
    generator = torch.Generator().manual_seed(splitmix(seed, KEY, trajectory) >> 1)
    return torch.rand(5, 4, generator=generator, dtype=torch.float64)


def share_above(domain: Box, axis: int, middle: Float[Tensor, " B"]) -> Float[Tensor, "B n"]:
    """Of each cell, the part in [middle, 1] of a walled axis, in [middle, middle + 1/2] around a periodic one."""
    n = domain.shape[axis]
    periodic = domain.boundary[axis] == PERIODIC
    edges = (torch.arange(n + 1, dtype=torch.float64) - (0.5 if periodic else 0)) / n
    start = middle[:, None]

    def below(x: Tensor) -> Tensor:
        if not periodic:
            return (x - start).clamp_min(0)
        turns = (x - start).floor()
        return turns / 2 + (x - start - turns).clamp_max(0.5)

    return below(edges).diff(dim=1) * n
