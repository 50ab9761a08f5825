"""Our FactFormer against the published 2-D Kolmogorov network: inference and training, float32 and bfloat16 (G4, G5), peak memory beside.

    git clone https://github.com/BaratiLab/FactFormer somewhere
    python benchmarks/speed/factformer.py --original somewhere [--json factformer.json] [--seconds 20] [--threads 1] [--device cpu]

The published sizes: 10 frames in, width 128, depth 4, 8 heads of 64 with kernels of rank 128, latent space of 256, one latent step; 64^2.
The original is imported from the checkout and not changed there. As committed it does not run: its group norm over the domain returns
(b, nx ny, c), which its residual cannot add to (b, nx, ny, c). `Whole`, here and at run time, gives the norm's answer its argument's shape.

Both are given the same weights and compared, from the input to the latent space before the decoder. For that the original's rotary
frequencies are set to our whole multiples, its second matrix before the pooling to the identity (ours has their product), and the linear
layer behind its position features to zero, as ours behind the harmonics; both still compute them. The decoders differ (theirs has a group
norm and a grouped convolution): both are timed, neither is compared.

One thread is timed by processor time. Peak memory is what two calls add to the largest resident size of a fresh process (Linux), or the
allocator's peak on a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import grown, machine, race, table
from torch import Tensor, nn

from surrogates.domains import Box
from surrogates.operators.factformer import FactFormer

GOALS = {"infer": 1.3, "infer bf16": 2.0, "train": 1.3}
CASES = ("infer", "infer bf16", "train", "train bf16")
GRID, FRAMES, WIDTH, LAYERS, HEADS, HEAD, RANK, LATENT = 64, 10, 128, 4, 8, 64, 128, 2.0
HARMONICS = GRID // 2 - 1  # RANK / 2 pairs, so each harmonic twice, and the same in every head

Run = Callable[[], object]


def ours() -> FactFormer:
    sizes = {"width": WIDTH, "layers": LAYERS, "heads": HEADS, "head": HEAD, "rank": RANK, "harmonics": HARMONICS, "latent": LATENT}
    network = FactFormer(FRAMES, 1, **sizes)
    for block in network.blocks:
        nn.init.zeros_(block.place.weight)
    return network


def theirs(checkout: Path) -> nn.Module:
    """The published network of these sizes, cured."""
    sys.path.insert(0, str(checkout))
    example, basics = (importlib.import_module(name) for name in ("examples.turb_ns2d_fact_lm", "libs.basics"))

    class Whole(basics.GroupNorm):  # type: ignore[misc, name-defined]
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).reshape(x.shape)

    sizes = {
        "dim": WIDTH,
        "depth": LAYERS,
        "dim_head": HEAD,
        "heads": HEADS,
        "kernel_multiplier": RANK // HEAD,
        "latent_multiplier": LATENT,
    }
    frames = {"in_dim": 1, "in_time_window": FRAMES, "out_dim": 1, "out_time_window": 1, "max_latent_steps": 1}
    network: nn.Module = example.FactFormer2D(types.SimpleNamespace(**sizes, **frames, pos_in_dim=2, pos_out_dim=2))
    for _, block in network.encoder.layers:
        block.to_out[0].__class__ = Whole
    return network


@torch.no_grad()
def copy(one: FactFormer, other: nn.Module) -> None:
    """Our parameters in theirs, from the input to the latent space."""
    waves = torch.arange(RANK // 2) * (HARMONICS + 1) // (RANK // 2)
    layers: list[tuple[nn.Module, nn.Module]] = [(one.lift, other.to_in), (one.expand, other.expand_latent)]
    layers += [(one.step.norm, other.propagator.norm)]
    layers += list(zip((one.step.inner, one.step.outer), linears(other.propagator.fn), strict=True))
    other.latent_time_emb.copy_(one.times.view(other.latent_time_emb.shape))
    for block, (place, peer) in zip(one.blocks, other.encoder.layers, strict=True):
        nn.init.zeros_(place[1].weight)
        nn.init.zeros_(place[1].bias)
        nn.init.eye_(peer.to_in.weight)
        layers += [(block.norm, peer.in_norm), (block.value, peer.to_v), (block.inner, peer.to_out[1]), (block.outer, peer.to_out[3])]
        kernels = ((peer.to_x[0], peer.low_rank_kernel_x), (peer.to_y[1], peer.low_rank_kernel_y))
        for axis, (pool, kernel) in zip(block.kernels.axes, kernels, strict=True):
            layers += [(axis.reduce, pool.to_in), (axis.norm, pool.out_ffn.norm)]
            layers += list(zip((axis.gated, axis.mix), linears(pool.out_ffn.fn), strict=True))
            q, k = axis.queries_keys.weight.chunk(2)
            kernel.to_q.weight.copy_(q)
            kernel.to_k.weight.copy_(k)
            kernel.pos_emb.inv_freq.copy_(waves * kernel.pos_emb.min_freq)
    for source, to in layers:
        to.weight.copy_(source.weight)
        if to.bias is not None:
            to.bias.copy_(source.bias)


def linears(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, nn.Linear)]


def pair(checkout: Path, device: str) -> dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """Both networks of the same weights and how each is called with (B, FRAMES, *X)."""
    one, other = ours(), theirs(checkout)
    copy(one, other)
    one, other = one.to(device), other.to(device)
    box = Box.periodic((GRID, GRID), 2 * math.pi)
    x = [box.coordinate(axis).float().to(device)[:, None] for axis in range(2)]
    calls = {"ours": (one, lambda u: one(u, box)), "theirs": (other, lambda u: other(u.permute(0, 2, 3, 1).contiguous(), x)[:, 0, ..., 0])}
    return calls


def compare(one: nn.Module, other: nn.Module, calls: list[Callable[[], object]]) -> float:
    """The largest difference of what enters the decoders, over the largest value."""
    seen: list[Tensor] = []
    hooks = [decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for decoder in (one.project_in, other.simple_to_out)]
    with torch.inference_mode():
        for call in calls:
            call()
    for hook in hooks:
        hook.remove()
    a, b = seen
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    return float((a - b).abs().max() / b.abs().max())


def prepare(case: str, network: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor) -> Run:
    """One call of a case: inference, or forward, backward and Adam."""
    half, device = "bf16" in case, x.device.type
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    target = torch.randn(len(x), GRID, GRID, device=device)

    def infer() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=half):
            call(x)
        synchronise(device)

    def train() -> None:
        optimiser.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = (call(x).float().view(target.shape) - target).square().mean()
        loss.backward()
        optimiser.step()
        synchronise(device)

    return infer if "infer" in case else train


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak(options: argparse.Namespace) -> float:
    """MB that two calls of one case of one network add to the peak so far."""
    name, case = options.peak.split(" ", 1)
    network, call = pair(options.original, options.device)[name]
    run = prepare(case, network, call, torch.randn(options.rows, FRAMES, GRID, GRID, device=options.device))
    return grown(run, device=options.device)


def child(name: str, case: str, options: argparse.Namespace) -> float:
    words = ["--original", str(options.original), "--device", options.device, "--rows", str(options.rows), "--peak", f"{name} {case}"]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure(case: str, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    both = pair(options.original, options.device)
    x = torch.randn(options.rows, FRAMES, GRID, GRID, device=options.device)
    difference = compare(both["ours"][0], both["theirs"][0], [lambda call=call: call(x) for _, call in both.values()])
    clock = time.process_time if options.threads == 1 and options.device == "cpu" else time.perf_counter
    runs = {name: prepare(case, network, call, x) for name, (network, call) in both.items()}
    result = race(runs, seconds=options.seconds, clock=clock)
    return {
        "case": f"{case} {GRID}^2",
        "ratio": result.ratio("theirs", "ours"),
        "quartiles": result.quartiles("theirs", "ours"),
        "ms": 1e3 * result.median("ours"),
        "peer ms": 1e3 * result.median("theirs"),
        "goal": GOALS.get(case),
        "MB": child("ours", case, options),
        "peer MB": child("theirs", case, options),
        "difference": difference,
        "rows": options.rows,
        "rounds": len(result.times["ours"]),
        "noise": result.noise,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--original", type=Path, help="a checkout of the published code; without one nothing is measured")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=CASES, choices=CASES)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=".*meshgrid.*")
    if options.original is None:
        print("factformer: give --original CHECKOUT of https://github.com/BaratiLab/FactFormer to compare with; nothing measured")
        return
    if options.peak:
        print(peak(options))
        return
    rows = [measure(case, options) for case in options.only]
    columns = ("case", "ours ms", "theirs ms", "theirs/ours", "goal", "ours MB", "theirs MB")
    keys = ("case", "ms", "peer ms", "ratio", "goal", "MB", "peer MB")
    table(f"FactFormer, {options.threads} thread(s), {options.device}", columns, [tuple(row.get(k) or "" for k in keys) for row in rows])
    print(f"largest difference before the decoders: {max(row['difference'] for row in rows):.1e} of the largest value")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
