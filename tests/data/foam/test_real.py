"""Against OpenFOAM itself: its meshes, volumes, centres and fields, as text, binary, packed and decomposed.

apt-get install --no-install-recommends openfoam openfoam-examples
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from surrogates.data.foam import Case
from surrogates.data.foam.cells import cells_of
from surrogates.data.foam.places import place
from surrogates.data.formats import Given, open_parts

TUTORIALS = Path("/usr/share/doc/openfoam-examples/examples")
CAVITY = TUTORIALS / "incompressible/icoFoam/cavity/cavity"
INSTALL = "apt-get install --no-install-recommends openfoam openfoam-examples"
pytestmark = pytest.mark.skipif(shutil.which("icoFoam") is None or not CAVITY.is_dir(), reason=f"needs OpenFOAM: {INSTALL}")


def run(case: Path, *command: str) -> None:
    settings = {**os.environ, "WM_PROJECT_DIR": os.environ.get("WM_PROJECT_DIR", "/usr/share/openfoam")}
    done = subprocess.run(command, cwd=case, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])


def change(path: Path, **entries: str) -> None:
    lines = path.read_text().splitlines()
    for key, value in entries.items():
        lines = [f"{key} {value};" if line.split()[:1] == [key] else line for line in lines]
    path.write_text("\n".join(lines))


def solved(folder: Path, **control: str) -> Path:
    shutil.copytree(CAVITY, folder)
    change(folder / "system/controlDict", endTime="0.1", writeInterval="10", **control)
    run(folder, "blockMesh")
    run(folder, "icoFoam")
    run(folder, "postProcess", "-func", "writeCellCentres")
    run(folder, "postProcess", "-func", "writeCellVolumes")
    return folder


@pytest.fixture(scope="module")
def cavity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return solved(tmp_path_factory.mktemp("foam") / "cavity")


def test_volumes_and_centres_are_openfoams(cavity: Path) -> None:
    case = Case(cavity)
    assert case.times == (0.0, 0.05, 0.1) and case.count == 400
    written = case.field("C", 0.1)
    np.testing.assert_allclose(written.internal(400), case.mesh.centres, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(case.field("V", 0.1).internal(400)[:, 0], case.mesh.volumes, rtol=1e-5)
    lid = case.mesh.patch("movingWall")
    np.testing.assert_allclose(written.patch(case.mesh, "movingWall"), case.mesh.faces.centres[lid.faces], rtol=1e-5, atol=1e-12)
    assert case.field("U", 0.1).patch(case.mesh, "movingWall").tolist() == [[1, 0, 0]] * 20


@pytest.mark.parametrize("control", [{"writeFormat": "binary"}, {"writeCompression": "on"}], ids=["binary", "packed"])
def test_other_ways_of_writing_hold_the_same(control: dict[str, str], cavity: Path, tmp_path: Path) -> None:
    other = Case(solved(tmp_path / "other", **control))
    for name in ("U", "p"):
        whole = Case(cavity).field(name, 0.1).internal(400)
        np.testing.assert_allclose(other.field(name, 0.1).internal(400), whole, atol=2e-5 * np.abs(whole).max())
    np.testing.assert_allclose(
        other.field("C", 0.1).internal(400), other.mesh.centres, rtol=1e-5 if "writeCompression" in control else 1e-13, atol=1e-12
    )


def test_the_discrete_divergence_is_that_of_the_solver(cavity: Path) -> None:
    """phi sums to nothing over each cell, to the solver's tolerance: faces, owners and signs are read right."""
    case = Case(cavity)
    phi, mesh = case.field("phi", 0.1), case.mesh
    inner = phi.internal(mesh.inside)[:, 0]
    net = np.bincount(mesh.owner[: mesh.inside], inner, 400) - np.bincount(mesh.neighbour, inner, 400)
    assert np.abs(net).max() < 1e-4 * np.abs(inner).max()


def decompose(folder: Path, parts: str) -> None:
    n = np.prod([int(p) for p in parts.split()])
    (folder / "system/decomposeParDict").write_text(
        "FoamFile { version 2.0; format ascii; class dictionary; object decomposeParDict; }\n"
        f"numberOfSubdomains {n}; method simple; simpleCoeffs {{ n ({parts}); delta 0.001; }}"
    )
    run(folder, "decomposePar", "-time", "0:")


