"""Homogeneous isotropic turbulence: Navier-Stokes in a periodic box of three dimensions,

    u_t + u . grad u = -grad p + nu lap u + f,    div u = 0,    nu >= 0

pseudo-spectral in velocity (Rogallo), 2/3 rule, pressure by projection. The viscous term is exact in time (exponential time differencing,
Rogallo's integrating factor). Of u . grad u = div(u u) five products are needed: six of the symmetric tensor, less a trace that is a
pressure, so a stage takes three transforms to the grid and five back, where the rotational form u x w takes six and three.

f = eps u'/<u'^2> with u' the modes of at most `band` whole waves: it puts in the energy eps a unit of time, exactly at every moment,
so that d<u^2>/2/dt = eps - nu <w^2>, and where that is stationary Kolmogorov's length (nu^3/eps)^(1/4) is known beforehand. eps = 0: decay.

Sources: Rogallo, NASA TM 81315 (1981), https://ntrs.nasa.gov/citations/19810022965; the forcing as Machiels, Phys. Rev. Lett. 79 (1997)
3411, https://doi.org/10.1103/PhysRevLett.79.3411.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.pde import space
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Nonlinear, Scheme, etdrk4
from surrogates.pde.initial import random_field, unit
from surrogates.pde.lyapunov import turnover_time
from surrogates.pde.spectral import Spectral, column, cutoff
from surrogates.record import recorded

VELOCITY = Field("velocity", components=("x", "y", "z"), long_name="velocity")
PRODUCTS = ((0, 0), (1, 1), (0, 1), (0, 2), (1, 2))  # of the first two, that of (2, 2) is taken away
TERMS = ((0, 2, 3), (2, 1, 4), (3, 4, None))  # row i of the tensor, by number of its product; the last entry is zero


@recorded
class IsotropicTurbulence(Spectral):
    """Velocity in and out: (B, 3, x, y, z). Divergence in the input is projected away, the mean flow stays.

    Parameters by name: viscosity nu, forcing eps (energy per mass and time), band (whole waves in the box). State: the spectrum
    of velocity (B, 3, 2Kx+1, 2Ky+1, Kz+1), centred along x and y.
    """

    fields = Fields.of(VELOCITY)
    dim = 3

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        viscosity: Constant = None,
        forcing: Constant = 1.0,
        band: Constant = 2.0,
    ) -> None:
        super().__init__(resolution, max_dt, scheme, dtype, {"viscosity": viscosity, "forcing": forcing, "band": band})

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        modes = cutoff(box)
        k = space.wavenumbers(box, modes, device)
        L = -column(p["viscosity"], k[0]) * k.square().sum(0)
        advect, push = advection(box, modes, dtype, device), injection(box, modes, p, device)
        drive = None if not bool((p["forcing"] > 0).any()) else push
        k = k.to(dtype.to_real())

        def nonlinear(w: Tensor) -> Tensor:
            gain = advect(w) if drive is None else advect(w) + drive(w)
            return space.projected(gain, k)

        return L.expand(-1, 3, -1, -1, -1), nonlinear

    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        modes = cutoff(box)
        k = space.wavenumbers(box, modes, u.device).to(u.dtype)
        return space.projected(space.hermitian(space.analyse(u[:, :3], modes)), k)

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        return space.synthesise(spectrum, shape)

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 3.0, rms: float | int = 1.0
    ) -> Float[Tensor, "B 3 X Y Z"]:
        """Random flows, float64, one a trajectory: energy k^4 exp(-2 (k/peak)^2) around `peak` waves in the box, `rms` of |u|, no mean."""
        return flow(domain, trajectories, seed, peak=peak, rms=rms)

    def turnover_time(self, u: Float[Tensor, "B C *X"], domain: Box) -> Float[Tensor, " B"]:
        return turnover_time(u[:, :3], domain)


def flow(domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int, rms: float | int) -> Float[Tensor, "B 3 X Y Z"]:
    """The curl of a random vector potential: no divergence, no mean; `rms` is that of |u|."""
    parts = [random_field(domain, trajectories, seed, peak=peak * 0.75**0.5, draw=axis) for axis in range(3)]
    box = parts[0][1]
    a = torch.cat([part for part, _ in parts], 1)
    u = torch.cat(
        [box.derivative(a[:, k : k + 1], j) - box.derivative(a[:, j : j + 1], k) for j, k in ((1, 2), (2, 0), (0, 1))],
        1,
    )
    return rms * box.resample(unit(u), domain.shape)


def advection(
    box: Box, modes: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Callable[[Complex[Tensor, "B 3 Kx Ky Kz"]], Complex[Tensor, "B 3 Kx Ky Kz"]]:
    """-div(u u) but for a gradient, on spectra of complex `dtype`."""
    minus_ik = (-1j * space.wavenumbers(box, modes, device)).to(dtype)

    def advect(w: Tensor) -> Tensor:
        u = space.to_grid(w, box.shape)
        trace = u[:, 2].square()
        products = [torch.addcmul(-trace, u[:, i], u[:, j]) if i == j else u[:, i] * u[:, j] for i, j in PRODUCTS]
        t = space.of_grid(torch.stack(products, 1), modes)
        rows = []
        for row in TERMS:
            out = minus_ik[0] * t[:, row[0]]
            for axis, n in enumerate(row[1:], 1):
                out = out if n is None else torch.addcmul(out, minus_ik[axis], t[:, n])
            rows.append(out)
        return torch.stack(rows, 1)

    return advect


def injection(box: Box, modes: tuple[int, ...], p: Parameters, device: torch.device) -> Callable[[Tensor], Tensor]:
    """f on spectra. What is not symmetric to the last bit would be driven as well, and grow: it is left out."""
    lengths = torch.tensor(box.lengths, dtype=torch.float64, device=device).reshape(-1, 1, 1, 1)
    size = (space.wavenumbers(box, modes, device) * lengths / (2 * torch.pi)).square().sum(0).sqrt()
    band, eps = column(p["band"], size), column(p["forcing"], size)
    driven = (size > 0) & (size <= band + 1e-9)

    def push(w: Tensor) -> Tensor:
        low = space.hermitian(w * driven)
        energy = space.norm2(low).reshape(-1, 1, 1, 1, 1)
        return (eps / energy.clamp_min(torch.finfo(energy.dtype).tiny)).to(energy.dtype) * low

    return push
