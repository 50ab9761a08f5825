"""The equations E1, E2 and E3 that message passing neural solvers were measured on, on a periodic line of length L:

    u_t + (alpha u^2/2 - beta u_x + gamma u_xx)_x = delta(t, x),    alpha, beta, gamma >= 0
    delta = sum_j A_j sin(omega_j t + 2 pi l_j x/L + phi_j),    u(0, x) = delta(0, x)
    A in [-.5, .5],  omega in [-.4, .4],  l in {1, 2, 3},  phi in [0, 2 pi),  j = 1..5,  L = 16

E1 is (1, 0, 0), Burgers' equation without diffusion, whose shocks no spectral solver can follow; E2 has beta in [0, .2]; E3 has alpha in
[0, 6], beta in [0, .4], gamma in [0, 1]. (The paper writes alpha u^2 with alpha up to 3 in E3; the code published with it has alpha u u_x.)

Finite volumes: convection by WENO fluxes (`surrogates.pde.weno`); diffusion and dispersion, linear with constant coefficients, are exact
on the modes of the averages; the average of the force over a cell is exact in x. In time a Runge-Kutta method of order three on e^(-Lt) u,

    u_1 = e^(2hL/3) (u + 2h/3 N(u)),    u_2 = 2/3 e^(2hL/3) u + 1/3 (u_1 + 4h/3 N(u_1)),
    u(t + h) = e^(hL) (37/64 u + 5h/32 N(u)) + 27/64 e^(hL/3) (u_2 + 4h/3 N(u_2)),

N at the times t, t + 2h/3, t + 2h/3: forward Euler steps and forward flows alone, so that nothing grows that they keep. The mean of u is
kept, as delta has none.

What is random in the force belongs to a trajectory and follows from one number, `forcing_key`, which tells it to a solver and nothing to a
network; amplitudes and frequencies are not told.

Sources: Brandstetter, Worrall and Welling, Message passing neural PDE solvers, 2022, section 4, https://arxiv.org/abs/2202.03376;
Isherwood, Grant and Gottlieb, Strong stability preserving integrating factor Runge-Kutta methods, 2018, https://doi.org/10.1137/17M1143290.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Noise, State
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.noise import splitmix
from surrogates.pde.coefficients import Constant, Parameters, fewest
from surrogates.pde.solver import Solver, check_dt, of_rows, points
from surrogates.pde.weno import convection
from surrogates.record import recorded

WAVES, AMPLITUDE, FREQUENCY, LONGEST = 5, 0.5, 0.4, 3
KEYS = 1 << 24  # whole numbers that float32 holds


@recorded
class MessagePassingPDE(Solver):
    """A scalar u, (B, 1, x), averages over cells around the points of a periodic Box; a `Step`, batched over rows, differentiable.

    Parameters by name: alpha, beta, gamma, and forcing_key, a whole number below 2^24. `resolution` is the number of the solver's cells,
    a multiple of the data's (None: as many), `max_dt` its longest substep: Courant numbers alpha |u| dt/dx up to about 1 are stable.
    State: `u` (B, 1, cells) and `time` (B,).
    """

    fields = Fields.of(Field("u"))

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        dtype: torch.dtype | str | None = None,
        alpha: Constant = 1.0,
        beta: Constant = 0.0,
        gamma: Constant = 0.0,
        forcing_key: Constant = None,
    ) -> None:
        super().__init__(max_dt, dtype, {"alpha": alpha, "beta": beta, "gamma": gamma, "forcing_key": forcing_key})
        self.resolution = points(resolution, 1)

    def box(self, domain: object) -> Box:
        """The solver's cells. Raises ValueError where the domain is no periodic line of at least six."""
        if not isinstance(domain, Box) or domain.dim != 1 or not domain.all_periodic or min(domain.shape) < 6:
            raise ValueError(f"MessagePassingPDE needs a periodic Box of one axis and at least 6 points, got {domain}")
        return domain if self.resolution is None else domain.with_shape(self.resolution)

    def begin(self, past: Float[Tensor, "B H C X"], conditions: Conditions) -> State:
        """The last frame on the solver's cells. Raises ValueError for other channels, another domain or another grid."""
        box, domain = self.box(conditions.domain), conditions.domain
        assert isinstance(domain, Box)
        u = self.last(past, domain)
        return {"u": self.resample(u, domain, box), "time": conditions.time.to(u.device), "step": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 1 X"], State]:
        """One frame, `conditions.dt` later. The time is the state's own."""
        box, p, dt = self.box(conditions.domain), self.parameters(conditions), conditions.dt.to(state["time"].device)
        check_dt(dt)
        counts, u = fewest(dt, self.max_dt), state["u"]
        for n in sorted(set(counts.tolist())):
            rows = (counts == n).nonzero().flatten()
            q = of_rows(p, rows)
            u = u.index_copy(0, rows, self.advance(u[rows], state["time"][rows], dt[rows] / n, n, box, q))
        assert isinstance(conditions.domain, Box)
        frame = self.resample(u, box, conditions.domain).unsqueeze(1)
        return frame, {"u": u, "time": state["time"] + dt, "step": state["step"] + 1}

    def advance(
        self, u: Float[Tensor, "B 1 X"], time: Float[Tensor, " B"], h: Float[Tensor, " B"], steps: int, box: Box, p: Parameters
    ) -> Float[Tensor, "B 1 X"]:
        """So many steps of length h."""
        force, alpha = Force(p["forcing_key"], box, u), p["alpha"].to(u).reshape(-1, 1, 1)
        third, two, whole = (flow(box, p, share * h, u) for share in (1 / 3, 2 / 3, 1.0))
        k = h.to(u).reshape(-1, 1, 1)
        (dx,) = box.spacing

        def slope(v: Tensor, t: Tensor) -> Tensor:
            return alpha * convection(v, dx) + force(t)

        for n in range(steps):
            t = time + n * h
            first = slope(u, t)
            one, held = two(torch.cat([u + 2 / 3 * k * first, u], 1)).chunk(2, 1)
            later = t + 2 / 3 * h
            second = 2 / 3 * held + (one + 4 / 3 * k * slope(one, later)) / 3
            u = whole(37 / 64 * u + 5 / 32 * k * first) + 27 / 64 * third(second + 4 / 3 * k * slope(second, later))
        return u

    def resample(self, u: Float[Tensor, "B C Y"], here: Box, there: Box) -> Float[Tensor, "B C Z"]:
        """Averages over the cells of another grid: exact for coarser ones, a spectral interpolation to finer ones.

        Raises ValueError where the cells are no multiple.
        """
        (n,), (m,) = here.shape, there.shape
        if n <= m:
            return here.resample(u, there.shape)
        if n % m:
            raise ValueError(f"{n} cells of the solver are no multiple of {m}; choose a resolution that is")
        ratio = n // m
        weights = torch.full((ratio + 1 - ratio % 2,), 1 / ratio, dtype=u.dtype, device=u.device)
        if ratio % 2 == 0:
            weights[[0, -1]] /= 2  # a cell around a point of both grids cuts the outermost ones in half
        half = len(weights) // 2
        around = torch.cat([u[..., n - half :], u, u[..., :half]], -1)
        return (around.unfold(-1, len(weights), ratio) * weights).sum(-1)

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, conditions: Conditions | None = None
    ) -> Float[Tensor, "B 1 X"]:
        """delta(0, x) of each row, as averages over cells, float64. Raises ValueError without the conditions that hold its forcing_key."""
        if conditions is None and self.constants["forcing_key"] is None:
            raise ValueError(
                "the initial state is the force at time 0: pass conditions with forcing_key, or MessagePassingPDE(forcing_key=...)"
            )
        key = self.parameters(conditions)["forcing_key"] if conditions else torch.tensor([float(self.constants["forcing_key"] or 0)])
        like = torch.empty(len(trajectories), 1, *domain.shape, dtype=torch.float64)
        return Force(key, domain, like)(torch.zeros(len(trajectories), dtype=torch.float64)).expand_as(like).clone()


