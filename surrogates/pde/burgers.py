"""Viscous Burgers equation, u_t + u u_x = nu u_xx, nu >= 0.

Cole and Hopf: u = -2 nu phi_x / phi with phi_t = nu phi_xx. Without viscosity a wave of steepest slope -s breaks at time 1/s, beyond
which a spectral solver needs nu > 0 with shocks a few spacings wide, 4 nu / jump. Source: Hopf, Comm. Pure Appl. Math. 3 (1950) 201.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Scheme, etdrk4
from surrogates.pde.line import Line
from surrogates.record import recorded


@recorded
class Burgers(Line):
    """Parameter: viscosity nu."""

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        viscosity: Constant = None,
    ) -> None:
        super().__init__(resolution, max_dt, scheme, dtype, {"viscosity": viscosity})

    def symbol(self, k: Float[Tensor, " K"], p: Parameters) -> Inexact[Tensor, "R 1 K"]:
        return -p["viscosity"] * k**2
