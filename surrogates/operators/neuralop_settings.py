"""What neuraloperator's models are built with, in this package's numbers: hyperparameters of `NeuralOperator` to theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from surrogates.errors import nearest

MODELS = ("FNO", "TFNO", "UNO", "SFNO", "LocalNO", "CODANO")


def settings(
    model: str, channels: int, out: int, embedding: int, width: int, modes: Sequence[int], layers: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Their arguments by name. Raises ValueError for an unknown model, and for numbers and options that do not suit it."""
    if model not in MODELS:
        raise ValueError(f"model {model!r} is not one of {', '.join(MODELS)}{nearest(model, MODELS)}")
    plain = {"in_channels": channels + embedding, "out_channels": out, "hidden_channels": width, "n_layers": layers}
    full, given = (*modes[:-1], 2 * (modes[-1] - 1)), dict(options)
    if model == "UNO":
        return plain | _u_shape(width, full, layers) | given
    if model == "SFNO":
        return plain | _degrees(modes) | given
    if model == "LocalNO":
        return plain | {"n_modes": full} | _local(full, given) | given
    if model == "CODANO":
        return _codomain(channels, out, embedding, width, full, layers) | given
    return plain | {"n_modes": full} | given


def _u_shape(width: int, modes: Sequence[int], layers: int) -> dict[str, Any]:
    """Down to half resolution in the second layer and up again in the last but one; skips widen layers, which needs linear ones."""
    if layers < 4:
        raise ValueError(f"a UNO needs at least 4 layers to go down and up again, got {layers}")
    scale = [1.0, 0.5] + [1.0] * (layers - 4) + [2.0, 1.0]
    coarse = [False] + [True] * (layers - 3) + [False, False]
    return {
        "uno_out_channels": [width] * layers,
        "uno_n_modes": [[max(m // 2, 1) if low else m for m in modes] for low in coarse],
        "uno_scalings": [[s] * len(modes) for s in scale],
        "channel_mlp_skip": "linear",
    }


def _degrees(modes: Sequence[int]) -> dict[str, Any]:
    if len(modes) != 2 or modes[1] > modes[0]:
        raise ValueError(f"modes of an SFNO must be (degrees, orders), at most as many orders as degrees, got {tuple(modes)}")
    return {"n_modes": (modes[0], 2 * modes[1])}


def _local(full: Sequence[int], options: Mapping[str, Any]) -> dict[str, Any]:
    """Lengths in proportion to the shape, for square cells: their kernels are transposed and padded as if they were square."""
    shape = options.get("default_in_shape")
    if shape is None or len(shape) != len(full):
        raise ValueError(f"a LocalNO is for one resolution: write options={{'default_in_shape': [48, 48]}}, an axis each, got {shape}")
    if len(full) != 2 and options.get("disco_layers", True) is not False:
        raise ValueError(f"local integrals are for two dimensions, got modes for {len(full)}; write options={{'disco_layers': False}}")
    return {"domain_length": [2 * n / min(shape) for n in shape]}


def _codomain(channels: int, out: int, embedding: int, width: int, full: Sequence[int], layers: int) -> dict[str, Any]:
    """All lists that they measure before they look whether they are given; no padding, which breaks periodicity."""
    if len(full) < 2:
        raise ValueError("a CODANO is for two or three dimensions: its norms know no fewer")
    return {
        "n_layers": layers,
        "n_modes": [list(full)] * layers,
        "n_heads": [1] * layers,
        "per_layer_scaling_factors": [[1] * len(full)] * layers,
        "attention_scaling_factors": [1] * layers,
        "hidden_variable_codimension": width,
        "attention_token_dim": width,
        "lifting_channels": 2 * width,
        "projection_channels": 2 * width,
        "output_variable_codimension": -(-out // channels),
        "static_channel_dim": embedding,
        "domain_padding": None,
    }
