"""Stefan's problem as one equation, u_t = (k(u) u_x)_x with k = K above u* and nothing below it: a phase that melts into another.

From u = 0, with u = 1 held at the left end x_1 from the time -t_0 on, the melt fills the line up to a front that jumps from u* to 0,

    u = 1 - (1 - u*) erf(y) / erf(alpha),  y = (x - x_1)/(2 sqrt(K (t + t_0))) < alpha,       u = 0 beyond,
    (1 - u*)/sqrt(pi) = u* erf(alpha) alpha exp(alpha^2),

and at the front u* dX/dt = -K u_x: all that arrives there fills the jump. The line is meant to end before the front reaches it.

Sources: Neumann's solution, as in Carslaw and Jaeger, Conduction of Heat in Solids (1959), 11.2; the degenerate form and its test are those
of Hansen et al., Learning Physical Models that Can Respect Conservation Laws, 2023, https://arxiv.org/abs/2302.11002.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.degenerate import Degenerate
from surrogates.record import recorded

BISECTIONS = 80


@recorded
class Stefan(Degenerate):
    """Parameters: diffusivity K, melting u* in (0, 1), since t_0 > 0, how long before time 0 the melt began, wall x_1."""

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        dtype: torch.dtype | str | None = None,
        diffusivity: Constant = 1.0,
        melting: Constant = None,
        since: Constant = 0.01,
        wall: Constant = 0.0,
    ) -> None:
        super().__init__(resolution, max_dt, dtype, {"diffusivity": diffusivity, "melting": melting, "since": since, "wall": wall})

    def potential(self, u: Float[Tensor, "B 1 X"], p: Parameters) -> tuple[Float[Tensor, "B 1 X"], Float[Tensor, "B 1 X"]]:
        K, star = (p[n].to(u.device, u.dtype).reshape(-1, 1, 1) for n in ("diffusivity", "melting"))
        return K * (u - star).clamp_min(0), torch.where(u > star, K.expand_as(u), 0.0)

    def exact(self, x: Float[Tensor, " X"], time: Float[Tensor, " B"], p: Parameters) -> Float[Tensor, "B X"]:
        star, alpha, y, _ = self._similarity(x, time, p)
        return torch.where(y < alpha, 1 - (1 - star) * torch.erf(y) / torch.erf(alpha), 0.0)

    def below(self, x: Float[Tensor, " X"], time: Float[Tensor, " B"], p: Parameters) -> Float[Tensor, "B X"]:
        star, alpha, y, width = self._similarity(x, time, p)
        y = torch.minimum(y, alpha)
        of_erf = y * torch.erf(y) + (torch.exp(-y.square()) - 1) / pi**0.5
        integral: Tensor = width * (y - (1 - star) * of_erf / torch.erf(alpha))
        return integral

    def _similarity(self, x: Tensor, time: Tensor, p: Parameters) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u*, alpha, y and 2 sqrt(K (t + t_0))."""
        K, star, since, wall = (p[n].to(x.device)[:, None] for n in ("diffusivity", "melting", "since", "wall"))
        width = 2 * (K * (time.to(x.device)[:, None] + since)).sqrt()
        return star, alpha_of(star), (x - wall) / width, width

    def parameters(self, *args: object, **kwargs: object) -> Parameters:
        """Raises ValueError for a melting value outside (0, 1), or a melt that has not begun."""
        p = super().parameters(*args, **kwargs)  # type: ignore[arg-type]
        for name, upper in (("melting", 1.0), ("since", float("inf")), ("diffusivity", float("inf"))):
            if not bool(((p[name] > 0) & (p[name] < upper)).all()):
                raise ValueError(f"{name} must lie between 0 and {upper:g}, got {p[name].tolist()}")
        return p


def alpha_of(star: Float[Tensor, "*R"]) -> Float[Tensor, "*R"]:
    """Where the front stands, by bisection: the right side of its equation rises from 0."""
    wanted = (1 - star) / (star * pi**0.5)
    low, high = torch.zeros_like(star), torch.full_like(star, 6.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        over = torch.erf(middle) * middle * torch.exp(middle.square()) > wanted
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return (low + high) / 2
