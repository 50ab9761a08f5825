"""Symmetries are those that the solvers have, step(g u) = g step(u), and windows under them are windows of solutions."""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import pytest
import torch
import xarray as xr

from surrogates import pde
from surrogates.contracts import Conditions
from surrogates.data.coarse import Coarse
from surrogates.data.module import DataModule
from surrogates.data.symmetries import Augment, Galilean, Reflect, Symmetry, Translate, Turn, chosen, declared, quarter, signs
from surrogates.data.windows import Batch
from surrogates.domains import Box, Masked, Sphere
from surrogates.fields import Field, Fields

LAYER, CUBE = Box((16, 12), (0.0, 0.0), (4.0, 1.0), ("periodic", "wall")), Box.periodic((12, 12, 12), 2 * pi)
LINE, PLANE, GLOBE = Box.periodic((32,), 20.0), Box.periodic((24, 24), 2 * pi), Sphere((16, 32), radius=6.37e6, units="m")
SOLVERS = {
    "kuramoto_sivashinsky": (pde.KuramotoSivashinsky(max_dt=0.01, dtype="float64"), LINE, 0.1),
    "burgers": (pde.Burgers(max_dt=0.01, dtype="float64", viscosity=0.5), LINE, 0.1),
    "kdv": (pde.KdV(max_dt=0.002, dtype="float64"), LINE, 0.02),
    "kolmogorov2d": (pde.Kolmogorov(max_dt=0.02, dtype="float64", viscosity=0.02), PLANE, 0.1),
    "decaying": (pde.Kolmogorov(max_dt=0.02, dtype="float64", viscosity=0.02, forcing=0.0), PLANE, 0.1),
    "passive_scalar2d": (pde.PassiveScalar(max_dt=0.02, dtype="float64", viscosity=0.02, diffusivity=0.02), PLANE, 0.1),
    "gray_scott": (pde.GrayScott(max_dt=1.0, dtype="float64", feed=0.04, kill=0.06), Box.periodic((24, 24), 2.5), 5.0),
    "wave": (pde.Wave(speed=1.0), PLANE, 0.3),
    "riemann2d": (pde.Riemann2d(max_dt=0.2, dtype="float64", viscosity=0.02), PLANE, 0.4),
    "advection": (pde.Advection(speed=1.0), LINE, 0.3),
    "isotropic_turbulence": (pde.IsotropicTurbulence(max_dt=0.05, dtype="float64", viscosity=0.05), CUBE, 0.1),
    "rayleigh_benard": (pde.RayleighBenard(max_dt=0.05, dtype="float64", rayleigh=1e4), LAYER, 0.2),
    "shallow_water": (pde.ShallowWater(max_dt=600.0, dtype="float64"), GLOBE, 1200.0),
}
CASES = [
    (name, key) for name in SOLVERS for key in (declared("kolmogorov2d", {"forcing": [0.0]}) if name == "decaying" else declared(name))
]


def symmetry(name: str, key: str) -> Symmetry:
    return (declared("kolmogorov2d", {"forcing": [0.0]}) if name == "decaying" else declared(name))[key]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_a_step_of_the_moved_state_is_the_moved_step(name: str, key: str) -> None:
    solver, grid, dt = SOLVERS[name]
    g = symmetry(name, key)
    u = solver.initial(grid, [3], 1)
    time = torch.zeros(1, dtype=torch.float64)
    at = Conditions(grid, time, time + dt, torch.zeros(1, 0))

    def step(v: torch.Tensor) -> torch.Tensor:
        return solver(solver.begin(v[:, None], at), at)[0][:, 0]

    u = step(u)  # what the solver carries, and balanced
    after, zero, later = step(u), torch.zeros(1, dtype=torch.float64), torch.full((1,), dt, dtype=torch.float64)
    generator, moved = torch.Generator().manual_seed(5), 0
    for _ in range(4):
        element = g.draw(grid, generator)
        v, w = (g.act(element, x, solver.fields, grid, t) for x, t in ((u, zero), (after, later)))
        scale = float((after - u).abs().max())
        tolerance = 1e-5 if key == "galilean" else 1e-9  # moving frames are advected by the scheme, to its order
        torch.testing.assert_close(
            step(v), w, rtol=0, atol=tolerance * max(scale, 1e-6 * float(u.abs().max())) + 1e-10 * float(u.abs().max())
        )
        moved += not torch.equal(u, v)
    assert moved


