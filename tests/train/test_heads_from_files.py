"""Heads from configuration files: the operator is as wide as the head asks, training learns, and a forecast keeps the laws."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml

from surrogates.cli import USAGE
from surrogates.cli import main as surrogates
from surrogates.constraints import ConservedIntegral, DivergenceFree
from surrogates.data.layout import Part, checksum, create
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast import simulate
from surrogates.heads import FluxForm, SideBySide
from surrogates.interchange import conditions_of, from_xarray, to_xarray
from surrogates.saved import load
from surrogates.train.cli import main

FIELDS = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("tracer"), Field("T"))
BOX = Box.periodic((8, 8), 2 * math.pi)
DT = 0.1


def eddies(rows: int = 10, frames: int = 10) -> torch.Tensor:
    """Eddies of one wavelength decay together; a tracer of mean 1 and a temperature are carried past."""
    x, y = BOX.grid()
    a = torch.rand(rows, 1, 4, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    t = DT * torch.arange(frames, dtype=torch.float64)[None, :, None, None]
    decay = torch.exp(-2 * t)
    u, v = -a[:, :, 0] * x.cos() * y.sin() * decay + a[:, :, 1] * y.cos() * decay, a[:, :, 0] * x.sin() * y.cos() * decay
    tracer, heat = 1 + a[:, :, 2] / 2 * torch.cos(x - t), a[:, :, 3] * torch.sin(y - t)
    return torch.stack([u, v, tracer, heat], 2).float()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, u = tmp_path_factory.mktemp("eddies"), eddies().numpy()
    for split, rows in {"train": range(8), "valid": range(8, 10)}.items():
        path, times = root / "data" / split / "eddies.hdf5.part", [DT * n for n in range(u.shape[1])]
        attrs = {"name": "eddies", "dt": DT, "version": "0", "recipe": "{}", "seed": 0}
        create(path, name="eddies", fields=FIELDS, box=BOX, times=times, trajectories=list(rows), parameters={}, attrs=attrs)
        file = Part(path)
        for place, row in enumerate(rows):
            file.write(place, u[row])
        file.finish({"checksum": checksum(path), "certificate": {}})
    return root


@pytest.fixture
def config(tmp_path: Path, stored: Path) -> Path:
    entry = {
        "data": {"dataset": str(stored), "batch_size": 8, "validation": 8},
        "model": {
            "operator": {"class": "FNO", "width": 12, "modes": [3, 3], "layers": 2},
            "head": [{"class": "StreamFunction", "field": "velocity"}, {"class": "FluxForm", "field": "tracer", "lower": 0.0}],
            "optimiser": {"lr": 1e-2, "warmup": 2},
            "rollouts": {"trajectories": 1, "leads": [2]},
        },
        "trainer": {"accelerator": "cpu", "log_every": 5, "validate_every": 60, "tensorboard": False, "progress": False},
        "steps": 60,
    }
    file = tmp_path / "heads.yaml"
    file.write_text(yaml.safe_dump(entry))
    return file


def test_it_trains_and_its_forecast_keeps_the_laws(config: Path, tmp_path: Path) -> None:
    run = main(["--config", str(config), "--out", str(tmp_path / "run")])
    losses = [row["loss"] for row in run.log.rows["train"]]
    assert losses[-1] < 0.3 * losses[0], losses
    made = load(tmp_path / "run")
    assert isinstance(made.head, SideBySide) and made.operator.arguments["out_channels"] == 1 + 2 + 1
    initial = to_xarray(eddies(2, 1) + 0.1 * torch.randn(2, 1, 4, 8, 8), FIELDS, BOX, time=[0.0], trajectories=[0, 1], attrs={"dt": DT})
    forecast = simulate(made, initial, 20)
    u, first = from_xarray(forecast, FIELDS), from_xarray(initial, FIELDS)[:, 0]
    where = conditions_of(initial)
    flow, mass = DivergenceFree(FIELDS), ConservedIntegral(FIELDS, "tracer")
    before = mass.reference(first, where)
    assert (flow.defect(first, before[:, :0], where) > 0.01).all()
    for n in (0, 19):
        assert (flow.defect(u[:, n], before[:, :0], where) < 3e-6).all()
        assert (mass.defect(u[:, n], before, where).abs() < 1e-6).all() and (u[:, n, 2] >= 0).all()


def test_one_head_alone_and_a_bundle(config: Path, tmp_path: Path) -> None:
    entry = yaml.safe_load(config.read_text())
    entry["model"]["head"] = {"class": "FluxForm", "field": "tracer"}
    entry["data"]["bundle"], entry["steps"] = 2, 1
    config.write_text(yaml.safe_dump(entry))
    made = main(["--config", str(config), "--out", str(tmp_path / "run")]).surrogate
    assert isinstance(made.head, FluxForm) and made.operator.arguments["out_channels"] == 2 * (2 + 3)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": {"class": "StreamFunktion"}}, "model.head.class: no class 'StreamFunktion' among"),
        ({"head": {"class": "StreamFunction", "velocity": "u"}}, "model.head.velocity: StreamFunction has no such hyperparameter"),
        ({"head": {"class": "FluxForm"}}, "model.head: FluxForm needs field; add `field: ...`"),
        ({"head": {"class": "StreamFunction", "field": "flow"}}, "no field 'flow'"),
        ({"refiner": "FlowMatching"}, "a refiner draws states or increments, which SideBySide would not make"),
    ],
)
def test_what_is_wrong_is_named(
    change: dict[str, object], message: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = yaml.safe_load(config.read_text())
    entry["model"] |= change
    config.write_text(yaml.safe_dump(entry))
    assert surrogates(["train", "--config", str(config), "--out", str(tmp_path / "out")]) == USAGE
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1, said


def test_a_guess_under_a_head_is_refused(config: Path, tmp_path: Path) -> None:
    entry = yaml.safe_load(config.read_text())
    main(["--config", str(config), "--out", str(tmp_path / "guess"), "--steps", "1"])
    del entry["model"]["head"]
    entry["model"] |= {"guess": str(tmp_path / "guess"), "refiner": "FlowMatching"}
    config.write_text(yaml.safe_dump(entry))
    with pytest.raises(ValueError, match=r"gives what SideBySide makes a state of, which no refiner draws; train a guess without a head"):
        main(["--config", str(config), "--out", str(tmp_path / "refined")])
