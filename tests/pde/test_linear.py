"""Advection and waves against what is exact."""

from __future__ import annotations

from math import cos, exp, pi, sin

import pytest
import torch

from surrogates.domains import Box
from surrogates.pde import Advection, Wave
from surrogates.record import construct, describe
from tests.laws import step_laws

RING = Box.periodic((32,), 3.0)
SHEET = Box.periodic((24, 33), (2.0, 3.0))


def test_advection_by_whole_cells_is_a_roll(evolve) -> None:
    """Any field without a Nyquist mode, to the last digits, in one frame or many."""
    u = torch.randn(2, 1, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ring = Box.periodic((33,), 3.0)
    for frames in (1, 5):
        out = evolve(Advection(speed=0.7), u, ring, 4 * 3.0 / 33 / 0.7 / frames, frames)
        torch.testing.assert_close(out, u.roll(4, 2), rtol=0, atol=1e-13)


def test_advection_and_diffusion_of_one_wave(evolve) -> None:
    k, c, nu, t = 2 * pi * 5 / 3.0, 1.3, 0.02, 0.37
    x = RING.coordinate(0)
    out = evolve(Advection(speed=c, viscosity=nu), torch.sin(k * x)[None, None], RING, t)
    torch.testing.assert_close(out[0, 0], exp(-nu * k**2 * t) * torch.sin(k * (x - c * t)), rtol=0, atol=1e-13)


def test_a_standing_wave_swings(evolve) -> None:
    (x, y), c, t = SHEET.grid(), 1.7, 0.83
    k, m = 2 * pi * 3 / 2.0, 2 * pi * 2 / 3.0
    w = c * (k**2 + m**2) ** 0.5
    shape = torch.cos(k * x) * torch.sin(m * y)
    out = evolve(Wave(speed=c), torch.stack([shape, 0 * shape])[None], SHEET, t)
    torch.testing.assert_close(out[0], torch.stack([cos(w * t) * shape, -w * sin(w * t) * shape]), rtol=0, atol=1e-12)


def test_a_plane_wave_travels_unchanged(evolve) -> None:
    x, _ = SHEET.grid()
    c, k, t = 0.6, 2 * pi * 4 / 2.0, 1.9
    out = evolve(Wave(speed=c), torch.stack([torch.sin(k * x), -c * k * torch.cos(k * x)])[None], SHEET, t)
    torch.testing.assert_close(out[0, 0], torch.sin(k * (x - c * t)), rtol=0, atol=1e-12)


def test_energy_stays_and_the_mean_moves_on_uniformly(evolve) -> None:
    step, c, t = Wave(), 0.9, 5.3
    u = torch.cat([step.initial(SHEET, [0, 1], 1, peak=2.0)[:, :1], 0.4 + step.initial(SHEET, [0, 1], 2, peak=2.0)[:, :1]], 1)
    out = evolve(step, u, SHEET, t / 10, 10, speed=c)
    torch.testing.assert_close(step.energy(out, SHEET, c), step.energy(u, SHEET, c), rtol=1e-12, atol=0)
    torch.testing.assert_close(SHEET.average(out), torch.tensor([[0.4 * t, 0.4]], dtype=torch.float64).expand(2, -1), rtol=0, atol=1e-12)
    back = evolve(step, out * torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1), SHEET, t, speed=c)  # time turned round
    torch.testing.assert_close(back[:, :1], u[:, :1], rtol=0, atol=1e-11)


@pytest.mark.parametrize(("kind", "box"), [(Advection, RING), (Wave, SHEET)])
def test_what_every_step_owes(kind, box, conditions) -> None:
    step = kind()
    u = step.initial(box, [0, 1], 0)
    step_laws(step, u[:, None], conditions(box, 2, 0.3, speed=[0.5, 1.1]), lambda rows: None, rounding=1e-12)
    assert describe(construct(describe(step))) == describe(step)
    shift = tuple(range(2, 2 + box.dim))
    c = conditions(box, 2, 0.3, speed=0.8)
    out, moved = (step(step.begin(v[:, None], c), c)[0][:, 0] for v in (u, u.roll((3,) * box.dim, shift)))
    torch.testing.assert_close(moved, out.roll((3,) * box.dim, shift), rtol=0, atol=1e-12)
