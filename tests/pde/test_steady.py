"""Steady diffusion: exact layers, manufactured solutions, fluxes that balance, agreement with finite elements, and data of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import log2, pi
from pathlib import Path

import pytest
import torch
import xarray as xr
from torch import Tensor

from surrogates.data.generate import make
from surrogates.data.read import read_file
from surrogates.data.recipe import Recipe
from surrogates.domains import Box
from surrogates.interchange import STATIC, declared
from surrogates.pde import ConDiff, Darcy, elliptic
from surrogates.record import construct, describe
from tests.laws import step_laws

SQUARE = Box((16, 12), (0.0, 0.0), (1.0, 1.0), ("wall", "wall"))


def known(box: Box) -> tuple[Tensor, Tensor, Tensor]:
    """u, k and f with -div(k grad u) = f, u = 0 on the sides of the unit square: k = exp(sin 2x cos y), u = sin pi x sin 2 pi y."""
    x, y = box.grid()
    k = torch.exp(torch.sin(2 * x) * torch.cos(y))
    u = torch.sin(pi * x) * torch.sin(2 * pi * y)
    by_x, by_y = pi * torch.cos(pi * x) * torch.sin(2 * pi * y), 2 * pi * torch.sin(pi * x) * torch.cos(2 * pi * y)
    grown = 2 * torch.cos(2 * x) * torch.cos(y) * by_x - torch.sin(2 * x) * torch.sin(y) * by_y
    return u[None, None], k[None, None], (-k * (grown - 5 * pi**2 * u))[None, None]


def test_a_manufactured_solution_at_second_order() -> None:
    errors = []
    for n in (20, 40, 80):
        box = SQUARE.with_shape((n, 3 * n // 2))
        u, k, f = known(box)
        errors.append(float((elliptic.solve(k, f, box) - u).abs().max()))
    assert all(1.8 < log2(a / b) < 2.2 for a, b in itertools.pairwise(errors)), errors


def test_layers_with_what_flows_from_one_line_are_exact() -> None:
    """Between walls u is then linear in each layer, with the same flux through all; harmonic means know that."""
    box = Box((20, 3), (0.0, 0.0), (1.0, 0.15), ("wall", "periodic"))
    k1 = torch.tensor([1.0, 1e4, 7.0, 1e-3, 2.0], dtype=torch.float64).repeat_interleave(4)
    k, f = (torch.zeros(1, 1, 20, 3, dtype=torch.float64) for _ in range(2))
    k[:], f[:, :, 6] = k1[:, None], 20.0  # a unit source on the line through the middle of cell 6
    resistance = torch.cat([1 / k1[:1] / 2, (1 / k1[1:] + 1 / k1[:-1]) / 2, 1 / k1[-1:] / 2]).cumsum(0) / 20
    whole, at = resistance[-1], resistance[:-1]
    left = (whole - at[6]) / whole  # of the source, to the left
    exact = torch.where(at <= at[6], left * at, (1 - left) * (whole - at))
    torch.testing.assert_close(elliptic.solve(k, f, box)[0, 0], exact[:, None].expand(-1, 3), rtol=1e-10, atol=0)


@pytest.mark.parametrize("contrast", [1.0, 1e6])
def test_fluxes_balance_in_every_cell(conditions, contrast: float) -> None:
    box = SQUARE
    static = ConDiff(waves=3).draw_static(box, [0, 1], 4, conditions=conditions(box, 2, 1.0, contrast=contrast))
    k, f = static[:, :1], static[:, 1:]
    u = elliptic.solve(k, f, box)
    flows = [elliptic.fluxes(u, k, box, axis) for axis in (0, 1)]
    out = sum(flow.diff(dim=2 + axis) / box.spacing[axis] for axis, flow in enumerate(flows))
    largest = float(sum(flow.abs().max() / h for flow, h in zip(flows, box.spacing, strict=True)))
    torch.testing.assert_close(out, f, rtol=0, atol=1e-12 * largest)
    area = box.measure[0, 0]
    through = sum((flow.select(2 + a, -1) - flow.select(2 + a, 0)).sum() * box.spacing[1 - a] for a, flow in enumerate(flows))
    assert abs(float(through - (f * area).sum())) < 1e-12 * float((f.abs() * area).sum())
    torch.testing.assert_close(elliptic.solve(k.mT, f.mT, box.with_shape((12, 16))), u.mT, rtol=1e-9, atol=1e-12 * float(u.abs().max()))


def test_agreement_with_finite_elements() -> None:
    """scikit-fem with quadratic triangles on the same smooth coefficient, f = 1."""
    skfem = pytest.importorskip("skfem")
    import numpy as np

    mesh = skfem.MeshTri.init_tensor(np.linspace(0, 1, 25), np.linspace(0, 1, 25))
    basis = skfem.Basis(mesh, skfem.ElementTriP2())

    @skfem.BilinearForm
    def stiffness(u, v, w):
        k = np.exp(np.sin(3 * w.x[0]) * np.cos(2 * w.x[1]))
        return k * (u.grad[0] * v.grad[0] + u.grad[1] * v.grad[1])

    @skfem.LinearForm
    def load(v, w):
        return 1.0 * v

    fem = skfem.solve(*skfem.condense(stiffness.assemble(basis), load.assemble(basis), D=basis.get_dofs()))
    errors = []
    for n in (20, 40):
        box = SQUARE.with_shape((n, n))
        x, y = box.grid()
        k = torch.exp(torch.sin(3 * x) * torch.cos(2 * y))[None, None]
        expected = torch.from_numpy(basis.probes(np.stack([x.flatten().numpy(), y.flatten().numpy()])) @ fem).reshape(n, n)
        error = elliptic.solve(k, torch.ones_like(k), box)[0, 0] - expected  # by rms: in corners the elements are the worse of both
        errors.append(float((error.square().mean() / expected.square().mean()).sqrt()))
    assert errors[1] < 2e-3 and log2(errors[0] / errors[1]) > 1.8, errors


def test_the_contrast_is_that_of_the_parameter_and_the_guess_is_of_the_geometric_mean(conditions) -> None:
    for step in (Darcy(waves=2), ConDiff(waves=2)):
        c = conditions(SQUARE, 2, 1.0, contrast=[4.0, 1e3])
        k = step.draw_static(SQUARE, [0, 1], 0, conditions=c)[:, :1].flatten(1)
        torch.testing.assert_close(k.amax(1) / k.amin(1), torch.tensor([4.0, 1e3], dtype=torch.float64), rtol=1e-12, atol=0)
    even = conditions(SQUARE, 1, 1.0, contrast=1.0)
    c = replace(even, static=torch.full((1, 1, 16, 12), 3.0, dtype=torch.float64))
    guess = Darcy().initial(SQUARE, [0], 0, conditions=c)
    out, _ = Darcy()(Darcy().begin(guess[:, None], c), c)
    torch.testing.assert_close(out[:, 0], guess, rtol=1e-12, atol=0)  # where k is uniform the guess is the solution


def test_what_every_step_owes(conditions) -> None:
    step = ConDiff((32, 24), waves=3)
    c = conditions(SQUARE, 2, 1.0, contrast=[10.0, 100.0])
    c = replace(c, static=step.draw_static(SQUARE, [0, 1], 0, conditions=c))
    u = step.initial(SQUARE, [0, 1], 0, conditions=c)
    step_laws(step, u[:, None], c, lambda rows: None, rounding=1e-12)
    assert describe(construct(describe(step))) == describe(step)
    one = conditions(SQUARE, 1, 1.0, contrast=100.0)
    torch.testing.assert_close(step.draw_static(SQUARE, [1], 0, conditions=one)[0], c.static[1])


def test_bad_input_is_named(conditions) -> None:
    c, u = conditions(SQUARE, 1, 1.0, contrast=4.0), torch.zeros(1, 1, 1, 16, 12)
    with pytest.raises(ValueError, match="needs the static fields"):
        Darcy().begin(u, c)
    with pytest.raises(ValueError, match="walls"):
        Darcy().box(Box.periodic((8, 8), 1.0))
    with pytest.raises(ValueError, match="up to a constant"):
        elliptic.solve(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8), Box.periodic((8, 8), 1.0))
    with pytest.raises(ValueError, match="must be positive"):
        elliptic.solve(torch.zeros(1, 1, 16, 12), torch.ones(1, 1, 16, 12), SQUARE)
    with pytest.raises(ValueError, match="at least 1"):
        Darcy().draw_static(SQUARE, [0], 0, conditions=conditions(SQUARE, 1, 1.0, contrast=0.5))
    with pytest.raises(ValueError, match="no multiple"):
        Darcy().spread_static(torch.ones(1, 1, 16, 12), SQUARE, SQUARE.with_shape((20, 24)))


def test_data_hold_the_problem_and_its_solution(tmp_path: Path) -> None:
    recipe = Recipe.from_json(
        {
            "name": "steady",
            "equation": "condiff",
            "parameters": {"contrast": {"log_uniform": [5.0, 1000.0]}},
            "options": {"waves": 2},
            "domain": {"lengths": [1.0, 1.0], "walls": ["x", "y"]},
            "solver": {"resolution": [32, 32], "dt": 1.0},
            "frames": {"count": 2, "step": 1.0, "resolution": [8, 8]},
            "splits": {"train": 3, "test": 1},
            "certificate": {"trajectories": 1, "time": 1.0},
            "group": 2,
        }
    )
    folder = make(recipe, out=tmp_path, quiet=True, workers=1)
    data: xr.Dataset = read_file(next(folder.glob("data/train/*.hdf5")), verify=True)
    assert declared(data, STATIC).channels == ("coefficient", "source") and dict(data.sizes) == {"trajectory": 3, "time": 2, "x": 8, "y": 8}
    fine = SQUARE.with_shape((32, 32))
    k, f = (torch.tensor(data[name].values)[:, None].double() for name in ("coefficient", "source"))
    torch.testing.assert_close((k.flatten(1).amax(1) / k.flatten(1).amin(1)).numpy(), data["contrast"].values, rtol=1e-5, atol=0)
    k, f = (v.repeat_interleave(4, 2).repeat_interleave(4, 3) for v in (k, f))
    u = elliptic.solve(k, f, fine).reshape(3, 8, 4, 8, 4).mean((2, 4))
    torch.testing.assert_close(torch.tensor(data["u"].values[:, 1]), u.float(), rtol=1e-6, atol=1e-8)
    assert float(data.attrs["scored_time"]) == 1.0
