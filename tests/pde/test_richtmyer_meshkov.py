"""A shock through a rippled interface: jumps of Rankine and Hugoniot, and the growth of Richtmyer's impulsive model."""

from __future__ import annotations

from math import pi

import pytest
import torch
from torch import Tensor

from surrogates.domains import Box
from surrogates.pde import gas
from surrogates.pde.richtmyer_meshkov import INTERFACE, RichtmyerMeshkov, behind
from tests.pde.test_compressible import GAMMA, exact, star

BOX = Box((96, 16), (0.0, 0.0), (3.0, 0.5), ("wall", "periodic"))


def test_the_shock_has_the_jumps_of_rankine_and_hugoniot() -> None:
    mach = torch.full((1, 1, 1), 1.7, dtype=torch.float64)
    p, rho, u = behind(mach, GAMMA)
    s = mach * 1.4**0.5
    after, before = torch.stack([rho, u - s, 0 * u, p], 1), torch.stack([0 * u + 1, -s, 0 * u, 0 * u + 1], 1)
    fluxes = [gas.hllc(w, w, GAMMA) for w in (after, before)]
    torch.testing.assert_close(*fluxes, rtol=1e-13, atol=1e-13)


@pytest.mark.slow
def test_ripples_grow_as_the_impulsive_model_says(evolve) -> None:
    mach, ratio, a0, k = 1.15, 2.0, 0.01, 2 * pi / 0.5
    step = RichtmyerMeshkov(max_dt=1.0, mach=mach, ratio=ratio, viscosity=1e-5)
    q = step.initial(BOX, [0], 0, amplitude=a0 / 0.5, thickness=0.06, waves=1)
    p1, rho1, u1 = (float(v) for v in behind(torch.tensor(mach).double(), torch.tensor(1.4).double()))
    shocked, heavy = (rho1, u1, p1), (ratio, 0.0, 1.0)
    _, u = star(shocked, heavy)
    light_after, heavy_after = (exact(u + s, shocked, heavy)[0] for s in (-1e-9, 1e-9))
    atwood = (heavy_after - light_after) / (heavy_after + light_after)
    rate = k * atwood * u * a0 * (1 - u / (mach * 1.4**0.5))

    def ripple(v: Tensor) -> float:
        column = v[0, 0].sum(0) * BOX.spacing[0]
        return float(torch.fft.rfft(column)[1].abs() * 2 / 16) / (heavy_after - light_after)

    early, late = 0.9, 1.5
    one = evolve(step, q, BOX, early)
    two = evolve(step, one, BOX, late - early)
    found = (ripple(two) - ripple(one)) / (late - early)
    assert abs(found / rate - 1) < 0.2, (found, rate)  # of a sharp interface; here k times the thickness is .38
    front = (gas.primitive(one, GAMMA)[0, 1] - u).abs()[round((INTERFACE * 3 + u * early) * 32)]
    assert float(front.max()) < 0.1 * u


def test_bad_input_is_named() -> None:
    step = RichtmyerMeshkov(max_dt=1.0, viscosity=1e-3)
    with pytest.raises(ValueError, match="between walls along x"):
        step.initial(Box.periodic((8, 8), 1.0), [0], 0)
    with pytest.raises(ValueError, match="mach must be larger"):
        RichtmyerMeshkov(max_dt=1.0, viscosity=1e-3, mach=0.9).initial(BOX, [0], 0)
    torch.testing.assert_close(step.initial(BOX, [0, 1], 0)[1], step.initial(BOX, [1], 0)[0])
