"""Meshes: the divergence theorem on distorted cells, exact boxes, and parts that do not belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foam_case import FLAT, Block, Style, block, centres

from surrogates.data.foam.polymesh import PolyMesh, read_mesh


def saved(mesh: Block, folder: Path, style: Style = Style()) -> PolyMesh:  # noqa: B008
    mesh.save(folder / "polyMesh", style)
    return read_mesh(folder / "polyMesh")


@pytest.mark.parametrize("style", [Style(), Style(packed=True), Style(binary=True), Style(True, "MSB", 64, 32)], ids=str)
def test_boxes_are_exact(style: Style, tmp_path: Path) -> None:
    made = block((3, 2, 2), (3.0, 1.0, 4.0))
    mesh = saved(made, tmp_path, style)
    assert (mesh.cells, mesh.inside, len(mesh.patches), mesh.flat) == (12, 20, 6, ())
    np.testing.assert_allclose(mesh.volumes, 1.0, rtol=1e-12)
    np.testing.assert_allclose(mesh.centres, centres(made), rtol=1e-12)
    top = mesh.patch("zmax")
    np.testing.assert_allclose(mesh.faces.areas[top.faces], np.tile([0, 0, 0.5], (6, 1)), atol=1e-12)
    assert top.groups == ("sides",)


def test_the_divergence_theorem_on_distorted_cells(tmp_path: Path) -> None:
    """Faces of a cell close; volumes add up to that within the boundary; a shift moves centres and changes no volume."""
    made = block((4, 3, 3), (1.0, 1.0, 1.0))
    made.points += np.random.default_rng(0).uniform(-0.05, 0.05, made.points.shape)
    mesh = saved(made, tmp_path)
    cell = np.concatenate([mesh.owner, mesh.neighbour])
    areas = np.concatenate([mesh.faces.areas, -mesh.faces.areas[: mesh.inside]])
    for axis in range(3):
        np.testing.assert_allclose(np.bincount(cell, areas[:, axis]), 0, atol=1e-15)
    outer = slice(mesh.inside, None)
    enclosed = (mesh.faces.centres[outer] * mesh.faces.areas[outer]).sum() / 3
    np.testing.assert_allclose(mesh.volumes.sum(), enclosed, rtol=1e-3)  # faces are bent: their centres are of second order
    shift = np.array([1.0, -2.0, 3.0])
    made.points += shift
    moved = saved(made, tmp_path)
    np.testing.assert_allclose(moved.volumes, mesh.volumes, rtol=1e-10)
    np.testing.assert_allclose(moved.centres, mesh.centres + shift, rtol=1e-10)


def test_a_tetrahedron_and_a_pyramid(tmp_path: Path) -> None:
    """Volume 1/6 and centre at the mean of the corners; volume 1/3 and centre a quarter up."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    tet = Block(points, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], [0] * 4, [], {"all": ("wall", [0, 1, 2, 3], "")})
    mesh = saved(tet, tmp_path / "tet")
    np.testing.assert_allclose(mesh.volumes, [1 / 6])
    np.testing.assert_allclose(mesh.centres, [points.mean(0)])
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]], float)
    faces = [[0, 3, 2, 1], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
    mesh = saved(Block(corners, faces, [0] * 5, [], {"all": ("wall", list(range(5)), "")}), tmp_path / "pyramid")
    np.testing.assert_allclose(mesh.volumes, [1 / 3])
    np.testing.assert_allclose(mesh.centres, [[0.5, 0.5, 0.25]])


def test_one_cell_thick_cases_are_flat(tmp_path: Path) -> None:
    assert saved(block(types=FLAT), tmp_path / "z").flat == (2,)
    assert saved(block((3, 1, 1), types={**FLAT, "ymin": "empty", "ymax": "empty"}), tmp_path / "yz").flat == (1, 2)
    with pytest.raises(ValueError, match="two faces to each cell"):
        _ = saved(block((3, 2, 2), types=FLAT), tmp_path / "thick").flat


def test_old_files_give_minus_one_for_the_boundary(tmp_path: Path) -> None:
    made = block()
    inside = len(made.neighbour)
    mesh = saved(made, tmp_path)
    made.neighbour = made.neighbour + [-1] * (len(made.owner) - inside)
    style = Style()
    style.save(tmp_path / "polyMesh/neighbour", style.head("labelList", "neighbour") + style.numbers(np.array(made.neighbour)))
    assert read_mesh(tmp_path / "polyMesh").inside == mesh.inside == inside


def broken(what: str) -> Block:
    made = block()
    match what:
        case "owners":
            made.owner = made.owner[:-1]
        case "corner":
            made.faces[3] = [0, 1, 99999, 2]
        case "cells":
            made.owner[0] = 10**9
        case "itself":
            made.neighbour[0] = made.owner[0]
        case "infinite":
            made.points[0] = np.nan
        case "line":
            made.faces[0] = [0, 1]
    return made


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("owners", "do not belong together"),
        ("corner", "3 corners or more among the points 0 to 23"),
        ("cells", "sides of faces make 9 at most|make 10 at most|at most"),
        ("itself", "each with another cell"),
        ("infinite", "points that are finite"),
        ("line", "3 corners or more"),
    ],
)
def test_parts_that_do_not_belong_together(what: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{tmp_path}.*({message})"):
        saved(broken(what), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nFaces 2", "nFaces 3", "is where the last one ends"),
        ("startFace 7", "startFace 8", "begins at face 8 with 2 faces; 7 is where"),
        ("startFace 7", "startFace x", "they are whole numbers"),
        ("\n6\n(", "\n7\n(", "7 patches are declared and 6"),
        ("xmax", "xmin", "6 patches are declared and 5"),
        (")\n", "", "does not close"),
    ],
)
def test_patches_that_are_not_sound(old: str, new: str, message: str, tmp_path: Path) -> None:
    saved(block(), tmp_path)
    path = tmp_path / "polyMesh/boundary"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_mesh(tmp_path / "polyMesh")


def test_a_file_of_another_class_and_one_that_goes_on(tmp_path: Path) -> None:
    saved(block(), tmp_path)
    folder = tmp_path / "polyMesh"
    owner = (folder / "owner").read_bytes()
    (folder / "owner").write_bytes((folder / "points").read_bytes())
    with pytest.raises(ValueError, match="owner: line 1: class is 'vectorField', and labelList is needed"):
        read_mesh(folder)
    (folder / "owner").write_bytes(owner + b"1(2)")
    with pytest.raises(ValueError, match="the list is over and '1\\(2\\)' follows"):
        read_mesh(folder)
    (folder / "owner").unlink()
    with pytest.raises(ValueError, match=r"owner: no such file, nor owner\.gz"):
        read_mesh(folder)
