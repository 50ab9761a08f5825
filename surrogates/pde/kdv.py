"""Korteweg-de Vries equation, u_t + 6 u u_x + delta u_xxx = 0, delta >= 0.

Waves of small amplitude run left at -delta k^2, solitons right: u = 2 kappa^2 delta sech^2(kappa (x - 4 delta kappa^2 t)). Mass
int u, momentum int u^2 and energy int (delta u_x^2/2 - u^3) are conserved. L = i delta k^3 is imaginary.
Source: Zabusky and Kruskal, Phys. Rev. Lett. 15 (1965) 240.
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
class KdV(Line):
    """Parameter: dispersion delta."""

    convection = 6.0

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        dispersion: Constant = 1.0,
    ) -> None:
        super().__init__(resolution, max_dt, scheme, dtype, {"dispersion": dispersion})

    def symbol(self, k: Float[Tensor, " K"], p: Parameters) -> Inexact[Tensor, "R 1 K"]:
        return 1j * p["dispersion"] * k**3
