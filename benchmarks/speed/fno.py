"""Our FNO against neuraloperator's of the same function: inference and training, as it is, compiled and in bfloat16 (G2, G3), and what
the allocator's page faults cost (G1).

    python benchmarks/speed/fno.py [--json fno.json] [--seconds 5] [--threads 1] [--compile] [--only infer train demo faults]

Both have the same weights (copied) and the answers are compared first. One thread is timed by processor time, which other processes
disturb little; more threads by wall time. `--compile` adds the compiled forms, which take minutes to make. G1 alternates two kinds of
process: neuraloperator as imported, and our package as imported, which tunes the allocator.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timing import Race, machine, race, table
from torch import Tensor, nn

from surrogates.domains import Box
from surrogates.operators import FNO

GOALS = {"infer 64^2": 1.4, "infer 64^2 compiled": 1.75, "train 64^2 compiled": 1.6, "train 64^2 bf16 compiled": 2.2, "faults": 5.0}
WIDTH, MODES, THEIR_MODES = 64, (16, 9), (16, 16)
DEMO = {"grid": 48, "rows": 16, "width": 32, "modes": (24, 13)}

Run = Callable[[], object]


def pair(channels: int, width: int, modes: tuple[int, int]) -> tuple[nn.Module, FNO]:
    """Theirs and ours with the same weights, four layers, no positions."""
    from neuralop import models

    theirs = models.FNO((modes[0], 2 * (modes[1] - 1)), channels, 1, width, positional_embedding=None)
    ours = FNO(channels, 1, width=width, modes=modes, positions=0)
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
        block.spectral.weight.copy_(torch.cat([w.real, w.imag], 1).permute(2, 3, 0, 1).reshape(block.spectral.weight.shape))
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


def compare(
    kind: str, grid: int, rows: int, width: int, modes: tuple[int, int], forms: list[str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """All forms of both networks raced together: a row for each form, with ours over theirs and over our plain form."""
    x, box = torch.randn(rows, 2, grid, grid), Box.periodic((grid, grid), 1.0)
    contenders: dict[str, Run] = {}
    torch.compiler.reset()  # no case compiles against the shapes of another
    for form in forms:
        theirs, ours = pair(2, width, modes)
        with torch.inference_mode():
            torch.testing.assert_close(ours(x, box), theirs(x), rtol=1e-4, atol=1e-5)
        for name, network, arguments in (("theirs", theirs, ()), ("ours", ours, (box,))):
            call = torch.compile(network) if "compiled" in form else network
            bound: Callable[[Tensor], Tensor] = lambda x, call=call, arguments=arguments: call(x, *arguments)  # noqa: E731
            run = inference(bound, x) if kind == "infer" else training(bound, network, x, "bf16" in form, name == "ours")
            began = time.perf_counter()
            try:
                run()
            except Exception as error:  # their compiled backward is known to fail on complex weights
                print(f"{name} {kind} {grid}^2 {form}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
                continue
            print(f"{name} {kind} {grid}^2 {form}: first call {time.perf_counter() - began:.1f} s", flush=True)
            contenders[f"{name} {form}"] = run
    clock = time.process_time if options.threads == 1 else time.perf_counter
    result = race(contenders, seconds=options.seconds, clock=clock)
    return [entry(kind, grid, form, result) for form in forms if f"ours {form}" in contenders]


def entry(kind: str, grid: int, form: str, result: Race) -> dict[str, Any]:
    """Ratios of one form: against theirs of the same form (their plain form where theirs failed) and against our plain form."""
    name = f"{kind} {grid}^2 {form}".strip()
    peer = f"theirs {form}" if f"theirs {form}" in result.times else "theirs "
    ours = f"ours {form}"
    return {
        "case": name,
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
    parser.add_argument("--only", nargs="*", default=["infer", "train", "demo", "faults"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    infer, train = [""], ["", "bf16"]
    if options.compile:
        infer, train = [*infer, "compiled"], [*train, "compiled", "bf16 compiled"]
    rows: list[dict[str, Any]] = []
    if "infer" in options.only:
        for grid, batch in ((64, 8), (64, 1), (128, 8)):
            found = compare("infer", grid, batch, WIDTH, MODES, infer if batch == 8 else [""], options)
            rows += [row | {"case": row["case"] + (" one row" if batch == 1 else "")} for row in found]
    if "train" in options.only:
        rows += compare("train", 64, 8, WIDTH, MODES, train, options)
    if "demo" in options.only:
        rows += compare("train", DEMO["grid"], DEMO["rows"], DEMO["width"], DEMO["modes"], train, options)
    if "faults" in options.only:
        rows += faults(options)
    columns = ("case", "ours ms", "theirs ms", "theirs/ours", "goal", "over our plain form")
    keys = ("case", "ms", "peer ms", "ratio", "goal", "over our plain form")
    table(f"FNO, {options.threads} thread(s)", columns, [tuple(row.get(k) or "" for k in keys) for row in rows])
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