def test_what_is_no_symmetry_would_be_seen() -> None:
    solver, grid, dt = SOLVERS["kolmogorov2d"]
    u, time = solver.initial(grid, [3], 1), torch.zeros(1, dtype=torch.float64)
    at = Conditions(grid, time, time + dt, torch.zeros(1, 0))
    for g, element in ((Reflect(0), True), (Translate(), (0, 1)), (Turn(), 1)):
        v = g.act(element, u, solver.fields, grid, time)
        one, other = solver(solver.begin(v[:, None], at), at)[0][:, 0], solver(solver.begin(u[:, None], at), at)[0][:, 0]
        assert float((one - g.act(element, other, solver.fields, grid, time)).abs().max()) > 1e-3


def test_four_quarters_are_none_and_two_are_a_half_turn() -> None:
    fields = Fields.of(Field("velocity", components=("x", "y"), levels=(1.0, 2.0)), Field("p"))
    for box in (Box.periodic((6, 6), 1.0), Box((6, 6), (0.0, 0.0), (1.0, 1.0), ("wall", "wall"))):
        u = torch.randn(2, 5, 6, 6, generator=torch.Generator().manual_seed(0))
        once = quarter(u, fields, box)
        twice = quarter(once, fields, box)
        assert torch.equal(quarter(quarter(twice, fields, box), fields, box), u)
        assert torch.equal(Turn().act(2, u, fields, box, torch.zeros(2)), twice)
        assert not torch.equal(once, u)


def test_components_reflect_by_the_axes_that_they_have() -> None:
    fields = Fields.of(
        Field("s"), Field("v", components=("x", "y"), levels=(1.0, 2.0)), Field("t", components=("xx", "xy", "yx", "yy")), Field("w")
    )
    assert signs(fields, 0, 2, ("w",)).tolist() == [1, -1, -1, 1, 1, 1, -1, -1, 1, -1]
    with pytest.raises(ValueError, match="not known how they reflect"):
        signs(Fields.of(Field("v", components=("a", "b", "c"))), 0, 2)


def batch_of(dataset: xr.Dataset) -> Batch:
    return DataModule({"train": dataset}).windows("train").batch([0, 1, 2, 3])


def test_draws_are_those_of_seed_and_step(dataset: xr.Dataset) -> None:
    batch = batch_of(dataset)
    augment = Augment((Translate(),), DataModule({"train": dataset}).fields)
    one, again, later, other = (augment(batch, s, n).past for s, n in ((1, 5), (1, 5), (1, 6), (2, 5)))
    assert torch.equal(one, again) and not torch.equal(one, later) and not torch.equal(one, other)
    torch.testing.assert_close(one.mean((-1, -2)), batch.past.mean((-1, -2)))


def test_all_frames_of_a_window_move_alike(dataset: xr.Dataset) -> None:
    batch = batch_of(dataset)
    moved = Augment((Translate(), Reflect(1)), DataModule({"train": dataset}).fields)(batch, 3, 7)
    before, after = (torch.fft.rfft2(torch.cat([b.past, b.future], 1)).abs() for b in (batch, moved))
    torch.testing.assert_close(before.square().sum((-1, -2)), after.square().sum((-1, -2)))
    cross = [(torch.cat([b.past, b.future], 1)[:, 0] * torch.cat([b.past, b.future], 1)[:, 1]).sum((-1, -2)) for b in (batch, moved)]
    torch.testing.assert_close(cross[0].abs(), cross[1].abs(), rtol=1e-4, atol=1e-4)


