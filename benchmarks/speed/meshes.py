"""Our MeshGraphNet against a plain torch-geometric one of the same weights: inference and training at 2k and 20k nodes (G7).

    python benchmarks/speed/meshes.py [--json meshes.json] [--seconds 8] [--threads 1] [--device cpu] [--nodes 2000 20000]

Theirs is the usual `MessagePassing` layer: messages from [e, h_j, h_i] concatenated at the edges, summed by scatter, edges in the order
that torch-geometric's own `FaceToEdge` gives. Answers are compared first. Five layers of the paper's width, so that training at 20k nodes
fits into a laptop's memory; `--layers 15` is the paper's. Memory is the peak above what is held before a step: of the process on a CPU
(each contender in a process of its own), of the allocator on a GPU. One thread is timed by processor time.
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

import numpy as np
import torch
from scipy.spatial import Delaunay
from timing import Race, grown, machine, race, table
from torch import Tensor, nn

from surrogates.domains import Mesh
from surrogates.operators.mesh_graph_net import MeshGraphNet
from surrogates.operators.mesh_inputs import edge_lengths

GOALS = {"train 2000": 1.6, "train 20000": 1.8}
WIDTH, LAYERS, CHANNELS = 128, 5, 3

Run = Callable[[], object]


def triangulation(nodes: int) -> Mesh:
    """Random points of the unit square, by Delaunay."""
    points = np.random.default_rng(0).random((nodes, 2))
    return Mesh.from_cells(points, Delaunay(points).simplices)


def perceptron(size: int, width: int, out: int, norm: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out)]
    return nn.Sequential(*layers, *([nn.LayerNorm(out)] if norm else []))


def plain(width: int, layers: int) -> nn.Module:
    """MeshGraphNet as one writes it with torch-geometric."""
    from torch_geometric.nn import MessagePassing

    class Layer(MessagePassing):
        def __init__(self) -> None:
            super().__init__(aggr="add")
            self.edge, self.node = perceptron(3 * width, width, width), perceptron(2 * width, width, width)

        def forward(self, h: Tensor, edge_index: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
            m = self.edge_updater(edge_index, h=h, e=e)
            return h + self.node(torch.cat([h, self.propagate(edge_index, m=m)], -1)), e + m

        def edge_update(self, h_i: Tensor, h_j: Tensor, e: Tensor) -> Tensor:
            return self.edge(torch.cat([e, h_j, h_i], -1))

        def message(self, m: Tensor) -> Tensor:
            return m

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nodes, self.edges = perceptron(CHANNELS, width, width), perceptron(3, width, width)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.out = perceptron(width, width, 1, norm=False)

        def forward(self, x: Tensor, edge_index: Tensor, features: Tensor) -> Tensor:
            h, e = self.nodes(x), self.edges(features)
            for layer in self.layers:
                h, e = layer(h, edge_index, e)
            return self.out(h)

    return Plain()


@torch.no_grad()
def copy(ours: MeshGraphNet, theirs: nn.Module) -> None:
    """Our parameters in their layout: the matrices of a first layer side by side."""
    pairs = [(ours.encode, theirs.nodes), (ours.encode_edges[0], theirs.edges), (ours.decode, theirs.out)]
    for block, layer in zip(ours.blocks, theirs.layers, strict=True):
        pairs += [(block.messages[0], layer.edge), (block.update, layer.node)]
    for source, to in pairs:
        linear = [m for m in to if isinstance(m, nn.Linear)]
        linear[0].weight.copy_(torch.cat([part.weight for part in source.parts], 1))
        linear[0].bias.copy_(source.parts[0].bias)
        for one, other in zip(source.layers, linear[1:], strict=True):
            other.load_state_dict(one.state_dict())
        if source.norm is not None:
            to[-1].load_state_dict(source.norm.state_dict())


def contenders(nodes: int, width: int, layers: int, device: str, check: bool = True) -> dict[str, tuple[nn.Module, Callable[[], Tensor]]]:
    """The networks and their forward passes on one mesh, found equal if asked; `recomputing` is ours with checkpoint=True."""
    from torch_geometric.data import Data
    from torch_geometric.transforms import FaceToEdge

    torch.manual_seed(0)
    mesh = triangulation(nodes)
    assert mesh.cells is not None
    ours = MeshGraphNet(CHANNELS, 1, width=width, layers=layers).to(device)
    again = MeshGraphNet(CHANNELS, 1, width=width, layers=layers, checkpoint=True).to(device)
    again.load_state_dict(ours.state_dict())
    theirs = plain(width, layers).to(device)
    copy(ours, theirs)
    edge_index = FaceToEdge()(Data(face=mesh.cells.T, num_nodes=nodes)).edge_index
    offset = mesh.points[edge_index[1]] - mesh.points[edge_index[0]]
    features = (torch.cat([offset, offset.norm(dim=1, keepdim=True)], 1) / edge_lengths(mesh)).float().to(device)
    x, edge_index = torch.randn(1, CHANNELS, nodes, device=device), edge_index.to(device)
    calls: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: ours(x, mesh),
        "recomputing": lambda: again(x, mesh),
        "theirs": lambda: theirs(x[0].T, edge_index, features).T[None],
    }
    if check:
        with torch.no_grad():
            torch.testing.assert_close(calls["ours"](), calls["theirs"](), rtol=1e-3, atol=1e-4)
    return {name: (network, calls[name]) for name, network in (("ours", ours), ("recomputing", again), ("theirs", theirs))}


def runs(kind: str, found: dict[str, tuple[nn.Module, Callable[[], Tensor]]], nodes: int, device: str) -> dict[str, Run]:
    """One step of each: a forward pass, or forward, backward and Adam."""
    target = torch.randn(1, 1, nodes, device=device)

    def inference(call: Callable[[], Tensor]) -> Run:
        def run() -> None:
            with torch.inference_mode():
                call()
            settle(device)

        return run

    def training(network: nn.Module, call: Callable[[], Tensor]) -> Run:
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)

        def run() -> None:
            optimiser.zero_grad()
            (call() - target).square().mean().backward()
            optimiser.step()
            settle(device)

        return run

    return {name: inference(call) if kind == "infer" else training(network, call) for name, (network, call) in found.items()}


def settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def compare(kind: str, nodes: int, options: argparse.Namespace) -> dict[str, Any]:
    """Both raced, and the memory of each."""
    found = contenders(nodes, options.width, options.layers, options.device)
    if kind == "infer":
        del found["recomputing"]
    steps = runs(kind, found, nodes, options.device)
    clock = time.process_time if options.threads == 1 and options.device == "cpu" else time.perf_counter
    result: Race = race(steps, seconds=options.seconds, warmup=1, rounds=(3, 100), clock=clock)
    peaks = {name: peak(kind, name, nodes, options) for name in steps}
    return {
        "case": f"{kind} {nodes}",
        "ratio": result.ratio("theirs", "ours"),
        "quartiles": result.quartiles("theirs", "ours"),
        "ms": 1e3 * result.median("ours"),
        "peer ms": 1e3 * result.median("theirs"),
        "goal": GOALS.get(f"{kind} {nodes}"),
        "MB": peaks["ours"],
        "peer MB": peaks["theirs"],
        "recomputing ms": 1e3 * result.median("recomputing") if kind == "train" else None,
        "recomputing MB": peaks.get("recomputing"),
        "rounds": len(result.times["ours"]),
        "noise": result.noise,
    }


def peak(kind: str, name: str, nodes: int, options: argparse.Namespace) -> float:
    """MB at the height of a step above what was held before, in a process of its own."""
    arguments = [
        __file__,
        "--nodes",
        str(nodes),
        "--device",
        options.device,
        "--width",
        str(options.width),
        "--layers",
        str(options.layers),
    ]
    done = subprocess.run([sys.executable, *arguments, "--peak", kind, name], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure_peak(kind: str, name: str, options: argparse.Namespace) -> float:
    (nodes,) = options.nodes
    found = contenders(nodes, options.width, options.layers, options.device, check=False)
    step = runs(kind, {name: found[name]}, nodes, options.device)[name]
    if options.device != "cpu":
        step()
    return grown(step, calls=1, device=options.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--nodes", type=int, nargs="*", default=[2000, 20000])
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(measure_peak(*options.peak, options))
        return
    rows = [compare(kind, nodes, options) for nodes in options.nodes for kind in ("infer", "train")]
    columns = ("case", "ours ms", "theirs ms", "theirs/ours", "goal", "ours MB", "theirs MB", "recomputing ms", "recomputing MB")
    keys = ("case", "ms", "peer ms", "ratio", "goal", "MB", "peer MB", "recomputing ms", "recomputing MB")
    title = f"MeshGraphNet, {options.layers} layers of {options.width}, {options.device}, {options.threads} thread(s)"
    table(title, columns, [tuple(row.get(k) or "" for k in keys) for row in rows])
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
