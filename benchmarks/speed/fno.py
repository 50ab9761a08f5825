"""Our FNO against neuraloperator's of the same function: inference and training, as it is, compiled and in bfloat16 (G2, G3), and what
the allocator's page faults cost (G1). Grids of 64^2, 128^2 and 32^3, peak memory beside time.

    python benchmarks/speed/fno.py [--json fno.json] [--seconds 5] [--threads 1] [--compile] [--only infer train volume demo faults]

Both have the same weights (copied) and the answers are compared first. One thread is timed by processor time, which other processes
disturb little; more threads by wall time. Memory is what two calls add to a fresh process. `--compile` adds the compiled forms, which take
minutes to make. G1 alternates two kinds of process: neuraloperator as imported, and our package as imported, which tunes the allocator.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timing import Race, grown, machine, race, table
from torch import Tensor, nn

from surrogates.domains import Box
from surrogates.operators import FNO

GOALS = {"infer 64^2": 1.4, "infer 64^2 compiled": 1.75, "train 64^2 compiled": 1.6, "train 64^2 bf16 compiled": 2.2, "faults": 5.0}


@dataclass(frozen=True)
class Case:
    """Two channels in, one out, on a cubic grid, at modes in our count: all signs of an axis, and from 0 on the last."""

    kind: str  # infer or train
    grid: int
    rows: int = 8
    width: int = 64
    modes: tuple[int, ...] = (16, 9)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.grid,) * len(self.modes)

    def __str__(self) -> str:
        return f"{self.kind} {self.grid}^{len(self.modes)}" + (" one row" if self.rows == 1 else "")


VOLUME = {"grid": 32, "rows": 2, "width": 32, "modes": (12, 12, 7)}
CASES = {
    "infer": [Case("infer", 64), Case("infer", 64, rows=1), Case("infer", 128)],
    "train": [Case("train", 64), Case("train", 128)],
    "volume": [Case("infer", **VOLUME), Case("train", **VOLUME)],
    "demo": [Case("train", 48, rows=16, width=32, modes=(24, 13))],
}

Run = Callable[[], object]


def pair(case: Case) -> tuple[nn.Module, FNO]:
    """Theirs and ours with the same weights, four layers, no positions."""
    from neuralop import models

    *signed, last = case.modes
    theirs = models.FNO((*signed, 2 * (last - 1)), 2, 1, case.width, positional_embedding=None)
    ours = FNO(2, 1, width=case.width, modes=case.modes, positions=0)
    copy(theirs, ours)
    return theirs, ours


@torch.no_grad()
def copy(theirs: nn.Module, ours: FNO) -> None:
    """Their parameters in our layout: modes first, weights real, their convolution's bias in our skip."""
    source = theirs.fno_blocks
    ends = (ours.lift_in, ours.lift_out, ours.project_in, ours.project_out)
    layers = list(zip(ends, (*theirs.lifting.fcs, *theirs.projection.fcs), strict=True))
    for i, block in enumerate(ours.blocks):
        w = source.convs[i].weight.tensor
        block.spectral.weight.copy_(torch.cat([w.real, w.imag], 1).movedim((0, 1), (-2, -1)).reshape(block.spectral.weight.shape))
        block.skip.weight.copy_(source.fno_skips[i].conv.weight[..., 0])
        block.skip.bias.copy_(source.convs[i].bias.flatten())
        block.gate.copy_(source.channel_mlp_skips[i].weight.flatten())
        layers += [(block.inner, source.channel_mlp[i].fcs[0]), (block.outer, source.channel_mlp[i].fcs[1])]
    for to, one in layers:
        to.weight.copy_(one.weight[..., 0])
        to.bias.copy_(one.bias)


def training(call: Callable[[Tensor], Tensor], network: nn.Module, x: Tensor, half: bool, fused: bool) -> Run:
    """One step: forward, backward, Adam. Complex weights, as theirs, have no fused Adam."""
    optimiser, target = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused), torch.randn(len(x), 1, *x.shape[2:])

    def run() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = (call(x).float() - target).square().mean()
        loss.backward()
        optimiser.step()

    return run


def inference(call: Callable[[Tensor], Tensor], x: Tensor) -> Run:
    def run() -> Tensor:
        with torch.inference_mode():
            return call(x)

    return run


def prepare(case: Case, form: str, name: str) -> tuple[Run, Callable[[], Tensor]]:
    """One pass of a form of one network, and its forward alone."""
    torch.manual_seed(0)
    x, box = torch.randn(case.rows, 2, *case.shape), Box.periodic(case.shape, 1.0)
    theirs, ours = pair(case)
    network, arguments = {"theirs": (theirs, ()), "ours": (ours, (box,))}[name]
    call = torch.compile(network) if "compiled" in form else network

    def bound(x: Tensor) -> Tensor:
        return call(x, *arguments)

    run = inference(bound, x) if case.kind == "infer" else training(bound, network, x, "bf16" in form, name == "ours")
    return run, inference(lambda x: network(x, *arguments), x)


