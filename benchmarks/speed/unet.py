"""U-Net against the matrix product, the limit of what convolutions are made of (G6): GF/s over GF/s, in float32 and bfloat16, inference and
training, with the memory each takes; and what computing blocks again costs and saves.

    python benchmarks/speed/unet.py [--json unet.json] [--seconds 5] [--threads 1] [--device cpu] [--grids 64 128]

Operations are counted by torch (2 for a multiplication and an addition) for convolutions and matrix products, and three times those of
inference for a training step of forward, backward and Adam; padding, norms and activations take time and count nothing. The product is
of two square matrices of 1024 (cuda: 8192), in the same type, raced in the same rounds. On a CPU with one thread times are processor
times, and memory is how far a process of its own grows; on a GPU it is the allocator's peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import grown, machine, race, table
from torch.utils.flop_counter import FlopCounterMode

from surrogates.domains import Box
from surrogates.operators.unet import UNet

GOAL = 0.9
NETWORK: dict[str, Any] = {"width": 32, "multipliers": (1, 2, 4), "blocks": 1}
ROWS = 8
CASES = ("infer", "infer bf16", "train", "train bf16", "train again", "train bf16 again")

Run = Callable[[], object]


def build(case: str, grid: int, device: str) -> tuple[UNet, Run]:
    """The network and one pass of a case such as "train bf16 again": bf16 by autocast, again for blocks computed twice."""
    torch.manual_seed(0)
    f = UNet(2, 2, checkpoint="again" in case, **NETWORK).to(device)
    x, box = torch.randn(ROWS, 2, grid, grid, device=device), Box.periodic((grid, grid), 1.0)
    half = torch.autocast(device, torch.bfloat16, enabled="bf16" in case)
    if "infer" in case:

        def infer() -> None:
            with torch.inference_mode(), half:
                f(x, box)

        return f, infer
    optimiser, target = torch.optim.Adam(f.parameters(), lr=1e-4, fused=True), torch.randn_like(x)

    def train() -> None:
        optimiser.zero_grad()
        with half:
            y = f(x, box)
        (y.float() - target).square().mean().backward()
        optimiser.step()

    return f, train


def product(case: str, device: str) -> tuple[Run, float]:
    """A product of square matrices in the type of the case, and its operations."""
    n = 1024 if device == "cpu" else 8192
    a, b = torch.randn(2, n, n, device=device, dtype=torch.bfloat16 if "bf16" in case else torch.float32)
    return lambda: a @ b, 2.0 * n**3


def operations(grid: int) -> float:
    """Of inference, as torch counts them."""
    _, run = build("infer", grid, "cpu")
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def peak(case: str, grid: int, device: str) -> float:
    """MB that two passes take; on a CPU, of a process of its own."""
    if device != "cpu":
        return grown(build(case, grid, device)[1], device=device)
    command = [sys.executable, __file__, "--child", case, "--grids", str(grid), "--threads", str(torch.get_num_threads())]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def settled(run: Run, device: str) -> Run:
    """`run`, and wait until it is done."""
    if device == "cpu":
        return run

    def finished() -> None:
        run()
        torch.cuda.synchronize()

    return finished


def measure(grid: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a case; each races with the product of its type."""
    clock = time.process_time if options.threads == 1 and options.device == "cpu" else time.perf_counter
    count, rows = operations(grid), []
    for case in CASES:
        gemm, work = product(case, options.device)
        _, run = build(case, grid, options.device)
        contenders = {"network": settled(run, options.device), "product": settled(gemm, options.device)}
        result = race(contenders, seconds=options.seconds, rounds=(3, 200), clock=clock)
        done = count * (3 if "train" in case else 1)
        rate = done / work * result.ratio("product", "network")
        rows.append(
            {
                "case": f"{case} {grid}^2",
                "ms": 1e3 * result.median("network"),
                "gflops": done / result.median("network") / 1e9,
                "product gflops": work / result.median("product") / 1e9,
                "ratio": rate,
                "goal": None if "again" in case else GOAL,
                "MB": peak(case, grid, options.device),
                "rounds": len(result.times["network"]),
                "noise": result.noise,
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--grids", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        print(grown(build(options.child, options.grids[0], "cpu")[1]))
        return
    rows = [row for grid in options.grids for row in measure(grid, options)]
    keys = ("case", "ms", "gflops", "product gflops", "ratio", "goal", "MB")
    table(f"U-Net, {options.threads} thread(s), {options.device}", keys, [tuple(row.get(k) or "" for k in keys) for row in rows])
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "network": NETWORK, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
