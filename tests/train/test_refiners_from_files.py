"""Every refiner from a file: it trains, is saved, loads, goes on, and forecasts with members."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from surrogates import refine
from surrogates.data import open_dataset
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast import simulate
from surrogates.refine.guidance import EndPoint, Guided
from surrogates.refine.teacher import without_teacher
from surrogates.saved import load, save
from surrogates.surrogate import Surrogate
from surrogates.train.cli import main
from surrogates.train.teachers import check_teacher

FILE: dict[str, Any] = {
    "data": {"batch_size": 4, "validation": 4},
    "model": {"operator": {"class": "FNO", "width": 6, "modes": [4], "layers": 1}, "optimiser": {"warmup": 2}},
    "trainer": {"accelerator": "cpu", "log_every": 1, "validate_every": 0, "tensorboard": False, "progress": False},
    "steps": 2,
}
ABSOLUTE, BUNDLE = {"model": {"target": "Absolute"}}, {"data": {"bundle": 2}}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "FlowMatching": ({"sampler": "ab2", "source": {"class": "GaussianSource", "colour": {"class": "Spectral", "length": 0.5}}}, {}),
    "EDM": (
        {
            "class": "FlowMatching",
            "path": "VarianceExploding",
            "schedule": "KarrasLogNormal",
            "prediction": "Preconditioned",
            "sampler": {"class": "Churn", "sampler": "dpm_2s", "above": 0.75},
        },
        {},
    ),
    "DDPM": (
        {"class": "FlowMatching", "path": "LinearBetas", "schedule": {"class": "Steps", "count": 20}, "prediction": "SourcePrediction"}
        | {"sampler": "ddpm", "steps": 20},
        {},
    ),
    "PDERefiner": ({"schedule": {"class": "Exponential", "steps": 3}}, {}),
    "ACDM": ({}, {"data": {"history": 2}}),
    "StochasticInterpolant": ({"bridge": {"class": "BrownianBridge", "noise": 0.5}, "diffusion": "own_diffusion", "steps": 3}, ABSOLUTE),
    "OnePass": ({"members": 3, "alpha": 0.95}, {}),
    "OnePassGlobal": ({}, {}),
    "MCDropout": ({"p": 0.5}, {}),
    "ClassifierFree": ({"weight": 1.5, "drop": 0.2}, {}),
    "MeanFlow": ({"steps": 1}, {}),
    "SplitMeanFlow": ({"steps": 2}, {}),
    "Shortcut": ({"steps": 2}, {}),
    "Consistency": ({"steps": 2}, {}),
    "DistilledConsistency": ({"teacher": "FLOW"}, {}),
    "Reflow": ({"teacher": "FLOW", "warm": True}, {}),
    "VelocityTail": ({"head": "FLOW"}, {}),
    "DYffusion": ({}, {**BUNDLE, **ABSOLUTE}),
    "DiffusionForcing": ({"steps": 4, "lag": 1}, BUNDLE),
}


@pytest.fixture(scope="module")
def flow(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained flow, for those that learn from one."""
    home = tmp_path_factory.mktemp("flow")
    (home / "flow.yaml").write_text(yaml.safe_dump(written("FlowMatching", {}, {}, stored)))
    main(["--config", str(home / "flow.yaml"), "--out", str(home / "run")])
    return home / "run"


def written(name: str, refiner: dict[str, Any], changes: dict[str, Any], stored: Path) -> dict[str, Any]:
    made = {k: {**v, **changes.get(k, {})} if isinstance(v, dict) else v for k, v in FILE.items()}
    made["data"]["dataset"] = str(stored)
    made["model"]["refiner"] = {"class": name, **refiner}
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_refiner_trains_from_a_file_and_forecasts(name: str, stored: Path, flow: Path, tmp_path: Path) -> None:
    refiner, changes = CASES[name]
    told = {k: str(flow) if v == "FLOW" else v for k, v in refiner.items()}
    file, out = tmp_path / "file.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(written(name, told, changes, stored)))
    run = main(["--config", str(file), "--out", str(out)])
    again = load(out)
    for key, value in run.surrogate.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    assert all(row["loss"] == row["loss"] for row in run.log.rows["train"])
    start = open_dataset(stored, "valid").isel(time=slice(0, again.history))
    members = simulate(again, start, frames=3, members=2, seed=1)
    values = members[next(iter(members.data_vars))].values
    assert (values[:, 0] != values[:, 1]).any() and bool(torch.as_tensor(values).isfinite().all())


def test_no_refiner_is_left_out() -> None:
    modules = {n: c for n, c in vars(refine).items() if isinstance(c, type) and issubclass(c, torch.nn.Module)}
    known = {n for n, c in modules.items() if getattr(c, "is_recorded", False) and hasattr(c, "loss")}
    assert known == {CASES[name][0].get("class", name) for name in CASES}


