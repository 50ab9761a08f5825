"""Shallow water on a rotating sphere: a layer of height h under gravity g, Coriolis parameter f = 2 Omega sin(phi), no orography,

    zeta_t = -div((zeta + f) u) - D zeta
    delta_t = k . curl((zeta + f) u) - lap(g h + |u|^2/2) - D delta
    h_t = -div(h u) - D (h - H)                          D = damping (l (l+1) / (s (s+1)))^4

in vorticity and divergence, u = k x grad psi + grad chi, lap psi = zeta, lap chi = delta. D is a multiple of lap^4, given by its rate at
degree s (`damped`) and not at the grid's last one, so that a finer grid solves the same equation.

With h = H + h' and r = -lap on degree l, gravity waves are delta_t = g r h', h'_t = -H delta, that is

    q_t = +- i omega q,    q = h' +- i sqrt(H/(g r)) delta,    omega = sqrt(g H r):

diagonal. Exponential time differencing takes them, and D, exactly; the rest (advection, Coriolis, what the waves feel of h') is of its
fourth order. It needs neither start nor filter, and h keeps its mean to the last bit.

Of K circles the degrees l <= (2K - 1)/3 are carried: T21 on 32 x 64 points, T42 on 64 x 128. Products of two fields, brought back by the
quadrature of a Gauss grid, are then exact (Orszag's rule on the sphere). Data may lie on any `Sphere`; the solver's own grid is Gaussian.

Sources: Williamson et al., A standard test set for the shallow water equations in spherical geometry, 1992,
https://doi.org/10.1016/S0021-9991(05)80016-6; Hack and Jakob, Description of a global shallow water model based on the spectral transform
method, 1992, https://doi.org/10.5065/D64M92GJ. The diagonal form is worked out above.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Sphere
from surrogates.domains.sphere import GAUSS
from surrogates.fields import Field, Fields
from surrogates.pde import spherical
from surrogates.pde.balance import balanced, random_vorticity
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Nonlinear, Scheme, etdrk4
from surrogates.pde.exponential import Exponential, Map
from surrogates.record import recorded

HEIGHT = Field("height", "m", long_name="height of the layer")
WIND = Field("velocity", "m s-1", ("north", "east"), long_name="velocity")


@recorded
class ShallowWater(Exponential[Sphere]):
    """Height and velocity in and out: (B, 3, lat, lon), the velocity to the north, then to the east, in the order of the axes.

    SI units, on a sphere whose radius is in metres. Parameters by name: rotation Omega (1/s), gravity g (m/s^2), depth H (m), damping
    (1/s, at degree `damped`). `resolution` is that of the solver's Gauss grid (None: as many points as the data). H is what waves are split
    off with; where the mean height is another, the answer is as right, only less of it is exact.

    State: the spectrum (B, 3, L, L) of vorticity, divergence and height.
    """

    fields = Fields.of(HEIGHT, WIND)

    def __init__(
        self,
        resolution: Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        rotation: Constant = 7.292e-5,
        gravity: Constant = 9.80616,
        depth: Constant = 1.0e4,
        damping: Constant = 0.0,
        damped: Constant = 42,
    ) -> None:
        constants = {"rotation": rotation, "gravity": gravity, "depth": depth, "damping": damping, "damped": damped}
        super().__init__(max_dt, scheme, dtype, constants)
        self.resolution = None if resolution is None else tuple(resolution)

    # -- grids and modes ---------------------------------------------------------------------------------------

    def grid(self, conditions: Conditions) -> Sphere:
        """The Gauss grid of the solver. Raises ValueError where the domain is no Sphere, or the grid carries no wave."""
        sphere = conditions.domain
        if not isinstance(sphere, Sphere):
            raise ValueError(f"{type(self).__name__} needs a Sphere, got {sphere}; write Sphere((lat, lon), radius=6.37122e6, units='m')")
        grid = Sphere(self.resolution or sphere.shape, GAUSS, radius=sphere.radius, units=sphere.units)
        if carried(grid) < 2:
            raise ValueError(
                f"{type(self).__name__} at {grid.shape} carries no wave: K x N points hold degrees up to (2K - 1)//3, (N - 1)//3"
            )
        return grid

    def analysed(self, u: Float[Tensor, "B C lat lon"], here: Sphere, box: Sphere) -> Complex[Tensor, "B 3 L M"]:
        L = carried(box)
        t = spherical.tables(here, min(L, spherical.most(here)), u.dtype, u.device)
        delta, zeta = spherical.divergence_and_curl(u[:, 1:2], u[:, 2:], t)
        spectrum = torch.cat([zeta / here.radius, delta / here.radius, spherical.analyse(u[:, :1], t)], 1)
        return spherical.fit(spectrum, L)

    def synthesised(self, spectrum: Complex[Tensor, "B 3 L M"], box: Sphere, there: Sphere) -> Float[Tensor, "B C lat lon"]:
        L = min(spectrum.shape[-1], spherical.most(there))
        real = spectrum.real.dtype
        t = spherical.tables(there, L, real, spectrum.device)
        w = spherical.fit(spectrum, L)
        inverse = there.radius * spherical.inverse_laplacian(L, w.device)[:, None]
        potentials = inverse.to(w.dtype) * w[:, :2]
        u = spherical.flow(potentials[:, :1], potentials[:, 1:], t)
        return torch.cat([spherical.synthesise(w[:, 2:], t), u], 1)

    def resample(self, u: Float[Tensor, "B C lat lon"], here: Sphere, there: Sphere) -> Float[Tensor, "B C K N"]:
        """The same state on another grid of the same sphere, all of it that both grids hold."""
        if here == there:
            return u
        finest = Sphere(tuple(2 * max(a, b) for a, b in zip(here.shape, there.shape, strict=True)), GAUSS, radius=here.radius)
        return self.synthesised(self.analysed(u, here, finest), finest, there)

    # -- the equation ------------------------------------------------------------------------------------------

    def parameters(self, conditions: Conditions) -> Parameters:
        """Every coefficient, float64, one a row. Raises ValueError for gravity, depth or a damped degree that is not positive."""
        p = super().parameters(conditions)
        for name in ("gravity", "depth", "damped"):
            if not bool((p[name] > 0).all()):
                raise ValueError(f"{name} must be positive, got {p[name].tolist()}")
        return p

    def terms(self, box: Sphere, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        """L and N for (zeta, q+, q-)."""
        L = carried(box)
        omega = (column(p["gravity"] * p["depth"], device) * restoring(L, box.radius, device)).sqrt()
        symbol = 1j * torch.cat([torch.zeros_like(omega), omega, -omega], 1) - decay(L, p, device)
        return symbol.expand(-1, -1, -1, L), advection(box, p, dtype, device)

    def basis(self, box: Sphere, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Map, Map]:
        """Between (zeta, delta, h) and (zeta, q+, q-)."""
        L = carried(box)
        s = ratio(L, box, p, device)
        mean = torch.zeros(len(p["depth"]), 1, L, L, dtype=torch.float64, device=device)
        mean[:, 0, 0, 0] = p["depth"].to(device) * (4 * pi) ** 0.5
        s, over, mean = s.to(dtype), reciprocal(2 * s).to(dtype), mean.to(dtype)

        def there(w: Tensor) -> Tensor:
            h, swing = w[:, 2:] - mean, s * w[:, 1:2]
            return torch.cat([w[:, :1], h + swing, h - swing], 1)

        def back(w: Tensor) -> Tensor:
            return torch.cat([w[:, :1], over * (w[:, 1:2] - w[:, 2:]), (w[:, 1:2] + w[:, 2:]) / 2 + mean], 1)

        return there, back

    # -- what it is used with ----------------------------------------------------------------------------------

    def initial(
        self,
        domain: Sphere,
        trajectories: Sequence[int],
        seed: int,
        *,
        peak: float | int = 8,
        rms: float | int = 20.0,
        conditions: Conditions | None = None,
    ) -> Float[Tensor, "B 3 lat lon"]:
        """Random balanced flows, float64, one a trajectory: energy around degree `peak`, `rms` of the speed in m/s.

        The height balances the flow under the parameters of `conditions`, else under those of the constructor.
        """
        zeta = random_vorticity(domain, trajectories, seed, peak=peak, rms=rms)
        return self.synthesised(balanced(zeta, domain.radius, self.parameters(conditions or nowhere(domain))), domain, domain)

    def turnover_time(self, u: Float[Tensor, "B 3 lat lon"], domain: Sphere) -> Float[Tensor, " B"]:
        """The mean wavelength, 2 pi a/sqrt(l(l+1)) weighted by the energy of each degree, over the rms speed."""
        spectrum = self.analysed(u.double(), domain, domain.with_shape([2 * n for n in domain.shape]))
        energy = degree_power(spectrum[:, :2]).sum(1) * -spherical.inverse_laplacian(spectrum.shape[-1], u.device) * domain.radius**2
        r = restoring(spectrum.shape[-1], domain.radius, u.device)[:, 0].clamp_min(1 / domain.area)
        return (energy * 2 * pi / r.sqrt()).sum(1) / energy.sum(1) / (energy.sum(1) / (4 * pi)).sqrt()


def nowhere(domain: Sphere) -> Conditions:
    """Conditions that name no parameter, so that those of a constructor hold."""
    one = torch.ones(1, dtype=torch.float64)
    return Conditions(domain, 0 * one, one, torch.zeros(1, 0, dtype=torch.float64))


def carried(box: Sphere) -> int:
    """How many degrees the solver carries on a Gauss grid: those whose products, and theirs with a third, the quadrature integrates."""
    return min((2 * box.shape[0] - 1) // 3, (box.shape[1] - 1) // 3) + 1


def column(values: Float[Tensor, " R"], device: torch.device) -> Float[Tensor, "R 1 1 1"]:
    return values.to(device).reshape(-1, 1, 1, 1)


def restoring(degrees: int, radius: float, device: torch.device) -> Float[Tensor, "L 1"]:
    """r = l (l + 1) / a^2, float64."""
    degree = torch.arange(degrees, dtype=torch.float64, device=device)[:, None]
    return degree * (degree + 1) / radius**2


def decay(degrees: int, p: Parameters, device: torch.device) -> Float[Tensor, "R 1 L 1"]:
    """D, 1/s."""
    s = column(p["damped"], device)
    return column(p["damping"], device) * (restoring(degrees, 1.0, device) / (s * (s + 1))) ** 4


def ratio(degrees: int, box: Sphere, p: Parameters, device: torch.device) -> Complex[Tensor, "R 1 L 1"]:
    """i sqrt(H/(g r)), the height that goes with a divergence in a wave; 0 for the mean, which has none."""
    r = restoring(degrees, box.radius, device)
    return 1j * torch.where(r > 0, (column(p["depth"] / p["gravity"], device) / r.where(r > 0, 1.0)).sqrt(), 0.0)


def reciprocal(z: Complex[Tensor, "*K"]) -> Complex[Tensor, "*K"]:
    """1/z, and 0 for 0."""
    return torch.where(z == 0, 0, 1 / z.where(z != 0, 1))


def degree_power(spectrum: Complex[Tensor, "B F L M"]) -> Float[Tensor, "B F L"]:
    """The integral of u^2 over the unit sphere, degree by degree."""
    square: Tensor = spectrum.abs().square()
    return 2 * square.sum(-1) - square[..., 0]


def advection(box: Sphere, p: Parameters, dtype: torch.dtype, device: torch.device) -> Nonlinear:
    """N for (zeta, q+, q-): what is left of the equations beside waves about the depth H, and damping."""
    real, L, a = dtype.to_real(), carried(box), box.radius
    t = spherical.tables(box, L, real, device)
    latitude = torch.deg2rad(box.coordinate(0)).to(device)
    f = (2 * column(p["rotation"], device) * latitude.sin()[:, None]).to(real)
    s, r = ratio(L, box, p, device), restoring(L, a, device)
    inverse = a * spherical.inverse_laplacian(L, device)[:, None]
    to_psi, to_chi, s, r = inverse.to(dtype), (inverse * reciprocal(2 * s)).to(dtype), s.to(dtype), r.to(dtype)

    def nonlinear(w: Tensor) -> Tensor:
        zeta, plus, minus = w.chunk(3, 1)
        scalars = spherical.along(t.synthesis, torch.cat([zeta, (plus + minus) / 2], 1))
        vectors = spherical.circles_of_flow(torch.cat([to_psi * zeta, to_chi * (plus - minus)], 1), t)
        vorticity, height, north, east = spherical.to_fields(torch.cat([scalars, vectors], 1), t).chunk(4, 1)
        absolute, speed = vorticity + f, north.square() + east.square()
        products = torch.cat([absolute * north, height * north, absolute * east, height * east, speed], 1)
        z = spherical.to_circles(products, t)
        divergence, curl = spherical.of_circles(z[:, :4], t)
        rise = -divergence[:, 1:] / a
        turn = s * (curl[:, :1] / a + r / 2 * spherical.along(t.analysis, z[:, 4:]))
        return torch.cat([-divergence[:, :1] / a, rise + turn, rise - turn], 1)

    return nonlinear