class Force:
    """delta, averaged over the cells of a line."""

    def __init__(self, keys: Float[Tensor, " R"], box: Box, like: Tensor) -> None:
        self.amplitude, self.omega, self.waves, self.phase = (v.to(like) for v in drawn(keys))
        (n,), (length,) = box.shape, box.lengths
        self.amplitude = self.amplitude * torch.sinc(self.waves / n)
        self.angle = 2 * pi / length * self.waves[..., None] * box.coordinate(0).to(like) + self.phase[..., None]

    def __call__(self, time: Float[Tensor, " B"]) -> Float[Tensor, "B 1 X"]:
        turn = (self.omega * time.to(self.omega)[:, None])[..., None]
        return (self.amplitude[..., None] * torch.sin(self.angle + turn)).sum(1, keepdim=True)


def drawn(keys: Float[Tensor, " R"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A, omega, l and phi (R, 5), float64, of whole numbers. Raises ValueError for others."""
    whole = keys.round().long()
    if bool((whole != keys).any() | (whole >= KEYS).any()):
        raise ValueError(f"forcing_key must be a whole number below 2^24, got {keys.tolist()}")
    parts = []
    for key in whole.tolist():
        generator = torch.Generator().manual_seed(splitmix(key) >> 1)
        parts.append(torch.rand(4, WAVES, generator=generator, dtype=torch.float64))
    p = torch.stack(parts, 1)
    return (2 * p[0] - 1) * AMPLITUDE, (2 * p[1] - 1) * FREQUENCY, 1 + (LONGEST * p[2]).floor(), 2 * pi * p[3]


def flow(box: Box, p: Parameters, h: Float[Tensor, " B"], like: Tensor) -> Callable[[Tensor], Tensor]:
    """u (B, F, X) under beta u_xx - gamma u_xxx alone for a time h, exactly; without either, u itself."""
    (n,), (k,), (cubed,) = box.shape, box.wavenumbers(like.device), box.wavenumbers(like.device, derivative=True)
    beta, gamma = (p[name].to(like.device)[:, None] for name in ("beta", "gamma"))
    L = -beta * k.square() + 1j * gamma * cubed**3
    if not bool((L != 0).any()):
        return lambda u: u
    symbol = torch.exp(h.to(like.device)[:, None] * L)[:, None].to(like.dtype.to_complex())

    def moved(u: Tensor) -> Tensor:
        out: Tensor = torch.fft.irfft(symbol * torch.fft.rfft(u), n=n)
        return out

    return moved
