"""Rayleigh-Benard convection in the plane between free-slip walls held at two temperatures, in units of the depth and of free fall:

    u_t + u . grad u = -grad p + nu lap u + b e_y,    b_t + u . grad b = kappa lap b,    div u = 0
    nu = sqrt(Pr/Ra),  kappa = 1/sqrt(Pr Ra),    v = u_y = 0 at y = 0 and 1,  b = 1 below and 0 above

periodic in x. Solved as vorticity w = v_x - u_y and s = b - (1 - y), both zero at the walls:

    w_t + u . grad w = nu lap w + s_x,    s_t + u . grad s = kappa lap s + v

in sines and cosines (`surrogates.pde.layer`); diffusion is exact in time. The mean of u along the layer is kept. Rest is unstable above
Ra = 27 pi^4/4 = 657.5, first to waves of length 2 sqrt(2). Heat crosses the layer Nu times as fast as by conduction, which over a long time

    Nu = 1 + <v b>/kappa = <|grad b|^2> = 1 + sqrt(Ra Pr) <nu w^2> = -<b_y> at a wall.

Sources: Rayleigh, Phil. Mag. 32 (1916) 529, https://doi.org/10.1080/14786441608635602; the budgets, Shraiman and Siggia, Phys. Rev. A 42
(1990) 3650, https://doi.org/10.1103/PhysRevA.42.3650.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC, WALL
from surrogates.fields import Field, Fields
from surrogates.noise import SeededNoise
from surrogates.pde import layer
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Nonlinear, Scheme, etdrk4
from surrogates.pde.spectral import Spectral, column
from surrogates.record import recorded

BUOYANCY = Field("buoyancy", long_name="buoyancy")
VELOCITY = Field("velocity", components=("x", "y"), long_name="velocity")


@recorded
class RayleighBenard(Spectral):
    """Buoyancy and velocity in and out: (B, 3, x, y) at the centres of cells, on a Box that is periodic in x with walls at y = 0 and 1.

    Parameters by name: rayleigh Ra, prandtl Pr. State: the sines of vorticity and of s (B, 2, Kx+1, Ky+1), with the mean of u in the
    slot of the mean vorticity. Divergence in the input is projected away.
    """

    fields = Fields.of(BUOYANCY, VELOCITY)
    dim = 2

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        rayleigh: Constant = None,
        prandtl: Constant = 1.0,
    ) -> None:
        super().__init__(resolution, max_dt, scheme, dtype, {"rayleigh": rayleigh, "prandtl": prandtl})

    def box(self, conditions: Conditions) -> Box:
        """The layer at the solver's resolution. Raises ValueError for another domain, or one too coarse."""
        domain = conditions.domain
        if (
            not isinstance(domain, Box)
            or domain.boundary != (PERIODIC, WALL)
            or any(domain.edges)
            or (domain.lower[1], domain.upper[1]) != (0, 1)
        ):
            raise ValueError(f"RayleighBenard needs a Box that is periodic in x, with walls at y = 0 and 1, in equal cells, got {domain}")
        box = domain if self.resolution is None else domain.with_shape(self.resolution)
        if min(layer.cutoff(box)) < 1:
            raise ValueError(f"RayleighBenard at {box.shape} carries no wave; raise the resolution")
        return box

    def parameters(self, conditions: Conditions) -> Parameters:
        """Raises ValueError unless both are positive."""
        p = super().parameters(conditions)
        for name, value in p.items():
            if not bool((value > 0).all()):
                raise ValueError(f"{name} must be positive, got {value.tolist()}")
        return p

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        modes = layer.cutoff(box)
        kx, ky = layer.wavenumbers(box, modes, device)
        nu, kappa = diffusivities(p)
        L = -torch.cat([column(nu, kx), column(kappa, kx)], 1) * (kx**2 + ky**2)
        x, y, half = (v.to(dtype) for v in (1j * kx, ky, (kx**2 - ky**2) / 2))
        to_u, to_v = (v.to(dtype) for v in velocity_symbols(kx, ky))

        def nonlinear(w: Tensor) -> Tensor:
            u, v = to_u * w[:, :1], to_v * w[:, :1]
            none = torch.zeros_like(v)
            z = layer.to_grid(torch.cat([layer.joined(u, v), layer.joined(none, w[:, 1:])], 1), box.shape)  # type: ignore[arg-type]
            even, odd = layer.of_product(z[:, :1] * z, modes)
            turn = half * odd[:, :1] - x * y * even[:, :1]
            carried = -x * odd[:, 1:] - y * even[:, 1:]
            return torch.cat([turn + x * w[:, 1:], carried + v], 1)

        return L, nonlinear

    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        modes = layer.cutoff(box)
        kx, ky = layer.wavenumbers(box, modes, u.device)
        at_rest = conduction(box.with_shape(u.shape[2:])).to(u)
        along, up, s = (layer.analyse(f, modes, odd) for f, odd in ((u[:, 1:2], False), (u[:, 2:], True), (u[:, :1] - at_rest, True)))
        vorticity = (1j * kx).to(up.dtype) * up + ky.to(up.dtype) * along
        vorticity[..., 0, 0] = along[..., 0, 0]
        vorticity[..., 1:, 0], s[..., 0] = 0, 0  # the sine of k = 0
        return torch.cat([vorticity, s], 1)

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        kx, ky = layer.wavenumbers(box, layer.cutoff(box), spectrum.device)
        to_u, to_v = (v.to(spectrum.dtype) for v in velocity_symbols(kx, ky))
        w, s = spectrum.chunk(2, 1)
        parts = [layer.synthesise(f, shape, odd) for f, odd in ((s, True), (to_u * w, False), (to_v * w, True))]  # type: ignore[arg-type]
        return torch.cat([parts[0] + conduction(box.with_shape(shape)).to(parts[0]), *parts[1:]], 1)

    def resample(self, u: Float[Tensor, "B C *Y"], here: Box, there: Box) -> Float[Tensor, "B C *Z"]:
        """The same state on another grid, all of it that both hold."""
        if here == there:
            return u
        fine = here.with_shape([2 * max(n, m) for n, m in zip(here.shape, there.shape, strict=True)])
        return self.decode(self.encode(u, fine), fine, there.shape)

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 4.0, rms: float | int = 0.01
    ) -> Float[Tensor, "B 3 X Y"]:
        """The layer at rest but for random buoyancy, float64, one a trajectory: `rms` of it, amplitudes exp(-3/4 (k/peak)^2) in half waves
        of the depth. The same for a trajectory in any batch and at any resolution."""
        most = (int(4 * peak * domain.lengths[0] / (2 * domain.lengths[1])) + 1, int(4 * peak) + 1)
        like = torch.empty(len(trajectories), 2, most[0] + 1, most[1] + 1, dtype=torch.float64)
        white = SeededNoise(seed, trajectories, [0] * len(trajectories))(like, step=0, draw=0)
        kx, ky = layer.wavenumbers(domain, most, white.device)
        size = torch.exp(-0.75 * (kx**2 + ky**2) / (torch.pi * peak) ** 2) * (ky > 0)
        s = torch.complex(white[:, :1], white[:, 1:] * (kx > 0)) * size
        power = (s.abs().square() * torch.where(kx > 0, 2, 1)).flatten(1).sum(1) / 2
        s = s * (rms / power.sqrt()).reshape(-1, 1, 1, 1)
        b = conduction(domain) + layer.synthesise(s, domain.shape, odd=True)  # type: ignore[arg-type]
        return torch.cat([b, torch.zeros_like(b), torch.zeros_like(b)], 1)

    def turnover_time(self, u: Float[Tensor, "B C *X"], domain: Box) -> Float[Tensor, " B"]:
        """Twice the depth over the rms speed: once up and down."""
        return 2 * domain.lengths[1] / domain.average(u[:, 1:].square()).sum(1).sqrt()


