"""Agreement with torch-cfd's Kolmogorov flow: another author's code, another form of the equations, the same time scheme."""

from __future__ import annotations

from math import pi

import pytest
import torch

from surrogates.domains import Box
from surrogates.pde import Kolmogorov, rk4_crank_nicolson


def test_torch_cfd_goes_the_same_way(evolve) -> None:
    spectral = pytest.importorskip("torch_cfd.spectral", reason="torch-cfd is a peer for tests: pip install --no-deps torch-cfd")
    from torch_cfd.forcings import KolmogorovForcing
    from torch_cfd.grids import Grid

    n, dt, steps, nu, mu = 64, 0.005, 40, 0.01, 0.1
    box, grid = Box.periodic((n, n), 2 * pi), Grid((n, n), domain=((0, 2 * pi), (0, 2 * pi)))
    force = KolmogorovForcing(grid=grid, scale=1.0, wave_number=4, swap_xy=False)
    peer = spectral.NavierStokes2DSpectral(nu, grid, drag=mu, forcing_fn=force, step_fn=spectral.RK4CrankNicolsonStepper()).double()

    step = Kolmogorov(max_dt=dt, scheme=rk4_crank_nicolson, viscosity=nu, drag=mu, forcing=1.0, wavenumber=4)
    u = step.initial(box, [0], 0, peak=2.0)
    theirs = torch.fft.irfft2(peer(torch.fft.rfft2(box.vorticity(u)[:, 0]), dt, steps)[0])
    ours = box.vorticity(evolve(step, u, box, dt * steps))[:, 0]
    assert (ours - box.vorticity(u)[:, 0]).abs().max() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)  # their grid is made in float32
