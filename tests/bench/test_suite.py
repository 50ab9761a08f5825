"""A suite file is checked before any work, and what is wrong with it is named by file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from surrogates import catalog
from surrogates.bench import load_suite

GOOD: dict[str, Any] = {"dataset": "kdv", "frames": 5, "solver": {"equation": "KdV", "resolutions": [32, 16], "max_dt": 0.01}}


def written(folder: Path, entry: dict[str, Any]) -> Path:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(entry))
    return path


def changed(**change: Any) -> dict[str, Any]:
    return {**GOOD, **change}


def solver(**change: Any) -> dict[str, Any]:
    return changed(solver={**GOOD["solver"], **change})


def test_every_suite_here_is_sound() -> None:
    for name in catalog.names("benchmarks"):
        suite = load_suite(name)
        assert suite.name == name
        assert suite.dataset in catalog.names("datasets")


def test_one_substep_serves_all_resolutions_and_runs_go_from_coarse_to_fine(tmp_path: Path) -> None:
    assert load_suite(written(tmp_path, GOOD)).solver.runs == ((16, 0.01), (32, 0.01))
    assert load_suite(written(tmp_path, solver(max_dt=[0.01, 0.02]))).solver.runs == ((16, 0.02), (32, 0.01))


def test_a_suite_is_named_after_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    written(tmp_path / "mine", GOOD)
    assert load_suite(tmp_path / "mine").name == "mine"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (changed(framse=5), r"framse: unknown key.*did you mean 'frames'"),
        (solver(resolution=[8]), r"solver\.resolution: unknown key.*did you mean 'resolutions'"),
        ({k: v for k, v in GOOD.items() if k != "frames"}, r"frames: missing"),
        (changed(frames="many"), r"frames: expected a whole number, got 'many'"),
        (changed(members=1), r"members at least 2"),
        (changed(baselines=["persistance"]), r"did you mean 'persistence'"),
        (changed(baselines=["persistence"]), r"must hold 'climatology'"),
        (changed(seeds=[1, 1]), r"different"),
        (solver(equation="Kdv"), r"no equation 'Kdv'.*did you mean 'KdV'"),
        (solver(scheme="etdrk3"), r"solver: scheme 'etdrk3' is unknown"),
        (solver(dtype="float31"), r"did you mean 'float32'"),
        (solver(max_dt=[0.1, 0.1, 0.1]), r"one for each of the resolutions"),
        (solver(resolutions=[16, 16]), r"different whole numbers"),
        (changed(timing={"repeats": 0}), r"timing: frames and repeats must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    path = written(tmp_path, entry)
    with pytest.raises(ValueError, match=f"(?s){path}.*{message}"):
        load_suite(path)


def test_an_unknown_suite_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'kolmogorov2d'"):
        load_suite("kolmogorov_2d")