def diffusivities(p: Parameters) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:
    """nu and kappa, in units of the depth and of the speed of free fall."""
    return (p["prandtl"] / p["rayleigh"]).sqrt(), (p["prandtl"] * p["rayleigh"]).rsqrt()


def velocity_symbols(kx: Float[Tensor, "Kx 1"], ky: Float[Tensor, "1 Ky"]) -> tuple[Tensor, Tensor]:
    """The cosines of u and the sines of v over the sines of vorticity; 1 and 0 at the mean, whose slot carries that of u."""
    k2 = kx**2 + ky**2
    over = torch.where(k2 > 0, k2, 1)
    return torch.where(k2 > 0, ky / over, 1), -1j * kx / over


def conduction(box: Box) -> Float[Tensor, "1 Y"]:
    """1 - y, the buoyancy of the layer at rest."""
    return 1 - box.coordinate(1)[None, :]


def nusselt(u: Float[Tensor, "B 3 X Y"], domain: Box, p: Parameters) -> Float[Tensor, "B 2"]:
    """Heat crossing the layer over that of conduction: 1 + <v b>/kappa, and 1 + <|grad s|^2>. They agree in the mean over a long time."""
    _, kappa = diffusivities(p)
    lifted = 1 + domain.average(u[:, 2:] * u[:, :1])[:, 0] / kappa
    modes = (domain.shape[0] - 1) // 2, domain.shape[1] - 1
    kx, ky = layer.wavenumbers(domain, modes, u.device)
    s = layer.analyse(u[:, :1] - conduction(domain).to(u), modes, odd=True)
    power = s.abs().square() * (kx**2 + ky**2) * torch.where(kx > 0, 2, 1) / 2
    return torch.stack([lifted, 1 + power.flatten(1).sum(1)], 1)
