"""What a rollout costs beside its network: the engine with writing on over the bare network, and our network over neuraloperator's (G14);
buffered frames against one Zarr write a frame (G13).

    python benchmarks/speed/rollout.py [--json rollout.json] [--seconds 8] [--threads 1]

One trajectory on 64^2, batch 1, deterministic FNO of neuraloperator's shape (width 64, 4 layers, n_modes (16, 16)). The bare network is
called on its own normalised output, without surrogate, engine or file; the engine is `simulate(..., out=FOLDER)`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import zarr
from timing import machine, race, table
from torch import Tensor, nn

import surrogates as sg
from surrogates.forecast.engine import CHUNK
from surrogates.forecast.zarr_sink import ZarrSink
from surrogates.interchange import to_xarray
from surrogates.operators import FNO

N, FRAMES, CHANNELS, WIDTH = 64, 256, 2, 64
GOALS = {"neuraloperator / ours": 2.0, "engine / bare network": 1.05, "zarr a frame / buffered": 15.0}


def bare(network: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
    """The network on its own output, FRAMES times."""

    def run() -> Tensor:
        with torch.inference_mode():
            z = x
            for _ in range(FRAMES):
                z = z + 0.01 * network(z)
        return z

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp())
    try:
        results = {**network_and_engine(folder, options.seconds), **writers(folder, options.seconds)}
    finally:
        shutil.rmtree(folder)
    table("G13, G14: rollout", ("ratio", "measured", "goal"), [(k, v, GOALS[k]) for k, v in results.items()])
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "goals": GOALS, "results": results}, indent=1))


def network_and_engine(folder: Path, seconds: float) -> dict[str, float]:
    """Ratios of whole rollouts of FRAMES frames."""
    box, fields = sg.Box.periodic((N, N), 2 * torch.pi), sg.Fields.of(sg.Field("velocity", components=("x", "y")))
    ours = FNO(CHANNELS, CHANNELS, width=WIDTH, modes=(16, 9), layers=4).eval()
    surrogate = sg.Surrogate(fields, box, 0.1, operator=ours).eval()
    surrogate.normaliser.tendency_std.fill_(0.01)
    x = torch.randn(1, CHANNELS, N, N)
    start = to_xarray(x[None], fields, box, time=[0.0], trajectories=[0], attrs={"dt": 0.1})
    count = iter(range(10**9))
    contenders: dict[str, Callable[[], object]] = {
        "bare": bare(lambda z: ours(z, box), x),
        "engine": lambda: sg.simulate(surrogate, start, FRAMES, out=folder / str(next(count))),
        "neuraloperator": bare(peer(), x),
    }
    result = race(contenders, seconds=seconds)
    return {"neuraloperator / ours": result.ratio("neuraloperator", "bare"), "engine / bare network": result.ratio("engine", "bare")}


def peer() -> nn.Module:
    """neuraloperator's FNO of the same shape."""
    import neuralop.models

    return neuralop.models.FNO(n_modes=(16, 16), in_channels=CHANNELS, out_channels=CHANNELS, hidden_channels=WIDTH, n_layers=4).eval()


def writers(folder: Path, seconds: float) -> dict[str, float]:
    """A frame at a time into a Zarr array, against our sink's buffered regions; layout and metadata of both are made outside the clock."""
    fields, box = sg.Fields.of(sg.Field("u")), sg.Box.periodic((N, N), 1.0)
    frames = np.random.default_rng(0).standard_normal((1, FRAMES, N, N)).astype(np.float32)
    nothing = torch.full((), torch.nan).expand(1, FRAMES, 1, N, N)
    template = to_xarray(nothing, fields, box, time=[0.1 * n for n in range(FRAMES)], trajectories=[0])
    for name in ("failed_step", "failed_reason"):
        template[name] = ("trajectory", np.full(1, -1))
    sink = ZarrSink(folder / "ours", template, {}, CHUNK)
    theirs = zarr.create_array(str(folder / "theirs"), shape=(FRAMES, N, N), chunks=(1, N, N), dtype="float32")

    def buffered() -> None:
        for first in range(0, FRAMES, CHUNK):
            sink.write([0], first, {"u": frames[:, first : first + CHUNK]})

    def one_by_one() -> None:
        for n in range(FRAMES):
            theirs[n] = frames[0, n]

    result = race({"ours": buffered, "zarr": one_by_one}, seconds=seconds)
    each = {name: 1e6 * median(times) / FRAMES for name, times in result.times.items()}
    print(f"buffered {each['ours']:.0f} us a frame, one by one {each['zarr']:.0f}")
    return {"zarr a frame / buffered": result.ratio("zarr", "ours")}


if __name__ == "__main__":
    main()
