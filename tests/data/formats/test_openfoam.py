"""OpenFOAM cases through the door of all formats: layout, laziness, folders of cases, and what is refused by name."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foam_case import FLAT, Style, block, centres, pressure, velocity, write_case, write_field, write_parallel

from surrogates.data.foam import PolyMesh
from surrogates.data.foam import case as foam_case_module
from surrogates.data.formats import Given, open_parts, openfoam, reader_of
from surrogates.domains import Box, Mesh
from surrogates.interchange import conditions_of, domain_of, fields_of, from_xarray


def test_a_case_is_a_part(tmp_path: Path) -> None:
    mesh = write_case(tmp_path / "cavity")
    assert reader_of(tmp_path / "cavity", None) is openfoam
    ((part,),) = open_parts(tmp_path / "cavity").values()
    assert part.sizes["trajectory"] == 1 and part["time"].values.tolist() == [0.0, 0.5, 1.0] and part["time"].attrs["units"] == "s"
    assert fields_of(part).channels == ("U_x", "U_y", "p") and fields_of(part).units == ("m s-1", "m s-1", "m2 s-2")
    assert part["nu"].attrs == {"role": "parameter", "units": "m2 s-1"} and part.attrs["dt"] == 0.5
    domain = domain_of(part)
    assert isinstance(domain, Mesh) and domain.names == ("xmin", "xmax", "ymin", "ymax")
    u = from_xarray(part)
    x = centres(mesh)
    for n, t in enumerate((0.0, 0.5, 1.0)):
        np.testing.assert_allclose(u[0, n].T, np.c_[velocity(x, t)[:, :2], pressure(x, t)], rtol=1e-6, atol=1e-6)
    assert conditions_of(part).names == ("nu",) and float(conditions_of(part).parameters) == 0.01


def test_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_case(tmp_path)
    asked: list[str] = []
    inner = foam_case_module.read_field

    def spy(path: Path, **options: Any) -> Any:
        asked.append(f"{path.parent.name}/{path.name}")
        return inner(path, **options)

    monkeypatch.setattr(foam_case_module, "read_field", spy)
    ((part,),) = open_parts(tmp_path).values()
    assert asked == []
    part["U_x"].isel(time=1).values, part["U_y"].isel(time=1).values
    assert asked == ["0.5/U"]  # both components from one reading
    part[["p"]].isel(time=[0, 2]).compute()
    assert sorted(asked[1:]) == ["0/p", "1/p"]


@pytest.mark.parametrize("kind", ["cells", "box", "points"])
def test_meshes_are_not_held(kind: str, tmp_path: Path) -> None:
    """What stays of a case is its part and where values go; no mesh, and nothing that was computed of one, but the mesh of `points`."""
    if kind != "points":
        write_parallel(tmp_path / "d", block((4, 3, 1), types=FLAT), np.array([0, 0, 1, 1] * 3))
    for name in "abc":
        write_case(tmp_path / name, block((30, 20, 1), types=FLAT))
    gc.collect()
    before = {id(m) for m in gc.get_objects() if isinstance(m, PolyMesh)}
    parts = open_parts(tmp_path, given=Given(options={"as": kind, "properties": False}))["all"]
    gc.collect()
    held = [m for m in gc.get_objects() if isinstance(m, PolyMesh) and id(m) not in before]
    assert len(held) == (3 if kind == "points" else 0) and not any({"faces", "_solid"} & m.__dict__.keys() for m in held)
    for part in parts[:3]:
        assert np.isfinite(part["U_x"].isel(time=1).values).all()


def test_files_that_are_no_fields_are_passed_over(tmp_path: Path) -> None:
    """Hidden files, copies and notes in a folder of a time; one that is asked for, and a field that lost its head, are told."""
    write_case(tmp_path)
    sound = (tmp_path / "1/U").read_bytes()
    for name in (".DS_Store", ".nfs0001", "U~", "U.bak", "p.old"):
        (tmp_path / "1" / name).write_bytes(b"" if name.startswith(".n") else sound if name.startswith("U") else b"\x00\x01Bud1")
    (tmp_path / "1/notes.txt").write_text("the run diverged at 1.2 s")
    (tmp_path / "1/done").touch()
    ((part,),) = open_parts(tmp_path).values()
    assert fields_of(part).channels == ("U_x", "U_y", "p")
    with pytest.raises(ValueError, match=r"notes.txt: line 1: an OpenFOAM file begins with FoamFile"):
        open_parts(tmp_path, given=Given(options={"fields": ["notes.txt"]}))
    (tmp_path / "1/U").write_bytes(sound[200:])
    with pytest.raises(ValueError, match="1/U: line 1: an OpenFOAM file begins with FoamFile"):
        open_parts(tmp_path)


OPTIONS: dict[str, tuple[dict[str, Any], Callable[[Any], bool]]] = {
    "fields": ({"fields": ["p"]}, lambda part: fields_of(part).channels == ("p",)),
    "names": ({"names": {"U": "velocity"}}, lambda part: "velocity_x" in part),
    "last": ({"times": "last"}, lambda part: part["time"].values.tolist() == [1.0]),
    "list": ({"times": [0, 0.5]}, lambda part: part["time"].values.tolist() == [0.0, 0.5]),
    "start": ({"start": 0.1}, lambda part: part["time"].values.tolist() == [0.5, 1.0]),
    "every": ({"every": 2}, lambda part: part.attrs["dt"] == 1.0),
    "box": ({"as": "box"}, lambda part: isinstance(domain_of(part), Box) and part["p"].dims[2:] == ("x", "y")),
    "points": ({"as": "points"}, lambda part: domain_of(part).shape == (12,)),
    "properties": ({"properties": False}, lambda part: "nu" not in part.coords),
    "parameters": ({"parameters": {"lid": "0/U:boundaryField.ymax.value[0]"}}, lambda part: float(part["lid"][0]) == 1.0),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str, tmp_path: Path) -> None:
    write_case(tmp_path)
    options, holds = OPTIONS[name]
    ((part,),) = open_parts(tmp_path, given=Given(options=options)).values()
    assert holds(part.compute())


def test_folders_of_cases(tmp_path: Path) -> None:
    """Different meshes and parameters; case2 comes before case10; given values go over them in this order."""
    for n, nx in ((10, 4), (2, 3)):
        write_case(tmp_path / f"case{n}", block((nx, 2, 1), types=FLAT), nu=f"{n}e-3")
    (tmp_path / "plots").mkdir()
    parts = open_parts(tmp_path, given=Given(parameters={"angle": (1.0, 2.0)}))["all"]
    assert [p.sizes["node"] for p in parts] == [6, 8] and [float(p["nu"][0]) for p in parts] == [0.002, 0.01]
    assert [float(p["angle"][0]) for p in parts] == [1.0, 2.0] and [int(p["trajectory"][0]) for p in parts] == [0, 1]
    with pytest.raises(ValueError, match="has 3 values but there are 2"):
        open_parts(tmp_path, given=Given(parameters={"angle": (1.0, 2.0, 3.0)}))
    for split in ("train", "test"):
        (tmp_path / "made" / split).mkdir(parents=True)
        write_case(tmp_path / "made" / split / "a")
    assert list(open_parts(tmp_path / "made")) == ["train", "test"]
    (tmp_path / "case2" / "case2.foam").touch()
    assert len(open_parts(tmp_path / "case2" / "case2.foam")["all"]) == 1


def test_processor_folders(tmp_path: Path) -> None:
    made = block((4, 2, 1), types=FLAT)
    write_parallel(tmp_path, made, np.array([0, 0, 1, 1] * 2))
    ((part,),) = open_parts(tmp_path).values()
    np.testing.assert_allclose(part["p"].values[0, 2], pressure(centres(made), 1.0), rtol=1e-6)


def test_what_other_folders_are(tmp_path: Path) -> None:
    assert not openfoam.recognises(tmp_path) and not openfoam.recognises(tmp_path / "none")
    (tmp_path / "a.foam").touch()
    assert not openfoam.recognises(tmp_path / "a.foam")


def spoil(path: Path, what: str) -> None:
    match what:
        case "missing":
            (path / "0.5/p").unlink()
        case "uneven":
            (path / "1").rename(path / "1.7")
        case "moving":
            style = Style()
            style.save(path / "0.5/polyMesh/points", style.head("vectorField", "points") + style.numbers(np.zeros((24, 3))))
        case "none":
            for t in ("0", "0.5", "1"):
                (path / t).rename(path / f"{t}.orig")
        case "units":
            mesh = block(types=FLAT)
            write_field(path / "0/p", pressure(centres(mesh), 0.0), mesh, dimensions="[1 -1 -2 0 0 0 0]")
        case "include":
            text = (path / "constant/transportProperties").read_text()
            (path / "constant/transportProperties").write_text(text.replace("nu nu", '#include "/etc/passwd"\nnu $nu; mu nu'))
        case "name":
            (path / "1/p").rename(path / "1/1p")


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("missing", {}, r"some times lack fields: \{'0.5': \['p'\]\}; name those that all have, options: \{fields: \['U'\]\}"),
        ("uneven", {}, "its times is uneven"),
        ("moving", {}, "the mesh moves .*mesh_at"),
        ("none", {}, "there is no folder of a time"),
        ("units", {}, r"0/p: is a scalar of vol in 'kg m-1 s-2', and at other times a scalar of vol in 'm2 s-2'"),
        ("include", {}, r"transportProperties: .*#include .* which is not followed; .*properties: false"),
        ("name", {"times": "last"}, "'1p' must be an identifier.*options: {names: {1p: ...}}"),
        ("", {"as": "grid"}, "write cells, box or points"),
        ("", {"colour": 1}, "options.colour: unknown key"),
        ("", {"fields": ["T"]}, "no field 'T' in cells at time 1"),
        ("", {"times": [7]}, r"there are no times \[7.0\]"),
        ("", {"times": "first"}, "write `last` or a list of times"),
        ("", {"region": "../other"}, "leads out of the folder"),
        ("", {"parameters": {"x": "../../etc/passwd:root"}}, "leads out of the folder"),
        ("", {"every": 0}, "must be 1 or more"),
    ],
)
def test_what_is_refused(what: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_case(tmp_path)
    spoil(tmp_path, what)
    with pytest.raises(ValueError, match=message):
        for parts in openfoam.read(tmp_path, Given(options=options)).values():
            for part in parts:
                part.compute()


def test_cases_that_do_not_belong_together(tmp_path: Path) -> None:
    write_case(tmp_path / "a")
    write_case(tmp_path / "b")
    for t in ("0", "0.5", "1"):
        (tmp_path / "b" / t / "p").unlink()
    with pytest.raises(ValueError, match=r"b: has fields .* but .*a has .*options: \{fields"):
        open_parts(tmp_path)
    assert len(open_parts(tmp_path, given=Given(options={"fields": ["U"]}))["all"]) == 2
