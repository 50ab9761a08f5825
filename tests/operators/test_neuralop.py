"""The adapter: neuraloperator's own answer, strict storage, conditioning, configuration and errors in our words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.operators import NeuralOperator
from surrogates.record import construct, describe

models = pytest.importorskip("neuralop.models", reason="the library that is adapted")
BOX = Box.periodic((16, 16), 1.0)


def build(model: str = "FNO", embedding: int = 0, **options) -> NeuralOperator:
    torch.manual_seed(0)
    return NeuralOperator(2, 1, embedding, model=model, width=8, modes=(8, 5), layers=4, **options)


@pytest.mark.parametrize("model", ["FNO", "TFNO", "UNO"])
def test_each_model_is_an_operator_and_is_stored_strictly(model: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="how weights are stored")
    f, x, e = build(model, 3), torch.randn(2, 2, 16, 16), torch.randn(2, 3)
    assert isinstance(f, Operator) and f(x, BOX, e).shape == (2, 1, 16, 16)
    holder = nn.ModuleDict({"operator": f})  # as a surrogate holds it
    assert all(isinstance(v, torch.Tensor) for v in holder.state_dict().values())
    safetensors.save_file(f.state_dict(), tmp_path / "weights.safetensors")
    again = construct(json.loads(json.dumps(describe(f))))
    again.load_state_dict(safetensors.load_file(tmp_path / "weights.safetensors"), strict=True)
    torch.testing.assert_close(again(x, BOX, e), f(x, BOX, e), rtol=0, atol=0)


def test_the_answer_is_theirs_with_the_embedding_as_channels() -> None:
    f = build(embedding=3, options={"positional_embedding": None})
    x, e = torch.randn(2, 2, 16, 16), torch.randn(2, 3)
    torch.manual_seed(0)
    theirs = models.FNO((8, 8), 5, 1, 8, positional_embedding=None)
    channels = e[:, :, None, None].expand(2, 3, 16, 16)
    torch.testing.assert_close(f(x, BOX, e), theirs(torch.cat([x, channels], 1)), rtol=0, atol=0)


def test_options_reach_them_and_sequences_survive_storage() -> None:
    f = construct(describe(build(options={"domain_padding": [0.25, 0.25], "norm": "group_norm"})))
    assert f.model.domain_padding is not None and f.model.fno_blocks.norm is not None


def test_a_configuration_builds_it() -> None:
    jsonargparse = pytest.importorskip("jsonargparse", reason="how configurations are read")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Holder, "holder")
    settings = {"model": "TFNO", "width": 8, "modes": [8, 5], "layers": 1, "options": {"rank": 0.2}}
    entry = {"class_path": "surrogates.operators.NeuralOperator", "init_args": settings}
    f = parser.instantiate(parser.parse_object({"holder": {"operator": entry}})).holder.operator
    assert f.in_channels == 3 and f.embedding == 5 and f.model.rank == 0.2


class Holder:
    def __init__(self, operator: Callable[[int, int, int], nn.Module] = NeuralOperator) -> None:
        self.operator = operator(3, 2, 5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "FON"}, "did you mean 'FNO'"),
        ({"model": "UNO", "layers": 3}, "at least 4 layers"),
        ({"options": {"fno_skipp": "linear"}}, "fno_skipp"),
        ({"options": {"norm": "batch"}}, "neuraloperator's FNO refuses"),
        ({"modes": (8, 0)}, "modes must be"),
    ],
)
def test_what_cannot_be_built_is_named(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralOperator(2, 1, **wrong)


def test_what_does_not_fit_is_named() -> None:
    f, x = build(), torch.zeros(1, 2, 16, 16)
    for arguments, message in (
        ((x.double(), BOX), "are float32"),
        ((x[:, :, :15], Box.periodic((15, 16), 1.0)), "odd leading axes"),
        ((x[:, :1], BOX), "x has 1 channels but this NeuralOperator"),
        ((x[..., :4], Box.periodic((16, 4), 1.0)), "holds 3 modes"),
        ((x, BOX, torch.zeros(1, 2)), "takes an embedding of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            f(*arguments)


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "neuralop", None)
    with pytest.raises(ImportError, match="pip install 'neuraloperator"):
        build()
