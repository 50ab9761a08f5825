"""The adapter: neuraloperator's own answer, strict storage, conditioning, configuration and errors in our words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from surrogates.contracts import Operator
from surrogates.domains import Box, Sphere
from surrogates.operators import NeuralOperator
from surrogates.record import construct, describe

models = pytest.importorskip("neuralop.models", reason="the library that is adapted")
BOX = Box.periodic((16, 16), 1.0)
POLES, GAUSS = Sphere((16, 16), "poles"), Sphere((16, 16), "legendre-gauss")
SHAPED = {"options": {"default_in_shape": [16, 16]}}


def build(model: str = "FNO", embedding: int = 0, **options) -> NeuralOperator:
    torch.manual_seed(0)
    if model in ("SFNO", "LocalNO"):
        pytest.importorskip("torch_harmonics", reason="what these models are built on")
    if model == "LocalNO":
        options = SHAPED | options
    layers = 2 if model in ("LocalNO", "CODANO") else 4
    return NeuralOperator(2, 1, embedding, **{"model": model, "width": 8, "modes": (8, 5), "layers": layers} | options)


@pytest.mark.parametrize(
    ("model", "domain"),
    [("FNO", BOX), ("TFNO", BOX), ("UNO", BOX), ("SFNO", POLES), ("SFNO", GAUSS), ("LocalNO", BOX), ("CODANO", BOX)],
)
def test_each_model_is_an_operator_and_is_stored_strictly(model: str, domain: Box | Sphere, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="how weights are stored")
    f, x, e = build(model, 3), torch.randn(2, 2, 16, 16), torch.randn(2, 3)
    assert isinstance(f, Operator) and f(x, domain, e).shape == (2, 1, 16, 16)
    holder = nn.ModuleDict({"operator": f})  # as a surrogate holds it
    assert all(isinstance(v, torch.Tensor) for v in holder.state_dict().values())
    safetensors.save_file(f.state_dict(), tmp_path / "weights.safetensors")
    again = construct(json.loads(json.dumps(describe(f))))
    again.load_state_dict(safetensors.load_file(tmp_path / "weights.safetensors"), strict=True)
    torch.testing.assert_close(again(x, domain, e), f(x, domain, e), rtol=0, atol=0)


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


def test_an_sfno_is_theirs_on_both_of_their_grids() -> None:
    """A Gauss grid and one with poles have other transforms of the same weights; either turns with the sphere about its poles."""
    f = build("SFNO", options={"positional_embedding": None})
    torch.manual_seed(0)
    theirs = models.SFNO((8, 10), 2, 1, 8, positional_embedding=None)
    x = torch.randn(2, 2, 16, 16)
    torch.testing.assert_close(f(x, POLES), theirs(x), rtol=0, atol=0)
    assert (f(x, GAUSS) - f(x, POLES)).abs().max() > 1e-3
    for sphere in (POLES, GAUSS):
        torch.testing.assert_close(f(x.roll(5, 3), sphere), f(x, sphere).roll(5, 3), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(f(x, POLES), theirs(x), rtol=0, atol=0)  # and back


def test_an_sfno_that_was_first_asked_for_inference_is_trained_still() -> None:
    """As by Lightning, which validates before it trains."""
    f, x = build("SFNO"), torch.randn(2, 2, 16, 16)
    with torch.inference_mode():
        f(x, POLES)
    f(x, POLES).sum().backward()
    assert all(p.grad is not None for p in f.parameters())


@pytest.mark.parametrize("shape", [(16, 16), (16, 32), (32, 16)])
def test_a_local_operator_wraps_around(shape: tuple[int, int]) -> None:
    """Their local integrals are told to be periodic and pad with zeros; without that the network commutes with translations."""
    f = build("LocalNO", options={"default_in_shape": list(shape), "positional_embedding": None})
    x, box = torch.randn(1, 2, *shape), Box.periodic(shape, 1.0)
    torch.testing.assert_close(f(x.roll((3, 5), (2, 3)), box), f(x, box).roll((3, 5), (2, 3)), rtol=1e-4, atol=1e-5)
    inner = (..., slice(2, -2), slice(2, -2))
    conv = f.model.local_no_blocks.local_convs[0]
    u = torch.randn(1, 8, *shape)
    torch.testing.assert_close(conv(u)[inner], conv.forward(u)[inner], rtol=1e-5, atol=1e-6)  # inside, nothing is changed
    assert build("LocalNO", options={"default_in_shape": list(shape), "conv_padding_mode": "zeros"})(x, box).shape == (1, 1, *shape)


def test_the_channels_of_a_codano_are_variables() -> None:
    """Permuting them permutes the answers; fewer answers are the first ones, more are several a variable."""
    torch.manual_seed(0)
    f = NeuralOperator(3, 3, 2, model="CODANO", width=4, modes=(4, 3), layers=1)
    x, e, order = torch.randn(2, 3, 8, 8), torch.randn(2, 2), [2, 0, 1]
    box = Box.periodic((8, 8), 1.0)
    torch.testing.assert_close(f(x[:, order], box, e), f(x, box, e)[:, order])
    assert (f(x, box, e + 1) - f(x, box, e)).abs().max() > 1e-5
    for out in (1, 5):
        assert NeuralOperator(3, out, model="CODANO", width=4, modes=(4, 3), layers=1)(x, box).shape == (2, out, 8, 8)
    solid = NeuralOperator(1, 1, model="CODANO", width=4, modes=(4, 4, 3), layers=1)
    assert solid(torch.randn(1, 1, 8, 8, 8), Box.periodic((8, 8, 8), 1.0)).shape == (1, 1, 8, 8, 8)


def test_a_codano_can_tell_its_variables_apart() -> None:
    named = {"use_positional_encoding": True, "positional_encoding_modes": [4, 4], "variable_ids": ["u", "v"]}
    f = construct(json.loads(json.dumps(describe(build("CODANO", options=named)))))
    x = torch.randn(1, 2, 16, 16)
    two = NeuralOperator(2, 2, model="CODANO", width=8, modes=(8, 5), layers=1, options=named)
    assert f(x, BOX).shape == (1, 1, 16, 16)
    assert (two(x.flip(1), BOX) - two(x, BOX).flip(1)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("f", "arguments", "error", "message"),
    [
        ("SFNO", (torch.zeros(1, 2, 16, 16), BOX), TypeError, "works on a Sphere, got a Box"),
        (
            "SFNO",
            (torch.zeros(1, 2, 16, 16), Sphere((16, 16), "cells")),
            ValueError,
            "takes grids 'poles' and 'legendre-gauss' from the north",
        ),
        ("SFNO", (torch.zeros(1, 2, 16, 16), Sphere((16, 16), "poles", north_first=False)), ValueError, "from the north"),
        ("SFNO", (torch.zeros(1, 2, 6, 16), Sphere((6, 16), "legendre-gauss")), ValueError, "has 8 degrees and 5 orders but a grid"),
        ("SFNO", (torch.zeros(1, 2, 16, 16).double(), POLES), ValueError, "are float32"),
        ("FNO", (torch.zeros(1, 2, 16, 16), POLES), TypeError, "works on a regular Box, got a Sphere"),
        ("LocalNO", (torch.zeros(1, 2, 32, 32), Box.periodic((32, 32), 1.0)), ValueError, r"integrals for \(16, 16\), got \(32, 32\)"),
        ("LocalNO", (torch.zeros(1, 2, 16, 16), Box((16, 16), (0.0,) * 2, (1.0,) * 2, ("wall",) * 2)), ValueError, "'zeros'"),
        ("CODANO", (torch.zeros(1, 2, 15, 16), Box.periodic((15, 16), 1.0)), ValueError, "odd leading axes"),
    ],
)
def test_what_does_not_fit_a_model_is_named(f: str, arguments: tuple, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        build(f)(*arguments)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "SFNO", "modes": (8,)}, r"must be \(degrees, orders\)"),
        ({"model": "SFNO", "modes": (8, 9)}, "at most as many orders"),
        ({"model": "LocalNO"}, "write options={'default_in_shape'"),
        ({"model": "LocalNO", "modes": (5,), "options": {"default_in_shape": [16]}}, "for two dimensions"),
        ({"model": "CODANO", "modes": (5,)}, "two or three dimensions"),
        ({"model": "CODANO", "options": {"attention_token_dim": 5}}, "neuraloperator's CODANO refuses"),
    ],
)
def test_what_a_model_cannot_be_is_named(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralOperator(2, 1, **wrong)


@pytest.mark.parametrize("model", ["SFNO", "LocalNO"])
def test_without_torch_harmonics_the_error_says_how_to_install_it(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """neuraloperator itself only leaves the names out."""
    monkeypatch.setitem(__import__("sys").modules, "torch_harmonics", None)
    with pytest.raises(ImportError, match=rf"{model} needs torch-harmonics: pip install 'pde-surrogates\[sphere\]'"):
        NeuralOperator(2, 1, model=model, modes=(8, 5), **SHAPED if model == "LocalNO" else {})


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
