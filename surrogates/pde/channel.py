"""Plane flow between two walls, driven along x by a constant pressure gradient; lengths in half widths, speeds in that of laminar flow:

    u_t + u . grad u = -grad p + lap u/Re + (2/Re, 0),    div u = 0,    u = v = 0 at y = 0 and 2,    periodic in x

Laminar flow is u = 1 - (y - 1)^2. Galerkin's method on the modes of Stokes' equation (`surrogates.pde.stokes`) with the convection in its
rotational form, u_t = (v w, -u w) - ..., integrated exactly by Gauss's points across and the 2/3 rule along: work is done by the pressure
gradient alone and taken by friction alone,

    d<u^2 + v^2>/2/dt = 2/Re <u> - <w^2>/Re

to rounding but for the steps in time (ETDRK4, friction exact). Small waves grow on the laminar flow above Re = 5772.2 (Orr and Sommerfeld):
at Re = 10000 and wave number 1 with the phase speed .23752649 and the rate .00373967. In the plane waves saturate; there is no turbulence
as in three dimensions. Frames tell the state to the fourth order of a spline across.

Source: Orszag, Accurate solution of the Orr-Sommerfeld stability equation, J. Fluid Mech. 50 (1971) 689,
https://doi.org/10.1017/S0022112071002842.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from numpy.polynomial import legendre
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC, WALL
from surrogates.fields import Field, Fields
from surrogates.noise import SeededNoise
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Nonlinear, Scheme, etdrk4
from surrogates.pde.spectral import Spectral, column
from surrogates.pde.stokes import Modes, modes, spline
from surrogates.record import recorded

VELOCITY = Field("velocity", components=("x", "y"), long_name="velocity")
PROFILES = 3  # of a random disturbance: (1 - y^2)^2 times 1, y and y^2


@recorded
class Channel(Spectral):
    """Velocity in and out: (B, 2, x, y) at the centres of cells, on a Box that is periodic in x with walls at y = 0 and 2.

    Parameter by name: reynolds. State: amplitudes of Stokes modes (B, 1, Kx+1, n), as many across as the solver has cells.
    """

    fields = Fields.of(VELOCITY)
    dim = 2
    turnover_time = None  # type: ignore[assignment]  # a wave takes its time whatever the vorticity of the mean

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        reynolds: Constant = None,
    ) -> None:
        super().__init__(resolution, max_dt, scheme, dtype, {"reynolds": reynolds})

    def box(self, conditions: Conditions) -> Box:
        """The channel at the solver's resolution. Raises ValueError for another domain, or one too coarse."""
        d = conditions.domain
        if not isinstance(d, Box) or d.boundary != (PERIODIC, WALL) or any(d.edges) or (d.lower[1], d.upper[1]) != (0, 2):
            raise ValueError(f"Channel needs a Box that is periodic in x, with walls at y = 0 and 2, in equal cells, got {d}")
        box = d if self.resolution is None else d.with_shape(self.resolution)
        if box.shape[0] < 4 or box.shape[1] < 6:
            raise ValueError(f"Channel at {box.shape} carries no wave; give it at least 4 x 6 cells")
        return box

    def parameters(self, conditions: Conditions) -> Parameters:
        """Raises ValueError for a Reynolds number of 0."""
        p = super().parameters(conditions)
        if not bool((p["reynolds"] > 0).all()):
            raise ValueError(f"reynolds must be positive, got {p['reynolds'].tolist()}")
        return p

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        m, nx = modes_of(box), box.shape[0]
        y, weight = legendre.leggauss(points(box))
        real = dtype.to_real()
        along, turned, spin = (v.to(device, real) for v in (*m.velocity(y), m.vorticity(y)))
        fields = torch.stack([along.to(dtype), -1j * turned, spin.to(dtype)])
        w = torch.from_numpy(weight).to(device, real)[None, :, None]
        back_u, back_v = (along * w).to(dtype), 1j * (turned * w)
        nu = 1 / column(p["reynolds"], torch.empty(1, 1, device=device))
        push = 2 * nu.to(real) * (along[0] * w[0]).sum(0)

        def nonlinear(a: Tensor) -> Tensor:
            u, v, vorticity = torch.einsum("fkqn,bkn->fbkq", fields, a[:, 0]).unbind(0)
            u, v, vorticity = (torch.fft.irfft(f, n=nx, dim=1, norm="forward") for f in (u, v, vorticity))
            force = torch.fft.rfft(torch.stack([v * vorticity, -u * vorticity]), dim=2, norm="forward")[:, :, : len(m.k)]
            out = torch.einsum("kqn,bkq->bkn", back_u, force[0]) + torch.einsum("kqn,bkq->bkn", back_v, force[1])
            return torch.cat([out[:, :1] + push[:, 0].to(dtype), out[:, 1:]], 1)[:, None]

        return -nu * torch.from_numpy(m.rate).to(device), nonlinear

    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        m, q = modes_of(box), points(box)
        y, weight = legendre.leggauss(q)
        nx, ny = u.shape[2:]
        at = torch.einsum("qn,bcxn->bcxq", spline(ny, q).to(u), u)
        have = min((nx - 1) // 2, len(m.k) - 1)
        waves = torch.fft.rfft(at, dim=2, norm="forward")[:, :, : have + 1]
        along, turned = (v[: have + 1].to(u) * torch.from_numpy(weight).to(u)[:, None] for v in m.velocity(y))
        a = torch.einsum("kqn,bkq->bkn", along.to(waves.dtype), waves[:, 0]) + torch.einsum("kqn,bkq->bkn", 1j * turned, waves[:, 1])
        return torch.nn.functional.pad(a, (0, 0, 0, len(m.k) - 1 - have))[:, None]

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        m, have = modes_of(box), min((shape[0] - 1) // 2, spectrum.shape[2] - 1)
        y = ((2 * torch.arange(shape[1], dtype=torch.float64) + 1) / shape[1] - 1).numpy()
        along, turned = (v[: have + 1].to(spectrum.device) for v in m.velocity(y))
        both = torch.stack([along.to(spectrum.dtype), (-1j * turned).to(spectrum.dtype)])
        waves = torch.einsum("ckqn,bkn->bckq", both, spectrum[:, 0, : have + 1])
        u: Tensor = torch.fft.irfft(waves, n=shape[0], dim=2, norm="forward")
        return u

    def resample(self, u: Float[Tensor, "B C *Y"], here: Box, there: Box) -> Float[Tensor, "B C *Z"]:
        """The same state on another grid, to the order of the spline."""
        if here == there:
            return u
        fine = here.with_shape([2 * max(n, m) for n, m in zip(here.shape, there.shape, strict=True)])
        return self.decode(self.encode(u, fine), fine, there.shape)

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 2, rms: float | int = 0.05
    ) -> Float[Tensor, "B 2 X Y"]:
        """Laminar flow and a random disturbance of so many waves along x, float64: `rms` is that of its velocity. The same for a
        trajectory in any batch and at any resolution. Raises ValueError for less than one wave."""
        if peak < 1 or peak % 1:
            raise ValueError(f"peak must be a number of waves along the channel, got {peak}")
        like = torch.empty(len(trajectories), 2, int(peak), PROFILES, dtype=torch.float64)
        white = SeededNoise(seed, trajectories, [0] * len(trajectories))(like, step=0, draw=0)
        length = domain.lengths[0]
        across, weight = (torch.from_numpy(v) for v in legendre.leggauss(PROFILES + 4))
        along = torch.arange(4 * int(peak), dtype=torch.float64) * length / (4 * peak)
        everywhere = disturbance(white, length, *torch.meshgrid(along, across, indexing="ij"))  # enough of it to know its size
        size = rms / (everywhere.square().sum(1) * weight / 2).sum(2).mean(1).sqrt()
        x, y = domain.grid()
        moved = disturbance(white, length, x, y - 1)
        return torch.stack([1 - (y - 1) ** 2, torch.zeros_like(y)]) + size.reshape(-1, 1, 1, 1) * moved


def disturbance(
    white: Float[Tensor, "B 2 k p"], length: float, x: Float[Tensor, "X Y"], y: Float[Tensor, "X Y"]
) -> Float[Tensor, "B 2 X Y"]:
    """(psi_y, -psi_x) of psi = sum of white times sines and cosines along x, times (1 - y^2)^2 (1, y, y^2)."""
    k = 2 * torch.pi / length * torch.arange(1, white.shape[2] + 1, dtype=torch.float64)
    angle = k * x[..., None]
    wave = torch.stack([torch.sin(angle), torch.cos(angle)])
    turned = k * torch.stack([torch.cos(angle), -torch.sin(angle)])
    j, wall = torch.arange(white.shape[3]), (1 - y**2)[..., None]
    profile = wall**2 * y[..., None] ** j
    slope = wall**2 * j * y[..., None] ** (j - 1).clamp_min(0) - 4 * wall * y[..., None] ** (j + 1)
    u = torch.einsum("bckj,cxyk,xyj->bxy", white, wave, slope)
    v = -torch.einsum("bckj,cxyk,xyj->bxy", white, turned, profile)
    return torch.stack([u, v], 1)


def modes_of(box: Box) -> Modes:
    """Those that a solver on these cells carries."""
    return modes((box.shape[0] - 1) // 3, box.shape[1], box.lengths[0])


def points(box: Box) -> int:
    """Gauss's, so many that triple products of polynomials are integrated exactly."""
    return 3 * (box.shape[1] + 4) // 2 + 1
