"""Cases are solved, kept, resumed and named where they fail; the solvers themselves where they are installed."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from surrogates.data import cases
from surrogates.data.cases import cavity, channel, dam, programs, runs
from surrogates.data.cases.recipe import CaseRecipe, Frames, Solver
from surrogates.data.distribution import Distribution
from surrogates.data.formats import open_parts
from surrogates.data.sections import Split
from surrogates.domains import Masked, Mesh
from surrogates.interchange import declared, domain_of, fields_of, from_xarray, parameters_of


def needs(family: object) -> pytest.MarkDecorator:
    why = programs.missing(family.programs)  # type: ignore[attr-defined]
    return pytest.mark.skipif(bool(why), reason=why)


def constant(**values: float) -> dict[str, Distribution]:
    return {name: Distribution("constant", (value,)) for name, value in values.items()}


def wake(**changes: object) -> CaseRecipe:
    """A few frames of a flow that has hardly begun, on a mesh of some hundred triangles."""
    made = CaseRecipe(
        "wake", "channel", constant(reynolds=50.0, corners=4.0, angle=20.0), {"near": 0.2, "far": 0.15, "growth": 0.4},
        Frames(4, 0.01, 0.05), {"train": Split(1), "test": Split(1)}, Solver(1.5),
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[CaseRecipe, Path]:
    recipe = wake()
    return recipe, cases.make(recipe, tmp_path_factory.mktemp("wake"), workers=1, quiet=True)


@needs(channel)
def test_a_channel_from_gmsh_to_a_file(made: tuple[CaseRecipe, Path]) -> None:
    recipe, folder = made
    parts = open_parts(folder)
    assert {s: len(p) for s, p in parts.items()} == {"train": 1, "test": 1}
    part = parts["test"][0]
    mesh = domain_of(part)
    assert isinstance(mesh, Mesh) and mesh.components == 1 and "obstacle0" in mesh.names
    assert float(mesh.volumes) == pytest.approx(2.2 * 0.41 - 0.1**2, rel=1e-6)  # the channel less the square, exactly
    assert fields_of(part).channels == ("velocity_x", "velocity_y", "pressure")
    assert part.sizes["time"] == 4 and part.attrs["dt"] == 0.01 and "OpenFOAM v" in part.attrs["solver"]
    assert {k: float(v) for k, v in parameters_of(part).items()} == recipe.values(1)
    assert part.attrs["mass_defect"] < 1e-6 and 0 < part.attrs["courant"] < 3
    assert not (folder / "scratch").exists()


@needs(channel)
def test_forces_from_cells_are_those_of_openfoam(made: tuple[CaseRecipe, Path]) -> None:
    """Pressure to rounding; shear but for the gradient along the wall, which OpenFOAM takes from the cell: 2 % of the drag on a mesh as
    coarse as this one, .2 % on those of the recipe. The wall encloses the body, so its areas sum to nothing."""
    recipe, folder = made
    path = runs.path_of(recipe, folder, 0)
    part = open_parts(path)["train"][0]
    wall = cases.Wall.of(part, "obstacle0")
    assert wall.area.sum(0).abs().max() < 1e-6 and declared(part, "static") is not None
    ours = wall.force(from_xarray(part)[0], fields_of(part), float(parameters_of(part)["viscosity"]))
    table = cases.tables_of(path)
    rows = [int(np.abs(table["time"] - t).argmin()) for t in recipe.frames.start + part["time"].values]
    theirs = torch.from_numpy(table["force"][rows, 0])
    drag = theirs.sum(1)[:, 0].abs().max()
    assert (ours - theirs)[:, 0].abs().max() < 1e-6 * drag
    assert (ours - theirs)[:, 1].abs().max() < 0.025 * drag


@needs(channel)
def test_what_is_kept_is_not_made_again(made: tuple[CaseRecipe, Path]) -> None:
    recipe, folder = made
    first, second = (runs.path_of(recipe, folder, n) for n in (0, 1))
    before = first.stat().st_mtime_ns
    arrays = from_xarray(open_parts(second)["test"][0])
    second.unlink()
    (folder / "scratch" / "0001.999999").mkdir(parents=True)  # what a killed run left
    assert runs.unfinished(recipe, folder) == [1]
    cases.make(recipe, folder, workers=2, quiet=True)
    assert first.stat().st_mtime_ns == before and not (folder / "scratch").exists()
    assert torch.equal(from_xarray(open_parts(second)["test"][0]), arrays)  # to the bit
    with pytest.raises(ValueError, match="another recipe"):
        cases.make(replace(recipe, seed=1), folder, quiet=True)


@needs(channel)
def test_failures_are_named_and_do_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, build = wake(), channel.build

    def broken(case: Path, *rest: object) -> None:
        build(case, *rest)  # type: ignore[arg-type]
        if case.name.startswith("0000"):
            (case / "0/p").write_text("no field")

    monkeypatch.setattr(channel, "build", broken)
    with pytest.raises(ValueError, match=r"1 of 2 cases of wake failed(.|\n)*case 0 \(.*reynolds=50(.|\n)*log.pimpleFoam ends(.|\n)*FOAM"):
        cases.make(recipe, tmp_path, quiet=True)
    assert runs.unfinished(recipe, tmp_path) == [0] and [*(tmp_path / "scratch").glob("0000.*")]


def test_whatever_a_case_fails_of_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of any kind; and where the run is stopped, what had failed so far is told."""
    recipe, asked = wake(splits={"train": Split(4)}), []
    kinds = [FileNotFoundError("no such file"), KeyError("U"), OSError("disk full"), None]

    def fails(recipe: CaseRecipe, number: int, *rest: object) -> None:
        asked.append(number)
        if kinds[number]:
            raise kinds[number]

    monkeypatch.setattr(runs, "one", fails)
    monkeypatch.setattr(programs, "need", lambda names: None)
    told = r"3 of 4 cases(.|\n)*case 0 .*FileNotFoundError: no such file\ncase 1 .*KeyError: 'U'\ncase 2 .*OSError: disk full"
    with pytest.raises(ValueError, match=told):
        cases.make(recipe, tmp_path, quiet=True)
    assert asked == [0, 1, 2, 3]