def test_training_asks_for_what_the_equation_has(dataset: xr.Dataset) -> None:
    known = dataset.assign_attrs(recipe='{"equation": "kolmogorov2d"}')
    data = DataModule({"train": known}, augment=["translate"])
    assert len(data.changes()) == 1 and len(next(iter(data.train_dataloader()))) == 16
    with pytest.raises(ValueError, match="has no symmetry 'galilean'"):
        DataModule({"train": known}, augment=["galilean"]).changes()
    with pytest.raises(ValueError, match="do not say which equation they solve; name those that hold"):
        DataModule({"train": dataset}, augment=True).changes()
    with pytest.raises(ValueError, match="quarter turns need a square box"):
        DataModule({"train": dataset}, augment=["turn"]).changes()
    with pytest.raises(ValueError, match="leave it out"):
        chosen(True, "burgers", {}, Masked(LINE, torch.ones(32, dtype=torch.bool)), None, None)


def test_a_half_turn_is_none_of_averages_between_the_points() -> None:
    """Four waves, averaged by four: the forcing on the coarse points, turned about the first of them, is another one."""
    box = Box.periodic((64, 64), 2 * pi)
    for coarse in (Coarse(4).domain(box), Coarse(4, "spectral").domain(box), box):
        assert isinstance(coarse, Box)
        push = torch.stack([torch.sin(4 * coarse.grid()[1]), torch.zeros(coarse.shape, dtype=torch.float64)])[None]
        turned = Turn(2).act(2, push, Fields.of(Field("velocity", components=("x", "y"))), coarse, torch.zeros(1))
        kept = {type(g) for g in chosen(True, "kolmogorov2d", {"wavenumber": [4.0]}, coarse, None, None)}
        assert (Turn in kept) == torch.allclose(turned, push, atol=1e-10) and {Translate, Reflect} <= kept
    with pytest.raises(ValueError, match="half turn about a point at 0.147262 does not map a forcing of 4 waves"):
        chosen(["turn"], "kolmogorov2d", {"wavenumber": [4.0]}, Coarse(4).domain(box), None, None)


def test_scalars_that_may_change_sign_are_asked_about() -> None:
    curl, parts = Fields.of(Field("vorticity"), Field("T")), Fields.of(Field("u"), Field("v"), Field("p"))
    with pytest.raises(ValueError, match=r"\['vorticity'\] may change sign in a reflection; say .* `flips: \['vorticity'\]`"):
        chosen(["reflect"], "", {}, PLANE, None, None, fields=curl)
    with pytest.raises(ValueError, match=r"\['u', 'v'\] are scalars .* fields: \{velocity: \['u', 'v'\]\}"):
        chosen(["turn"], "", {}, PLANE, None, None, fields=parts)
    with pytest.raises(ValueError, match="flips names 'vortcity', .* did you mean 'vorticity'"):
        chosen(["reflect"], "", {}, PLANE, None, None, fields=curl, flips=["vortcity"])
    for g in chosen(["reflect"], "", {}, PLANE, None, None, fields=curl, flips=["vorticity"]):
        u = torch.ones(1, 2, 24, 24)
        assert g.act(True, u, curl, PLANE, torch.zeros(1))[0, :, 0, 0].tolist() == [-1, 1]
    assert chosen(["translate", "turn"], "", {}, PLANE, None, None, fields=curl) == (Translate(), Turn())
    with pytest.raises(ValueError, match="those of burgers are known"):
        chosen(["reflect"], "burgers", {}, LINE, None, None, fields=Fields.of(Field("u")), flips=["u"])


def test_regions_do_not_move(dataset: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="belong to places, from which augment moves"):
        DataModule({"train": dataset}, augment=["translate"], normalise={"regions": "land"})


def test_a_moving_frame_is_a_solution_too() -> None:
    x, c = LINE.coordinate(0), 0.7
    wave: Callable[[float], torch.Tensor] = lambda t: torch.cos(2 * pi / 20 * 3 * (x - 0.2 * t))[None, None]  # noqa: E731
    g = Galilean()
    moved = g.act(c, torch.cat([wave(0.0), wave(1.5)]), Fields.of(Field("u")), LINE, torch.tensor([0.0, 1.5], dtype=torch.float64))
    torch.testing.assert_close(moved[1], torch.cos(2 * pi / 20 * 3 * (x - 0.9 * 1.5))[None] + c, atol=1e-12, rtol=0)