def compare(case: Case, forms: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """All forms of both networks raced together: a row for each form, with ours over theirs and over our plain form."""
    contenders: dict[str, Run] = {}
    torch.compiler.reset()  # no case compiles against the shapes of another
    for form in forms:
        runs = {name: prepare(case, form, name) for name in ("theirs", "ours")}
        torch.testing.assert_close(runs["ours"][1](), runs["theirs"][1](), rtol=1e-4, atol=1e-5)
        for name, (run, _) in runs.items():
            began = time.perf_counter()
            try:
                run()
            except Exception as error:  # their compiled backward is known to fail on complex weights
                print(f"{name} {case} {form}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
                continue
            print(f"{name} {case} {form}: first call {time.perf_counter() - began:.1f} s", flush=True)
            contenders[f"{name} {form}"] = run
    clock = time.process_time if options.threads == 1 else time.perf_counter
    result = race(contenders, seconds=options.seconds, clock=clock)
    made = [entry(case, form, result) for form in forms if f"ours {form}" in contenders]
    return [row | ({} if "compiled" in row["case"] else peaks(case, row["form"], options)) for row in made]


def peaks(case: Case, form: str, options: argparse.Namespace) -> dict[str, float]:
    """MB of both, each in a process of its own."""
    found = {}
    for name, key in (("ours", "MB"), ("theirs", "peer MB")):
        words = json.dumps({"case": asdict(case), "form": form, "name": name})
        command = [sys.executable, __file__, "--threads", str(options.threads), "--peak", words]
        found[key] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
    return found


def entry(case: Case, form: str, result: Race) -> dict[str, Any]:
    """Ratios of one form: against theirs of the same form (their plain form where theirs failed) and against our plain form."""
    name = f"{case} {form}".strip()
    peer = f"theirs {form}" if f"theirs {form}" in result.times else "theirs "
    ours = f"ours {form}"
    return {
        "case": name,
        "form": form,
        "peer": peer.strip(),
        "ratio": result.ratio(peer, ours),
        "quartiles": result.quartiles(peer, ours),
        "over our plain form": result.ratio("ours ", ours),
        "ms": 1e3 * result.median(ours),
        "peer ms": 1e3 * result.median(peer),
        "goal": GOALS.get(name),
        "rounds": len(result.times[ours]),
        "noise": result.noise,
    }


CHILD = """
import time, torch
torch.set_num_threads({threads})
x = torch.randn(8, 2, 128, 128)
if {ours}:
    from surrogates.domains import Box
    from surrogates.operators import FNO
    f, rest = FNO(2, 1, width=64, modes=(16, 9), positions=0), (Box.periodic((128, 128), 1.0),)
else:
    from neuralop.models import FNO
    f, rest = FNO((16, 16), 2, 1, 64, positional_embedding=None), ()
times = []
with torch.inference_mode():
    for _ in range(6):
        began = {clock}()
        f(x, *rest)
        times.append({clock}() - began)
print("seconds", sorted(times[1:])[2])
"""


def faults(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Inference at 128^2 with 8 rows in fresh processes by turns, each with its own allocator settings."""
    clock = "time.process_time" if options.threads == 1 else "time.perf_counter"
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(3):
        for ours in (False, True):
            code = CHILD.format(threads=options.threads, ours=ours, clock=clock)
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
            times[ours].append(float(done.stdout.split("seconds")[-1]))
    ratios = [a / b for a, b in zip(times[False], times[True], strict=True)]
    ours, theirs = (1e3 * median(times[key]) for key in (True, False))
    return [{"case": "infer 128^2 as imported", "ratio": median(ratios), "ms": ours, "peer ms": theirs, "goal": GOALS["faults"]}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", nargs="*", choices=[*CASES, "faults"], default=[*CASES, "faults"])
    parser.add_argument("--peak", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        case = Case(**options.peak["case"] | {"modes": tuple(options.peak["case"]["modes"])})
        print(grown(prepare(case, options.peak["form"], options.peak["name"])[0]))
        return
    infer, train = [""], ["", "bf16"]
    if options.compile:
        infer, train = [*infer, "compiled"], [*train, "compiled", "bf16 compiled"]
    forms = {"infer": infer, "train": train}
    rows: list[dict[str, Any]] = []
    for name in options.only:
        for case in CASES.get(name, []):
            plain = case.rows == 1 or name == "volume"
            rows += compare(case, forms[case.kind][:1] if plain else forms[case.kind], options)
    if "faults" in options.only:
        rows += faults(options)
    columns = ("case", "ours ms", "theirs ms", "theirs/ours", "goal", "over our plain form", "ours MB", "theirs MB")
    keys = ("case", "ms", "peer ms", "ratio", "goal", "over our plain form", "MB", "peer MB")
    table(f"FNO, {options.threads} thread(s)", columns, [tuple(row.get(k) or "" for k in keys) for row in rows])
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
