"""ProbConserv's porous-medium problem: what is known of the mass corrects a probabilistic forecast of a moving front.

    python benchmarks/conservation/porous.py [--out runs/conservation] [--seeds 0 1 2] [--steps 2500]

    u_t = (u^m u_x)_x on [0, 1],  u = (m (t - x)_+)^(1/m),  integral u dx = m^(1 + 1/m) t^(1 + 1/m)/(m + 1),  m uniform in [1, 6]

A network sees 100 values u(t, x) on a random 10 x 10 grid of (t, x), not m, and gives mean and deviation at any (t, x). It is asked for
t = .5 on 200 cells and corrected by the mass there, which the boundary values determine. Set-up: Hansen et al., Learning Physical
Models that Can Respect Conservation Laws, ICML 2023, section 4 and its public configuration (10 x 10 contexts and targets, m in [1, 6]),
https://arxiv.org/abs/2302.11002; theirs is an attentive neural process with a latent, ours has none. Runs resume seed by seed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "speed")]

from surrogates.constraints.bounds import BoundedIntegral  # noqa: E402
from surrogates.constraints.weighted import correct, diagonal, log_likelihood  # noqa: E402
from surrogates.contracts import Conditions  # noqa: E402
from surrogates.domains import Box  # noqa: E402
from surrogates.fields import Field, Fields  # noqa: E402
from surrogates.train.optimiser import Optimiser  # noqa: E402

LEAST, MOST = 1.0, 6.0
TIME, CELLS, TESTS, OCTAVES = 0.5, 200, 200, 6
BOX = Box((CELLS,), (0.0,), (1.0,), ("wall",))


def exact(t: Tensor, x: Tensor, m: Tensor) -> Tensor:
    """The front that moves with speed one."""
    return (m * (t - x).clamp_min(0.0)) ** (1 / m)


def mass(t: float, m: Tensor) -> Tensor:
    """The integral of u over [0, 1], t <= 1."""
    power = 1 + 1 / m
    return m**power * t**power / (m + 1)


def windows(count: int, generator: torch.Generator, m: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(where (B, 100, 2), what (B, 100), m (B, 1)): a function each on a random 10 x 10 grid."""
    draw = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    m = LEAST + (MOST - LEAST) * draw(count, 1) if m is None else m
    t, x = draw(count, 10, 1).expand(-1, -1, 10).flatten(1), draw(count, 1, 10).expand(-1, 10, -1).flatten(1)
    return torch.stack([t, x], 2), exact(t, x, m), m


class AttentiveProcess(nn.Module):
    """Mean and deviation at points, given values at others: attention among what is known, then from each point to it."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        place = 2 + 4 * OCTAVES
        self.known = nn.Sequential(nn.Linear(place + 1, width), nn.GELU(), nn.Linear(width, width))
        self.asked = nn.Sequential(nn.Linear(place, width), nn.GELU(), nn.Linear(width, width))
        self.among = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.towards = nn.ModuleList(nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(layers))
        self.then = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(layers)
        )
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2))

    def forward(self, where: Tensor, what: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """where (B, N, 2), what (B, N), asked (B, Q, 2) -> mean and deviation (B, Q)."""
        z = self.known(torch.cat([waves(where), what[..., None]], 2))
        q = self.asked(waves(asked))
        for among, towards, then in zip(self.among, self.towards, self.then, strict=True):
            z = among(z)
            q = q + towards(q, z, z, need_weights=False)[0]
            q = q + then(q)
        mean, log_std = self.out(q).unbind(2)
        return mean, 1e-3 + nn.functional.softplus(log_std)


def waves(points: Tensor) -> Tensor:
    """(..., 2) -> coordinates and octaves of their sines and cosines."""
    angles = math.pi * points[..., None] * 2.0 ** torch.arange(OCTAVES)
    return torch.cat([points, angles.sin().flatten(-2), angles.cos().flatten(-2)], -1)


def trained(seed: int, steps: int, batch: int = 32) -> tuple[AttentiveProcess, float]:
    """By the likelihood of 100 values at points that were not seen; the mean loss of the last hundred steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AttentiveProcess()
    generator = torch.Generator().manual_seed(1_000 + seed)
    rates = Optimiser(lr=1e-3, warmup=200, floor=0.0, weight_decay=0.0, ema=0.0)
    adam, last = rates.build(list(network.parameters())), []
    for step in range(steps):
        where, what, m = windows(batch, generator)
        asked, truth, _ = windows(batch, generator, m)
        mean, std = network(where, what, asked)
        loss = ((truth - mean).square() / std.square() / 2 + std.log()).mean()
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), rates.clip)
        for group in adam.param_groups:
            group["lr"] = rates.rate(step, steps)
        adam.step()
        last = [*last[-99:], float(loss.detach())]
        if step % 500 == 0:
            print(f"seed {seed}: step {step} of {steps}, loss {last[-1]:.3f}", flush=True)
    return network.eval(), sum(last) / len(last)


