"""Gray and Scott's reaction and diffusion of two substances, A fed at the rate F, B taken away at the rate F + k, and A + 2B -> 3B:

    A_t = D_A lap A - A B^2 + F (1 - A),    B_t = D_B lap B + A B^2 - (F + k) B,    all coefficients >= 0

periodic in the plane. Diffusion and the linear decay are exact in time. So that products of three do not alias, of n points the modes
|k| <= (n - 1)//4 are carried, where products of two allow a third. Where A = 1 and B = 0 nothing happens; spots of B grow, split, wander or
join into stripes by (F, k). A uniform state obeys the ordinary equations; perturbations exp(ik.x) of it grow as exp((J - k^2 D) t), J
their Jacobian.

Sources: Gray and Scott, Chem. Eng. Sci. 39 (1984) 1087, https://doi.org/10.1016/0009-2509(84)87017-7; Pearson, Complex patterns in a simple
system, Science 261 (1993) 189, https://doi.org/10.1126/science.261.5118.189 (D_A = 2e-5, D_B = 1e-5 on 2.5 x 2.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.noise import SeededNoise
from surrogates.pde import space
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Nonlinear, Scheme, etdrk4
from surrogates.pde.spectral import Spectral, column
from surrogates.record import recorded

X, Y = -2, -1


@recorded
class GrayScott(Spectral):
    """Concentrations in and out: (B, 2, x, y), A and B. Parameters by name: feed F, kill k, diffusion_a, diffusion_b.

    State: the spectra of A and B (B, 2, 2Kx+1, Ky+1), centred along x.
    """

    fields = Fields.of(Field("A", long_name="substrate"), Field("B", long_name="activator"))
    dim = 2
    turnover_time = None  # type: ignore[assignment]  # nothing is carried by a flow

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        scheme: Scheme = etdrk4,
        dtype: torch.dtype | str | None = None,
        feed: Constant = None,
        kill: Constant = None,
        diffusion_a: Constant = 2e-5,
        diffusion_b: Constant = 1e-5,
    ) -> None:
        constants = {"feed": feed, "kill": kill, "diffusion_a": diffusion_a, "diffusion_b": diffusion_b}
        super().__init__(resolution, max_dt, scheme, dtype, constants)

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        modes = cutoff(box)
        kx, ky = (torch.arange(a, m + 1, dtype=torch.float64, device=device) for a, m in ((-modes[0], modes[0]), (0, modes[1])))
        k2 = (2 * torch.pi / box.lengths[0] * kx)[:, None] ** 2 + (2 * torch.pi / box.lengths[1] * ky)[None, :] ** 2
        feed, kill, of_a, of_b = (column(p[name], k2) for name in ("feed", "kill", "diffusion_a", "diffusion_b"))
        a, b = -of_a * k2 - feed, -of_b * k2 - feed - kill
        rows = max(len(a), len(b))
        food = torch.zeros(len(feed), 1, *k2.shape, dtype=dtype, device=device)
        food[:, :, modes[0], 0] = feed[..., 0, 0].to(dtype)

        def nonlinear(w: Tensor) -> Tensor:
            u = to_grid(w, box.shape)
            reaction = of_grid(u[:, :1] * u[:, 1:].square(), modes)
            return torch.cat([food - reaction, reaction], 1)

        return torch.cat([a.expand(rows, -1, -1, -1), b.expand(rows, -1, -1, -1)], 1), nonlinear

    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        modes = cutoff(box)
        have = tuple(min((n - 1) // 2, m) for n, m in zip(u.shape[2:], modes, strict=True))
        across = modes[0] - have[0]
        return torch.nn.functional.pad(of_grid(u, have), (0, modes[1] - have[1], across, across))

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        across, up = (max(0, m - (n - 1) // 2) for m, n in zip(cutoff(box), shape, strict=True))
        return to_grid(torch.nn.functional.pad(spectrum, (0, -up, -across, -across)), shape)

    def initial(  # type: ignore[override]
        self,
        domain: Box,
        trajectories: Sequence[int],
        seed: int,
        *,
        spots: float | int = 24,
        radius: float = 0.02,
    ) -> Float[Tensor, "B 2 X Y"]:
        """Rest but for random spots, float64, one field a trajectory: of about twice the `radius`, in lengths of the box, with half of A
        turned into half as much B. Raises ValueError unless `spots` is a whole number >= 1 and `radius` is positive."""
        if not (spots >= 1 and float(spots).is_integer()):
            raise ValueError(f"initial.spots must be a whole number, 1 or more, got {spots:g}")
        if not radius > 0:
            raise ValueError(f"initial.radius must be positive, in lengths of the box, got {radius:g}")
        count = int(spots)
        like = torch.empty(len(trajectories), count, 2, dtype=torch.float64)
        at = torch.special.ndtr(SeededNoise(seed, trajectories, [0] * len(trajectories))(like, step=0, draw=0))
        cover = torch.zeros(len(trajectories), *domain.shape, dtype=torch.float64)
        x, y = (g / length for g, length in zip(domain.grid(), domain.lengths, strict=True))
        for n in range(count):
            dx, dy = ((c - at[:, n, axis, None, None] + 0.5) % 1 - 0.5 for axis, c in enumerate((x, y)))
            cover = cover + torch.exp(-(dx.square() + dy.square()) / (2 * radius**2))
        share = 1 - torch.exp(-4 * cover)
        return torch.stack([1 - share / 2, share / 4], 1)


def cutoff(box: Box) -> tuple[int, ...]:
    """The largest modes whose products of three do not alias onto them."""
    return tuple((n - 1) // 4 for n in box.shape)


def to_grid(w: Complex[Tensor, "B F Kx Ky"], shape: tuple[int, ...]) -> Float[Tensor, "B F X Y"]:
    u: Tensor = torch.fft.irfft(torch.fft.ifft(space.spread(w, shape[0], X), dim=X, norm="forward"), n=shape[1], dim=Y, norm="forward")
    return u


def of_grid(u: Float[Tensor, "B F X Y"], modes: tuple[int, ...]) -> Complex[Tensor, "B F Kx Ky"]:
    lines = torch.fft.rfft(u, dim=Y, norm="forward")[..., : modes[1] + 1]
    return space.gathered(torch.fft.fft(lines, dim=X, norm="forward"), modes[0], X)
