"""Waves in a medium whose speed c varies in space and may jump, in a box with hard walls: u_tt = div(c^2 grad u), no flux through them.

    F_(i+1/2) = 2 c_i^2 c_(i+1)^2/(c_i^2 + c_(i+1)^2) (u_(i+1) - u_i)/h,   0 at walls,   A u = div F
    v <- v + dt/2 A u,    u <- u + dt v,    v <- v + dt/2 A u                            (Stoermer and Verlet)

c^2 is constant in each cell of the stored grid, a static field, and a finer solver sees the same. A is symmetric, so that besides the mean
of v a quadratic form is kept to rounding, the energy less a term of the step, and time can be turned round:

    <v^2 - u A u>/2 - dt^2/8 <(A u)^2>

Second order in h and dt, along jumps that are faces too: of a pulse that comes from speed a to speed b the share (a - b)/(a + b) goes back.
It is stable while dt c sqrt(sum of 1/h^2) < 1 for the largest c.

Sources: Hairer, Lubich, Wanner, Geometric numerical integration illustrated by the Stoermer-Verlet method, Acta Numerica 12 (2003) 399,
https://doi.org/10.1017/S0962492902000144; Brekhovskikh, Waves in Layered Media (1980), section 2. The random media are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Noise, State
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.fields import Field, Fields
from surrogates.noise import SeededNoise
from surrogates.pde.cells import resampled
from surrogates.pde.coefficients import Constant, fewest
from surrogates.pde.solver import Solver, check_dt, points
from surrogates.record import recorded

MEDIUM, DISPLACEMENT = 0, 1  # draws


@recorded
class WaveMedium(Solver):
    """Displacement and its rate, (B, 2, *X), at the middles of equal cells between walls; `conditions.static` is c^2, (B, 1, *X).

    Parameter by name: contrast >= 1, the largest c^2 of a random medium over the least, 1; `waves` of it along the shortest side.
    `resolution` is the solver's cells, multiples of the data's (None: as many), `max_dt` its longest substep. Differentiable.
    State: `fields` (B, 2, *cells), `medium` (B, 1, *cells) and `step`.
    """

    fields = Fields.of(Field("displacement"), Field("rate"))
    static_fields = Fields.of(Field("speed_squared", long_name="square of the speed of waves"))

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        dtype: torch.dtype | str | None = None,
        contrast: Constant = None,
        waves: float | int = 3.0,
    ) -> None:
        super().__init__(max_dt, dtype, {"contrast": contrast})
        if not waves > 0:
            raise ValueError(f"waves must be positive, got {waves}")
        self.resolution = resolution if resolution is None or isinstance(resolution, int) else tuple(resolution)
        self.waves = waves

    def box(self, domain: object) -> Box:
        """The solver's cells. Raises ValueError for a domain that is no Box between walls in equal cells."""
        if not isinstance(domain, Box) or PERIODIC in domain.boundary or any(domain.edges):
            raise ValueError(
                f"WaveMedium needs a Box between walls in equal cells, got {domain}; write domain: {{lengths: .., walls: [x, y]}}"
            )
        shape = points(self.resolution, domain.dim)
        return domain if shape is None else domain.with_shape(shape)

    def begin(self, past: Float[Tensor, "B H 2 *X"], conditions: Conditions) -> State:
        """The last frame and the medium on the solver's cells. Raises ValueError without a medium, or for one that is not positive."""
        box, domain, medium = self.box(conditions.domain), conditions.domain, conditions.static
        if medium is None or medium.shape[1] != 1 or not bool((medium > 0).all()):
            raise ValueError("WaveMedium needs a positive static field speed_squared (B, 1, *X) in conditions.static")
        assert isinstance(domain, Box)
        u = resampled(self.last(past, domain), domain, box)
        return {"fields": u, "medium": self.spread_static(medium.to(u), domain, box), "step": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 2 *X"], State]:
        """One frame, `conditions.dt` later. Raises ValueError for substeps that are not stable."""
        box, u, medium = self.box(conditions.domain), state["fields"], state["medium"]
        dt = conditions.dt.to(u.device)
        check_dt(dt)
        counts = fewest(dt, self.max_dt)
        self._check(float((dt / counts.to(dt.device)).max()), medium, box)
        for n in sorted(set(counts.tolist())):
            rows = (counts == n).nonzero().flatten().to(u.device)
            u = u.index_copy(0, rows, swung(u[rows], medium[rows], dt[rows] / n, n, box))
        assert isinstance(conditions.domain, Box)
        return resampled(u, box, conditions.domain)[:, None], {**state, "fields": u, "step": state["step"] + 1}

    def _check(self, h: float, medium: Tensor, box: Box) -> None:
        most = 1 / float((medium.max() * sum(1 / d**2 for d in box.spacing)).sqrt())
        if not h < most:
            raise ValueError(
                f"substeps of {h:g} are not stable: for speeds up to {float(medium.max().sqrt()):g} max_dt must be below {most:.3g}"
            )

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 4.0, rms: float | int = 1.0
    ) -> Float[Tensor, "B 2 *X"]:
        """Random smooth displacements of zero mean, with no slope at walls, at rest; float64."""
        u = rms * smooth(domain, trajectories, seed, peak=peak, draw=DISPLACEMENT)
        return torch.cat([u, torch.zeros_like(u)], 1)

    def draw_static(self, domain: Box, trajectories: Sequence[int], seed: int, *, conditions: Conditions) -> Float[Tensor, "B 1 *X"]:
        """c^2, log c^2 a smooth random field scaled to [0, log contrast]; float64. Raises ValueError for a contrast below 1."""
        contrast = self.parameters(conditions)["contrast"]
        if not bool((contrast >= 1).all()):
            raise ValueError(f"contrast is the largest c^2 over the least, at least 1, got {contrast.tolist()}")
        g = smooth(domain, trajectories, seed, peak=self.waves, draw=MEDIUM)
        one = (-1, 1, *(1,) * domain.dim)
        least, most = (of(g.flatten(1), 1).reshape(one) for of in (torch.amin, torch.amax))
        return contrast.reshape(one) ** ((g - least) / (most - least))

    def resample(self, u: Float[Tensor, "B C *Y"], here: Box, there: Box) -> Float[Tensor, "B C *Z"]:
        """Averages over the cells of another grid of the same box."""
        return resampled(u, here, there)

    def spread_static(self, static: Float[Tensor, "B 1 *Y"], here: Box, there: Box) -> Float[Tensor, "B 1 *Z"]:
        """The same medium on finer cells. Raises ValueError where these are no multiple."""
        for axis, (n, m) in enumerate(zip(here.shape, there.shape, strict=True)):
            if m % n:
                raise ValueError(f"{m} cells of the solver are no multiple of the {n} in which the medium is constant; choose one")
            static = static.repeat_interleave(m // n, 2 + axis)
        return static

    def energy(self, u: Float[Tensor, "B 2 *X"], medium: Float[Tensor, "B 1 *X"], box: Box, dt: float = 0.0) -> Float[Tensor, " B"]:
        """<v^2 - u A u>/2 - dt^2/8 <(A u)^2>: with dt that of the substeps it is kept, with 0 it is the energy."""
        pull = pulled(u[:, :1], faces(medium, box), box)
        density = (u[:, 1:].square() - u[:, :1] * pull) / 2 - dt**2 / 8 * pull.square()
        return box.average(density)[:, 0]


def swung(
    u: Float[Tensor, "B 2 *X"], medium: Float[Tensor, "B 1 *X"], dt: Float[Tensor, " B"], count: int, box: Box
) -> Float[Tensor, "B 2 *X"]:
    """`count` substeps of dt."""
    h, between = dt.to(u.dtype).reshape(-1, 1, *(1,) * box.dim), faces(medium, box)
    u, v = u[:, :1], u[:, 1:]
    v = v + h / 2 * pulled(u, between, box)
    for n in range(count):
        u = u + h * v
        v = v + (h if n < count - 1 else h / 2) * pulled(u, between, box)
    return torch.cat([u, v], 1)


def faces(medium: Float[Tensor, "B 1 *X"], box: Box) -> list[Tensor]:
    """Of each axis the harmonic means of neighbours, over the square of the step."""
    out = []
    for axis, h in enumerate(box.spacing):
        n = medium.shape[2 + axis]
        a, b = medium.narrow(2 + axis, 0, n - 1), medium.narrow(2 + axis, 1, n - 1)
        out.append(2 * a * b / (a + b) / h**2)
    return out


def pulled(u: Float[Tensor, "B 1 *X"], between: Sequence[Tensor], box: Box) -> Float[Tensor, "B 1 *X"]:
    """A u."""
    out = torch.zeros_like(u)
    for axis, k in enumerate(between):
        sides = (0, 0) * (box.dim - 1 - axis) + (1, 1)
        out = out + torch.nn.functional.pad(k * u.diff(dim=2 + axis), sides).diff(dim=2 + axis)
    return out


def smooth(domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int, draw: int) -> Float[Tensor, "B 1 *X"]:
    """Products of cosines, without slope at the walls, of amplitudes exp(-3/4 (k/peak)^2), k in whole waves along an axis.

    Zero mean, unit variance, the same field on any cells, float64. Raises ValueError for peak <= 0.
    """
    if not peak > 0:
        raise ValueError(f"peak must be a positive number of waves along an axis, got {peak}")
    count = 2 * ceil(3 * peak)  # half waves; the next have an amplitude below .002
    modes = replace(domain, shape=(count,) * domain.dim)
    white = SeededNoise(seed, trajectories, [0] * len(trajectories))(
        torch.empty(len(trajectories), 1, *modes.shape, dtype=torch.float64), step=0, draw=draw
    )
    k = torch.arange(count, dtype=torch.float64) / 2
    k2 = torch.stack(torch.meshgrid(*(k,) * domain.dim, indexing="ij")).square().sum(0)
    u = white * torch.exp(-0.75 * k2 / peak**2) * (k2 > 0)
    power = u.square()
    for axis, n in enumerate(domain.shape):
        half = torch.where(k > 0, 0.5, 1.0).reshape(-1, *(1,) * (domain.dim - 1 - axis))
        power = power * half
        at = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        u = torch.tensordot(u, torch.cos(2 * torch.pi * k[:, None] * at), dims=([2], [0]))  # the next axis comes to the front
    return u / power.flatten(1).sum(1).sqrt().reshape(-1, 1, *(1,) * domain.dim)