@torch.no_grad()
def forecasts(network: AttentiveProcess) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """mean, deviation, truth (B, CELLS) and m (B, 1) of the test functions, which are the same for every seed."""
    generator = torch.Generator().manual_seed(7)
    where, what, m = windows(TESTS, generator)
    x = BOX.coordinate(0).float().expand(TESTS, -1)
    t = torch.full_like(x, TIME)
    mean, std = network(where, what, torch.stack([t, x], 2))
    return mean.double(), std.double(), exact(t.double(), x.double(), m.double()), m.double()


def corrected(mean: Tensor, std: Tensor, m: Tensor) -> dict[str, tuple[Tensor, Any]]:
    """The forecast as it came, and under what is known of its mass."""
    own, g, b = diagonal(std.square()), BOX.measure[None].double(), mass(TIME, m)
    alike = diagonal(torch.ones_like(std))
    bounded = BoundedIntegral(Fields.of(Field("u")), "u")
    zeros = torch.zeros(len(mean), dtype=torch.float64)
    c = Conditions(BOX, zeros, torch.ones_like(zeros), torch.zeros(len(mean), 0))
    probable, posterior = correct(mean, own, g, b)
    return {
        "network alone": (mean, own),
        "equal shift": (correct(mean, alike, g, b)[0], own),
        "variance-weighted": (probable, posterior),
        "variance-weighted, then u >= 0": (bounded(probable[:, None], b, c)[:, 0], posterior),
        "truth on these cells": (exact(torch.tensor(TIME).double(), BOX.coordinate(0).double()[None], m), own),
    }


def scores(found: dict[str, tuple[Tensor, Any]], truth: Tensor, m: Tensor) -> dict[str, dict[str, float]]:
    """Mean over the test functions: |integral - mass|, log-likelihood a cell, mean square error, the least value."""
    out = {}
    for label, (u, covariance) in found.items():
        out[label] = {
            "mass error": float((BOX.integral(u[:, None]) - mass(TIME, m)).abs().mean()),
            "log-likelihood": float(log_likelihood(truth, u, covariance).mean()),
            "mse": float((u - truth).square().mean()),
            "least value": float(u.min()),
        }
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/conservation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2500)
    options = parser.parse_args()
    from timing import machine

    path = options.out / "porous.json"
    settings = {"steps": options.steps, "cells": CELLS, "time": TIME, "tests": TESTS}
    stored = json.loads(path.read_text()) if path.exists() else {}
    runs: dict[str, Any] = stored.get("runs", {}) if stored.get("settings") == settings else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        if str(seed) not in runs:
            network, loss = trained(seed, options.steps)
            mean, std, truth, m = forecasts(network)
            runs[str(seed)] = {"loss": loss, "scores": scores(corrected(mean, std, m), truth, m)}
            path.write_text(json.dumps({"settings": settings, "machine": machine(), "command": " ".join(sys.argv), "runs": runs}, indent=1))
    (options.out / "porous.md").write_text(table(runs))
    print(table(runs))
    return 0


def table(runs: dict[str, Any]) -> str:
    """Means over seeds, and the least and greatest."""
    labels = next(iter(runs.values()))["scores"]
    lines = ["| forecast | mass error | log-likelihood | mse | least value |", "| --- | --- | --- | --- | --- |"]
    for label in labels:
        cells = []
        for column in ("mass error", "log-likelihood", "mse", "least value"):
            values = [r["scores"][label][column] for r in runs.values()]
            cells.append(f"{sum(values) / len(values):.3g} ({min(values):.3g} to {max(values):.3g})")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{len(runs)} seeds", ""])


if __name__ == "__main__":
    sys.exit(main())
