"""One example of every few-step refiner, and the toys that they are trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from refiners import EMBEDDING, C, network
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.domains import Box
from surrogates.refine.average_oracle import GaussianAverage
from surrogates.refine.average_velocity import tell
from surrogates.refine.conditioning import widths
from surrogates.refine.consistency import Consistency
from surrogates.refine.distilled import DistilledConsistency
from surrogates.refine.features import time_of
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.mean_flow import MeanFlow
from surrogates.refine.noise_levels import Karras
from surrogates.refine.path import VarianceExploding
from surrogates.refine.prediction import Preconditioned
from surrogates.refine.reflow import Reflow
from surrogates.refine.samplers import ab2, heun
from surrogates.refine.shortcut import Shortcut
from surrogates.refine.source import PreviousSource
from surrogates.refine.split_mean_flow import SplitMeanFlow
from surrogates.refine.velocity_tail import VelocityTail

F64: Any = {"dtype": torch.float64}
ICT = {"path": VarianceExploding(), "schedule": Karras(), "prediction": Preconditioned()}
EXAMPLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "MeanFlow": (MeanFlow, {"steps": 2, "calibrated": True}),
    "MeanFlow from the previous state": (MeanFlow, {"power": 1.0, "source": PreviousSource(0.5)}),
    "SplitMeanFlow": (SplitMeanFlow, {"steps": 3}),
    "Shortcut": (Shortcut, {"steps": 4, "calibrated": True}),
    "Consistency": (Consistency, {"steps": 2, "huber": 0.1}),
    "Consistency as iCT": (Consistency, {"steps": 2, "intervals": 8, **ICT}),
    "DistilledConsistency": (DistilledConsistency, {"steps": 2, "teacher": (FlowMatching, {})}),
    "Reflow": (Reflow, {"steps": 2, "teacher": (FlowMatching, {"sampler": heun, "steps": 3})}),
    "Reflow of a MeanFlow": (Reflow, {"steps": 1, "teacher": (MeanFlow, {})}),
    "VelocityTail of a flow": (VelocityTail, {"head": (FlowMatching, {"sampler": ab2}), "sampler": heun}),
    "VelocityTail of a MeanFlow": (VelocityTail, {"head": (MeanFlow, {"steps": 1}), "switch": 0.4}),
}


def build(entry: tuple[Any, dict[str, Any]], domain: Domain, guess: bool) -> nn.Module:
    """A refiner with small networks of random weights, in double precision."""
    cls, hyperparameters = entry
    made = {k: build(v, domain, guess) if isinstance(v, tuple) else v for k, v in hyperparameters.items()}
    sizes = getattr(cls, "widths", widths)(C, C, guess, 1)
    refiner: nn.Module = cls(network(domain, sizes.inputs, sizes.outputs, EMBEDDING + sizes.embedding), channels=C, **made)
    return refiner.double()


class Shifted(nn.Module):
    """An operator with a constant added to its prediction."""

    def __init__(self, inner: nn.Module, by: float) -> None:
        super().__init__()
        self.inner, self.by = inner, by

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        shifted: Tensor = self.inner(x, domain, embedding) + self.by
        return shifted


class Ends(GaussianAverage):
    """The exact F with z - s F at the trajectory's end: the average velocity from s to 0, told s alone."""

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        assert embedding is not None
        s = time_of(embedding)
        return super().forward(x, domain, tell(s, s))


class Small(nn.Module):
    """A perceptron for one channel at one point."""

    def __init__(self, embedding: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(1 + embedding, width), nn.SiLU()]
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor) -> Tensor:
        y: Tensor = self.net(torch.cat((x[..., 0], embedding), 1))[..., None]
        return y


class TwoModes(nn.Module):
    """The exact velocity on the linear path for x = N(-1, std^2) or N(1, std^2), the latter with probability `weight`; one channel."""

    def __init__(self, weight: float = 0.75, std: float = 0.1) -> None:
        super().__init__()
        self.weight, self.std = weight, std

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor) -> Tensor:
        z, s = x[:, :1], domain.expand(time_of(embedding)[:, None])
        a, variance = 1 - s, ((1 - s) * self.std) ** 2 + s**2
        up = torch.sigmoid(2 * a * z / variance + math.log(self.weight / (1 - self.weight)))
        gain = a * self.std**2 / variance
        mean = up * (1 + gain * (z - a)) + (1 - up) * (-1 + gain * (z + a))
        return (z - mean) / s


POINT = Box.periodic((1,), 1.0)


def two_modes(rows: int, seed: int) -> Tensor:
    """Samples of that law, three in four at 1."""
    g = torch.Generator().manual_seed(seed)
    side = torch.rand(rows, 1, 1, generator=g) < 0.75
    return torch.where(side, 1.0, -1.0) + 0.1 * torch.randn(rows, 1, 1, generator=g)


def trained(make: Callable[[nn.Module], nn.Module], embedding: int, draws: Callable[[int], Any], iterations: int = 1000) -> Any:
    """A refiner of the two modes after some training: Adam at 3e-3, falling to 0."""
    torch.manual_seed(0)
    refiner: Any = make(Small(embedding))
    optimiser = torch.optim.Adam([p for p in refiner.parameters() if p.requires_grad], 3e-3)
    for i in range(iterations):
        truth = two_modes(256, i)
        loss = refiner.loss(truth, None, torch.zeros(256, 0, 1), None, POINT, draws(i)).mean()
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - i / iterations)
        optimiser.step()
    return refiner


def distance(refiner: Any, draws: Any, rows: int = 4000) -> tuple[float, float]:
    """(Wasserstein-1 distance to the two modes, fraction of samples above 0)."""
    with torch.no_grad():
        x = refiner(None, torch.zeros(rows, 0, 1), None, POINT, draws).flatten()
    y = two_modes(rows, -1 & 0xFFFF).flatten()
    return float((x.sort().values - y.sort().values).abs().mean()), float((x > 0).double().mean())
