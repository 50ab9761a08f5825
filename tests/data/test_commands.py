"""The commands: what they print tells what there is, and a file that is not sound is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from surrogates.cli import main
from surrogates.data.commands import check_file, facts

Write = Callable[..., Path]


def test_list_shows_every_recipe_and_what_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path))
    (tmp_path / "kdv" / "tiny" / "data" / "train").mkdir(parents=True)
    (tmp_path / "kdv" / "tiny" / "data" / "train" / "kdv.hdf5.part").touch()
    assert main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("kolmogorov2d", "burgers", "kuramoto_sivashinsky", "28 / 4 / 4", "unfinished"))


def test_info_tells_what_a_data_set_is(dataset: xr.Dataset, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(dataset).parents[2]
    told = facts(folder)
    assert told["fields"] == "velocity_x [1], velocity_y [1], tracer [K]"
    assert told["frames"] == "9 of dt 0.25" and told["trajectories"] == "train 5" and told["viscosity"] == "0.1 to 0.5"
    assert main(["data", "info", str(folder)]) == 0
    assert "6 x 4 on 3 x 2" in capsys.readouterr().out


def test_info_is_whole_in_a_narrow_terminal(
    dataset: xr.Dataset, write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "info", str(write(dataset).parents[2])]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(f"│{name}" in shown for name in ("velocity_x", "velocity_y", "tracer"))


def test_info_says_how_much_of_an_unfinished_one_there_is(dataset: xr.Dataset, write: Write) -> None:
    folder = write(dataset, rows=2, finish=False).parents[2]
    assert facts(folder)["state"].startswith("unfinished: 2 trajectories are complete")


def test_check_passes_what_is_sound_and_counts_repeats(dataset: xr.Dataset, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    for name in dataset.data_vars:
        dataset[name].values[1, 4] = dataset[name].values[1, 3]
    path = write(dataset)
    assert check_file(path) == 1
    assert main(["data", "check", str(path.parents[2])]) == 0
    assert "is sound, 1 frames equal to the one before" in capsys.readouterr().out


def test_check_names_what_is_not_sound(dataset: xr.Dataset, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    dataset["tracer"].values[3, 2, 0, 0] = np.nan
    path = write(dataset)
    assert main(["data", "check", str(path)]) == 2
    assert "trajectory 3 has values that are not finite at time 0.5 (frame 2), channels ['tracer']" in capsys.readouterr().err
    with h5py.File(path, "r+") as f:
        f["t0_fields"]["tracer"][0] = 1.0
    assert main(["data", "check", str(path)]) == 2
    assert "do not match their checksum" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["info", "check"])
def test_the_line_that_an_error_asks_for_is_taken(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "u.npy", np.random.default_rng(0).normal(size=(2, 3, 1, 8)).astype(np.float32))
    said = '{dt: 0.5, lengths: [2.0], boundary: [periodic], units: {others: "1"}, options: {channels: [u]}}'
    assert main(["data", command, str(tmp_path / "u.npy"), "--format", "npy"]) == 2
    assert "--given '{" in " ".join(capsys.readouterr().err.split())
    assert main(["data", command, str(tmp_path / "u.npy"), "--format", "npy", "--given", said]) == 0, capsys.readouterr().err
    assert main(["data", command, str(tmp_path / "u.npy"), "--format", "npy", "--given", "{dt: [}"]) == 2
    assert "--given: not readable as YAML" in " ".join(capsys.readouterr().err.split())


def test_an_unknown_data_set_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make", "burgrs"]) == 2
    assert "did you mean 'burgers'" in capsys.readouterr().err
