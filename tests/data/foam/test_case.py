"""Cases: times in order, fields and their patches, parameters, processor folders joined both ways, meshes that move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foam_case import FLAT, Style, block, centres, pressure, velocity, write_case, write_field, write_parallel

from surrogates.data.foam import Case
from surrogates.data.foam.cells import cells_of
from surrogates.data.foam.properties import properties


def test_times_are_sorted_as_numbers(tmp_path: Path) -> None:
    write_case(tmp_path, times=("0", "9", "10", "2.5", "1e-05"))
    (tmp_path / "0.orig").mkdir()
    (tmp_path / "postProcessing").mkdir()
    assert Case(tmp_path).times == (0.0, 1e-05, 2.5, 9.0, 10.0)
    (tmp_path / "9.0").mkdir()
    with pytest.raises(ValueError, match="folders '9' and '9.0' are the same time"):
        Case(tmp_path)


@pytest.mark.parametrize("style", [Style(), Style(packed=True), Style(binary=True), Style(True, "MSB", 64, 64)], ids=str)
def test_fields(style: Style, tmp_path: Path) -> None:
    mesh = write_case(tmp_path, style=style)
    case = Case(tmp_path)
    u = case.field("U", 0.5)
    np.testing.assert_allclose(u.internal(case.count), velocity(centres(mesh), 0.5), rtol=1e-14)
    assert (u.about.units, u.about.location, u.about.components) == ("m s-1", "vol", ("x", "y", "z"))
    assert case.names(0.5) == ["U", "p"] and case.field("p", 1.0).about.units == "m2 s-2"
    assert case.field("U", 0.5, boundary=False).boundary.entries == {}
    about = case.about("p", 0.0)
    assert about is not None and about.kind == "scalar"


def test_patches(tmp_path: Path) -> None:
    mesh = write_case(tmp_path)
    at = {
        "xmin": "type noSlip;",
        "xmax": "type slip;",
        "ymin": "type inletOutlet; value nonuniform List<vector> 3((1 2 3) (4 5 6) (7 8 9));",
        '"y.*"': "type fixedValue; value uniform (0 1 0);",
    }
    del mesh.patches["ymax"]
    x = centres(mesh)
    write_field(tmp_path / "1/U", velocity(x, 1.0), mesh, patches=at)
    write_field(tmp_path / "1/p", pressure(x, 1.0), mesh, dimensions="[0 2 -2 0 0 0 0]", patches={"sides": "type zeroGradient;"})
    case = Case(tmp_path)
    u, p = case.field("U", 1.0), case.field("p", 1.0)
    east = case.mesh.owner[case.mesh.patch("xmax").faces]
    assert (u.patch(case.mesh, "xmin") == 0).all()
    np.testing.assert_allclose(u.patch(case.mesh, "xmax"), velocity(x, 1.0)[east] * [0, 1, 1])
    np.testing.assert_array_equal(u.patch(case.mesh, "ymin"), np.arange(1.0, 10).reshape(3, 3))
    np.testing.assert_array_equal(u.patch(case.mesh, "ymax"), np.tile([0.0, 1, 0], (3, 1)))
    np.testing.assert_allclose(
        p.patch(case.mesh, "ymax")[:, 0], pressure(x, 1.0)[case.mesh.owner[case.mesh.patch("ymax").faces]]
    )  # by group
    with pytest.raises(ValueError, match="patch 'zmin' is 'empty'"):
        u.patch(case.mesh, "zmin")
    with pytest.raises(ValueError, match="no patch 'nowhere' among"):
        u.patch(case.mesh, "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type fixedValue; value uniform (1 0);", "expected `uniform` with one vector"),
        ("type fixedValue; value nonuniform List<vector> 1((1 2 3));", "1 values for 3 faces"),
        ("type turbulentInlet;", "type 'turbulentInlet' writes no value here"),
        ('type fixedValue; value #calc "1";', "#calc would run code"),
        ("type fixedValue; value $x;", r"\$x is not defined"),
    ],
)
def test_patches_without_a_value(text: str, message: str, tmp_path: Path) -> None:
    write_case(tmp_path, wall=text)
    case = Case(tmp_path)
    field = case.field("U", 1.0)
    assert len(field.internal(case.count)) == 6  # what is sound is still read
    with pytest.raises(ValueError, match=message):
        field.patch(case.mesh, "ymax")


def test_fields_of_another_mesh(tmp_path: Path) -> None:
    write_case(tmp_path)
    other = block((4, 2, 1), types=FLAT)
    write_field(tmp_path / "1/p", pressure(centres(other), 0.0), other, dimensions="[0 2 -2 0 0 0 0]")
    case = Case(tmp_path)
    with pytest.raises(ValueError, match="1/p: 8 values, but the mesh has 6"):
        case.field("p", 1.0).internal(case.count)
    with pytest.raises(ValueError, match="1/T: no such file; time 1 has"):
        case.field("T", 1.0)
    with pytest.raises(ValueError, match="leads out of the folder"):
        case.field("../0/p", 1.0)
    with pytest.raises(ValueError, match="there is no time 3"):
        case.field("p", 3.0)


@pytest.mark.parametrize("nu", ["0.01", "[0 2 -1 0 0 0 0] 0.01", "nu [0 2 -1 0 0 0 0] 0.01", "nu [m^2 s^-1] 0.01"])
def test_parameters(nu: str, tmp_path: Path) -> None:
    write_case(tmp_path, nu=nu)
    case = Case(tmp_path)
    assert properties(case) == {"nu": (0.01, "m2 s-1")}
    assert case.value("0/U:boundaryField.ymax.value[0]") == (1.0, "")
    assert case.value("constant/transportProperties:nu")[0] == 0.01
    for where, message in [
        ("0/U:boundaryField.ymax.value", "pick a component"),
        ("constant/transportProperties:mu", "no entry 'mu'"),
        ("../x:nu", "leads out"),
        ("/etc/passwd:root", "leads out"),
        ("nonsense", "names no value"),
        ("0/U:boundaryField.ymax.type", "a number is needed"),
    ]:
        with pytest.raises(ValueError, match=message):
            case.value(where)


@pytest.mark.parametrize("style", [Style(), Style(binary=True), Style(packed=True)], ids=str)
@pytest.mark.parametrize("addressing", [True, False])
def test_processor_folders_are_one_case(style: Style, addressing: bool, tmp_path: Path) -> None:
    """The same centres, volumes, neighbours and values as the whole, whichever way the parts are joined."""
    made = block((4, 3, 2), (4.0, 3.0, 2.0), types={"xmin": "cyclic", "xmax": "cyclic"})
    processor = np.random.default_rng(1).integers(0, 3, made.cells)
    processor[[0, 3]] = 0  # both sides of the cyclic pair on one processor
    x = centres(made)
    processor[x[:, 0] > 3] = processor[x[:, 0] < 1]
    write_parallel(tmp_path / "cut", made, processor, style, addressing=addressing)
    write_case(tmp_path / "whole", made, style)
    cut, whole = Case(tmp_path / "cut"), Case(tmp_path / "whole")
    assert cut.parallel and not whole.parallel and cut.times == whole.times
    one, other = cells_of(cut), cells_of(whole)
    order = np.concatenate(cut.addressing) if addressing else np.lexsort(x.T)
    place = np.arange(24) if addressing else np.array([int(np.abs(one.centres - c).sum(1).argmin()) for c in x])
    assert sorted(order) == list(range(24))
    np.testing.assert_allclose(one.centres[place], other.centres, atol=1e-12)
    np.testing.assert_allclose(one.volumes[place], other.volumes)
    number = np.argsort(place)
    mine = {frozenset(map(int, number[pair])) for pair in one.pairs.T}
    assert mine == {frozenset(map(int, pair)) for pair in other.pairs.T} and one.periods == other.periods == (4.0, None, None)
    assert list(one.patches) == list(other.patches)
    for name in one.patches:
        assert sorted(number[one.patches[name]]) == sorted(other.patches[name])
    values = cut.field("U", 0.5).internal(cut.count)
    np.testing.assert_allclose(values[place], whole.field("U", 0.5).internal(24))
    with pytest.raises(ValueError, match="reconstructPar"):
        cut.field("U", 0.5).boundary["ymax"]


def test_processor_folders_that_do_not_fit(tmp_path: Path) -> None:
    made = block((4, 2, 1), types=FLAT)
    processor = np.array([0, 0, 1, 1] * 2)
    write_parallel(tmp_path, made, processor)
    (tmp_path / "processor1/1/U").unlink()
    with pytest.raises(ValueError, match="processor1/1/U: no such file"):
        Case(tmp_path).field("U", 1.0)
    (tmp_path / "processor1/2").mkdir()
    with pytest.raises(ValueError, match=r"processor1: the times \[2.0\] are here and not in processor0"):
        Case(tmp_path)
    (tmp_path / "processor1").rename(tmp_path / "processor2")
    with pytest.raises(ValueError, match="some are missing; they are counted from 0"):
        Case(tmp_path)
    (tmp_path / "processor2").rename(tmp_path / "processors2")
    with pytest.raises(ValueError, match="collated files are not read; run `reconstructPar`"):
        Case(tmp_path)


def test_collated_folders_beside_a_finished_reconstruction(tmp_path: Path) -> None:
    """They are refused only where they hold what the case itself lacks."""
    write_case(tmp_path)
    for time in ("0", "0.5", "1"):
        (tmp_path / "processors4" / time).mkdir(parents=True)
    case = Case(tmp_path)
    assert case.times == (0.0, 0.5, 1.0) and not case.parallel
    (tmp_path / "processors4/1.5").mkdir()
    with pytest.raises(ValueError, match="processors4: collated files are not read; run `reconstructPar`"):
        Case(tmp_path)
    (tmp_path / "processors4/1.5").rmdir()
    (tmp_path / "constant/polyMesh").rename(tmp_path / "constant/hidden")
    with pytest.raises(ValueError, match="collated files are not read"):
        Case(tmp_path)


def test_links_are_part_of_a_case_and_names_that_lead_out_are_not(tmp_path: Path) -> None:
    """Meshes, properties and fields shared between cases by links are read, whichever of them is one."""
    write_case(tmp_path / "base")
    for name in ("constant", "0"):
        (tmp_path / "run" / name).mkdir(parents=True)
    for name in ("constant/polyMesh", "constant/transportProperties", "0/U", "0/p", "1"):
        (tmp_path / "run" / name).symlink_to(tmp_path / "base" / name)
    case, base = Case(tmp_path / "run"), Case(tmp_path / "base")
    assert case.times == (0.0, 1.0) and properties(case) == {"nu": (0.01, "m2 s-1")} and case.value("constant/transportProperties:nu")
    for time in case.times:
        np.testing.assert_array_equal(case.field("U", time).internal(case.count), base.field("U", time).internal(6))
    for name in ("../base/0/U", "/etc/passwd", "0/../../base/0/U"):
        with pytest.raises(ValueError, match="leads out of the folder"):
            case.dictionary(name)
    (tmp_path / "run/constant/transportProperties").unlink()
    head = "FoamFile { version 2.0; format ascii; class dictionary; object transportProperties; }\n"
    (tmp_path / "run/constant/transportProperties").write_text(head + f'#include "{tmp_path}/base/constant/transportProperties"\n')
    with pytest.raises(ValueError, match="#include .* which is not followed"):
        properties(case)


def test_a_patch_without_its_other_side(tmp_path: Path) -> None:
    made = block((4, 2, 1), types=FLAT)
    write_parallel(tmp_path, made, np.array([0, 0, 1, 1] * 2), addressing=False)
    path = tmp_path / "processor1/constant/polyMesh/boundary"
    path.write_text(path.read_text().replace("neighbProcNo 0", "neighbProcNo 7"))
    with pytest.raises(ValueError, match="no patch of 2 faces towards processor 0, as 'procBoundary0to1'"):
        cells_of(Case(tmp_path))


def test_addressing_that_names_a_cell_twice(tmp_path: Path) -> None:
    made, style = block((4, 2, 1), types=FLAT), Style()
    write_parallel(tmp_path, made, np.array([0, 0, 1, 1] * 2))
    path = tmp_path / "processor1/constant/polyMesh/cellProcAddressing"
    style.save(path, style.head("labelList", "cellProcAddressing") + style.numbers(np.array([2, 2, 6, 7])))
    with pytest.raises(ValueError, match="each once; was the mesh changed"):
        _ = Case(tmp_path).addressing


def test_points_that_move(tmp_path: Path) -> None:
    made = write_case(tmp_path)
    made.points = made.points * [1.0, 2.0, 1.0]
    style = Style()
    style.save(tmp_path / "0.5/polyMesh/points", style.head("vectorField", "points") + style.numbers(made.points))
    case = Case(tmp_path)
    assert case.moving == [0.5]
    assert [float(case.mesh_at(t).volumes[0]) for t in case.times] == pytest.approx([1.0, 2.0, 2.0])
    style.save(tmp_path / "1/polyMesh/faces", b"")
    case = Case(tmp_path)
    with pytest.raises(ValueError, match="the mesh gets other faces at time 1"):
        case.mesh_at(1.0)
    assert case.mesh_at(0.5).volumes[0] == pytest.approx(2.0)


def test_a_folder_that_is_no_case(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the case has no mesh; run blockMesh"):
        Case(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        Case(tmp_path / "none")