def test_failures_so_far_are_told_where_a_run_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(recipe: CaseRecipe, number: int, *rest: object) -> None:
        raise ValueError("not sound") if number == 0 else KeyboardInterrupt

    monkeypatch.setattr(runs, "one", fails)
    monkeypatch.setattr(programs, "need", lambda names: None)
    monkeypatch.setattr(runs, "as_completed", list)  # in order
    with pytest.raises(KeyboardInterrupt):
        cases.make(wake(), tmp_path, quiet=True)
    assert "1 of 2 cases of wake failed" in (said := capsys.readouterr().err) and "not sound" in said


@needs(channel)
def test_a_run_is_stopped_at_once(tmp_path: Path) -> None:
    recipe, stop = wake(frames=Frames(3, 100.0, 100.0)), threading.Event()
    case = tmp_path / "case"
    case.mkdir()
    channel.build(case, recipe.values(0), recipe.meshing, recipe.frames, recipe.solver)
    stop.set()
    with pytest.raises(runs.StopError):
        runs.solve(case, channel.programs[-1], stop, lambda _: None, 200.0)


def test_missing_programs_are_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"gmsh and gmshToFoam and pimpleFoam.*apt-get install"):
        cases.make(wake(), tmp_path / "out", quiet=True)
    assert not [p for p in (tmp_path / "out").iterdir() if p.name != ".lock"]


@needs(cavity)
def test_a_cavity_lies_on_a_box(tmp_path: Path) -> None:
    """Graded cells come back as a stretched Box; the lid drags the fluid beneath it, whose volume flows nowhere."""
    recipe = CaseRecipe(
        "box", "cavity", constant(reynolds=100.0, aspect=0.5), {"cells": 12.0, "grading": 2.0}, Frames(3, 0.2, 0.2), {"train": Split(1)}
    )
    part = open_parts(cases.make(recipe, tmp_path, quiet=True))["train"][0]
    box = domain_of(part)
    assert box.shape == (12, 6) and box.lengths == pytest.approx((1.0, 0.5)) and box.edges[0] is not None  # type: ignore[union-attr]
    u = from_xarray(part)
    flow = box.integral(u[:, -1]) / u[0, -1].abs().max()  # type: ignore[arg-type]
    assert u[0, -1, 0, :, -1].min() > 0.1 and flow[0, :2].abs().max() < 2e-3
    assert u[0, 0, 0, :, -1].min() > 0.05 and u[0, 0, 2].abs().max() > 0.1  # the first frame is of the solver
    assert float(parameters_of(part)["viscosity"]) == 0.01


@needs(dam)
def test_a_dam_keeps_its_water(tmp_path: Path) -> None:
    """The obstacle is dry; water falls, its volume stays, and its share is between 0 and 1."""
    about = constant(column_width=0.15, column_height=0.3, obstacle_x=0.3, obstacle_width=0.05, obstacle_height=0.05)
    recipe = CaseRecipe("fall", "dam", about, {"cells": 16.0}, Frames(4, 0.05, 0.05), {"train": Split(1)}, Solver(0.8, 3))
    part = open_parts(cases.make(recipe, tmp_path, quiet=True))["train"][0]
    tank = domain_of(part)
    assert isinstance(tank, Masked) and int((~tank.wet).sum()) == 2
    u = from_xarray(part)[0]
    water = torch.stack([tank.integral(frame[None, :1])[0, 0] for frame in u])
    assert water == pytest.approx(water[0].item(), rel=1e-5) and u[:, 0].min() > -1e-3 and u[:, 0].max() < 1.001
    assert u[0, 0, :, -1].max() < 1e-6 and (u[-1, 0] * (1 - u[0, 0])).sum() > 1  # it has moved to where there was none
    under = u[0, 3][(u[0, 0] > 0.99)]
    assert under.abs().min() > 10  # Pa: the first frame is of the solver, and water weighs on the floor
    final = json.loads(part.attrs["recipe"])
    assert final["family"] == "dam" and part.attrs["water_defect"] < 1e-5


def test_a_cell_is_told_from_the_plane(tmp_path: Path) -> None:
    """The shipped recipes need what `programs` says, and no more than Debian's packages hold."""
    known = {"gmsh", "gmshToFoam", "pimpleFoam", "blockMesh", "topoSet", "subsetMesh", "setFields", "interFoam"}
    assert {p for f in (channel, cavity, dam) for p in f.programs} == known
    assert shutil.which("sh") and programs.missing(("sh",)) == ""
