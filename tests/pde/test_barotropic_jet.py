"""The unstable jet: the published state, its balance, its roll-up, and draws around it."""

from __future__ import annotations

import pytest
import torch

from surrogates.domains import Sphere
from surrogates.pde import BarotropicJet, spherical
from surrogates.pde.barotropic_jet import WIDTH
from surrogates.record import construct, describe

A, DAY = 6.37122e6, 86400.0
T21 = Sphere((32, 64), "legendre-gauss", radius=A, units="m")
T42, T85 = T21.with_shape((64, 128)), T21.with_shape((128, 256))


def angles(sphere: Sphere):
    return torch.meshgrid(*(torch.deg2rad(sphere.coordinate(a)) for a in (0, 1)), indexing="ij")


def published(phi, U=80.0):
    p0, p1 = torch.pi / 7, torch.pi / 2 - torch.pi / 7
    inside = (phi > p0) & (phi < p1)
    bump = torch.exp(1 / ((phi - p0) * (phi - p1)).where(inside, -1.0))
    return U / torch.exp(torch.tensor(-4 / (p1 - p0) ** 2).double()) * bump * inside


def test_the_published_state() -> None:
    step, (phi, lam) = BarotropicJet(max_dt=60.0), angles(T85)
    jet, both = step.initial(T85, [0], 0, hump=0.0), step.initial(T85, [0], 0)
    torch.testing.assert_close(jet[0, 2], published(phi), rtol=0, atol=0.01)
    assert jet[0, 1].abs().max() < 1e-9
    torch.testing.assert_close(T85.average(jet[:, :1]), torch.full((1, 1), 1e4).double(), rtol=1e-13, atol=0)
    lam = torch.where(lam > torch.pi, lam - 2 * torch.pi, lam)
    hump = 120 * phi.cos() * torch.exp(-((lam * 3) ** 2)) * torch.exp(-(((torch.pi / 4 - phi) * 15) ** 2))
    torch.testing.assert_close((both - jet)[0, 0], hump, rtol=0, atol=0.2)
    assert torch.equal(both[:, 1:], jet[:, 1:])


def test_the_height_is_that_of_the_gradient_wind() -> None:
    sphere = T85
    phi, _ = angles(sphere)
    jet = BarotropicJet(max_dt=60.0).initial(sphere, [0], 0, hump=0.0)
    h = spherical.analyse(jet[:, :1], spherical.tables(sphere, 86, torch.float64, torch.device("cpu")))
    slope = spherical.flow(0 * h, h, spherical.tables(sphere, 86, torch.float64, torch.device("cpu")))[0, 0] / A
    u = published(phi)
    wanted = -u * (2 * 7.292e-5 * phi.sin() + u * phi.tan() / A) / 9.80616
    torch.testing.assert_close(slope, wanted, rtol=0, atol=2e-4 * float(wanted.abs().max()))


def test_an_unperturbed_jet_stays_zonal_and_in_balance(evolve) -> None:
    step = BarotropicJet(max_dt=1800.0)
    u = step.initial(T42, [0], 0, hump=0.0)
    u = step.resample(u, T42, T42)
    out = evolve(step, u, T42, DAY / 4)
    assert (out - u)[:, 2].abs().max() < 0.3 and out[:, 1].abs().max() < 0.03  # T42 cuts the jet; T85 holds it to .01
    assert (out - out.mean(3, keepdim=True)).abs().max() < 1e-6
    moved = evolve(step, step.initial(T42, [0], 0), T42, DAY / 4)
    assert (moved - moved.mean(3, keepdim=True))[:, 1:].abs().max() > 0.5


@pytest.mark.slow
def test_the_jet_stays_in_balance_for_five_days(evolve) -> None:
    step = BarotropicJet(max_dt=600.0)
    u = step.initial(T85, [0], 0, hump=0.0)
    out = evolve(step, u, T85, DAY, 5)
    assert (out - u)[:, 2].abs().max() < 0.05 and out[:, 1].abs().max() < 0.05


@pytest.mark.slow
def test_the_perturbed_jet_rolls_up_within_six_days(evolve) -> None:
    sphere, step = T85.with_shape((96, 192)), BarotropicJet(max_dt=900.0, damping=1 / 7200, damped=63)
    out = evolve(step, step.initial(sphere, [0], 0), sphere, DAY, 6)
    zeta = step.analysed(out, sphere, sphere)[:, :1]
    vorticity = spherical.synthesise(zeta, spherical.tables(sphere, zeta.shape[-1], torch.float64, torch.device("cpu")))[0, 0]
    phi, _ = angles(sphere)
    eddy = vorticity - vorticity.mean(1, keepdim=True)
    assert 5e-5 < eddy.abs().max() < 3e-4
    assert eddy[phi < 0].abs().max() < 0.02 * eddy.abs().max()  # the other hemisphere sees nothing but gravity waves
    assert 1e-4 < vorticity.max() < 2.5e-4 and -2e-4 < vorticity.min() < -5e-5


def test_draws_lie_in_their_spread_and_belong_to_their_trajectory() -> None:
    step = BarotropicJet(max_dt=600.0)
    spread = {"speed_spread": 10.0, "latitude_spread": 5.0, "hump_spread": 60.0, "turned": 180.0}
    u = step.initial(T42, range(6), 3, **spread)
    torch.testing.assert_close(u[4:5], step.initial(T42, [4], 3, **spread), rtol=1e-13, atol=1e-8)
    top = u[:, 2].amax((1, 2))
    assert bool((top > 66).all() and (top < 92).all()) and top.std() > 1
    axis = torch.rad2deg(angles(T42)[0][u[:, 2].mean(2).argmax(1), 0])
    assert bool(((axis - 45).abs() < 7).all()) and axis.std() > 0.5
    where = (u[:, 0] - u[:, 0].mean(2, keepdim=True)).amax(1).argmax(1)
    assert len(set(where.tolist())) > 3


def test_every_resolution_has_the_same_state() -> None:
    step = BarotropicJet(max_dt=600.0)
    coarse, fine = (step.initial(s, [1], 3, latitude_spread=5.0, turned=90.0) for s in (T42, T85))
    modes = [step.analysed(u, s, T42)[..., :43, :43] for u, s in ((coarse, T42), (fine, T85))]
    torch.testing.assert_close(modes[0], modes[1], rtol=0, atol=1e-8)


def test_jets_at_a_pole_are_refused_and_the_class_is_built_again() -> None:
    with pytest.raises(ValueError, match="must not reach a pole"):
        BarotropicJet(max_dt=1.0).initial(T21, [0], 0, latitude=75.0)
    assert 0 < WIDTH < torch.pi / 4
    step = BarotropicJet((32, 64), max_dt=600.0, damping=1e-4)
    assert type(construct(describe(step))) is BarotropicJet
