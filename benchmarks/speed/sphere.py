"""Our spherical harmonic transform and spherical FNO against torch-harmonics' transforms and neuraloperator's SFNO, which is built on them:
inference and training, peak memory beside time.

    python benchmarks/speed/sphere.py [--json sphere.json] [--seconds 4] [--threads 1] [--device cpu] [--only transform network]

`transform` is analysis, then synthesis (RealSHT, InverseRealSHT), of a batch of fields, each from its own layout. `network` is four blocks
of the same function with the same weights (copied), Gauss latitudes, all degrees that the grid holds. Answers are compared first. One
thread on a CPU is timed by processor time. Peak memory is what tensors take at the height of a call above what they took before it: the
allocator counts it on a GPU, and on a CPU torch's profiler, which sees every allocation.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import machine, race, table
from torch import Tensor, nn

from surrogates.domains import Sphere
from surrogates.domains.harmonics import analyse, synthesise, transform
from surrogates.operators.spherical_fno import SphericalFNO

CASES = ((32, 64, 8, 32), (64, 128, 8, 32), (128, 256, 2, 32))
"""Latitudes, longitudes, rows and width, for one core; a GPU takes `LARGE`."""
LARGE = ((32, 64, 32, 64), (64, 128, 32, 64), (128, 256, 16, 64))

Run = Callable[[], object]


def transforms(nlat: int, nlon: int, rows: int, width: int, device: torch.device) -> tuple[dict[str, Run], dict[str, Run]]:
    """There and back of rows x width fields, by both, without and with gradients."""
    from torch_harmonics import InverseRealSHT, RealSHT

    sphere = Sphere((nlat, nlon), "legendre-gauss")
    t = transform(sphere, nlat, nlat, torch.float32, device)
    there, back = (kind(nlat, nlon, nlat, nlat, "legendre-gauss").float().to(device) for kind in (RealSHT, InverseRealSHT))
    u = torch.randn(nlat, nlon, rows, width, device=device)
    v = u.permute(2, 3, 0, 1).contiguous()
    calls: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
        "ours": (lambda u: synthesise(analyse(u, t), t), u),
        "theirs": (lambda v: back(there(v)), v),
    }
    torch.testing.assert_close(calls["ours"][0](u).permute(2, 3, 0, 1), calls["theirs"][0](v), rtol=1e-3, atol=1e-4)
    return {k: inference(f, x) for k, (f, x) in calls.items()}, {k: gradient(f, x) for k, (f, x) in calls.items()}


def inference(call: Callable[[Tensor], Tensor], x: Tensor) -> Run:
    def run() -> Tensor:
        with torch.inference_mode():
            return call(x)

    return run


def gradient(call: Callable[[Tensor], Tensor], x: Tensor) -> Run:
    x = x.clone().requires_grad_()
    weight = torch.randn_like(call(x.detach()))

    def run() -> None:
        x.grad = None
        (call(x) * weight).sum().backward()

    return run


def networks(nlat: int, nlon: int, rows: int, width: int, device: torch.device) -> tuple[dict[str, Run], dict[str, Run]]:
    """Inference and a training step of both."""
    theirs, ours = pair(nlat, width)
    theirs, ours = theirs.to(device), ours.to(device)
    x, sphere = torch.randn(rows, 2, nlat, nlon, device=device), Sphere((nlat, nlon), "legendre-gauss")
    with torch.no_grad():  # not inference mode: they keep matrices from their first call, which training then would refuse
        torch.testing.assert_close(ours(x, sphere), theirs(x), rtol=1e-3, atol=1e-3)
    calls: dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]] = {
        "ours": (ours, lambda x: ours(x, sphere)),
        "theirs": (theirs, lambda x: theirs(x)),
    }
    fused = {"ours": True, "theirs": False}  # complex weights, as theirs, have no fused Adam
    train = {k: training(network, call, x, fused[k]) for k, (network, call) in calls.items()}
    return {k: inference(call, x) for k, (_, call) in calls.items()}, train


def pair(degrees: int, width: int) -> tuple[nn.Module, SphericalFNO]:
    """Theirs and ours with the same weights, four layers, no positions, on Gauss latitudes."""
    from neuralop.layers.spherical_convolution import SphericalConv
    from neuralop.models.sfno import SFNO

    conv = partial(SphericalConv, sht_grids="legendre-gauss")
    theirs = SFNO((degrees, 2 * degrees), 2, 1, width, positional_embedding=None, conv_module=conv)
    ours = SphericalFNO(2, 1, width=width, degrees=degrees, positions=0)
    copy(theirs, ours)
    return theirs, ours


@torch.no_grad()
def copy(theirs: nn.Module, ours: SphericalFNO) -> None:
    """Their parameters in our layout: degrees first, real, their convolution's bias in our skip."""
    source = theirs.fno_blocks
    ends = (ours.lift_in, ours.lift_out, ours.project_in, ours.project_out)
    layers = list(zip(ends, (*theirs.lifting.fcs, *theirs.projection.fcs), strict=True))
    for i, block in enumerate(ours.blocks):
        w = source.convs[i].weight.tensor
        w.imag.zero_()
        block.filter.weight.copy_(w.real.permute(2, 0, 1))
        block.skip.weight.copy_(source.fno_skips[i].conv.weight[..., 0])
        block.skip.bias.copy_(source.convs[i].bias.flatten())
        block.gate.copy_(source.channel_mlp_skips[i].weight.flatten())
        layers += [(block.inner, source.channel_mlp[i].fcs[0]), (block.outer, source.channel_mlp[i].fcs[1])]
    for to, one in layers:
        to.weight.copy_(one.weight[..., 0])
        to.bias.copy_(one.bias)


