"""Porous medium equation, u_t = (u^m u_x)_x, m >= 1: diffusion that stops where u is zero, so that fronts move at a finite speed.

Its travelling front, of speed c and at x_0 at time 0, is u = (m c (c t + x_0 - x)_+)^(1/m): flat on one side, with an infinite slope at the
front where m > 1. It is what the ends of the line follow: with c = 0 they are held at zero. Barenblatt's solution spreads from a point,

    u = t^(-1/(m+2)) (C - m x^2 / (2 (m+2) t^(2/(m+2))))_+^(1/m).

Sources: Barenblatt, Prikl. Mat. Mekh. 16 (1952) 67; the front with m in [1, 6] is the test of Hansen et al., Learning Physical Models that
Can Respect Conservation Laws, 2023, https://arxiv.org/abs/2302.11002.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.degenerate import Degenerate
from surrogates.record import recorded


@recorded
class PorousMedium(Degenerate):
    """Parameters: exponent m, speed c, front x_0 (where it stands at time 0)."""

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        dtype: torch.dtype | str | None = None,
        exponent: Constant = None,
        speed: Constant = 1.0,
        front: Constant = 0.0,
    ) -> None:
        super().__init__(resolution, max_dt, dtype, {"exponent": exponent, "speed": speed, "front": front})

    def potential(self, u: Float[Tensor, "B 1 X"], p: Parameters) -> tuple[Float[Tensor, "B 1 X"], Float[Tensor, "B 1 X"]]:
        m = p["exponent"].to(u.device, u.dtype).reshape(-1, 1, 1)
        k = u**m
        return k * u / (m + 1), k

    def exact(self, x: Float[Tensor, " X"], time: Float[Tensor, " B"], p: Parameters) -> Float[Tensor, "B X"]:
        m, behind = self._behind(x, time, p)
        return torch.pow(behind, 1 / m)

    def below(self, x: Float[Tensor, " X"], time: Float[Tensor, " B"], p: Parameters) -> Float[Tensor, "B X"]:
        m, behind = self._behind(x, time, p)
        rate = (m + 1) * p["speed"].to(x.device)[:, None]
        return torch.where(rate > 0, -(behind ** (1 + 1 / m)) / rate.where(rate > 0, 1.0), 0.0)

    def _behind(self, x: Tensor, time: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
        """m and m c (c t + x_0 - x)_+."""
        m, c, x0 = (p[name].to(x.device)[:, None] for name in ("exponent", "speed", "front"))
        return m, m * c * (c * time.to(x.device)[:, None] + x0 - x).clamp_min(0)


def barenblatt(x: Float[Tensor, " X"], time: float, m: float, C: float = 1.0) -> Float[Tensor, " X"]:
    """Barenblatt's solution about x = 0, whose mass does not change."""
    width: float = time ** (1 / (m + 2))
    height: Tensor = (C - m * (x / width).square() / (2 * (m + 2))).clamp_min(0)
    return height.pow(1 / m) / width