def test_a_decomposed_case_is_the_whole_one(cavity: Path, tmp_path: Path) -> None:
    shutil.copytree(cavity, tmp_path / "cut")
    decompose(tmp_path / "cut", "2 2 1")
    for t in ("0.05", "0.1"):
        shutil.rmtree(tmp_path / "cut" / t)  # as after a parallel run
    options = Given(options={"fields": ["U", "p"]})
    ((whole,),), ((cut,),) = open_parts(cavity, given=options).values(), open_parts(tmp_path / "cut", given=options).values()
    for name in ("U_x", "U_y", "p", "mesh_edges", "mesh_measure", "mesh_markers"):
        np.testing.assert_allclose(cut[name].values, whole[name].values, atol=1e-6)
    shutil.rmtree(tmp_path / "cut/constant/polyMesh")
    ((alone,),) = open_parts(tmp_path / "cut", given=options).values()
    assert alone.sizes["edge"] == whole.sizes["edge"]
    order = [
        int(np.hypot(alone["x"].values - x, alone["y"].values - y).argmin())
        for x, y in zip(whole["x"].values, whole["y"].values, strict=True)
    ]
    np.testing.assert_allclose(alone["p"].values[..., order], whole["p"].values, atol=1e-6)


BLOCK = """FoamFile { version 2.0; format ascii; class dictionary; object blockMeshDict; }
vertices ((0 0 0) (2 0.3 0) (2 1 0) (0 1 0) (0 0 1) (2 0.3 1.4) (2 1 1.4) (0 1 1));
blocks (hex (0 1 2 3 4 5 6 7) (6 4 3) simpleGrading (2 1 1));
boundary (
    low { type wall; faces ((0 1 5 4)); } high { type wall; faces ((3 7 6 2)); } left { type patch; faces ((0 4 7 3)); }
    right { type patch; faces ((1 2 6 5)); } back { type wall; faces ((0 3 2 1)); } front { type wall; faces ((4 5 6 7)); }
);"""
PERIODIC = """FoamFile { version 2.0; format ascii; class dictionary; object blockMeshDict; }
vertices ((0 0 0) (4 0 0) (4 2 0) (0 2 0) (0 0 1) (4 0 1) (4 2 1) (0 2 1));
blocks (hex (0 1 2 3 4 5 6 7) (8 4 4) simpleGrading (1 3 1));
boundary (
    in { type cyclic; neighbourPatch out; faces ((0 4 7 3)); } out { type cyclic; neighbourPatch in; faces ((1 2 6 5)); }
    back { type cyclic; neighbourPatch front; faces ((0 3 2 1)); } front { type cyclic; neighbourPatch back; faces ((4 5 6 7)); }
    walls { type wall; faces ((0 1 5 4) (3 7 6 2)); }
);"""


def meshed(folder: Path, dictionary: str, *commands: tuple[str, ...]) -> Path:
    shutil.copytree(CAVITY / "system", folder / "system")
    change(folder / "system/controlDict", writeFormat="binary", startTime="0")
    (folder / "0").mkdir()
    (folder / "system/blockMeshDict").write_text(dictionary)
    for command in (("blockMesh",), *commands, ("postProcess", "-func", "writeCellCentres"), ("postProcess", "-func", "writeCellVolumes")):
        run(folder, *command)
    return folder


@pytest.mark.parametrize("commands", [(), (("polyDualMesh", "75", "-overwrite"),)], ids=["graded", "polyhedral"])
def test_three_dimensions_and_polyhedra(commands: tuple[tuple[str, ...], ...], tmp_path: Path) -> None:
    if commands and shutil.which(commands[0][0]) is None:
        pytest.skip(f"needs {commands[0][0]}")
    case = Case(meshed(tmp_path / "case", BLOCK, *commands))
    np.testing.assert_allclose(case.field("C", 0.0).internal(case.count), case.mesh.centres, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(case.field("V", 0.0).internal(case.count)[:, 0], case.mesh.volumes, rtol=1e-11)
    assert cells_of(case).mesh().components == 1


def test_periodic_and_decomposed(tmp_path: Path) -> None:
    """Cyclic patches cut apart (processorCyclic) are found again; C, read from the parts, are the centres."""
    folder = meshed(tmp_path / "case", PERIODIC)
    whole = cells_of(Case(folder))
    assert whole.periods == (4.0, None, 1.0)
    decompose(folder, "2 1 2")
    (folder / "constant/polyMesh").rename(folder / "constant/hidden")
    case = Case(folder)
    cut = cells_of(case)
    np.testing.assert_allclose(case.field("C", 0.0).internal(case.count), cut.centres, atol=1e-13)
    nearest = np.array([int(np.linalg.norm(cut.centres - c, axis=1).argmin()) for c in whole.centres])
    number = np.argsort(nearest)
    pairs = {frozenset(map(int, number[pair])) for pair in cut.pairs.T}
    assert pairs == {frozenset(map(int, pair)) for pair in whole.pairs.T} and len(pairs) == 8 * 4 * 4 * 2 + 8 * 3 * 4
    assert cut.periods == (4.0, None, 1.0)
    assert place(case, "box").domain.boundary == ("periodic", "wall", "periodic")
