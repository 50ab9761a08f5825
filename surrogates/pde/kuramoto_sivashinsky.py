"""Kuramoto-Sivashinsky equation, u_t + u u_x + u_xx + nu u_xxxx = 0, nu >= 0: long waves grow, short ones are damped, u u_x links them.

The mean is conserved and a constant added to u moves the frame. On L = 64 with nu = 1 the leading Lyapunov exponent is .088.
Sources: Kuramoto, Prog. Theor. Phys. Suppl. 64 (1978) 346; Sivashinsky, Acta Astronaut. 4 (1977) 1177.
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
class KuramotoSivashinsky(Line):
    """Parameter: viscosity nu, of the fourth derivative."""

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        viscosity: Constant = 1.0,
    ) -> None:
        super().__init__(resolution, max_dt, scheme, dtype, {"viscosity": viscosity})

    def symbol(self, k: Float[Tensor, " K"], p: Parameters) -> Inexact[Tensor, "R 1 K"]:
        return k**2 - p["viscosity"] * k**4
