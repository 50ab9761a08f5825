"""One example of every refiner: what `refine/test_every_refiner.py` holds the common laws to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from networks import cloud
from torch import Tensor, nn

from surrogates import refine
from surrogates.contracts import Domain
from surrogates.domains import Box, Sphere
from surrogates.operators import FNO, MeshGraphNet, SphericalFNO
from surrogates.refine.conditioning import widths

C, ROWS, EMBEDDING = 2, 2, 2
DOMAINS: dict[str, Domain] = {
    "line": Box.periodic((12,), 3.0),
    "plane": Box.periodic((8, 6), 2.0),
    "volume": Box.periodic((4, 4, 6), 2.0),
    "sphere": Sphere((6, 12)),
    "mesh": cloud(14),
}


def network(domain: Domain, inputs: int, outputs: int, embedding: int) -> nn.Module:
    """A small operator for a domain, all of its weights random: what starts at zero would hide what is behind it."""
    torch.manual_seed(0)
    if isinstance(domain, Box):
        made: nn.Module = FNO(inputs, outputs, embedding, width=6, modes=tuple(n // 2 for n in domain.shape), layers=1, positions=0)
    elif isinstance(domain, Sphere):
        made = SphericalFNO(inputs, outputs, embedding, width=6, layers=1, degrees=4, orders=4)
    else:
        made = MeshGraphNet(inputs, outputs, embedding, dim=2, width=6, layers=1)
    with torch.no_grad():
        for p in made.parameters():
            p += 0.1 * torch.randn(p.shape)
    return made.double()


@dataclass(frozen=True)
class Example:
    """A refiner of `surrogates.refine` and its hyperparameters; `guess`: with one (True), without (False) or both ways (None)."""

    name: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    guess: bool | None = None
    frames: int = 1

    @property
    def cls(self) -> Any:
        home, _, last = self.name.rpartition(".")
        return getattr(import_module(f"surrogates.refine.{home}") if home else refine, last)

    @property
    def channels(self) -> int:
        return C * self.frames

    def build(self, domain: Domain, guess: bool) -> nn.Module:
        sizes = getattr(self.cls, "widths", widths)(self.channels, C, guess, self.frames)
        operator = network(domain, sizes.inputs, sizes.outputs, EMBEDDING + sizes.embedding)
        given_frames = {"frames": self.frames} if self.frames > 1 else {}
        made: nn.Module = self.cls(operator, channels=self.channels, **given_frames, **self.hyperparameters).double()
        return made

    def inputs(self, domain: Domain, guess: bool) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """truth, guess, context, embedding."""
        g = torch.Generator().manual_seed(1)

        def fields(channels: int) -> Tensor:
            return torch.randn(ROWS, channels, *domain.shape, generator=g, dtype=torch.float64)

        embedding = torch.randn(ROWS * domain.members, EMBEDDING, generator=g, dtype=torch.float64)
        return fields(self.channels), fields(self.channels) if guess else None, fields(C), embedding


r = refine
EXAMPLES: dict[str, Example] = {
    "flow matching": Example("FlowMatching"),
    "flow from the previous state": Example("FlowMatching", {"source": r.PreviousSource(), "sampler": r.heun}),
    "flow from the guess": Example("FlowMatching", {"source": r.GuessSource(), "sampler": r.ab2}, guess=True),
    "EDM": Example(
        "FlowMatching",
        {
            "path": r.VarianceExploding(),
            "schedule": r.KarrasLogNormal(),
            "prediction": r.Preconditioned(),
            "sampler": r.Churn(r.dpm_2s, 2.5, 0.75, 1.05),
        },
    ),
    "DDPM": Example(
        "FlowMatching",
        {
            "path": r.LinearBetas(11),
            "schedule": r.Steps(11),
            "prediction": r.SourcePrediction(),
            "sampler": r.ddpm,
            "steps": 11,
        },
    ),
    "pdearena's PDE-Refiner": Example(
        "FlowMatching",
        {"path": r.ExponentialBetas(), "schedule": r.Steps(4), "prediction": r.Preconditioned(), "sampler": r.ddpm},
    ),
    "PDE-Refiner": Example("PDERefiner", {"schedule": r.Exponential()}, guess=False),
    "PDE-Refiner of a guess": Example("PDERefiner", {"schedule": r.Exponential(first=1)}, guess=True),
    "ACDM": Example("ACDM", {"path": r.LinearBetas(11), "schedule": r.Steps(11), "steps": 11}),
    "interpolant of Foellmer": Example("StochasticInterpolant", {"diffusion": r.foellmer_diffusion, "integrator": r.euler_maruyama}),
    "Brownian bridge from the guess": Example(
        "StochasticInterpolant", {"bridge": r.BrownianBridge(0.5), "source": r.GuessSource(std=0.0)}, guess=True
    ),
    "DYffusion": Example("DYffusion", {}, frames=3),
    "diffusion forcing": Example("DiffusionForcing", {"steps": 3, "lag": 1}, frames=2),
    "one pass": Example("OnePass"),
    "one pass of a vector": Example("OnePassGlobal", {"members": 3}),
    "Monte Carlo dropout": Example("MCDropout", {"p": 0.5}),
    "classifier-free": Example("ClassifierFree", {"weight": 1.5, "drop": 0.5}),
}
