"""Burgers equation under white noise in time, u_t + u u_x = nu u_xx + f, nu >= 0: a truth whose conditional law can be sampled.

f drives the waves 1..F of the box alike: mode k (u = sum u_k exp(ikx)) gains a complex Brownian motion with E|dW_k|^2 = eps/F dt. By
Ito the energy 1/2 <u^2> = sum_{k>0} |u_k|^2 (zero mean) gains exactly eps a unit of time, and loses nu <u_x^2>. Two calls with other
noise from one state are two independent draws of the law of u(t + dt) given u(t), and a state is all that the future depends on.

Scheme. With Z the stochastic convolution, dZ = L Z dt + dW, Z = 0 at the start of a step, v = u - Z obeys v' = L v + N(v + Z). A step of
length h draws Z_h and the mean I = 1/h int Z exactly (they are jointly Gaussian, z = hL, q = eps/F),

    E|Z_h|^2 = q h phi_1(2z),   E[Z_h I*] = q h (2 phi_2(2z) - phi_2(z)),   E|I|^2 = q h (4 phi_3(2z) - 2 phi_3(z)),

solves v' = L v + N(v + I) by an ETD scheme and adds Z_h. Without N this is the Ornstein-Uhlenbeck process itself. What I leaves out is
linear in Z, of size h^(5/2) and mean zero, or quadratic, of size h^2; and since E Z(x)^2 does not depend on x, N(Z) = -(Z^2)_x / 2 has
mean zero as well. So a step's errors add like a random walk: strong order 3/2, where Euler's method has 1.

The forcing is drawn on `path` equal parts of a frame and joined in pairs, exactly, to the steps that max_dt asks for: with other
max_dt, resolution or scheme the same noise is the same Brownian path, so that solutions may be compared.

Sources: E, Khanin, Mazel and Sinai, Annals of Math. 151 (2000) 877 (the equation); Jentzen and Kloeden, Proc. R. Soc. A 465 (2009) 649
(stochastic convolutions drawn exactly); the mean over a step and its order are worked out above.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor

from surrogates.contracts import Conditions, Noise
from surrogates.pde.burgers import Burgers
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Scheme, etdrk4, phi
from surrogates.pde.exponential import Plan
from surrogates.record import recorded


@recorded
class ForcedBurgers(Burgers):
    """Parameters: viscosity nu and forcing eps, the energy that the noise puts in, in units of u^2 a unit of time.

    `waves` is F; `path` a power of two. Every call needs `noise`, row by row, unless eps = 0: without noise there is no answer, and a
    ValueError. It also raises ValueError where the grid carries fewer than F waves, or a frame needs more than `path` steps.
    """

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        viscosity: Constant = None,
        forcing: Constant = None,
        waves: int = 3,
        path: int = 128,
    ) -> None:
        super().__init__(resolution, max_dt=max_dt, scheme=scheme, dtype=dtype, viscosity=viscosity)
        if waves < 1 or path < 1 or log2(path) % 1:
            raise ValueError(f"waves must be at least 1 and path a power of two, got {waves} and {path}")
        self.constants["forcing"] = forcing
        self.waves, self.path = waves, path

    def substeps(self, dt: Float[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """The path halved as often as max_dt allows. Raises ValueError where even the whole path is too coarse."""
        need = super().substeps(dt)
        if bool((need > self.path).any()):
            raise ValueError(f"a frame of {float(dt.max()):g} takes {int(need.max())} steps of max_dt but path is {self.path}; raise it")
        return 2 ** torch.ceil(torch.log2(need.double())).long()

    def through(
        self, plan: Plan, w: Complex[Tensor, "B F *K"], step: int, conditions: Conditions, noise: Noise | None
    ) -> Complex[Tensor, "R F *K"]:
        """The rows of a plan, one frame later, under the forcing that `noise` draws at this step."""
        p = self.parameters(conditions)
        if not bool((p["forcing"] > 0).any()):
            return super().through(plan, w, step, conditions, noise)
        if noise is None:
            raise ValueError("forced Burgers has no answer without noise; pass it (simulate does, from its seed), or set forcing=0")
        if w.shape[-1] <= self.waves:
            raise ValueError(f"the solver carries {w.shape[-1] - 1} waves but the forcing drives {self.waves}; raise its resolution")
        pick = slice(None) if plan.index is None else plan.index
        L, q, h = (v if len(v) == 1 else v[pick] for v in self.rates(conditions, p, w.device))
        Z, mean = coarsened(*convolutions(self.draw(w, noise, step)[pick], L, q, h), L, h, plan.substeps)
        return driven(w[pick], Z.to(w.dtype), mean.to(w.dtype), plan)

    def rates(self, conditions: Conditions, p: Parameters, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """L of the driven waves (R, F), the rate q of each (R, 1) and the length of a step of the path (B, 1)."""
        k = self.box(conditions).wavenumbers(device)[0][1 : self.waves + 1]
        q = p["forcing"].reshape(-1, 1) / self.waves
        return -p["viscosity"].reshape(-1, 1) * k**2, q, conditions.dt.to(device).reshape(-1, 1) / self.path

    def draw(self, w: Complex[Tensor, "B 1 K"], noise: Noise, step: int) -> Complex[Tensor, "B n 2 F"]:
        """Two complex normal numbers, E|xi|^2 = 1, for each step of the path and each wave."""
        like = torch.empty(len(w), self.path, 2, self.waves, 2, dtype=torch.float64, device=w.device)
        return torch.view_as_complex(noise(like, step=step, draw=0)) / 2**0.5


def convolutions(
    xi: Complex[Tensor, "B n 2 F"], L: Float[Tensor, "R F"], q: Float[Tensor, "R 1"], h: Float[Tensor, "R 1"]
) -> tuple[Complex[Tensor, "B n F"], Complex[Tensor, "B n F"]]:
    """Z_h and its mean over a step, for n steps of length h: xi times a root of their covariance."""
    (_, two, three), (double_one, double_two, double_three) = phi(h * L), phi(2 * h * L)
    a = double_one.sqrt()
    b = (2 * double_two - two) / a
    c = (4 * double_three - 2 * three - b**2).clamp_min(0).sqrt()
    size = (q * h).sqrt()
    a, b, c = ((size * v)[:, None] for v in (a, b, c))
    return a * xi[:, :, 0], b * xi[:, :, 0] + c * xi[:, :, 1]


def coarsened(
    Z: Complex[Tensor, "B n F"], mean: Complex[Tensor, "B n F"], L: Float[Tensor, "R F"], h: Float[Tensor, "R 1"], steps: int
) -> tuple[Complex[Tensor, "B m F"], Complex[Tensor, "B m F"]]:
    """The same path in fewer, longer steps: Z = e^(hL) Z_1 + Z_2, I = (I_1 + phi_1(hL) Z_1 + I_2) / 2 for each pair."""
    while Z.shape[1] > steps:
        E, P = torch.exp(h * L)[:, None], phi(h * L)[0][:, None]
        first, second = Z[:, ::2], Z[:, 1::2]
        mean = (mean[:, ::2] + P * first + mean[:, 1::2]) / 2
        Z, h = E * first + second, 2 * h
    return Z, mean


def driven(
    w: Complex[Tensor, "B 1 K"], Z: Complex[Tensor, "B n F"], mean: Complex[Tensor, "B n F"], plan: Plan
) -> Complex[Tensor, "B 1 K"]:
    """The spectrum after the steps of a forcing path."""
    rest = w.shape[-1] - Z.shape[-1] - 1
    for z, m in zip(Z.unbind(1), mean.unbind(1), strict=True):
        kick, held = (torch.nn.functional.pad(v, (1, rest))[:, None] for v in (z, m))

        def nonlinear(v: Tensor, held: Tensor = held) -> Tensor:
            return plan.nonlinear(v + held)

        w = plan.advance(w, nonlinear) + kick
    return w
