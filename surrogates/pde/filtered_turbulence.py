"""What a large-eddy simulation of isotropic turbulence should see: filtered velocity on a coarser grid, and the stress of what is gone,

    tau_ij = bar(u_i u_j) - bar u_i bar u_j,        bar u_t + div(bar u bar u) = -grad(bar p) + nu lap(bar u) + bar f - div tau

The solver is that of `surrogates.pde.turbulence` at its own resolution; only what it answers on a coarser grid is filtered. `sharp` keeps
the modes that the coarse grid holds; `gaussian` multiplies them by exp(-k^2 Delta^2/24) before, Delta being `width` of its spacings. Both
commute with derivatives and keep means. bar(u_i u_j) is free of aliasing where the coarse grid has at most two thirds of the solver's
points; tau + bar u bar u is then the filtered product to rounding, at every point: Germano's identity and the filtered equation hold
exactly. Of the trace nothing is taken away: half of its mean is the energy that the filter took.

Sources: Leonard, Adv. Geophys. 18A (1974) 237, https://doi.org/10.1016/S0065-2687(08)60464-1; Germano, J. Fluid Mech. 238 (1992) 325,
https://doi.org/10.1017/S0022112092001733.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Box
from surrogates.errors import nearest
from surrogates.fields import Field, Fields
from surrogates.pde import space
from surrogates.pde.coefficients import Constant
from surrogates.pde.etd import Scheme, etdrk4
from surrogates.pde.spectral import cutoff
from surrogates.pde.turbulence import VELOCITY, IsotropicTurbulence, flow
from surrogates.record import recorded

FILTERS = ("sharp", "gaussian")
STRESS = Field("subgrid_stress", components=tuple(i + j for i in "xyz" for j in "xyz"), long_name="subgrid stress")


@recorded
class FilteredTurbulence(IsotropicTurbulence):
    """Velocity and stress in and out: (B, 12, x, y, z), the nine components of the stress row by row. Of the
    input only the velocity counts.

    On a grid as fine as the solver's nothing is filtered and the stress is zero.
    """

    fields = Fields.of(VELOCITY, STRESS)

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        viscosity: Constant = None,
        forcing: Constant = 1.0,
        band: Constant = 2.0,
        filter: str = "sharp",
        width: float | int = 2.0,
    ) -> None:
        super().__init__(resolution, max_dt=max_dt, scheme=scheme, dtype=dtype, viscosity=viscosity, forcing=forcing, band=band)
        if filter not in FILTERS or not width > 0:
            raise ValueError(
                f"filter must be one of {list(FILTERS)}{nearest(filter, FILTERS)}, of a positive width, got {filter!r}, {width}"
            )
        self.filter, self.width = filter, float(width)

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        """Raises ValueError for a coarser grid of more than two thirds of the solver's points."""
        if all(n >= m for n, m in zip(shape, box.shape, strict=True)):
            u = super().decode(spectrum, box, shape)
            return torch.cat([u, u.new_zeros(len(u), 9, *shape)], 1)
        modes = tuple((n - 1) // 2 for n in shape)
        if any(m > n - 2 * K - 1 for m, n, K in zip(modes, box.shape, cutoff(box), strict=True)):
            raise ValueError(
                f"the stress on {shape} points needs a solver of 3/2 as many along each axis, got {box.shape}; raise its resolution"
            )
        return self.filtered(spectrum, box, shape, modes)

    def filtered(
        self, spectrum: Complex[Tensor, "B 3 Kx Ky Kz"], box: Box, shape: tuple[int, ...], modes: tuple[int, ...]
    ) -> Float[Tensor, "B 12 X Y Z"]:
        """Filtered velocity and the stress on a coarse grid that holds `modes`."""
        u = space.to_grid(spectrum, box.shape)
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        uu = space.of_grid(torch.stack([u[:, i] * u[:, j] for i, j in pairs], 1), modes)
        both = torch.cat([space.fit(spectrum, modes), uu], 1)
        if self.filter == "gaussian":
            k = space.wavenumbers(box, modes, spectrum.device)
            spacing = torch.tensor(box.with_shape(shape).spacing, dtype=k.dtype, device=k.device).reshape(3, 1, 1, 1)
            both = both * torch.exp(-((k * spacing * self.width).square().sum(0)) / 24).to(both.dtype)
        both = space.to_grid(both, shape)
        mean, product = both[:, :3], both[:, 3:]
        tau = {pair: product[:, n] - mean[:, pair[0]] * mean[:, pair[1]] for n, pair in enumerate(pairs)}
        return torch.cat([mean, torch.stack([tau[min(i, j), max(i, j)] for i in range(3) for j in range(3)], 1)], 1)

    def resample(self, u: Float[Tensor, "B C *Y"], here: Box, there: Box) -> Float[Tensor, "B C *Z"]:
        """The solver's state on another grid, filtered where that is coarser."""
        return u if here == there else self.decode(self.encode(u, here), here, there.shape)

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 3.0, rms: float | int = 1.0
    ) -> Float[Tensor, "B 12 X Y Z"]:
        """Those of `IsotropicTurbulence`, not filtered."""
        u = flow(domain, trajectories, seed, peak=peak, rms=rms)
        return torch.cat([u, u.new_zeros(len(u), 9, *domain.shape)], 1)
