"""A surrogate as a folder: the same forecasts bit for bit, no code, and errors for folders that are not whole or not ours."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from surrogates.constraints import ConservedIntegral, DivergenceFree, InOrder
from surrogates.contracts import Conditions
from surrogates.deep_ensemble import DeepEnsemble
from surrogates.domains import Box, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.noise import SeededNoise
from surrogates.normalise import Normaliser
from surrogates.operators import FNO, MPPDE, MeshGraphNet, SphericalFNO
from surrogates.refine import FEATURES, Exponential, FlowMatching, PDERefiner, VariancePreserving, heun
from surrogates.rollout import rollout
from surrogates.saved import CARD, CONFIG, WEIGHTS, load, load_surrogate, save
from surrogates.surrogate import Surrogate

FIELDS = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("tracer", "kg m-3"))
BOX = Box.periodic((8, 8), (1.0, 2.0), units="m")


def operator(inputs: int, embedding: int) -> FNO:
    return FNO(inputs, 3, embedding, width=6, modes=(4, 3), layers=1)


def flow() -> FlowMatching:
    return FlowMatching(operator(12, 1 + FEATURES), channels=3, path=VariancePreserving(), sampler=heun, steps=3)


def rounds() -> PDERefiner:
    return PDERefiner(operator(12, 1 + FEATURES), channels=3, schedule=Exponential(steps=2, sigma_min=0.1, first=1))


def surrogate(refiner: Any = None) -> Surrogate:
    laws = InOrder((DivergenceFree(FIELDS), ConservedIntegral(FIELDS, "tracer")))
    made = Surrogate(
        FIELDS,
        BOX,
        0.1,
        operator=operator(6, 1),
        refiner=refiner,
        constraint=laws,
        history=2,
        parameters=("viscosity",),
        correct_sampling=refiner is not None,
    )
    numbers = [torch.tensor(v) for v in ([0.0, 0.1, 2.0], [1.0, 1.1, 3.0], [0.0, 0.0, 0.0], [0.1, 0.2, 0.3])]
    made.normaliser.load_state_dict(Normaliser(*numbers, dim=2).state_dict())
    made.coherence.fill_(0.6)
    made.parameter_std.fill_(0.01)
    if refiner is not None:
        refiner.inflation.fill_(1.7)
    return made.eval()


def forecast(made: Surrogate) -> torch.Tensor:
    ones = torch.ones(2, dtype=torch.float64)
    where = Conditions(BOX, 0 * ones, 0.1 * ones, torch.tensor([[0.01], [0.02]]), ("viscosity",))
    past = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.stack(list(rollout(made, past, 4, where.after, SeededNoise(0, [0, 1], [0, 0]))), 1)


@pytest.mark.parametrize("refiner", [None, flow, rounds])
def test_the_loaded_one_forecasts_the_same_bits(refiner: Any, tmp_path: Path) -> None:
    made = surrogate(refiner() if refiner else None)
    again = load(save(made, tmp_path / "s"))
    assert torch.equal(forecast(made), forecast(again))
    assert again.fields == FIELDS and again.domain == BOX and not again.training
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [CARD, CONFIG, WEIGHTS]
    twice = load(save(again, tmp_path / "t"))
    assert (tmp_path / "s" / WEIGHTS).read_bytes() == (tmp_path / "t" / WEIGHTS).read_bytes()
    assert torch.equal(forecast(twice), forecast(made))


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("pickle was used")

    made = surrogate(flow())
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refused)
    monkeypatch.setattr(torch, "save", refused)
    monkeypatch.setattr(torch, "load", refused)
    load(save(made, tmp_path / "s"))
    json.loads((tmp_path / "s" / CONFIG).read_text())


def test_saving_over_an_older_one_replaces_it(tmp_path: Path) -> None:
    made = surrogate()
    save(made, tmp_path / "s", {"steps": 1})
    with torch.no_grad():
        made.operator.lift_out.bias.add_(1)  # type: ignore[union-attr,operator]
    save(made, tmp_path / "s", {"steps": 2})
    assert torch.equal(forecast(load(tmp_path / "s")), forecast(made))
    assert json.loads((tmp_path / "s" / CONFIG).read_text())["provenance"] == {"steps": 2}


def test_the_card_says_what_a_person_asks(tmp_path: Path) -> None:
    save(surrogate(flow()), tmp_path / "s", {"dataset": "kolmogorov2d", "checksum": "abc", "calibration": {"tried": [1, 2, 3]}})
    text = (tmp_path / "s" / CARD).read_text()
    for said in (
        "dt = 0.1",
        "velocity_x, velocity_y",
        "m s-1",
        "kg m-3",
        "8 x 8 points",
        "viscosity",
        "kolmogorov2d",
        "abc",
        "FlowMatching",
        "torch",
    ):
        assert said in text
    assert "tried" not in text


def edited(folder: Path, change: Any) -> Path:
    config = json.loads((folder / CONFIG).read_text())
    change(config)
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(surrogate(), tmp_path / "s")


@pytest.mark.parametrize("path", ["os.system", "builtins.eval", "torch.nn.Linear", "surrogatesx.evil.Thing", "subprocess.Popen"])
@pytest.mark.parametrize("kind", ["class", "function"])
def test_code_outside_the_package_is_never_built(folder: Path, path: str, kind: str) -> None:
    entry = {"class": path, "arguments": {}} if kind == "class" else {"function": path}
    edited(folder, lambda c: c["surrogate"]["arguments"].update(operator=entry))
    with pytest.raises(ValueError, match="lies outside the package"):
        load(folder)


@pytest.mark.parametrize("path", ["surrogates.record.importlib", "surrogates.saved.os.replace", "surrogates.errors.get_close_matches"])
def test_what_the_package_merely_imports_is_not_built(folder: Path, path: str) -> None:
    edited(folder, lambda c: c["surrogate"]["arguments"].update(operator={"function": path}))
    with pytest.raises(ValueError, match="is not a class or function defined in|unknown to this version"):
        load(folder)


def test_a_config_that_describes_something_else_is_refused(folder: Path) -> None:
    edited(folder, lambda c: c.update(surrogate=c["surrogate"]["arguments"]["operator"]))
    with pytest.raises(ValueError, match="describes a FNO, not a surrogate"):
        load(folder)


def test_unknown_arguments_are_named(folder: Path) -> None:
    edited(folder, lambda c: c["surrogate"]["arguments"].update(colour="blue"))
    with pytest.raises(ValueError, match="does not take what the configuration gives: .*colour"):
        load(folder)


def test_truncated_weights_are_named(folder: Path) -> None:
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        load(folder)
    weights.write_bytes(b"x")
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        load(folder)


def test_weights_of_another_architecture_are_named(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["operator.lift_out.weight"] = torch.zeros(3, 3)
    tensors["operator.extra"] = torch.zeros(1)
    del tensors["operator.lift_out.bias"]
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(
        ValueError, match=r"1 missing \['operator.lift_out.bias'\], 1 unknown \['operator.extra'\], 1 of another shape .*\(3, 3\)"
    ):
        load(folder)


def test_folders_that_are_not_whole_or_not_ours_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match="weights.safetensors is missing"):
        load(folder)
    (folder / CONFIG).write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        load(folder)
    (folder / CONFIG).write_text('{"format": 99, "surrogate": {}}')
    with pytest.raises(ValueError, match="format 99; this version of surrogates reads format 1"):
        load(folder)
    with pytest.raises(FileNotFoundError, match="is not a saved surrogate"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        save(surrogate(), tmp_path / "file")


MESH = Mesh.from_cells([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[0, 1, 2], [1, 3, 2]], units="m")


@pytest.mark.parametrize(
    ("domain", "network"),
    [
        (Sphere((6, 12)), SphericalFNO(3, 3, width=4, degrees=4, layers=1)),
        (MESH, MeshGraphNet(3, 3, width=4, layers=1)),
    ],
)
def test_a_surrogate_on_a_sphere_or_a_mesh_is_stored_and_steps_as_before(tmp_path: Path, domain: Sphere | Mesh, network: Any) -> None:
    made = Surrogate(FIELDS, domain, 0.1, operator=network)
    save(made, tmp_path / "one")
    again, time = load(tmp_path / "one"), torch.zeros(2, dtype=torch.float64)
    past, where = torch.randn(2, 1, 3, *domain.shape), Conditions(domain, time, time + 0.1, torch.zeros(2, 0))
    assert type(again.domain) is type(domain) and type(domain).__name__ in (tmp_path / "one" / CARD).read_text()
    with torch.no_grad():
        for a, b in zip(rollout(again, past, 3, where.after), rollout(made, past, 3, where.after), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(ValueError, match="cannot run on"):
        again.begin(torch.randn(2, 1, 3, 8, 8), Conditions(BOX, time, time + 0.1, torch.zeros(2, 0)))


def test_an_operator_that_decodes_several_frames_asks_for_a_bundle_of_them() -> None:
    with pytest.raises(ValueError, match="MPPDE decodes frames=3 at once but the surrogate has bundle=1; make them equal"):
        Surrogate(FIELDS, MESH, 0.1, operator=MPPDE(3, 9, width=32, layers=1, frames=3))


def test_other_trained_steps_are_stored_whole(folder: Path, tmp_path: Path) -> None:
    """An ensemble of surrogates is a Step like its members: its own folder, its own card; where one surrogate is needed it is refused."""
    one, other = load(folder), load(folder)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.01)
    ensemble = DeepEnsemble([one, other])
    again = load(save(ensemble, tmp_path / "both"))
    assert isinstance(again, DeepEnsemble) and "# DeepEnsemble" in (tmp_path / "both" / "card.md").read_text()
    for name, value in ensemble.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    with pytest.raises(ValueError, match="holds a DeepEnsemble but a single Surrogate is needed"):
        load_surrogate(tmp_path / "both")
