"""`surrogates train`: a short file trains, and what is wrong with it is named before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from surrogates.cli import USAGE
from surrogates.cli import main as surrogates
from surrogates.saved import load
from surrogates.train.cli import main
from surrogates.train.log import read

GOOD = """
data: {dataset: DATA, batch_size: 4, validation: 4}
model:
  operator: {class: FNO, width: 6, modes: [4], layers: 1}
  optimiser: {warmup: 2}
  rollouts: {trajectories: 1, leads: [2]}
trainer: {accelerator: cpu, log_every: 2, validate_every: 4, tensorboard: false, progress: false}
steps: 4
"""


@pytest.fixture
def config(tmp_path: Path, stored: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(GOOD.replace("DATA", str(stored)))
    return file


def test_a_file_trains_and_the_command_line_overrules_it(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "a"
    run = main(["--config", str(config), "--out", str(out), "--steps", "3", "--model.operator.width", "4"])
    assert run.surrogate.operator is not None and run.surrogate.operator.arguments["width"] == 4  # type: ignore[union-attr]
    assert [r["step"] for r in read(out / "train.csv")] == [2, 3]
    assert (out / "config.json").is_file() and "trained; 3 steps" in capsys.readouterr().out
    main(["--config", str(config), "--out", str(out), "--steps", "3", "--model.operator.width", "4"])
    assert "finished before, nothing to do" in capsys.readouterr().out


def test_print_config_shows_every_key_and_trains_from_itself(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--config", str(config), "--print_config"])
    assert left.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["operator"]["width"] == 6 and printed["model"]["optimiser"]["lr"] == 1e-3
    whole = tmp_path / "whole.yaml"
    whole.write_text(yaml.safe_dump(printed))
    first = main(["--config", str(config), "--out", str(tmp_path / "a")])
    again = main(["--config", str(whole), "--out", str(tmp_path / "b")])
    assert first.log.rows == again.log.rows


@pytest.mark.parametrize("strategy", ["OneStep", "{class: Pushforward, pushes: 1}", "{class: Unrolled, steps: 2}"])
def test_every_strategy_is_known_by_its_class(strategy: str, config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("model:\n", f"model:\n  strategy: {strategy}\n"))
    bundle = "1" if strategy == "OneStep" else "2"
    run = main(["--config", str(config), "--out", str(tmp_path / "out"), "--steps", "2", "--data.bundle", bundle])
    assert run.steps == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps:", "stepz:"), "unknown key 'stepz'; did you mean 'steps'?"),
        (("batch_size:", "batchsize:"), "unknown key 'data.batchsize'; did you mean 'data.batch_size'?"),
        (("warmup:", "warmups:"), "unknown key 'model.optimiser.warmups'; did you mean 'model.optimiser.warmup'?"),
        (("steps: 4", "steps: many"), "\"steps\": Expected a <class 'int'>. Got value: many"),
        (("width: 6", "widht: 6"), "model.operator.widht: FNO has no such hyperparameter"),
        (("width: 6", "width: wide"), "model.operator.width: 'wide' does not fit int"),
        (("class: FNO", "class: FN0"), "no class 'FN0' among"),
        (("class: FNO", "class: os.system"), "lies outside the package"),
        (("class: FNO, ", ""), "model.operator: expected a mapping with the key 'class'"),
        (("warmup: 2", "lr: -1"), "lr and clip must be positive"),
        (("leads: [2]", "leads: [0]"), "trajectories, members and leads must be at least 1"),
        (("accelerator: cpu", "precision: 16-mixed"), "write '32-true' or 'bf16-mixed'"),
        (("dataset: DATA", "dataset: kolmogorv2d"), "did you mean 'kolmogorov2d'?"),
        (("dataset: DATA", "dataset: nowhere/else.hdf5"), "no such file or folder"),
        (("modes: [4]", "modes: [40]"), "holds 9 modes"),
    ],
)
def test_what_is_wrong_is_named(
    change: tuple[str, str], message: str, tmp_path: Path, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "bad.yaml", tmp_path / "out"
    file.write_text(GOOD.replace(*change).replace("DATA", str(stored)))
    assert surrogates(["train", "--config", str(file), "--out", str(out)]) == USAGE
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1, said
    assert not (out / "config.json").exists()


def test_a_file_that_is_missing_or_no_yaml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert surrogates(["train", "--config", str(tmp_path / "none.yaml")]) == USAGE
    assert "none.yaml" in capsys.readouterr().err
    (tmp_path / "broken.yaml").write_text("model: {operator: [1}")
    assert surrogates(["train", "--config", str(tmp_path / "broken.yaml")]) == USAGE
    assert "line 1" in capsys.readouterr().err


def test_another_run_in_the_folder_is_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    main(["--config", str(config), "--out", out])
    assert surrogates(["train", "--config", str(config), "--out", out, "--seed", "3"]) == USAGE
    assert "holds another run: it differs in" in capsys.readouterr().err


def test_the_folder_is_named_after_the_file(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--config", str(config), "--steps", "1"]).folder == Path("runs/small")


def test_two_stages_from_files_alone(config: Path, tmp_path: Path) -> None:
    guess, second = tmp_path / "guess", tmp_path / "second.yaml"
    main(["--config", str(config), "--out", str(guess)])
    entry = yaml.safe_load(config.read_text())
    entry["model"] |= {
        "guess": str(guess),
        "refiner": {"class": "FlowMatching", "steps": 2, "sampler": "heun", "path": {"class": "VariancePreserving"}},
    }
    second.write_text(yaml.safe_dump(entry))
    run = main(["--config", str(second), "--out", str(tmp_path / "refined")])
    refiner = run.surrogate.refiner
    assert refiner is not None and refiner.steps == 2 and refiner.evaluations == 3  # type: ignore[union-attr]
    assert {"nrmse_2", "correlation_2", "spread_skill_2"} <= set(run.log.rows["valid"][-1])


def test_a_guess_may_be_trained_together_with_the_refiner(config: Path, tmp_path: Path) -> None:
    entry = yaml.safe_load(config.read_text())
    entry["model"] |= {"guess": entry["model"]["operator"], "refiner": "FlowMatching"}
    config.write_text(yaml.safe_dump(entry))
    run = main(["--config", str(config), "--out", str(tmp_path / "joint")])
    again = load(tmp_path / "joint")
    assert again.joint and again.operator is not None and again.refiner is not None
    for name, value in run.surrogate.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    del entry["model"]["refiner"]
    config.write_text(yaml.safe_dump(entry))
    with pytest.raises(ValueError, match="a guess is trained together with a refiner"):
        main(["--config", str(config), "--out", str(tmp_path / "alone")])
