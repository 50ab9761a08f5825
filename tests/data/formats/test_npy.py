"""NumPy arrays in each of their layouts, in any precision and byte order."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sources import check_part

from surrogates.cli import main
from surrogates.data import open_dataset
from surrogates.data.formats import Given, checks, open_parts
from surrogates.interchange import domain_of, fields_of, from_xarray, parameters_of

SAID = """
dt: 0.25
lengths: [2, 3]
boundary: [periodic, wall]
units: {velocity: m/s, p: Pa, length: m, time: s}
fields: {velocity: [u, v]}
parameters: {viscosity: 0.1, speed: [1, 2]}
"""


@pytest.fixture
def u() -> NDArray[np.float32]:
    """(trajectory, time, channel, x, y)"""
    return np.random.default_rng(0).normal(size=(2, 5, 3, 8, 6)).astype(np.float32)


def test_one_array_a_field(tmp_path: Path, u: NDArray[np.float32]) -> None:
    (tmp_path / "source.yaml").write_text(SAID)
    for c, name in enumerate(("u", "v", "p")):
        np.save(tmp_path / name, u[:, :, c])
    (part,) = open_parts(tmp_path, "npy")["all"]
    check_part(part)
    assert fields_of(part).channels == ("p", "velocity_x", "velocity_y") and fields_of(part).units == ("Pa", "m/s", "m/s")
    np.testing.assert_array_equal(from_xarray(part), u[:, :, [2, 0, 1]])
    assert domain_of(part).lengths == (2.0, 3.0) and part.time.attrs["units"] == "s"
    assert {n: v.tolist() for n, v in parameters_of(part).items()} == {"viscosity": [0.1, 0.1], "speed": [1.0, 2.0]}


def test_one_array_of_channels_and_one_a_split(tmp_path: Path, u: NDArray[np.float32]) -> None:
    given = Given(dt=0.25, lengths=(2.0, 3.0), boundary=("wall", "wall"), units={"others": "1"}, options={"channels": ["a", "b", "c"]})
    np.save(tmp_path / "flow.npy", u)
    (part,) = open_parts(tmp_path / "flow.npy", "npy", given)["all"]
    check_part(part)
    np.testing.assert_array_equal(from_xarray(part), u)
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "a.npy", u[:, :, 0])
    with pytest.raises(ValueError, match=r"flow\.npy.* and .*train.*keep one"):
        open_parts(tmp_path, "npy", given)
    (tmp_path / "flow.npy").unlink()
    (tmp_path / "source.yaml").write_text("dt: 1\nlengths: [1, 1]\nboundary: [wall, wall]\nunits: {others: '1'}\n")
    assert list(open_parts(tmp_path)) == ["train", "test"]
    whole = open_dataset(tmp_path)
    assert whole["split"].values.tolist() == ["train"] * 2 + ["test"] * 2
    np.testing.assert_array_equal(open_dataset(tmp_path, "test")["a"], u[:, :, 0])


@pytest.mark.parametrize("dtype", [">f8", ">f4", "<f2", ">i2"])
def test_any_precision_and_byte_order_is_read_right(tmp_path: Path, u: NDArray[np.float32], dtype: str) -> None:
    (tmp_path / "source.yaml").write_text(SAID)
    stored = (8 * u).astype(dtype)
    for c, name in enumerate(("u", "v", "p")):
        np.save(tmp_path / name, np.asfortranarray(stored[:, :, c]) if c else stored[:, :, c].astype(np.float32))
    (part,) = open_parts(tmp_path, "npy")["all"]
    check_part(part)
    np.testing.assert_array_equal(from_xarray(part), stored[:, :, [2, 0, 1]].astype(np.float32))


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("dt: 0.25", "dt is not known"),
        ("lengths: [2, 3]", "lengths is not known"),
        ("boundary: [periodic, wall]", "boundary is not known"),
        ("units: {velocity: m/s, p: Pa, length: m, time: s}", "units.p, units.velocity, units.length, units.time are not known"),
    ],
)
def test_each_line_that_is_left_out_is_asked_for(tmp_path: Path, u: NDArray[np.float32], line: str, match: str) -> None:
    (tmp_path / "source.yaml").write_text(SAID.replace(line, ""))
    for c, name in enumerate(("u", "v", "p")):
        np.save(tmp_path / name, u[:, :, c])
    with pytest.raises(ValueError, match=match):
        open_parts(tmp_path, "npy")


def test_all_that_is_left_out_is_asked_for_at_once(tmp_path: Path, u: NDArray[np.float32]) -> None:
    np.save(tmp_path / "p.npy", u[:, :, 0])
    lines = "`dt: 0.1`, `lengths: [1.0, 1.0]`, `boundary: [periodic, wall]`, `units: {p: m/s, length: m, time: s}`"
    with pytest.raises(ValueError, match=re.escape(lines)) as error:
        open_parts(tmp_path, "npy")
    said = str(error.value).partition("say --given '")[2].partition("'")[0]
    assert main(["data", "convert", str(tmp_path), str(tmp_path.parent / "made"), "--given", said, "--split", "{train: 1}"]) == 0


def test_arrays_that_do_not_go_together_are_refused(tmp_path: Path, u: NDArray[np.float32]) -> None:
    (tmp_path / "source.yaml").write_text(SAID)
    for name in ("u", "v"):
        np.save(tmp_path / name, u[:, :, 0])
    np.save(tmp_path / "p", u[:, :4, 0])
    with pytest.raises(ValueError, match=r"(p|u)\.npy .* has shape .* is needed"):
        open_parts(tmp_path, "npy")
    np.save(tmp_path / "p", u[0, 0])
    with pytest.raises(ValueError, match="has shape"):
        open_parts(tmp_path, "npy")
    np.save(tmp_path / "p", u[:, :, 0])
    for fields, match in (("[u, w]", "names \\['w'\\]"), ("[u, v, p]", "3 components")):
        (tmp_path / "source.yaml").write_text(SAID.replace("[u, v]", fields))
        with pytest.raises(ValueError, match=match):
            open_parts(tmp_path, "npy")
    np.save(tmp_path / "flow.npy", u)
    with pytest.raises(ValueError, match="options.channels is not known: the array has 3 channels"):
        open_parts(tmp_path / "flow.npy", "npy")
    with pytest.raises(ValueError, match="3 different names are needed"):
        open_parts(tmp_path / "flow.npy", "npy", Given(options={"channels": ["u", "v"]}))


def test_what_no_format_knows_is_told_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        open_parts(tmp_path / "none")
    with pytest.raises(ValueError, match=r"in none of the known formats.*npy: .*pdebench: |pdebench: .*npy: "):
        open_parts(tmp_path)
    with pytest.raises(ValueError, match="no format 'numpy'.*did you mean"):
        open_parts(tmp_path, "numpy")


def test_files_that_numpy_ships() -> None:
    """Written by several of its versions: numbers are read, pickled objects are not."""
    folder = Path(np.__file__).parent / "lib" / "tests" / "data"
    if not folder.is_dir():
        pytest.skip("this NumPy was installed without its tests")
    for path in folder.glob("*.npy"):
        if "objarr" in path.name:
            with pytest.raises(ValueError, match=path.name):
                checks.npy(path)
        else:
            assert checks.npy(path).size
