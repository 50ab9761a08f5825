"""One small example of every network, on a domain it is made for: what `test_every_network.py` holds the common laws to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surrogates import operators
from surrogates.contracts import Domain
from surrogates.domains import Box, Mesh, Sphere

CIN, COUT, EMBEDDING, ROWS = 2, 2, 3, 3


def cloud(nodes: int, seed: int = 0) -> Mesh:
    """Points of the unit square, each joined to its five nearest."""
    return Mesh.from_nearest(np.random.default_rng(seed).random((nodes, 2)), 5)


LINE = Box.periodic((24,), 3.0)
PLANE = Box.periodic((16, 16), 2 * torch.pi)
CHANNEL = Box((16, 8), (0.0, -1.0), (6.0, 1.0), ("periodic", "wall"))
CUBE = Box.periodic((8, 8, 8), (1.0, 2.0, 3.0))
GLOBE, GAUSS = Sphere((8, 16)), Sphere((8, 16), grid="legendre-gauss")
CLOUD = cloud(20)


@dataclass(frozen=True)
class Example:
    """A network of CIN to COUT channels: its class, its hyperparameters and a domain."""

    name: str
    hyperparameters: Mapping[str, Any]
    domain: Domain
    dtype: torch.dtype = torch.float64
    needs: str = ""  # an optional package

    def build(self, embedding: int = 0, dtype: torch.dtype | None = None) -> nn.Module:
        """The same weights each time, all of them random: what starts at zero would hide what is behind it."""
        torch.manual_seed(0)
        made: nn.Module = getattr(operators, self.name)(CIN, COUT, embedding, **self.hyperparameters)
        with torch.no_grad():
            for p in made.parameters():
                p += 0.1 * torch.randn(p.shape, dtype=p.dtype)
        wanted = dtype or self.dtype
        return (made if wanted == torch.float32 else made.to(wanted)).eval()

    def inputs(self, embedding: int = 0, rows: int = ROWS, dtype: torch.dtype | None = None) -> tuple[Tensor, Domain, Tensor | None]:
        g = torch.Generator().manual_seed(1)
        x = torch.randn(rows, CIN, *self.domain.shape, generator=g, dtype=torch.float64).to(dtype or self.dtype)
        e = torch.randn(rows, embedding, generator=g, dtype=torch.float64).to(x) if embedding else None
        return x, self.domain, e


FOURIER = {"dim": 2, "kind": "fourier", "width": 8, "layers": 2, "heads": 2}
PEER = {"width": 8, "modes": (6, 6), "layers": 4}
SINGLE: Any = {"dtype": torch.float32, "needs": "neuralop"}

EXAMPLES: dict[str, Example] = {
    "FNO 1-D": Example("FNO", {"width": 6, "modes": (5,), "layers": 2}, LINE),
    "FNO 2-D": Example("FNO", {"width": 6, "modes": (5, 4), "layers": 2}, PLANE),
    "FNO 3-D": Example("FNO", {"width": 6, "modes": (5, 4, 3), "layers": 2}, CUBE),
    "FactorizedFNO 1-D": Example("FactorizedFNO", {"width": 6, "modes": (5,), "layers": 2}, LINE),
    "FactorizedFNO 2-D": Example("FactorizedFNO", {"width": 6, "modes": (5, 4), "layers": 2}, CHANNEL),
    "FactorizedFNO 3-D": Example("FactorizedFNO", {"width": 6, "modes": (4, 3, 3), "layers": 2, "shared": True}, CUBE),
    "StabilisedFNO 1-D": Example("StabilisedFNO", {"width": 6, "modes": (9,), "layers": 2}, LINE),
    "StabilisedFNO 2-D": Example("StabilisedFNO", {"width": 6, "modes": (8, 5), "layers": 2}, PLANE),
    "StabilisedFNO 3-D": Example("StabilisedFNO", {"width": 6, "modes": (5, 5, 3), "layers": 1}, CUBE),
    "CoDANO 1-D": Example("CoDANO", {"width": 6, "modes": (5,), "layers": 2}, LINE),
    "CoDANO 2-D": Example("CoDANO", {"width": 6, "modes": (5, 4), "layers": 2, "heads": 2}, PLANE),
    "FactFormer 1-D": Example("FactFormer", {"dim": 1, "width": 8, "layers": 2, "heads": 2, "head": 4, "rank": 8, "harmonics": 4}, LINE),
    "FactFormer 2-D": Example("FactFormer", {"dim": 2, "width": 8, "layers": 2, "heads": 2, "head": 4, "rank": 8, "harmonics": 4}, CHANNEL),
    "FactFormer 3-D": Example("FactFormer", {"dim": 3, "width": 8, "layers": 1, "heads": 2, "head": 4, "rank": 8, "harmonics": 4}, CUBE),
    "IFactFormer 1-D": Example(
        "IFactFormer", {"dim": 1, "width": 8, "iterations": 3, "heads": 2, "head": 4, "rank": 8, "harmonics": 4}, LINE
    ),
    "IFactFormer 2-D": Example(
        "IFactFormer", {"dim": 2, "width": 8, "iterations": 3, "heads": 2, "head": 4, "rank": 8, "harmonics": 4}, CHANNEL
    ),
    "IFactFormer 3-D": Example(
        "IFactFormer", {"dim": 3, "width": 8, "iterations": 2, "heads": 2, "head": 4, "rank": 8, "harmonics": 4}, CUBE
    ),
    "GalerkinTransformer 1-D": Example("GalerkinTransformer", {"dim": 1, "width": 8, "layers": 2, "heads": 2}, LINE),
    "GalerkinTransformer 2-D": Example("GalerkinTransformer", {"dim": 2, "width": 8, "layers": 2, "heads": 2}, CHANNEL),
    "GalerkinTransformer Fourier-type": Example(
        "GalerkinTransformer", {"dim": 2, "kind": "fourier", "width": 8, "layers": 2, "heads": 2}, PLANE
    ),
    "GalerkinTransformer mesh": Example("GalerkinTransformer", {"dim": 2, "width": 8, "layers": 2, "heads": 2, "rotary": False}, CLOUD),
    "UNet 1-D": Example("UNet", {"dim": 1, "width": 4, "multipliers": (1, 2), "blocks": 1}, LINE),
    "UNet 2-D": Example("UNet", {"dim": 2, "width": 4, "multipliers": (1, 2), "blocks": 1}, CHANNEL),
    "UNet 3-D": Example("UNet", {"dim": 3, "width": 4, "multipliers": (1, 2), "blocks": 1, "checkpoint": True}, CUBE),
    "SineNet 1-D": Example("SineNet", {"dim": 1, "width": 4, "waves": 2, "levels": 2}, LINE),
    "SineNet 2-D": Example("SineNet", {"dim": 2, "width": 4, "waves": 2, "levels": 2}, CHANNEL),
    "DilatedResNet 1-D": Example("DilatedResNet", {"dim": 1, "width": 4, "blocks": 1, "dilations": (1, 2, 1)}, LINE),
    "DilatedResNet 2-D": Example("DilatedResNet", {"dim": 2, "width": 4, "blocks": 1, "dilations": (1, 2, 1)}, CHANNEL),
    "ResNet 1-D": Example("ResNet", {"dim": 1, "width": 4, "blocks": 2}, LINE),
    "ResNet 3-D": Example("ResNet", {"dim": 3, "width": 4, "blocks": 1}, CUBE),
    "ConvNet 1-D": Example("ConvNet", {"dim": 1, "width": 4, "layers": 3}, LINE),
    "ConvNet 2-D": Example("ConvNet", {"dim": 2, "width": 4, "layers": 3}, PLANE),
    "ClassicUNet 1-D": Example("ClassicUNet", {"dim": 1, "width": 4, "levels": 2}, LINE),
    "ClassicUNet 2-D": Example("ClassicUNet", {"dim": 2, "width": 4, "levels": 2}, PLANE),
    "ScOT 1-D": Example("ScOT", {"patch": (2,), "width": 8, "depths": (2, 2), "heads": 2, "window": 3}, LINE),
    "ScOT 2-D": Example("ScOT", {"patch": (2, 2), "width": 8, "depths": (2, 2), "heads": 2, "window": 4}, CHANNEL),
    "DiT 1-D": Example("DiT", {"patch": (2,), "width": 8, "layers": 2, "heads": 2}, LINE),
    "DiT 2-D": Example("DiT", {"patch": (4, 2), "width": 16, "layers": 2, "heads": 2}, CHANNEL),
    "DiT 3-D": Example("DiT", {"patch": (2, 2, 2), "width": 24, "layers": 1, "heads": 2}, CUBE),
    "Transolver 2-D": Example("Transolver", {"dim": 2, "width": 8, "heads": 2, "slices": 4, "layers": 2}, CHANNEL),
    "Transolver mesh": Example("Transolver", {"dim": 2, "width": 8, "heads": 2, "slices": 4, "layers": 2}, CLOUD),
    "SphericalFNO": Example("SphericalFNO", {"width": 6, "degrees": 6, "layers": 2}, GLOBE),
    "MeshGraphNet": Example("MeshGraphNet", {"dim": 2, "width": 8, "layers": 2}, CLOUD),
    "MPPDE": Example("MPPDE", {"dim": 2, "width": 32, "layers": 2, "frames": 2}, CLOUD),
    "MultiscaleGNN": Example("MultiscaleGNN", {"dim": 2, "width": 8, "levels": 2}, CLOUD),
    "LatentOperator": Example("LatentOperator", {"dim": 2, "width": 8, "latents": 6, "heads": 2, "layers": 2, "basis": 6}, CLOUD),
    "GINO": Example("GINO", {"width": 8, "modes": (4, 3), "layers": 1, "grid": 6, "radius": 2.0, "kernel": (8,)}, CLOUD, **SINGLE),
    "FNOGNO": Example("FNOGNO", {"width": 8, "modes": (4, 3), "layers": 1, "grid": 6, "radius": 2.0, "kernel": (8,)}, CLOUD, **SINGLE),
    **{
        f"NeuralOperator {model}": Example("NeuralOperator", PEER | {"model": model} | more, PLANE, **SINGLE)
        for model, more in {"FNO": {}, "TFNO": {}, "UNO": {}, "LocalNO": {"options": {"default_in_shape": (16, 16)}}, "CODANO": {}}.items()
    },
    "NeuralOperator SFNO": Example("NeuralOperator", {"model": "SFNO", "width": 8, "modes": (6, 4), "layers": 2}, GAUSS, **SINGLE),
}
