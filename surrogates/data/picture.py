"""The picture of a data set's card: one test trajectory, a strip of vorticity in the plane or a space-time diagram on a line.

    python -m surrogates.data.picture kolmogorov2d --size small --out datasets/kolmogorov2d/picture.png

Needs matplotlib and a data set that was made before.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from surrogates.data.files import open_dataset
from surrogates.interchange import TIME, box_of, fields_of, from_xarray

PANELS = 5


def draw(dataset: xr.Dataset) -> Any:
    """A matplotlib figure of the first trajectory. Raises ValueError for three dimensions."""
    import matplotlib

    matplotlib.use("Agg")
    box, fields = box_of(dataset), fields_of(dataset)
    u = from_xarray(dataset.isel(trajectory=slice(1)), fields, torch.float64)[0]
    times = dataset[TIME].values
    if box.dim == 1:
        return _diagram(u[:, 0].numpy(), times, box.lengths[0], fields.channels[0])
    if box.dim == 2:
        shown = np.linspace(0, len(times) - 1, PANELS).round().astype(int)
        vortices = box.vorticity(u[shown]) if fields.count == 2 else u[shown, :1]
        name = "vorticity" if fields.count == 2 else fields.channels[0]
        return _strip(vortices[:, 0].numpy(), times[shown], box.lengths, name)
    raise ValueError(f"only one and two dimensions are drawn, this domain has {box.dim}")


def _strip(frames: Any, times: Any, lengths: tuple[float, ...], name: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.2 * len(frames), 2.6), layout="constrained")
    axes, limit = np.atleast_1d(figure.subplots(1, len(frames), sharey=True)), float(np.abs(frames).max())
    for axis, frame, time in zip(axes, frames, times, strict=True):
        image = axis.imshow(frame.T, origin="lower", extent=(0, lengths[0], 0, lengths[1]), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(title=f"t = {time:.3g}", xlabel="x")
    axes[0].set_ylabel("y")
    figure.colorbar(image, ax=list(axes), label=name, shrink=0.8)
    return figure


def _diagram(u: Any, times: Any, length: float, name: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axis, limit = figure.subplots(), float(np.abs(u).max())
    image = axis.imshow(u.T, origin="lower", aspect="auto", extent=(times[0], times[-1], 0, length), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.set(xlabel="t", ylabel="x")
    figure.colorbar(image, ax=axis, label=name)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--size")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    draw(open_dataset(options.name, "test", size=options.size)).savefig(options.out, dpi=100)


if __name__ == "__main__":
    main()
