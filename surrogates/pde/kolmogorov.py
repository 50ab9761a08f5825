"""Two-dimensional Navier-Stokes with Kolmogorov forcing, in vorticity:

    w_t + u . grad w = nu lap w - mu w - A k cos(k y)        f = (A sin(k y), 0)        nu, mu, A >= 0
    dU/dt = <f> - mu U,  <f> = 0                             for the mean velocity U, which vorticity does not know

with w = v_x - u_y, in Basdevant's form: d = d/dx - i d/dy and z = u + i v give u . grad w = Im(d^2 z^2)/2, one complex transform each
way (`surrogates.pde.plane`). U advects the vorticity and decays, carried in the slot of the mean vorticity. A = 0 is decaying
turbulence; the laminar flow is u = A sin(k y)/(nu k^2 + mu). `wavenumber` counts the waves in the box: k = 2 pi wavenumber / Ly.

Sources: Basdevant, J. Comput. Phys. 50 (1983) 209; defaults as Kochkov et al., PNAS 118 (2021) e2101784118 (A = 1, 4 waves, mu = .1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.pde import plane
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Nonlinear, Scheme, etdrk4
from surrogates.pde.initial import flow
from surrogates.pde.spectral import Spectral, column, cutoff
from surrogates.record import recorded

VELOCITY = Field("velocity", components=("x", "y"), long_name="velocity")


@recorded
class Kolmogorov(Spectral):
    """Velocity in, velocity out: (B, 2, x, y), components in the order of the axes. Divergence in the input is projected away.

    Parameters by name: viscosity nu, drag mu, forcing A, wavenumber (whole waves along y). State: the spectrum of vorticity
    (B, 1, 2Kx+1, 2Ky+1), centred, with U_x + i U_y at the mean.
    """

    fields = Fields.of(VELOCITY)
    dim = 2

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        viscosity: Constant = None,
        drag: Constant = 0.1,
        forcing: Constant = 1.0,
        wavenumber: Constant = 4,
    ) -> None:
        super().__init__(
            resolution, max_dt, scheme, dtype, {"viscosity": viscosity, "drag": drag, "forcing": forcing, "wavenumber": wavenumber}
        )

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        modes = cutoff(box)
        kx, ky = plane.wavenumbers(box, modes, device)
        nu, mu = column(p["viscosity"], kx), column(p["drag"], kx)
        L = -nu * (kx**2 + ky**2) - mu
        return L, advection(box, modes, forcing_modes(box, modes, p, device), dtype)

    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        return vorticity(u, box)

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        return velocity(spectrum, box, shape)

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 4.0, rms: float | int = 1.0
    ) -> Float[Tensor, "B 2 X Y"]:
        """Random flows, float64, one a trajectory: energy around `peak` waves in the box, `rms` of |u|, no mean."""
        return flow(domain, trajectories, seed, peak=peak, rms=rms)


def advection(box: Box, modes: tuple[int, ...], forcing: Complex[Tensor, "R 1 Kx Ky"], dtype: torch.dtype) -> Nonlinear:
    """N(w) = -u . grad w + f_w on centred spectra (B, 1, Kx, Ky)."""
    kx, ky = plane.wavenumbers(box, modes, forcing.device)
    to_z = plane.velocity_symbol(kx, ky).to(dtype)
    d2 = (-0.25j * plane.conjugate(kx, ky) ** 2).to(dtype)  # of i d^2/4: twice its real part is -Im(d^2)/2
    half = (forcing / 2).to(dtype)

    def nonlinear(w: Tensor) -> Tensor:
        z = plane.to_grid(to_z * w, box.shape)
        return plane.hermitian(torch.addcmul(half, d2, plane.of_product(z.square(), modes)))

    return nonlinear


def forcing_modes(box: Box, modes: tuple[int, ...], p: Parameters, device: torch.device) -> Complex[Tensor, "R 1 Kx Ky"]:
    """-A k cos(k y): modes (0, +-wavenumber), each -A k/2. Raises ValueError where the grid cannot carry them."""
    waves, A = column(p["wavenumber"], torch.empty(0, 0, device=device)), column(p["forcing"], torch.empty(0, 0, device=device))
    if bool((waves != waves.round()).any() | (waves < 1).any() | (waves > modes[1]).any()):
        raise ValueError(
            f"forcing wavenumber {sorted(set(p['wavenumber'].tolist()))} must be whole waves from 1 to {modes[1]}, "
            f"what {box.shape[1]} points along y carry; raise the solver's resolution"
        )
    i, j = (torch.arange(-m, m + 1, device=device) for m in modes)
    k = 2 * torch.pi / box.lengths[1] * waves
    return (-A * k / 2 * ((i[:, None] == 0) & (j.abs() == waves))).to(torch.complex128)


def vorticity(u: Float[Tensor, "B 2 X Y"], box: Box) -> Complex[Tensor, "B 1 Kx Ky"]:
    """Centred spectrum of v_x - u_y for a solver on `box`, with U + i V at the mean."""
    modes = cutoff(box)
    z = plane.analyse(torch.complex(u[:, :1], u[:, 1:2]), modes)
    kx, ky = plane.wavenumbers(box, modes, u.device)
    mean = (kx == 0) & (ky == 0)
    w = z / plane.velocity_symbol(kx, ky).to(z.dtype)
    return torch.where(mean, z, plane.hermitian(w) / 2)


def velocity(w: Complex[Tensor, "B 1 Kx Ky"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B 2 X Y"]:
    """The velocity on any grid."""
    kx, ky = plane.wavenumbers(box, cutoff(box), w.device)
    z = plane.synthesise(plane.velocity_symbol(kx, ky).to(w.dtype) * w, shape)
    return torch.cat([z.real, z.imag], 1)
