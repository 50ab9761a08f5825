"""Navier-Stokes as the Fourier neural operator was first measured on it: vorticity on the unit torus under a force along the diagonal,

    w_t + u . grad w = nu lap w + A (sin(2 pi (x + y)) + cos(2 pi (x + y))),    A = .1,  nu = 1e-3, 1e-4, 1e-5

with no mean flow. On a box of other lengths x and y are counted in these. Random initial states are Gaussian with the covariance
s (-lap + 49)^(-5/2): the paper writes s = 7^(3/2), the generator published with it draws s = 2 x 7^3, six times as large in amplitude.

From rest the force makes w = A (...) (1 - e^(-8 pi^2 nu t))/(8 pi^2 nu), a single pair of modes that does not advect itself: exact.

Sources: Li et al., Fourier neural operator for parametric PDEs, 2021, section 5.3 and appendix A.3, https://arxiv.org/abs/2010.08895.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.noise import SeededNoise
from surrogates.pde import plane
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Nonlinear, Scheme, etdrk4
from surrogates.pde.kolmogorov import advection, velocity
from surrogates.pde.lyapunov import turnover_time
from surrogates.pde.spectral import Spectral, column, cutoff
from surrogates.record import recorded

MODES = 64  # of the random initial states, whatever the grid


@recorded
class FnoNavierStokes(Spectral):
    """Vorticity in, vorticity out: (B, 1, x, y); its mean is zero. Parameters by name: viscosity nu, forcing A.

    State: the spectrum of vorticity (B, 1, 2Kx+1, 2Ky+1), centred.
    """

    fields = Fields.of(Field("vorticity", long_name="vorticity"))
    dim = 2

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        viscosity: Constant = None,
        forcing: Constant = 0.1,
    ) -> None:
        super().__init__(resolution, max_dt, scheme, dtype, {"viscosity": viscosity, "forcing": forcing})

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        modes = cutoff(box)
        kx, ky = plane.wavenumbers(box, modes, device)
        L = -column(p["viscosity"], kx) * (kx**2 + ky**2)
        return L, advection(box, modes, diagonal(modes, p, device), dtype)

    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        w = plane.hermitian(plane.analyse(torch.complex(u, torch.zeros_like(u)), cutoff(box))) / 2
        return without_mean(w)

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        return plane.synthesise(spectrum, shape).real

    def initial(  # type: ignore[override]
        self,
        domain: Box,
        trajectories: Sequence[int],
        seed: int,
        *,
        variance: float | int = 7**1.5,
        roughness: float = 2.5,
        tau: float | int = 7,
    ) -> Float[Tensor, "B 1 X Y"]:
        """Gaussian fields of covariance `variance` (-lap + tau^2)^-roughness, float64, one a trajectory, on waves of the unit box."""
        like = torch.empty(len(trajectories), 1, 2 * MODES + 1, 2 * MODES + 1, 2, dtype=torch.float64)
        white = torch.view_as_complex(SeededNoise(seed, trajectories, [0] * len(trajectories))(like, step=0, draw=0))
        kx, ky = plane.wavenumbers(Box.periodic((4, 4), 1.0), (MODES, MODES), white.device)
        size = (variance * (kx**2 + ky**2 + tau**2) ** -roughness) ** 0.5
        return plane.synthesise(without_mean(plane.hermitian(white) / 2 * size), domain.shape).real

    def turnover_time(self, u: Float[Tensor, "B C *X"], domain: Box) -> Float[Tensor, " B"]:
        """Of the velocity that goes with the vorticity."""
        fine = domain.with_shape([2 * n for n in domain.shape])
        return turnover_time(velocity(self.encode(u, fine), fine, domain.shape), domain)


def without_mean(w: Complex[Tensor, "B 1 Kx Ky"]) -> Complex[Tensor, "B 1 Kx Ky"]:
    """Zero in the slot where the solver carries the mean velocity."""
    keep = torch.ones(w.shape[-2:], dtype=torch.bool, device=w.device)
    keep[w.shape[-2] // 2, w.shape[-1] // 2] = False
    return w * keep


def diagonal(modes: tuple[int, ...], p: Parameters, device: torch.device) -> Complex[Tensor, "R 1 Kx Ky"]:
    """A (sin + cos)(2 pi (x + y)): the mode (1, 1) is A (1 - i)/2, (-1, -1) its conjugate."""
    out = torch.zeros(len(p["forcing"]), 1, *(2 * m + 1 for m in modes), dtype=torch.complex128, device=device)
    half = p["forcing"].to(device)[:, None] / 2
    out[..., modes[0] + 1, modes[1] + 1] = (1 - 1j) * half
    out[..., modes[0] - 1, modes[1] - 1] = (1 + 1j) * half
    return out
