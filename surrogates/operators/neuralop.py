"""Grid models of neuraloperator behind the `Operator` contract: y = model([x, e]) with the embedding e as constant channels.

Numbers follow this package: modes=(24, 13) is their n_modes=(24, 24), width their hidden_channels. Whatever else they take goes into
`options` under their names. Their `state_dict` carries a `_metadata` that is no tensor; it is left out here, so that weights load
strictly and store without pickle. A UNO is given a U of half and full resolution unless options say otherwise.

Source: Kossaifi et al., A Library for Learning Neural Operators, 2024, https://arxiv.org/abs/2412.10354.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.errors import nearest
from surrogates.operators.checks import check_input, check_numbers
from surrogates.record import recorded

MODELS = ("FNO", "TFNO", "UNO")


@recorded
class NeuralOperator(nn.Module):
    """A neuraloperator `model`, one of FNO, TFNO and UNO, from (B, in_channels, *X) to (B, out_channels, *X).

    modes: as in `FNO`, full counts but half on the last axis. Float32 only (their layers fix it), and even leading axes only: their
    spectral layer shifts odd ones by n//2 both ways, which is one mode too few on the way back.
    Raises ImportError without neuraloperator, ValueError for an unknown model, options or numbers that it refuses.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        model: str = "FNO",
        width: int = 32,
        modes: Sequence[int] = (24, 13),
        layers: int = 4,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.embedding, self.modes = in_channels, embedding, tuple(modes)
        check_numbers(self.modes, width=width, layers=layers)
        full = [*self.modes[:-1], 2 * (self.modes[-1] - 1)]
        settings: dict[str, Any] = {"hidden_channels": width, "n_layers": layers}
        settings |= _u_shape(width, full, layers) if model == "UNO" else {"n_modes": tuple(full)}
        settings |= _lists(options or {})
        self.model = _build(model, in_channels + embedding, out_channels, settings)
        self.register_state_dict_post_hook(_without_metadata)  # type: ignore[no-untyped-call]

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields. Raises as `FNO` does, and ValueError for float64 or an odd leading axis."""
        box = check_input("NeuralOperator", x, domain, embedding, channels=self.in_channels, size=self.embedding, modes=self.modes)
        if x.dtype == torch.float64:
            raise ValueError("neuraloperator's spectral layers are float32; pass x.float(), or use our FNO, which takes float64")
        if any(n % 2 for n in box.shape[:-1]):
            raise ValueError(f"neuraloperator misplaces the modes of odd leading axes, got {box.shape}; use an even grid, or our FNO")
        if embedding is not None:
            x = torch.cat([x, box.expand(embedding).to(x.dtype)], dim=1)
        y: Tensor = self.model(x)
        return y


def _build(model: str, in_channels: int, out_channels: int, settings: Mapping[str, Any]) -> nn.Module:
    if model not in MODELS:
        raise ValueError(f"model {model!r} is not one of {', '.join(MODELS)}{nearest(model, MODELS)}")
    try:
        from neuralop import models
    except ImportError as error:
        raise ImportError("this operator needs neuraloperator: pip install 'neuraloperator>=2.0,<3'") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # UNO prints while it is built
            built: nn.Module = getattr(models, model)(in_channels=in_channels, out_channels=out_channels, **settings)
    except (TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"neuraloperator's {model} refuses {dict(settings)}: {error}") from error
    return built


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


def _lists(value: Any) -> Any:
    """Tuples as lists: some of their options look for the one and overlook the other."""
    if isinstance(value, Mapping):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value


def _without_metadata(module: nn.Module, state: dict[str, Any], prefix: str, local: dict[str, Any]) -> None:
    state.pop("_metadata", None)
