"""Filtered DNS of channel flow in the layout of its publishers: cells between nodes, walls in place, means added, wrong files told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sources import check_part

from surrogates.data import open_dataset
from surrogates.data.conversion import convert
from surrogates.data.cuts import Split
from surrogates.data.formats import Given, open_parts, reader_of
from surrogates.data.windows import Windows
from surrogates.interchange import domain_of, fields_of, from_xarray, parameters_of

G, T, X, Y, Z = 3, 4, 6, 9, 5
NAME = f"Retau180_dim{G}x{T}x{X}x{Y}x{Z}x4_dT200.npy"
STRETCH = 2.8128806868607663
NODES = 1 + 2 / np.pi * np.arctan(STRETCH * np.tan(np.pi * (np.arange(Y) / (Y - 1) - 0.5)))
GIVEN = Given(
    dt=1.0,
    lengths=(4 * np.pi, 2.0, 4 * np.pi / 3),
    boundary=("periodic", "wall", "periodic"),
    units={"velocity": "U", "length": "h", "time": "h/U"},
    fields={"velocity": ("u", "v", "w")},
    options={"channels": ["u", "v", "w", None], "points": NODES.tolist()},
)


def given(**options: Any) -> Given:
    return replace(GIVEN, options={**GIVEN.options, **options})


@pytest.fixture
def u() -> NDArray[np.float32]:
    """(group, time, x, y, z, channel), at rest at both walls but for the pressure"""
    u = np.random.default_rng(0).normal(size=(G, T, X, Y, Z, 4))
    u[..., 0] += 3
    u[..., :3] *= np.sin(np.pi * NODES / 2)[:, None, None]
    u[:, :, :, [0, -1], :, :3] = 0
    return u.astype(np.float32)


def split_off(folder: Path, u: NDArray[np.float32]) -> None:
    mean = u.mean((0, 1, 2, 4), keepdims=True)
    np.save(folder / "data_ave.npy", mean)
    np.save(folder / "data_mave.npy", u - mean)


def test_cells_lie_between_the_nodes_and_have_their_means(tmp_path: Path, u: NDArray[np.float32]) -> None:
    np.save(tmp_path / NAME, u)
    (part,) = open_parts(tmp_path / NAME, given=GIVEN)["all"]
    check_part(part)
    box = domain_of(part)
    assert box.shape == (X, Y - 1, Z) and box.boundary == GIVEN.boundary and (box.lower[1], box.upper[1]) == (0.0, 2.0)
    np.testing.assert_allclose(box.edges[1], NODES, atol=0)
    assert fields_of(part).channels == ("velocity_x", "velocity_y", "velocity_z") and part.attrs["dt"] == 1.0
    assert {n: v.tolist() for n, v in parameters_of(part).items()} == {"reynolds_tau": [180.0] * G}
    want = np.moveaxis((u[:, :, :, :-1] + u[:, :, :, 1:])[..., :3] / 2, -1, 2)
    np.testing.assert_array_equal(from_xarray(part), want)


def test_integrals_are_those_of_the_trapezoidal_rule_on_the_nodes(tmp_path: Path, u: NDArray[np.float32]) -> None:
    np.save(tmp_path / NAME, u)
    (part,) = open_parts(tmp_path, given=GIVEN)["all"]
    box = domain_of(part)
    want = np.trapezoid(u[0, :, ..., :3].astype(np.float64).mean((1, 3)), NODES, axis=1) * 4 * np.pi * 4 * np.pi / 3
    np.testing.assert_allclose(box.integral(from_xarray(part)[0]), want, rtol=1e-6)
    assert float(box.measure.sum()) == pytest.approx(4 * np.pi * 2 * 4 * np.pi / 3, rel=1e-12)


def test_the_nodes_follow_again_from_the_cells(tmp_path: Path, u: NDArray[np.float32]) -> None:
    np.save(tmp_path / NAME, u)
    (part,) = open_parts(tmp_path, given=GIVEN)["all"]
    cells = from_xarray(part).double().numpy()
    nodes = [np.zeros_like(cells[:, :, :, :, 0])]
    for j in range(Y - 1):
        nodes.append(2 * cells[:, :, :, :, j] - nodes[-1])
    np.testing.assert_allclose(np.stack(nodes, 4), np.moveaxis(u[..., :3], -1, 2), atol=1e-5)


@pytest.mark.parametrize("source", ["", "data_mave.npy"])
def test_the_mean_is_added_to_what_lacks_it(tmp_path: Path, u: NDArray[np.float32], source: str) -> None:
    np.save(tmp_path / NAME, u)
    (whole,) = open_parts(tmp_path / NAME, given=GIVEN)["all"]
    (tmp_path / "two").mkdir()
    split_off(tmp_path / "two", u)
    (part,) = open_parts(tmp_path / "two" / source, given=GIVEN)["all"]
    check_part(part)
    np.testing.assert_allclose(from_xarray(part), from_xarray(whole), atol=1e-6)


@pytest.mark.parametrize("dtype", [">f8", "<f8", "<f2"])
def test_any_precision_and_byte_order(tmp_path: Path, u: NDArray[np.float32], dtype: str) -> None:
    np.save(tmp_path / NAME, u.astype(dtype))
    (part,) = open_parts(tmp_path, given=GIVEN)["all"]
    np.testing.assert_allclose(
        from_xarray(part)[:, :, 0], (u[..., :-1, :, 0] + u[..., 1:, :, 0]) / 2, atol=1e-2 if dtype == "<f2" else 1e-6
    )


def test_converted_it_is_the_same_and_has_windows(tmp_path: Path, u: NDArray[np.float32]) -> None:
    (tmp_path / "in").mkdir()
    split_off(tmp_path / "in", u)
    (part,) = open_parts(tmp_path / "in", given=GIVEN)["all"]
    convert(tmp_path / "in", tmp_path / "out", given=GIVEN, split=Split(0.34, 0.33, 0.33, by="order"), quiet=True)
    found = [open_dataset(tmp_path / "out", split=s) for s in ("train", "valid", "test")]
    assert [domain_of(f) for f in found] == [domain_of(part)] * 3
    assert torch.equal(torch.cat([from_xarray(f) for f in found]), from_xarray(part))
    windows = Windows(tmp_path / "out", 1, 2, split="valid")
    assert len(windows) == T - 2 and torch.equal(windows.batch([1]).future[0], from_xarray(found[1])[0, 2:4])


def test_it_is_known_by_its_name_and_other_arrays_are_not(tmp_path: Path, u: NDArray[np.float32]) -> None:
    np.save(tmp_path / NAME, u)
    np.save(tmp_path / "waves.npy", u[..., 0, 0])
    assert reader_of(tmp_path / NAME).__name__.endswith("fdns_channel")
    assert reader_of(tmp_path / "waves.npy").__name__.endswith(".npy")


def test_what_it_lacks_is_asked_for_at_once(tmp_path: Path, u: NDArray[np.float32]) -> None:
    np.save(tmp_path / NAME, u)
    with pytest.raises(
        ValueError, match=r"dt, lengths, boundary, fields, units.velocity, .*options.channels, options.points are not known"
    ):
        open_parts(tmp_path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (given(points=NODES[:-1].tolist()), f"options.points has {Y - 1} entries, and the array .* has {Y} nodes across"),
        (given(points=NODES[::-1].tolist()), r"options.points is not sorted"),
        (given(points=(NODES / 2).tolist()), r"options.points run from 0 to 1, and lengths .* say 0 to 2"),
        (given(points="linear"), r"options.points is 'linear', and a list of numbers is needed"),
        (given(points=[*NODES[:-1], float("nan")]), r"options.points is not finite: entry 8"),
        (given(channels=["u", "v", "w"]), r"options.channels is .* and the array has 4 channels"),
        (given(channels=["u", "v", "w", "w"]), r"options.channels is"),
        (given(channels=["u", "v", None, None]), r"`fields` names \['w'\]"),
        (given(channels=["p", "v", "w", "u"]), r"'u' is .* at a wall in the first frame, and nothing moves there"),
        (replace(GIVEN, boundary=("wall", "wall", "periodic")), r"a channel has one axis between walls"),
        (replace(GIVEN, boundary=("periodic", "periodic", "wall"), lengths=(4.0, 1.0, 2.0)), f"has {Z} nodes across"),
    ],
)
def test_what_contradicts_the_array_is_told(tmp_path: Path, u: NDArray[np.float32], said: Given, message: str) -> None:
    np.save(tmp_path / NAME, u)
    with pytest.raises(ValueError, match=message):
        open_parts(tmp_path, given=said)


def test_files_that_are_not_what_they_are_called_are_told(tmp_path: Path, u: NDArray[np.float32]) -> None:
    def told(message: str, path: Path = tmp_path) -> None:
        with pytest.raises(ValueError, match=message):
            open_parts(path, "fdns_channel", GIVEN)

    split_off(tmp_path, u)
    told("is the mean of the flow; give the folder", tmp_path / "data_ave.npy")
    np.save(tmp_path / "data_ave.npy", u)
    told(r"data_ave.npy has shape .* but \(1, 1, 1, 9, 1, 4\) is needed")
    np.save(tmp_path / "data_ave.npy", np.full((1, 1, 1, Y, 1, 4), np.nan))
    told("data_ave.npy is not finite")
    (tmp_path / "data_ave.npy").unlink()
    told(r"data_mave.npy lacks the mean of the flow")
    np.save(tmp_path / "more_mave.npy", u)
    told(re.escape("holds ['data_mave.npy', 'more_mave.npy']; one array is read"))
    np.save(tmp_path / NAME, u[0])
    told(r"has shape \(4, 6, 9, 5, 4\) but \(group, time, x, y, z, channel\)", tmp_path / NAME)
    np.save(tmp_path / NAME, u)
    with open(tmp_path / NAME, "r+b") as file:
        file.truncate(1000)
    told("is not a sound .npy file", tmp_path / NAME)
    np.save(tmp_path / NAME, u.astype(object), allow_pickle=True)
    told("is not a sound .npy file", tmp_path / NAME)
    u[0, 0, 0, 0] = np.nan
    np.save(tmp_path / NAME, u)
    told("nan at a wall", tmp_path / NAME)