def training(network: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor, fused: bool) -> Run:
    """One step: forward, backward, Adam."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused)
    target = torch.randn(len(x), 1, *x.shape[2:], device=x.device)

    def run() -> None:
        optimiser.zero_grad()
        (call(x) - target).square().mean().backward()
        optimiser.step()

    return run


def peak(run: Run, device: torch.device) -> float:
    """MB of tensors at their most, above what stood before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    changes = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    held = most = 0
    for event in sorted(changes, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / 1e6


def waited(run: Run) -> Run:
    def until_done() -> None:
        run()
        torch.cuda.synchronize()

    return until_done


def compare(name: str, contenders: dict[str, Run], device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    clock = time.process_time if options.threads == 1 and device.type == "cpu" else time.perf_counter
    runs = {k: waited(run) for k, run in contenders.items()} if device.type == "cuda" else contenders
    result = race(runs, seconds=options.seconds, clock=clock)
    memory = {k: peak(run, device) for k, run in contenders.items()}
    return {
        "case": name,
        "ratio": result.ratio("theirs", "ours"),
        "quartiles": result.quartiles("theirs", "ours"),
        "ms": 1e3 * result.median("ours"),
        "peer ms": 1e3 * result.median("theirs"),
        "MB": memory["ours"],
        "peer MB": memory["theirs"],
        "rounds": len(result.times["ours"]),
        "noise": result.noise,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", default=["transform", "network"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, rows = torch.device(options.device), []
    for nlat, nlon, batch, width in LARGE if device.type == "cuda" else CASES:
        for kind, make in (("transform", transforms), ("network", networks)):
            if kind in options.only:
                infer, train = make(nlat, nlon, batch, width, device)
                rows.append(compare(f"{kind} {nlat}x{nlon} B{batch} infer", infer, device, options))
                rows.append(compare(f"{kind} {nlat}x{nlon} B{batch} train", train, device, options))
    keys = ("case", "ms", "peer ms", "ratio", "MB", "peer MB")
    columns = ("case", "ours ms", "theirs ms", "theirs/ours", "ours MB", "theirs MB")
    table(f"Sphere, {options.device}, {options.threads} thread(s)", columns, [tuple(row[k] for k in keys) for row in rows])
    if options.json:
        where = {"device": torch.cuda.get_device_name()} if device.type == "cuda" else {}
        options.json.write_text(json.dumps({"machine": machine() | where, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
