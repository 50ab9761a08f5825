"""Overhead of sampling over the velocity itself, per evaluation: our samplers against torchdiffeq's (G16), and the refiner around them.

    python benchmarks/speed/sampling.py [--json sampling.json] [--seconds 3]

Samplers of the flow_matching kind hand their loop to torchdiffeq, so its Euler stands for them: `pip install torchdiffeq`.
An overhead is the median over paired rounds of (time - time of the bare calls) / evaluations; the answers are compared first.
The refiner is timed on a batch of the demo's shape; its overhead holds the joining of the channels that a bare call is given whole.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timing import Race, machine, race, table
from torch import Tensor, nn

from surrogates.domains import Box
from surrogates.refine import FEATURES, FlowMatching, Uniform, ab2, euler, evaluations, heun

STEPS = 50  # long enough to drown the peer's set-up, short enough to fit between two slices of a busy machine
GOAL = 8.0
SAMPLERS = {"euler": euler, "heun": heun, "ab2": ab2}
PEERS = {"torchdiffeq euler": "euler", "torchdiffeq heun2": "heun2"}


def overhead(result: Race, name: str, bare: str, count: int) -> float:
    """Microseconds an evaluation beyond the bare calls."""
    return 1e6 / count * median(t - b for t, b in zip(result.times[name], result.times[bare], strict=True))


def samplers(seconds: float) -> list[dict[str, Any]]:
    """Every sampler with a velocity that costs nothing, on four numbers: what is left is the loop."""
    from torchdiffeq import odeint

    z, v, levels = torch.ones(4), torch.full((4,), 0.5), Uniform().levels(STEPS)
    times = torch.tensor(levels)

    def velocity(z: Tensor, s: float) -> Tensor:
        return v

    def calls(count: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(count):
                velocity(z, 1.0)

        return run

    contenders: dict[str, Callable[[], object]] = {n: (lambda f=f: f(velocity, z, levels)) for n, f in SAMPLERS.items()}
    contenders |= {n: (lambda m=m: odeint(lambda s, z: v, z, times, method=m)[-1]) for n, m in PEERS.items()}
    counts = {n: evaluations(f, levels) for n, f in SAMPLERS.items()} | {n: STEPS * (2 if m == "heun2" else 1) for n, m in PEERS.items()}
    for name, run in contenders.items():
        torch.testing.assert_close(run(), z - v, msg=f"{name} does not integrate a constant velocity")
    bare = {f"bare {k}": calls(k) for k in set(counts.values())}
    result = race(contenders | bare, seconds=seconds)
    out = [{"sampler": n, "evaluations": k, "overhead": overhead(result, n, f"bare {k}", k)} for n, k in counts.items()]
    by_name = {entry["sampler"]: entry["overhead"] for entry in out}
    peer = {"euler": "torchdiffeq euler", "heun": "torchdiffeq heun2", "ab2": "torchdiffeq euler"}
    for entry in out:
        of = peer.get(entry["sampler"])
        entry |= {"ratio": by_name[of] / entry["overhead"] if of else None, "goal": GOAL if entry["sampler"] == "euler" else None}
        entry["noise"] = result.noise
    table(
        f"G16: overhead of a sampler an evaluation, {STEPS} steps",
        ("sampler", "us an evaluation", "peer / ours", "goal", "others' cores"),
        [(e["sampler"], e["overhead"], e["ratio"] or "-", e["goal"] or "-", e["noise"]) for e in out],
    )
    return out


class Free(nn.Module):
    """An operator that costs nothing: its prediction is kept."""

    def __init__(self, prediction: Tensor) -> None:
        super().__init__()
        self.prediction = prediction

    def forward(self, x: Tensor, domain: Box, embedding: Tensor | None = None) -> Tensor:
        return self.prediction


def refiner(seconds: float, rows: int = 16, n: int = 48, steps: int = 4) -> list[dict[str, Any]]:
    """FlowMatching from a guess, with and without an embedding, over as many bare calls of its operator."""
    domain, u = Box.periodic((n, n), 1.0), torch.randn(rows, 2, n, n)
    operator, joined, features = Free(torch.randn_like(u)), torch.cat([u, u, u], 1), torch.zeros(rows, FEATURES)
    flow, embedding = FlowMatching(operator, channels=2, steps=steps), torch.zeros(rows, 2)

    def bare() -> None:
        for _ in range(steps):
            operator(joined, domain, features)

    def noise(like: Tensor, *, draw: int) -> Tensor:
        return u

    contenders: dict[str, Callable[[], object]] = {
        "bare": bare,
        "FlowMatching": lambda: flow(u, u, None, domain, noise),
        "FlowMatching, embedded": lambda: flow(u, u, embedding, domain, noise),
    }
    result = race(contenders, seconds=seconds)
    out = [{"refiner": n, "overhead": overhead(result, n, "bare", steps), "noise": result.noise} for n in list(contenders)[1:]]
    table(
        f"A refiner around its operator, {rows} x 2 x {n}^2 from a guess, {steps} Euler steps (information)",
        ("refiner", "us an evaluation", "others' cores"),
        [(e["refiner"], e["overhead"], e["noise"]) for e in out],
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures, with commit, machine and versions, to this file")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each race")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {"machine": machine(), "skipped": {}}
    print(report["machine"])
    with torch.no_grad():
        try:
            report["samplers"] = samplers(arguments.seconds)
        except ImportError as error:
            report["skipped"]["samplers"] = f"torchdiffeq is not importable ({error}); pip install torchdiffeq"
            print("skipped G16:", report["skipped"]["samplers"])
        report["refiner"] = refiner(arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
