"""Gmsh's text files: as Gmsh and meshio write them, and as its binary ones are read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_examples import square

from surrogates.data.formats import Given, gmsh_text, open_parts
from surrogates.data.formats.meshio_frames import Files, of_mesh
from surrogates.interchange import domain_of, from_xarray

meshio = pytest.importorskip("meshio")
with_gmsh = pytest.mark.skipif(shutil.which("gmsh") is None, reason="gmsh is not installed: apt-get install gmsh")
GIVEN = Given(units={"length": "m", "p": "Pa", "U": "m s-1", "T": "K"}, options={"cells": "none"})
GEOMETRY = """
h = {h}; Point(1) = {{0,0,0,h}}; Point(2) = {{1,0,0,h}}; Point(3) = {{1,1,0,h}}; Point(4) = {{0,1,0,h}}; Point(9) = {{5,5,5,h}};
Line(1) = {{1,2}}; Line(2) = {{2,3}}; Line(3) = {{3,4}}; Line(4) = {{4,1}};
Curve Loop(1) = {{1,2,3,4}}; Plane Surface(1) = {{1}}; {more}
Physical Curve("left wall", 7) = {{4}}; Physical Curve("inflow", 3) = {{1,2}}; Physical Surface("air", 9) = {{1}};
"""


def meshed(folder: Path, form: str, more: str = "", *options: str) -> Path:
    """A unit square by Gmsh itself."""
    (folder / "a.geo").write_text(GEOMETRY.format(h=0.3, more=more))
    path = folder / f"{form}{'b' if '-bin' in options else ''}.msh"
    subprocess.run(["gmsh", "-2", "-v", "1", str(folder / "a.geo"), "-format", form, *options, "-o", str(path)], check=True, timeout=100)
    return path


@with_gmsh
@pytest.mark.parametrize("form", ["msh22", "msh41"])
def test_text_is_as_binary(tmp_path: Path, form: str) -> None:
    text, binary = meshed(tmp_path, form), meshed(tmp_path, form, "", "-bin")
    assert gmsh_text.is_text(text) and not gmsh_text.is_text(binary)
    one, other = gmsh_text.read(text), of_mesh(meshio.read(binary))
    np.testing.assert_allclose(one.points, other.points, atol=1e-15)
    assert [(k, c.tolist()) for k, c in one.cells] == [(k, c.tolist()) for k, c in other.cells]
    assert {n: [i.tolist() for i in found] for n, found in one.sets.items()} == {n: [i.tolist() for i in f] for n, f in other.sets.items()}
    assert [len(i) for i in one.sets["air"]][-1] == len(one.cells[-1][1]) > 0


def tags_of(path: Path) -> list[int]:
    """Of the nodes in the order of the file, by lines."""
    lines = path.read_text().replace("ParametricNodes", "Nodes").partition("$Nodes\n")[2].partition("$EndNodes")[0].splitlines()
    if path.name.startswith("msh22"):
        return [int(line.split()[0]) for line in lines[1:]]
    out, at = list[int](), 1
    while at < len(lines):
        count = int(lines[at].split()[3])
        out += [int(line) for line in lines[at + 1 : at + 1 + count]]
        at += 1 + 2 * count
    return out


@with_gmsh
@pytest.mark.parametrize("form", ["msh22", "msh41"])
@pytest.mark.parametrize("more", ["", "Recombine Surface{1};", "Mesh.ElementOrder = 2;", "Mesh.SaveParametric = 1;"])
def test_a_mesh_of_gmsh_with_its_view_is_a_field(tmp_path: Path, form: str, more: str) -> None:
    """Values are written in an order of their own, by the tags of nodes."""
    path = meshed(tmp_path, form, more)
    frame = gmsh_text.read(path)
    tags, points = tags_of(path), frame.points
    order = np.random.default_rng(0).permutation(len(tags))
    rows = "".join(f"{tags[i]} {float(3 * points[i, 0] - points[i, 1])!r}\n" for i in order)
    path.write_text(f'{path.read_text()}$NodeData\n1\n"p"\n1\n0.0\n3\n0\n1\n{len(tags)}\n{rows}$EndNodeData\n')
    (part,) = open_parts(path, given=GIVEN)["all"]
    mesh = domain_of(part)
    np.testing.assert_allclose(mesh.volumes, [1.0])
    assert set(mesh.names) == {"left wall", "inflow"} and len(frame.points) >= mesh.shape[0]
    x, y = mesh.points.T
    assert bool((x[mesh.boundary("left wall")] == 0).all())
    torch.testing.assert_close(from_xarray(part)[0, 0, 0], (3 * x - y).float())


@pytest.mark.parametrize("form", ["gmsh22", "gmsh"])
def test_data_that_meshio_writes_under_numpy_2(tmp_path: Path, form: str) -> None:
    """`1 np.float64(0.0)`, which meshio itself cannot read."""
    mesh = square(2)
    x, y = mesh.points.numpy().T
    points, cells = np.stack([x, y, 0 * x], 1), [("triangle", mesh.cells.numpy())]
    data = {"p": 3 * x - y, "U": np.stack([x, y, 0 * x], 1)}
    file = meshio.Mesh(points, cells, data, {"T": [np.arange(len(mesh.cells), dtype=float)]})
    path = tmp_path / "a.msh"
    meshio.write(path, file, file_format=form, binary=False)
    frame = Files((path,), None).frame(0)
    np.testing.assert_allclose(frame.point_data["p"], data["p"])
    np.testing.assert_allclose(frame.cell_data["T"][0], np.arange(len(mesh.cells)))
    (part,) = open_parts(path, given=GIVEN)["all"]
    torch.testing.assert_close(from_xarray(part)[0, 0], torch.tensor(np.stack([data["p"], x, y])).float())


TEXT = """$MeshFormat
2.2 0 8
$EndMeshFormat
$PhysicalNames
1
1 5 "a wall"
$EndPhysicalNames
$Nodes
3
10 0 0 0
20 1 0 0
30 0 1 0
$EndNodes
$Elements
2
4 1 2 5 1 10 20
6 2 2 9 1 10 20 30
$EndElements
$NodeData
1
"p"
1
0.5
3
0
1
2
30 3.0
10 1.0
$EndNodeData
"""


def test_what_a_view_lacks_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.msh"
    path.write_text(TEXT)
    frame = gmsh_text.read(path)
    np.testing.assert_array_equal(frame.point_data["p"], [1.0, np.nan, 3.0])
    assert frame.sets["a wall"][0].tolist() == [0] and frame.cells[1][1].tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("10 20 30\n$EndE", "10 20 70\n$EndE"), r"a.msh: \$Elements names node 70, which the file has not"),
        (("30 0 1 0\n", "30 0 1\n"), r"a.msh: \$Nodes ends after 12 words, and more are declared"),
        (("$Nodes\n3", "$Nodes\n300000000000"), r"a.msh: \$Nodes ends after"),
        (("$Nodes\n3", "$Nodes\n-3"), r"a.msh: \$Nodes ends after"),
        (("4 1 2 5 1", "4 1 -2 5 1"), r"a.msh: \$Elements ends after"),
        (("6 2 2", "6 99 2"), r"a.msh: \$Elements has elements of type 99"),
        (("30 3.0", "31 3.0"), r"a.msh: \$NodeData 'p' has a value at tag 31"),
        (
            ("0\n1\n2\n30", "0\n999999999999\n0\n30"),
            r"a.msh: \$NodeData 'p' needs its .* says \[0, 999999999999, 0\]",
        ),
        (("20 1 0 0", "20 x 0 0"), r"a.msh: \$Nodes holds words that are no numbers"),
        (("$EndElements\n", ""), r"a.msh has no whole section \$Elements"),
        (("2.2 0 8", "4.0 0 8"), r"a.msh has format 4.0, .* gmsh -0 a.msh -format msh41"),
        (('1 5 "a wall"', "1 5"), r"a.msh: \$PhysicalNames has the line '1 5'"),
        (("$EndNodeData\n", "$EndNodeData\n" + TEXT[TEXT.index("$NodeData") :]), r"a.msh: \$NodeData 'p' has several steps"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "a.msh"
    assert change[0] in TEXT
    path.write_text(TEXT.replace(*change, 1))
    with pytest.raises(ValueError, match=said):
        open_parts(path, given=GIVEN)


def test_cut_anywhere_it_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.msh"
    for end in range(0, TEXT.index("$NodeData"), 7):
        path.write_text(TEXT[:end])
        with pytest.raises(ValueError, match=r"a\.msh"):
            Files((path,), None).frame(0)
