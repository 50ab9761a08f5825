"""What laws cost beside the step they hold: milliseconds, and their share of a network's step.

    python benchmarks/speed/constraints.py [--json constraints.json] [--seconds 2] [--threads 1]

Velocity and a tracer on 64^2, an FNO (width 32, 24 x 13 modes, 4 layers), batches of 1 and 16; processor time, all in turn.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timing import machine, race, table
from torch import Tensor

import surrogates as sg
from surrogates.constraints import (
    Alternating,
    BoundedIntegral,
    ConservedIntegral,
    DivergenceFree,
    Energy,
    EnergyBand,
    EnergyBudget,
    Enstrophy,
    GaussNewton,
    InOrder,
    LinearFunctionals,
    ScaledIntegral,
    Within,
)
from surrogates.contracts import Constraint
from surrogates.domains import Masked
from surrogates.operators import FNO

N = 64
FIELDS = sg.Fields.of(sg.Field("velocity", components=("x", "y")), sg.Field("q"))
BOX = sg.Box.periodic((N, N), 2 * torch.pi)
WALLS = sg.Box((N, N), (0.0, 0.0), (1.0, 1.0), ("wall", "periodic"))


def sea() -> Masked:
    """A box with a round island."""
    x, y = WALLS.grid()
    return Masked(WALLS, (x - 0.5).square() + (y - 0.5).square() > 0.04)


def laws() -> dict[str, tuple[Constraint, Any]]:
    """By name, and where they hold."""
    free, budget = DivergenceFree(FIELDS), EnergyBudget(FIELDS, viscosity="viscosity", drag="drag")
    return {
        "ConservedIntegral": (ConservedIntegral(FIELDS, "q"), BOX),
        "ScaledIntegral": (ScaledIntegral(FIELDS, "q"), BOX),
        "BoundedIntegral": (BoundedIntegral(FIELDS, "q"), BOX),
        "LinearFunctionals": (LinearFunctionals(FIELDS, (Within("q", (0.0, 0.0), (3.0, 3.0)),)), BOX),
        "EnergyBand": (EnergyBand(FIELDS, lower=0.5, upper=2.0, relative=True), BOX),
        "EnergyBudget": (budget, BOX),
        "DivergenceFree": (free, BOX),
        "DivergenceFree, walls": (free, WALLS),
        "DivergenceFree, masked": (free, sea()),
        "divergence and mean flow": (InOrder((free, ConservedIntegral(FIELDS, "velocity", decay="drag"))), BOX),
        "GaussNewton, energy": (GaussNewton(FIELDS, (Energy(),), move=("velocity",)), BOX),
        "GaussNewton, energy and enstrophy": (GaussNewton(FIELDS, (Energy(), Enstrophy()), move=("velocity",)), BOX),
        "Alternating, divergence and energy": (Alternating((free, GaussNewton(FIELDS, (Energy(),), move=("velocity",)))), BOX),
    }


def calls(batch: int) -> dict[str, Callable[[], object]]:
    """The network's step and every law on a field that breaks it."""
    network = FNO(3, 3, width=32, modes=(24, 13), layers=4).eval()
    u = torch.randn(batch, 3, N, N, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0.0, 4.0])[:, None, None]
    out: dict[str, Callable[[], object]] = {"network": lambda: network(u, BOX)}
    ones = torch.ones(batch, dtype=torch.float64)
    parameters = torch.tensor([[1e-3, 0.1]], dtype=torch.float64).expand(batch, -1)
    for name, (law, domain) in laws().items():
        c = sg.Conditions(domain, ones * 0, ones * 0.1, parameters, ("viscosity", "drag"))
        out[name] = held(law, law.reference(1.01 * u, c), u, c)
    return out


def held(law: Constraint, reference: Tensor, u: Tensor, c: sg.Conditions) -> Callable[[], object]:
    return lambda: law(u, law.advance(reference, u, c), c)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each of the batches and contenders")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for batch in (1, 16):
        contenders = calls(batch)
        with torch.inference_mode():
            times = race(contenders, seconds=options.seconds * len(contenders), clock=time.process_time).times
        step = median(times["network"])
        results[str(batch)] = {n: {"ms": 1e3 * median(t), "share": median(t) / step} for n, t in times.items()}
        rows: list[tuple[Any, ...]] = [(n, r["ms"], 100 * r["share"]) for n, r in results[str(batch)].items()]
        table(f"Laws, batch {batch}", ("law", "ms", "% of the network's step"), rows)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
