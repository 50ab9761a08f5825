"""Models of neuraloperator behind the `Operator` contract: y = model([x, e]) with the embedding e as constant channels.

Numbers follow this package: modes=(24, 13) is their n_modes=(24, 24), width their hidden_channels. Whatever else they take goes into
`options` under their names. Their `state_dict` carries a `_metadata` that is no tensor; it is left out here, so that weights load
strictly and store without pickle. Then, one by one:

    UNO       a U of half and full resolution unless options say otherwise.
    SFNO      on a `Sphere`, modes=(degrees, orders). Rows come from the north, and their transform knows the grids "poles" (their
              "equiangular") and "legendre-gauss", not "cells". It integrates by the plain Clenshaw-Curtis rule, inexact above half of
              the degrees that a grid with poles holds, and its complex weights commute with rotations about the polar axis alone;
              `SphericalFNO` mends both.
    LocalNO   plane, and for one resolution, which it must be told: options={"default_in_shape": [48, 48]}. Its local integrals take
              square cells (domain_length follows the shape), and pad with zeros whatever they are told; here they pad as told,
              periodically unless options={"conv_padding_mode": "zeros"}.
    CODANO    every channel is a variable, and a variable a token, so any permutation of them permutes the answer; e goes in as its
              static channels. It answers for every variable: the first out_channels of those answers are returned, and there are as
              many a variable as that takes. Two or three dimensions.

Source: Kossaifi et al., A Library for Learning Neural Operators, 2024, https://arxiv.org/abs/2412.10354.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from surrogates.contracts import Domain
from surrogates.domains import Box, Sphere
from surrogates.domains.box import PERIODIC
from surrogates.domains.sphere import GAUSS, POLES
from surrogates.operators.checks import check_input, check_numbers
from surrogates.operators.neuralop_settings import settings
from surrogates.operators.spherical_fno import check_sphere
from surrogates.record import recorded

SPHERICAL = {"SFNO": "sfno", "LocalNO": "local_no"}
"""Models on torch-harmonics, which neuraloperator leaves out without a word where that does not import, and their modules."""
THEIR_GRIDS = {POLES: "equiangular", GAUSS: "legendre-gauss"}


@recorded
class NeuralOperator(nn.Module):
    """A neuraloperator `model`, one of FNO, TFNO, UNO, SFNO, LocalNO and CODANO, from (B, in_channels, *X) to (B, out_channels, *X).

    modes: as in `FNO`, full counts but half on the last axis; degrees and orders of an SFNO. Float32 only (their layers fix it), and on
    a box even leading axes only: their spectral layer shifts odd ones by n//2 both ways, which is one mode too few on the way back.
    Raises ImportError without neuraloperator, or without torch-harmonics where the model needs it, ValueError for an unknown model,
    options or numbers that it refuses.
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
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.kind, self.modes, self.options = model, tuple(modes), _lists(options or {})
        check_numbers(self.modes, width=width, layers=layers)
        self.model = _build(model, settings(model, in_channels, out_channels, embedding, width, self.modes, layers, self.options))
        if model == "LocalNO":
            _mend_local(self.model)
        self.made: set[tuple[str, tuple[int, ...], torch.device]] = set()
        self.register_state_dict_post_hook(without_metadata)  # type: ignore[no-untyped-call]

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises as `FNO` does, an SFNO as `SphericalFNO`, and ValueError for float64 or an odd leading axis of a box.
        """
        self._check(x, domain, embedding)
        if x.dtype == torch.float64:
            raise ValueError("neuraloperator's spectral layers are float32; pass x.float(), or use our FNO, which takes float64")
        constant = None if embedding is None else domain.expand(embedding).to(x.dtype)
        y: Tensor
        if self.kind == "CODANO":
            y = self.model(x, static_channel=constant, input_variable_ids=self.options.get("variable_ids"))
            return y[:, : self.out_channels]
        y = self.model(x if constant is None else torch.cat([x, constant], dim=1))
        return y

    def _check(self, x: Tensor, domain: Domain, embedding: Tensor | None) -> None:
        name, sizes = "NeuralOperator", {"channels": self.in_channels, "size": self.embedding}
        if self.kind == "SFNO":
            sphere = check_sphere(name, x, domain, embedding, **sizes, degrees=self.modes[0], orders=self.modes[1])
            self._tell_grid(sphere, x)
            return
        box = check_input(name, x, domain, embedding, **sizes, modes=self.modes)
        if any(n % 2 for n in box.shape[:-1]):
            raise ValueError(f"neuraloperator misplaces the modes of odd leading axes, got {box.shape}; use an even grid, or our FNO")
        if self.kind == "LocalNO":
            self._check_local(box)

    def _tell_grid(self, sphere: Sphere, x: Tensor) -> None:
        """Their layers are told the grid, as no weight depends on it, and make its matrices outside inference mode, to train with them."""
        if sphere.grid not in THEIR_GRIDS or not sphere.north_first:
            raise ValueError(
                f"neuraloperator's SFNO takes grids {' and '.join(map(repr, THEIR_GRIDS))} from the north, got {sphere}; "
                "use our SphericalFNO, which takes every Sphere"
            )
        for conv in self.model.fno_blocks.convs:  # type: ignore[union-attr]
            conv.sht_grids = [THEIR_GRIDS[sphere.grid]] * 2
        if (key := (sphere.grid, sphere.shape, x.device)) not in self.made:
            with torch.inference_mode(False), torch.no_grad():
                self.model(torch.zeros(1, self.in_channels + self.embedding, *sphere.shape, device=x.device))
            self.made.add(key)

    def _check_local(self, box: Box) -> None:
        made = tuple(self.options["default_in_shape"])
        if box.shape != made and self.options.get("disco_layers", True):
            raise ValueError(
                f"this LocalNO has local integrals for {made}, got {box.shape}; build it with default_in_shape={list(box.shape)}"
            )
        if self.options.get("conv_padding_mode", PERIODIC) == PERIODIC and any(kind != PERIODIC for kind in box.boundary):
            raise ValueError(
                f"this LocalNO wraps around the walls of {box.boundary}; build it with options={{'conv_padding_mode': 'zeros'}}"
            )


def _build(model: str, arguments: Mapping[str, Any]) -> nn.Module:
    found = _find(model)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # some print while they are built
            built: nn.Module = found(**arguments)
    except (TypeError, ValueError, AssertionError, IndexError) as error:
        raise ValueError(f"neuraloperator's {model} refuses {dict(arguments)}: {error}") from error
    return built


def _find(model: str) -> Any:
    try:
        from neuralop import models
    except ImportError as error:
        raise ImportError("this operator needs neuraloperator: pip install 'neuraloperator>=2.0,<3'") from error
    if model not in SPHERICAL:
        return getattr(models, model)
    try:
        importlib.import_module("torch_harmonics")
        return getattr(importlib.import_module(f"neuralop.models.{SPHERICAL[model]}"), model)
    except Exception as error:  # their modules fail in many ways without it
        message = f"neuraloperator's {model} needs torch-harmonics: pip install 'pde-surrogates[sphere]' ({type(error).__name__}: {error})"
        raise ImportError(message) from error


def _mend_local(model: nn.Module) -> None:
    for difference in model.local_no_blocks.differential:  # type: ignore[union-attr]
        del difference.weight  # a second name of conv.weight, which is stored twice or not at all
    for conv in model.local_no_blocks.local_convs:  # type: ignore[union-attr]
        if conv.padding_mode == "circular":
            conv.register_forward_pre_hook(_wrap)
            conv.register_forward_hook(_unwrap)


def _wrap(conv: Any, arguments: tuple[Tensor]) -> tuple[Tensor]:
    h, w = (conv.psi_local_h - 1) // 2, (conv.psi_local_w - 1) // 2
    return (pad(arguments[0], (w, w, h, h), mode="circular"),)


def _unwrap(conv: Any, arguments: tuple[Tensor], y: Tensor) -> Tensor:
    h, w = (conv.psi_local_h - 1) // 2, (conv.psi_local_w - 1) // 2
    return y[..., h : y.shape[-2] - h, w : y.shape[-1] - w]


def _lists(value: Any) -> Any:
    """Tuples as lists: some of their options look for the one and overlook the other."""
    if isinstance(value, Mapping):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value


def without_metadata(module: nn.Module, state: dict[str, Any], prefix: str, local: dict[str, Any]) -> None:
    state.pop("_metadata", None)