def test_chosen_steps_are_saved_with_the_surrogate(flow: Path, tmp_path: Path) -> None:
    surrogate = load(flow)
    given = refine.Given((1.0, 0.7, 0.1, 0.0), refine.Uniform())
    again = load(save(surrogate.with_refiner(refine.with_steps(surrogate.refiner, given)), tmp_path / "chosen"))
    assert again.refiner.schedule == given and again.refiner.steps == 3 and surrogate.refiner.steps == 4
    assert torch.equal(again.state_dict()["refiner.operator.lift_in.weight"], surrogate.state_dict()["refiner.operator.lift_in.weight"])


def test_a_student_keeps_what_it_learned_without_its_teacher(stored: Path, flow: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(written("Reflow", {"teacher": str(flow), "warm": True}, {}, stored)))
    student = main(["--config", str(file), "--out", str(tmp_path / "run")]).surrogate
    weights = {k: v.clone() for k, v in student.refiner.operator.state_dict().items()}  # type: ignore[union-attr]
    chosen = refine.with_steps(student.refiner, refine.Given((1.0, 0.5, 0.0), refine.Uniform()))  # type: ignore[arg-type]
    alone = load(save(student.with_refiner(without_teacher(chosen)), tmp_path / "alone"))
    assert alone.refiner.teacher is None and torch.equal(alone.refiner.scale, student.refiner.scale)  # type: ignore[union-attr,arg-type]
    assert all(torch.equal(v, alone.refiner.operator.state_dict()[k]) for k, v in weights.items())
    with pytest.raises(TypeError, match="only independent pairs"):
        Guided(student.refiner, lambda x: x, EndPoint())


def test_a_teacher_must_be_a_trained_flow(stored: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(written("Reflow", {"teacher": str(tmp_path / "nothing")}, {}, stored)))
    with pytest.raises(ValueError, match="model.refiner.teacher: .* is not the folder of a trained surrogate"):
        main(["--config", str(file), "--out", str(tmp_path / "run")])


@pytest.mark.parametrize(
    ("model", "data", "match"),
    [
        ({"target": {"class": "Absolute"}}, {}, "generates Tendency but its student Absolute"),
        ({}, {"history": 2}, "has history=1 but its student has history=2"),
        ({"guess": {"class": "FNO", "width": 4, "modes": [4], "layers": 1}}, {}, "residual of no guess and its student that of a guess"),
    ],
)
def test_a_teacher_lives_in_the_coordinates_of_its_student(
    model: dict[str, Any], data: dict[str, Any], match: str, stored: Path, flow: Path, tmp_path: Path
) -> None:
    file, told = tmp_path / "file.yaml", written("Reflow", {"teacher": str(flow)}, {}, stored)
    file.write_text(yaml.safe_dump({**told, "model": {**told["model"], **model}, "data": {**told["data"], **data}}))
    with pytest.raises(ValueError, match=match):
        main(["--config", str(file), "--out", str(tmp_path / "run")])


def test_a_teacher_of_other_statistics_is_refused(flow: Path) -> None:
    student = load(flow)
    check_teacher(str(flow), student)
    student.normaliser.state_std.mul_(1.01)
    with pytest.raises(ValueError, match="other statistics than its student"):
        check_teacher(str(flow), student)


def test_a_teacher_of_other_surroundings_is_refused(flow: Path, tmp_path: Path) -> None:
    """Another domain, other static fields, or the same in other units."""
    student = load(flow)
    other = Surrogate(**{**student.arguments, "domain": Box.periodic((16,), 1.0)})
    with pytest.raises(ValueError, match="has domain=.* but its student"):
        check_teacher(str(flow), other)
    deep = Surrogate(**{**student.arguments, "static": Fields.of(Field("depth", "m"))})
    deep.load_state_dict(student.state_dict(), strict=False)
    with pytest.raises(ValueError, match="has static=None but its student"):
        check_teacher(str(flow), deep)
    teacher = save(deep, tmp_path / "deep")
    check_teacher(str(teacher), deep)
    assert deep.known is not None
    deep.known.static_std.mul_(2)
    with pytest.raises(ValueError, match="other statistics than its student"):
        check_teacher(str(teacher), deep)


@pytest.mark.parametrize("name", ["FlowMatching", "StochasticInterpolant", "DYffusion"])
def test_what_the_previous_state_is_mixed_into_must_be_a_state(name: str, stored: Path, tmp_path: Path) -> None:
    file, source = tmp_path / "file.yaml", {"source": "PreviousSource"} if name == "FlowMatching" else {}
    file.write_text(yaml.safe_dump(written(name, source, BUNDLE, stored)))
    with pytest.raises(ValueError, match=f"this {name} mixes the previous state into what it generates.*target: Absolute"):
        main(["--config", str(file), "--out", str(tmp_path / "run")])
