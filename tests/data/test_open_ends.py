"""What a source says of its ends is what a Box, a file of ours, an xarray Dataset and a saved surrogate say of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from surrogates.constraints import ConservedIntegral, FluxedIntegral
from surrogates.contracts import Conditions
from surrogates.data import layout
from surrogates.data.formats import Given, open_parts
from surrogates.data.formats.ends import condition, opened, told
from surrogates.data.hdf5 import OURS
from surrogates.data.read import read_file
from surrogates.data.recipe import load_recipe
from surrogates.data.truth import stored_box
from surrogates.domains import Box, Masked, Sphere
from surrogates.domains.ends import ends_of_grid
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Field, Fields
from surrogates.heads import FluxForm
from surrogates.interchange import box_of, domain_of, from_xarray, to_xarray
from surrogates.rollout import rollout
from surrogates.saved import load, save
from surrogates.surrogate import Surrogate

RHO = Fields.of(Field("rho", "kg m-3"))
TUBE = Box((5, 4, 3), (0.0,) * 3, (1.0, 2.0, 3.0), ("wall", "periodic", "wall"), open_ends=("x_upper", "z_lower", "z_upper"))
LINE = Box((6,), (0.0,), (1.0,), ("wall",), open_ends=("x_upper",))


class Same(nn.Module):
    """A network of as many outputs as a head asks for, all the same number."""

    def __init__(self, outputs: int, value: float = 1.0) -> None:
        super().__init__()
        self.outputs, self.value = outputs, nn.Parameter(torch.tensor(value))
        self.arguments = {"outputs": outputs, "value": value}

    def forward(self, x: Tensor, domain: object, embedding: Tensor | None = None) -> Tensor:
        return self.value.expand(len(x), self.outputs, *x.shape[2:])


def dataset(domain: AnyDomain) -> xr.Dataset:
    u = torch.rand(2, 4, 1, *domain.shape, generator=torch.Generator().manual_seed(0))
    return to_xarray(u, RHO, domain, time=[0.0, 0.1, 0.2, 0.3], trajectories=[0, 1])


def stored(made: xr.Dataset, path: Path) -> Path:
    attrs = {"recipe": "{}", "version": "0", "seed": 0, "dt": 0.1}
    domain = domain_of(made)
    path.parent.mkdir(parents=True, exist_ok=True)
    layout.create(path, name="ends", fields=RHO, box=domain, times=[0.0, 0.1, 0.2, 0.3], trajectories=[0, 1], parameters={}, attrs=attrs)  # type: ignore[arg-type]
    part = layout.Part(path)
    for n, u in enumerate(from_xarray(made)):
        part.write_frames(n, 0, u.numpy())
    return part.finish({"checksum": layout.checksum(path), "certificate": {}})


@pytest.mark.parametrize("kind", ["box", "masked"])
def test_ends_survive_a_dataset_netcdf_and_a_file_of_ours(kind: str, tmp_path: Path) -> None:
    domain: AnyDomain = TUBE if kind == "box" else Masked(TUBE, torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(1)) > 0.2)
    made = dataset(domain)
    assert domain_of(made) == domain
    made.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        assert domain_of(again) == domain
    path = stored(made, tmp_path / "made" / "data" / "train" / "ends.hdf5.part")
    assert domain_of(read_file(path)) == domain
    with h5py.File(path, "r") as f:
        held = {name: (bc.attrs["bc_type"], bc["mask"][:].tolist()) for name, bc in f["boundary_conditions"].items() if name != "dry"}
    assert held == {
        "x_wall": ("WALL", [True, False, False, False, False]),
        "x_open": ("OPEN", [False, False, False, False, True]),
        "y_periodic": ("PERIODIC", [True, False, False, True]),
        "z_open": ("OPEN", [True, False, True]),
    }


def test_the_well_reads_which_end_is_what(tmp_path: Path) -> None:
    well = pytest.importorskip("the_well.data", reason="pip install --no-deps the-well")
    path = stored(dataset(TUBE), tmp_path / "made" / "data" / "train" / "ends.hdf5.part")
    peer = well.WellDataset(path=str(path.parent), n_steps_input=1, n_steps_output=1, use_normalization=False)
    assert peer[0]["boundary_conditions"].tolist() == [[0, 1], [2, 2], [1, 1]]  # wall, open, periodic


def test_files_of_others_tell_their_ends(tmp_path: Path) -> None:
    path = stored(dataset(TUBE), tmp_path / "made" / "data" / "train" / "ends.hdf5.part")
    with h5py.File(path, "r+") as f:
        del f[OURS]
    ((part,),) = open_parts(path, "the_well").values()
    assert box_of(part).sides == TUBE.sides
    ((said,),) = open_parts(path, "the_well", given=Given(boundary=("wall",) * 3, open_ends=("y_upper",))).values()
    assert box_of(said).open_ends == ("y_upper",), "what a person says goes first"


def test_conditions_open_what_they_do_not_close() -> None:
    """An inlet, an outlet and a value that is held let something pass; walls that move, and those of no flux, do not."""
    box = Box((4, 3, 2), (0.0,) * 3, (1.0,) * 3, ("wall", "wall", "periodic"))
    for kind in ("open", "inlet", "dirichlet", "cauchy"):
        assert opened(box, [condition("a", kind, "y", high=True)]).open_ends == ("y_upper",)  # type: ignore[union-attr]
    for kind in ("wall", "no flux", "moving wall"):
        assert opened(box, [condition("a", kind, "xyz")]) == box
    both = opened(box, [condition("a", "open", "xz"), condition("b", "inlet", "y", low=True)])
    assert both.open_ends == ("x_lower", "x_upper", "y_lower")  # type: ignore[union-attr]  # what repeats goes on repeating
    named = opened(box, [condition("a", "open", ["theta"], low=True)], ("r", "theta", "phi"))
    assert named.open_ends == ("y_lower",)  # type: ignore[union-attr]
    assert opened(Sphere((4, 8)), [condition("a", "open", ["lat"])]) == Sphere((4, 8))


def test_a_part_that_is_told_its_conditions_lies_on_that_box() -> None:
    shut = Box((6,), (0.0,), (1.0,), ("wall",))
    part = told(dataset(shut), [condition("outlet", "open", "x", high=True), condition("floor", "no flux", "x", low=True)])
    assert domain_of(part) == LINE and len(json.loads(part.attrs["boundary_conditions"])) == 2
    assert told(dataset(shut), []).attrs == dataset(shut).attrs


def surrogate(domain: Box, value: float = 1.0) -> Surrogate:
    head = FluxForm(RHO, "rho")
    return Surrogate(RHO, domain, 0.1, operator=Same(head.outputs(domain), value), head=head)


def conditions(domain: Box, inflow: Callable[[Tensor], Tensor] | None = None) -> Conditions:
    one = torch.ones(2, dtype=torch.float64)
    return Conditions(domain, 0 * one, 0.1 * one, torch.zeros(2, 0), inflow=inflow)


def test_a_rollout_loses_what_flows_out_and_a_closed_one_nothing() -> None:
    """A flux of 1 everywhere: through the wall comes nothing, the first cell gives it, and it leaves at x_upper."""
    past = torch.rand(2, 1, 1, 6, dtype=torch.float64)
    with torch.no_grad():
        open_end = list(rollout(surrogate(LINE), past, 3, lambda n: conditions(LINE).after(n)))
        shut = Box((6,), (0.0,), (1.0,), ("wall",))
        closed = list(rollout(surrogate(shut), past, 3, lambda n: conditions(shut).after(n)))
    unit = float(FluxForm(RHO, "rho").sizes(surrogate(LINE).normaliser, LINE, 0.1)) * 0.1
    masses = torch.stack([LINE.integral(u) for u in (past[:, 0], *open_end)])
    torch.testing.assert_close(masses.diff(dim=0), torch.full((3, 2, 1), -unit, dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(shut.integral(closed[-1]), shut.integral(past[:, 0]), rtol=1e-14, atol=0)


def test_a_surrogate_keeps_its_ends_and_refuses_others(tmp_path: Path) -> None:
    from surrogates.operators import FNO

    head = FluxForm(RHO, "rho")
    model = Surrogate(RHO, LINE, 0.1, operator=FNO(1, head.outputs(LINE), modes=(2,), width=4, layers=1, positions=(1,)), head=head)
    again = load(save(model, tmp_path / "model"))
    assert again.domain == LINE and "wall to open" in (tmp_path / "model" / "card.md").read_text()
    past = torch.rand(2, 1, 1, 6)
    again.begin(past, conditions(LINE.with_shape((6,))))
    with pytest.raises(ValueError, match="FluxForm was trained with open ends x_upper and cannot run with none"):
        again.begin(past, conditions(Box((6,), (0.0,), (1.0,), ("wall",))))


def test_a_law_of_a_constant_total_is_refused_when_a_forecast_begins_and_one_that_is_told_holds() -> None:
    past = torch.rand(2, 1, 1, 6, dtype=torch.float64)
    shut = Box((6,), (0.0,), (1.0,), ("wall",))
    model = Surrogate(RHO, shut, 0.1, operator=Same(1), constraint=ConservedIntegral(RHO, "rho"))
    model.begin(past, conditions(shut))
    into = torch.tensor([0.0] * 5 + [-2.0], dtype=torch.float64)
    here = conditions(LINE, lambda t: into.expand(2, 1, 6))
    model.domain = LINE
    with pytest.raises(ValueError, match=r"ConservedIntegral\(..., inflow=True\)"):
        model.begin(past, here)
    lawful = model.with_constraint(FluxedIntegral(RHO, "rho"))
    with torch.no_grad():
        last = list(rollout(lawful, past, 4, lambda n: here.after(n)))[-1]
    np.testing.assert_allclose(LINE.integral(last), LINE.integral(past[:, 0]) - 4 * 0.1 * 2.0, rtol=1e-13)
    assert ends_of_grid(lawful.domain) == ("x_upper",)


@pytest.mark.parametrize(
    ("name", "ends"), [("porous_medium", ("x_lower", "x_upper")), ("richtmyer_meshkov", ("x_lower", "x_upper")), ("kolmogorov2d", ())]
)
def test_our_own_data_tell_where_something_passes(name: str, ends: tuple[str, ...]) -> None:
    recipe = load_recipe(name, "tiny")
    box = stored_box(recipe)
    assert isinstance(box, Box)
    assert box.open_ends == ends
    assert box == replace(recipe.box, open_ends=ends)
