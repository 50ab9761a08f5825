"""Degenerate diffusion on a walled line, u_t = (k(u) u_x)_x = Phi(u)_xx with Phi' = k >= 0, by implicit finite volumes in flux form:

    u_i^(n+1) = u_i^n + dt/h (F_(i-1/2) - F_(i+1/2)),    F_(i+1/2) = (Phi(u_i) - Phi(u_(i+1)))/h  at n + 1,

u_i the average of a cell; at an end F = 2 (Phi(u_end) - Phi(u_1))/h with the value u_end that is given there. The scheme is monotone for
any dt: what is not negative stays so, no new extremes arise, fronts move through empty cells without a fit, jumps where k is zero or
jumps itself are caught in the right place. Only fluxes change the sum of u, so its gain is what came in, `gained`. First order in dt; in h
first order at fronts.

Each step is solved by Newton's method: its matrix is tridiagonal, an M-matrix, and as Phi is convex the iterates fall from the second one
on. A row that has converged is left as it is, so that rows do not depend on their neighbours.

Sources: Vazquez, The Porous Medium Equation (2006), https://doi.org/10.1093/acprof:oso/9780198569039.001.0001; Evje and Karlsen, Monotone
difference approximations of BV solutions to degenerate convection-diffusion equations, 2000, https://doi.org/10.1137/S0036142998336138.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Noise, State
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.fields import Field, Fields
from surrogates.pde import tridiagonal
from surrogates.pde.coefficients import Constant, Parameters, fewest
from surrogates.pde.solver import Solver, check_dt, of_rows, points

ITERATIONS = 100


class Degenerate(Solver):
    """A solver as a `Step`, batched over rows, differentiable. The ends follow an exact solution of the equation, which is also the
    initial state.

    `resolution` is the number of the solver's cells, a multiple of the data's (None: as many), `max_dt` its longest substep.
    State: `u` (B, 1, cells), `time` and `gained` (B,) float64, the integral of what came in through the ends since the start.
    """

    fields = Fields.of(Field("u"))

    def __init__(
        self, resolution: int | Sequence[int] | None, max_dt: float, dtype: torch.dtype | str | None, parameters: Mapping[str, Constant]
    ) -> None:
        super().__init__(max_dt, dtype, parameters)
        self.resolution = points(resolution, 1)

    # -- what an equation says ---------------------------------------------------------------------------------

    @abstractmethod
    def potential(self, u: Float[Tensor, "B 1 X"], p: Parameters) -> tuple[Float[Tensor, "B 1 X"], Float[Tensor, "B 1 X"]]:
        """Phi(u), convex, and k(u) = Phi'(u)."""

    @abstractmethod
    def exact(self, x: Float[Tensor, " X"], time: Float[Tensor, " B"], p: Parameters) -> Float[Tensor, "B X"]:
        """The solution at points, float64."""

    @abstractmethod
    def below(self, x: Float[Tensor, " X"], time: Float[Tensor, " B"], p: Parameters) -> Float[Tensor, "B X"]:
        """Its integral from any fixed point up to x, float64."""

    # -- what makes it a Step ----------------------------------------------------------------------------------

    def box(self, domain: object) -> Box:
        """The solver's cells. Raises ValueError where the domain is no line between walls in equal cells, or cells do not divide."""
        if not isinstance(domain, Box) or domain.dim != 1 or PERIODIC in domain.boundary or domain.edges[0] is not None:
            raise ValueError(f"{type(self).__name__} needs a Box of one axis between walls, in equal cells, got {domain}")
        return domain if self.resolution is None else domain.with_shape(self.resolution)

    def open_ends(self, box: Box) -> tuple[str, ...]:
        """Both: values are held there, and what they take passes."""
        return box.ends

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        """The last frame on the solver's cells. Raises ValueError for other channels, another grid or values below zero."""
        box = self.box(conditions.domain)
        assert isinstance(conditions.domain, Box)
        u = self.last(past, conditions.domain)
        if bool((u < 0).any()):
            raise ValueError(f"u must not be negative, got {float(u.min()):g}; {type(self).__name__} keeps it so")
        zero = torch.zeros(len(u), dtype=torch.float64, device=u.device)
        count = torch.zeros((), dtype=torch.int64)
        return {"u": self.resample(u, conditions.domain, box), "time": conditions.time.to(u.device), "gained": zero, "step": count}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 1 X"], State]:
        """One frame, `conditions.dt` later. The time is the state's own."""
        box, p, dt = self.box(conditions.domain), self.parameters(conditions), conditions.dt.to(state["time"].device)
        check_dt(dt)
        counts, u, gained = fewest(dt, self.max_dt), state["u"], state["gained"]
        for n in sorted(set(counts.tolist())):
            rows = (counts == n).nonzero().flatten()
            q = of_rows(p, rows)
            part, came = u[rows], gained[rows]
            for i in range(n):
                part, inflow = self.advance(part, state["time"][rows] + (i + 1) / n * dt[rows], dt[rows] / n, box, q)
                came = came + inflow
            u, gained = u.index_copy(0, rows, part), gained.index_copy(0, rows, came)
        assert isinstance(conditions.domain, Box)
        frame = self.resample(u, box, conditions.domain).unsqueeze(1)
        return frame, {"u": u, "time": state["time"] + dt, "gained": gained, "step": state["step"] + 1}

    def advance(
        self, before: Float[Tensor, "B 1 X"], time: Float[Tensor, " B"], dt: Float[Tensor, " B"], box: Box, p: Parameters
    ) -> tuple[Float[Tensor, "B 1 X"], Float[Tensor, " B"]]:
        """One substep that ends at `time`, and what came in. Raises ValueError where Newton's method does not converge."""
        h = box.spacing[0]
        ends = torch.tensor([box.lower[0], box.upper[0]], dtype=torch.float64, device=before.device)
        ends = self.potential(self.exact(ends, time, p).to(before.dtype)[:, None], p)[0]
        rate = (dt / h**2).to(before.dtype).reshape(-1, 1, 1)
        u, moving, eps = before, torch.ones_like(rate, dtype=torch.bool), torch.finfo(before.dtype).eps
        scale = torch.maximum(before.amax(-1, keepdim=True), self.exact_top(time, box, p).to(before.dtype)).clamp_min(eps)
        for _ in range(ITERATIONS):
            Phi, k = self.potential(u, p)
            gain = rate * curvature(Phi, ends)
            a, b, c = columns(rate * k)
            change = tridiagonal.solve(-a, 1 + b, -c, before + gain - u)
            u = torch.where(moving, (u + change).clamp_min(0), u)  # below zero by rounding only
            moving = moving & (change.abs().amax(-1, keepdim=True) > 4 * eps * scale)
            if not bool(moving.any()):
                break
        else:
            rows = moving.flatten().nonzero().flatten().tolist()
            raise ValueError(f"Newton's method does not converge in rows {rows}; lower max_dt ({self.max_dt:g}), or check the parameters")
        Phi, _ = self.potential(u, p)
        inflow = 2 * (ends[..., 0] - Phi[..., 0] + ends[..., 1] - Phi[..., -1]).double() / h
        return u, dt * inflow[:, 0]

    def exact_top(self, time: Float[Tensor, " B"], box: Box, p: Parameters) -> Float[Tensor, "B 1 1"]:
        """The larger of the values at the ends."""
        ends = torch.tensor([box.lower[0], box.upper[0]], dtype=torch.float64, device=time.device)
        return self.exact(ends, time, p).amax(1).reshape(-1, 1, 1)

    # -- what it is used with ----------------------------------------------------------------------------------

    def average(self, domain: Box, time: Float[Tensor, " B"], p: Parameters) -> Float[Tensor, "B 1 X"]:
        """The exact solution as averages of cells, float64."""
        n, h = domain.shape[0], domain.spacing[0]
        edges = domain.lower[0] + h * torch.arange(n + 1, dtype=torch.float64, device=time.device)
        return (self.below(edges, time, p).diff(dim=1) / h)[:, None]

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, conditions: Conditions | None = None
    ) -> Float[Tensor, "B 1 X"]:
        """The exact solution at the time of `conditions` (else 0) under their parameters (else the constructor's), float64."""
        time = torch.zeros(len(trajectories), dtype=torch.float64) if conditions is None else conditions.time
        nothing = Conditions(domain, time, torch.ones_like(time), time.new_zeros(len(time), 0))
        return self.average(domain, time, self.parameters(conditions or nothing))

    def resample(self, u: Float[Tensor, "B 1 X"], here: Box, there: Box) -> Float[Tensor, "B 1 Y"]:
        """Averages over coarser cells, or the same value in finer ones. Raises ValueError where one does not divide the other."""
        n, m = here.shape[0], there.shape[0]
        if n % m and m % n:
            raise ValueError(f"{n} cells and {m} do not divide each other; give {type(self).__name__} a multiple of the data's cells")
        return u.reshape(*u.shape[:2], m, n // m).mean(-1) if n >= m else u.repeat_interleave(m // n, -1)


def curvature(Phi: Float[Tensor, "B 1 X"], ends: Float[Tensor, "B 1 2"]) -> Float[Tensor, "B 1 X"]:
    """h^2 Phi_xx: differences of fluxes, those at the ends over half a cell."""
    left, right = 2 * (Phi[..., :1] - ends[..., :1]), 2 * (ends[..., 1:] - Phi[..., -1:])
    return torch.cat([left, Phi.diff(dim=-1), right], -1).diff(dim=-1)


def columns(k: Float[Tensor, "B 1 X"]) -> tuple[Tensor, Tensor, Tensor]:
    """Minus the derivative of `curvature`: below, on and above the diagonal, each column by its cell's k."""
    middle = 2 * k
    middle = torch.cat([middle[..., :1] + k[..., :1], middle[..., 1:-1], middle[..., -1:] + k[..., -1:]], -1)
    return k.roll(1, -1), middle, k.roll(-1, -1)
