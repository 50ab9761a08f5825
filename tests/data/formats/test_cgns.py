"""CGNS: files of its own tools, files made here that these tools read, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cgns_files import node, square

from surrogates.data.formats import Given, cgns, open_parts
from surrogates.interchange import domain_of

UNITS = {"length": "m", "others": "1", "time": "s"}
GIVEN = Given(dt=0.1, units=UNITS)


def test_a_file_is_its_points_cells_fields_and_boundaries(tmp_path: Path) -> None:
    frame = cgns.read(square(tmp_path / "a.cgns"))
    assert frame.points.shape == (6, 2)
    assert [(kind, len(cells)) for kind, cells in frame.cells] == [("triangle", 4), ("line", 1)]
    np.testing.assert_array_equal(frame.point_data["Velocity"], np.stack([np.arange(6.0), np.arange(6.0, 12)], 1))
    np.testing.assert_array_equal(frame.cell_data["Temperature"][0], np.arange(4.0))
    assert {n: i.tolist() for n, i in frame.point_sets.items()} == {"inlet": [0, 3], "bottom": [0, 1, 2]}


def test_sections_below_the_cells_are_boundaries_where_there_are_no_conditions(tmp_path: Path) -> None:
    frame = cgns.read(square(tmp_path / "a.cgns", faces=False))
    assert {n: i.tolist() for n, i in frame.point_sets.items()} == {"Left": [0, 3]}


def test_mixed_elements_keep_their_own_values(tmp_path: Path) -> None:
    frame = cgns.read(square(tmp_path / "a.cgns", mixed=True))
    held = {kind: (cells.tolist(), frame.cell_data["Temperature"][n].tolist()) for n, (kind, cells) in enumerate(frame.cells)}
    assert held["triangle"] == ([[0, 1, 3], [1, 4, 3]], [0.0, 2.0])
    assert held["quad"] == ([[1, 2, 5, 4]], [1.0])


@pytest.mark.parametrize("mixed", [False, True])
def test_it_opens_as_a_mesh_whose_area_is_that_of_the_square(mixed: bool, tmp_path: Path) -> None:
    for n in range(3):
        square(tmp_path / f"a{n}.cgns", mixed=mixed)
    (part,) = open_parts(tmp_path, given=Given(dt=0.1, units=UNITS, options={"cells": "nodes"}))["all"]
    assert part.sizes["time"] == 3 and {"Velocity_x", "Velocity_y", "Pressure", "Temperature"} <= set(part.data_vars)
    assert float(domain_of(part).measure.sum()) == pytest.approx(2.0)
    assert set(domain_of(part).names) == {"inlet", "bottom"}


@pytest.mark.skipif(shutil.which("cgnscheck") is None, reason="the tools of CGNS (Debian's cgns-convert) check what is made here")
def test_the_library_finds_nothing_wrong_with_these_files(tmp_path: Path) -> None:
    done = subprocess.run(["cgnscheck", "-v", str(square(tmp_path / "a.cgns"))], capture_output=True, text=True, check=False)
    assert "ERROR" not in done.stdout and "Temperature" in done.stdout, done.stdout


@pytest.mark.skipif(shutil.which("tetgen_to_cgns") is None, reason="the tools of CGNS (Debian's cgns-convert) write a file")
def test_a_file_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "t.node").write_text("5 3 0 0\n1 0 0 0\n2 1 0 0\n3 0 1 0\n4 0 0 1\n5 1 1 1\n")
    (tmp_path / "t.ele").write_text("2 4 0\n1 1 2 3 4\n2 2 3 4 5\n")
    (tmp_path / "t.face").write_text("2 1\n1 1 2 3 1\n2 1 2 4 2\n")
    subprocess.run(["tetgen_to_cgns", "t", "t.cgns"], cwd=tmp_path, capture_output=True, check=True)
    frame = cgns.read(tmp_path / "t.cgns")
    assert dict((kind, cells.tolist()) for kind, cells in frame.cells)["tetra"] == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert {n: i.tolist() for n, i in frame.point_sets.items()} == {"Tri Group 1": [0, 1, 2], "Tri Group 2": [0, 1, 3]}


def test_what_is_not_read_says_what_to_do(tmp_path: Path) -> None:
    def spoilt(change: Any) -> Path:
        path = square(tmp_path / "b.cgns")
        with h5py.File(path, "r+") as f:
            change(f, f["Base/Zone"])
        return path

    def put(group: h5py.Group, values: Any) -> None:
        del group[" data"]
        group[" data"] = np.asarray(values)

    cases: list[tuple[Any, str]] = [
        (lambda f, z: put(z["ZoneType"], np.frombuffer(b"Structured", np.int8)), "structured"),
        (lambda f, z: node(f["Base"], "Zone2", "Zone_t", [[1], [1], [0]]), "2 nodes Zone_t.*merge zones"),
        (lambda f, z: put(z["Cells"], np.array([22, 0], np.int32)), "type 22.*polyhedra"),
        (lambda f, z: put(z["Cells/ElementConnectivity"], np.full(12, 9, np.int32)), "names vertex 9 of 6"),
        (lambda f, z: put(z["Cells/ElementRange"], np.array([1, 5], np.int32)), "5 elements of 3 vertices"),
        (lambda f, z: node(z, "Next", "FlowSolution_t"), "several solutions at Vertex"),
        (lambda f, z: put(z["AtPoints/Pressure"], np.zeros(5)), "Pressure has 5 numbers, and 6"),
        (lambda f, z: f.__setitem__("Base/Zone/Other", h5py.ExternalLink("c.cgns", "/")), "another file"),
        (lambda f, z: f.__setitem__("Base/Round", f["Base"]), "deeper than CGNS goes"),
        (lambda f, z: put(z["ZoneBC/bottom/PointRange"], np.array([[1], [10**9]], np.int32)), "PointRange says 1 to 1000000000"),
    ]
    for change, says in cases:
        with pytest.raises(ValueError, match=rf"b\.cgns.*{says}"):
            open_parts(spoilt(change), given=GIVEN)
    (tmp_path / "old.cgns").write_bytes(b"@(#)ADF Database Version A02011>" * 4)
    with pytest.raises(ValueError, match=r"old\.cgns is not HDF5.*cgnsconvert"):
        open_parts(tmp_path / "old.cgns", given=GIVEN)
