"""A passive scalar c carried by two-dimensional Navier-Stokes flow (`surrogates.pde.kolmogorov`, same signs):

    w_t + u . grad w = nu lap w - mu w - A k cos(k y)        c_t + div(u c) = kappa lap c        nu, mu, A, kappa >= 0

With z = u + i v, div(u c) = Re((d/dx - i d/dy)(z c)), so that c rides along with z: both go to the grid in one batched transform, and
z^2 and z c come back in another. The mean of c is conserved, its variance decays as d<c^2>/dt = -2 kappa <|grad c|^2>.
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
from surrogates.pde.initial import flow, scalar
from surrogates.pde.kolmogorov import VELOCITY, forcing_modes, velocity, vorticity
from surrogates.pde.spectral import Spectral, column, cutoff
from surrogates.record import recorded


@recorded
class PassiveScalar(Spectral):
    """Velocity and tracer in and out: (B, 3, x, y).

    Parameters by name: those of `Kolmogorov`, and diffusivity kappa. State: centred spectra of vorticity and tracer.
    """

    fields = Fields.of(VELOCITY, Field("tracer", long_name="passive scalar"))
    dim = 2

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        viscosity: Constant = None,
        diffusivity: Constant = None,
        drag: Constant = 0.1,
        forcing: Constant = 1.0,
        wavenumber: Constant = 4,
    ) -> None:
        flow_parameters = {"viscosity": viscosity, "drag": drag, "forcing": forcing, "wavenumber": wavenumber}
        super().__init__(resolution, max_dt, scheme, dtype, {**flow_parameters, "diffusivity": diffusivity})

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        modes = cutoff(box)
        kx, ky = plane.wavenumbers(box, modes, device)
        k2, conj_k = kx**2 + ky**2, plane.conjugate(kx, ky)
        nu, mu, kappa = (column(p[name], kx) for name in ("viscosity", "drag", "diffusivity"))
        flow_L, tracer_L = -nu * k2 - mu, -kappa * k2
        L = torch.cat([flow_L + 0 * tracer_L, tracer_L + 0 * flow_L], 1)
        to_z = torch.stack([plane.velocity_symbol(kx, ky), torch.ones_like(conj_k)]).to(dtype)
        d = torch.stack([-0.25j * conj_k**2, -0.5j * conj_k]).to(dtype)
        f = forcing_modes(box, modes, p, device)
        half = torch.cat([f / 2, torch.zeros_like(f)], 1).to(dtype)

        def nonlinear(w: Tensor) -> Tensor:
            zc = plane.to_grid(to_z * w, box.shape)
            return plane.hermitian(torch.addcmul(half, d, plane.of_product(zc[:, :1] * zc, modes)))

        return L, nonlinear

    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        c = plane.analyse(torch.complex(u[:, 2:], torch.zeros_like(u[:, 2:])), cutoff(box))
        return torch.cat([vorticity(u[:, :2], box), plane.hermitian(c) / 2], 1)

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        return torch.cat([velocity(spectrum[:, :1], box, shape), plane.synthesise(spectrum[:, 1:], shape).real], 1)

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 4.0, rms: float | int = 1.0
    ) -> Float[Tensor, "B 3 X Y"]:
        """Random flows beside independent random tracers of zero mean and unit variance, float64, one a trajectory."""
        tracer = scalar(domain, trajectories, seed, peak=peak, rms=1.0, draw=1)
        return torch.cat([flow(domain, trajectories, seed, peak=peak, rms=rms), tracer], 1)
