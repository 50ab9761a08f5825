"""CFDBench's folders of cases: geometry from case.json, rows that go up, cells inside obstacles dry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sources import check_alike, check_part

from surrogates.data import open_dataset
from surrogates.data.conversion import convert
from surrogates.data.cuts import Split
from surrogates.data.formats import Given, open_parts
from surrogates.data.parts import parts_of
from surrogates.data.summary import facts
from surrogates.domains import Box, Masked
from surrogates.domains.ends import ends_of_grid
from surrogates.interchange import domain_of, from_xarray, parameters_of

CAVITY = {"vel_top": 10, "density": 1.0, "viscosity": 1e-5, "height": 0.01, "width": 0.02}
DAM = {"velocity": 0.05, "density": 100.0, "viscosity": 0.1, "barrier_height": 0.1, "barrier_width": 0.05, "height": 0.4, "width": 1.5}
CYLINDER = {"vel_in": 1.0, "density": 1.0, "viscosity": 0.01, "x_min": -0.06, "x_max": 0.16, "y_min": -0.06, "y_max": 0.06, "radius": 0.01}


def case(folder: Path, numbers: dict[str, float], frames: int = 4, size: int = 16, seed: int = 0) -> NDArray[np.float32]:
    folder.mkdir(parents=True)
    u = np.random.default_rng(seed).normal(size=(2, frames, size, size)).astype(np.float32)
    np.save(folder / "u.npy", u[0])
    np.save(folder / "v.npy", u[1])
    (folder / "case.json").write_text(json.dumps(numbers))
    return u


def test_a_case_of_the_cavity(tmp_path: Path) -> None:
    u = case(tmp_path / "cavity" / "bc" / "case0000", CAVITY)
    for level in ("cavity/bc/case0000", "cavity/bc", "cavity"):
        (part,) = open_parts(tmp_path / level, "cfdbench")["all"]
        check_part(part)
        np.testing.assert_array_equal(from_xarray(part)[0, :, 1], u[1].transpose(0, 2, 1))
    assert domain_of(part) == Box((16, 16), (0.0, 0.0), (0.02, 0.01), ("wall", "wall"), units="m")
    assert {n: v.tolist() for n, v in parameters_of(part).items()} == {n: [float(v)] for n, v in CAVITY.items()}
    assert part.attrs["dt"] == 0.1 and part["time"].attrs["units"] == "s" and part["velocity_x"].attrs["units"] == "m/s"


def test_cells_in_the_cylinder_are_dry(tmp_path: Path) -> None:
    case(tmp_path / "cylinder" / "geo" / "case0003", CYLINDER, size=64)
    with pytest.raises(ValueError, match=r"dt is not known.*CylinderFlowDataset.*0\.1.*CylinderFlowAutoDataset.*0\.001.*`dt: 0\.001`"):
        open_parts(tmp_path / "cylinder", "cfdbench")
    (part,) = open_parts(tmp_path / "cylinder", "cfdbench", Given(dt=0.001))["all"]
    domain = domain_of(part)
    assert isinstance(domain, Masked) and domain.box.lower == (-0.06, -0.06)
    dry = float((~domain.wet * domain.box.measure).sum())
    assert dry == pytest.approx(np.pi * 0.01**2, rel=0.1)  # to a cell's width around it
    assert bool(domain.wet[0, 0]) and not bool(domain.wet[int(0.06 / 0.22 * 64), 32])


def test_the_barrier_stands_on_the_ground_half_a_metre_in(tmp_path: Path) -> None:
    case(tmp_path / "dam" / "prop" / "case0000", DAM, size=64)
    (part,) = open_parts(tmp_path / "dam", "cfdbench")["all"]
    domain = domain_of(part)
    assert isinstance(domain, Masked)
    x, y = domain.box.grid()
    dry = ~domain.wet
    assert float(x[dry].min()) >= 0.5 and float(x[dry].max()) <= 0.55 and float(y[dry].max()) <= 0.1
    assert float((dry * domain.box.measure).sum()) == pytest.approx(0.05 * 0.1, rel=0.1)


def test_cases_of_one_geometry_and_length_share_a_file_when_converted(tmp_path: Path) -> None:
    frames = [4, 4, 6, 4, 4]
    held = [case(tmp_path / "cavity" / "bc" / f"case{n:04d}", {**CAVITY, "vel_top": n + 1}, t, 8, n) for n, t in enumerate(frames)]
    parts = open_parts(tmp_path / "cavity", "cfdbench")["all"]
    check_alike(parts)
    folder = convert(tmp_path / "cavity", tmp_path / "made", format="cfdbench", split=Split(0.8, test=0.2, by="order"), quiet=True)
    assert sorted(p.name for p in folder.glob("data/*/*.hdf5")) == ["made-1.hdf5", "made.hdf5", "made.hdf5"]
    train = parts_of(folder, "train")
    assert sorted(p.sizes["time"] for p in train) == [4, 6] and sorted(p.sizes["trajectory"] for p in train) == [1, 3]
    for part in train:
        for row, n in enumerate(part["trajectory"].values):
            assert float(part["vel_top"][row]) == n + 1
            np.testing.assert_array_equal(from_xarray(part)[row].movedim(1, 0), held[n].transpose(0, 1, 3, 2))


def test_lengths_that_differ_are_told_with_what_opens_them(tmp_path: Path) -> None:
    for n, frames in enumerate((4, 6)):
        case(tmp_path / "cavity" / "bc" / f"case{n:04d}", CAVITY, frames, 8, n)
    folder = convert(tmp_path / "cavity", tmp_path / "made", format="cfdbench", split=Split(1.0), quiet=True)
    match = r"made: .*made-1\.hdf5 has 6 and .*made\.hdf5 has 4 frames.*open_parts\(path\).*trains on all"
    with pytest.raises(ValueError, match=match):
        open_dataset(folder)
    assert sorted(p.sizes["time"] for p in open_parts(folder)["train"]) == [4, 6]


def test_inlets_and_outlets_are_told_and_kept(tmp_path: Path) -> None:
    """The Box knows which of its ends are open, the attribute what they are."""
    case(tmp_path / "dam" / "bc" / "case0000", DAM)
    (part,) = open_parts(tmp_path / "dam", "cfdbench")["all"]
    told = {c["name"]: (c["kind"], c["axes"], c["ends"]) for c in json.loads(part.attrs["boundary_conditions"])}
    assert told["inlet"] == ("inlet", ["x"], [True, False]) and told["outlet"] == ("open", ["x"], [False, True])
    assert ends_of_grid(domain_of(part)) == ("x_lower", "x_upper")
    folder = convert(tmp_path / "dam", tmp_path / "made", format="cfdbench", split=Split(1.0), quiet=True)
    assert domain_of(open_dataset(folder)) == domain_of(part)
    assert open_dataset(folder).attrs["boundary_conditions"] == part.attrs["boundary_conditions"]
    assert facts(folder)["ends that are no walls"] == "inlet (x), open (x)"
    case(tmp_path / "cavity" / "bc" / "case0000", CAVITY)
    (part,) = open_parts(tmp_path / "cavity", "cfdbench")["all"]
    assert [c["kind"] for c in json.loads(part.attrs["boundary_conditions"])] == ["moving wall"]
    assert ends_of_grid(domain_of(part)) == ()


def test_a_step_that_no_folder_tells_is_asked_for(tmp_path: Path) -> None:
    case(tmp_path / "mine" / "case0000", CAVITY)
    with pytest.raises(ValueError, match=r"dt is not known: no folder above is named .*`dt: 0\.1`"):
        open_parts(tmp_path / "mine", "cfdbench")
    (part,) = open_parts(tmp_path / "mine", "cfdbench", Given(dt=0.2))["all"]
    assert part.attrs["dt"] == 0.2


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ('{"width": 1', "not readable as JSON"),
        ("[1, 2]", "holds a list"),
        ('{"width": "wide"}', "width is 'wide' but must be a finite number"),
        ('{"width": NaN, "height": 1}', "width is nan"),
        ('{"width": 1}', "lengths is not known"),
        ("[" * 20000, "not readable as JSON"),
        (" " * 70000, "has 70000 bytes"),
    ],
)
def test_a_case_that_is_not_sound_is_refused_by_name(tmp_path: Path, numbers: str, match: str) -> None:
    case(tmp_path / "cavity" / "case0000", CAVITY)
    (tmp_path / "cavity" / "case0000" / "case.json").write_text(numbers)
    with pytest.raises(ValueError, match=match) as error:
        open_parts(tmp_path / "cavity", "cfdbench")
    assert "case0000" in str(error.value)


def test_frames_that_differ_or_are_cut_off_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cavity" / "case0000"
    case(folder, CAVITY)
    np.save(folder / "v.npy", np.zeros((3, 16, 16), np.float32))
    with pytest.raises(ValueError, match=r"v\.npy \(beside u\.npy\) has shape"):
        open_parts(tmp_path / "cavity", "cfdbench")
    (folder / "v.npy").write_bytes((folder / "u.npy").read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"v\.npy is not a sound \.npy"):
        open_parts(tmp_path / "cavity", "cfdbench")
    (folder / "v.npy").unlink()
    with pytest.raises(ValueError, match=r"v\.npy: no such file"):
        open_parts(tmp_path / "cavity", "cfdbench")


def test_problems_are_not_mixed(tmp_path: Path) -> None:
    case(tmp_path / "cavity" / "bc" / "case0000", CAVITY)
    case(tmp_path / "dam" / "bc" / "case0000", DAM)
    with pytest.raises(ValueError, match="cases of several problems"):
        open_parts(tmp_path, "cfdbench")
