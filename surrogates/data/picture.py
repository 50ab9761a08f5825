"""The picture of a data set's card: one test trajectory, a strip of vorticity (plane, sphere) or a space-time diagram on a line.

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
from jaxtyping import Float
from torch import Tensor

from surrogates.data.files import open_dataset
from surrogates.domains import Sphere
from surrogates.interchange import box_of, domain_of, fields_of, from_xarray, times_of
from surrogates.pde import spherical

PANELS, DAY = 5, 86400.0


def draw(dataset: xr.Dataset) -> Any:
    """A matplotlib figure of the first trajectory. Raises ValueError for three dimensions."""
    import matplotlib

    matplotlib.use("Agg")
    fields, times = fields_of(dataset), times_of(dataset)
    u = from_xarray(dataset.isel(trajectory=slice(1)), fields, torch.float64)[0]
    if isinstance(domain_of(dataset), Sphere):
        return _globes(dataset, u[_shown(times)], times[_shown(times)])
    box = box_of(dataset)
    if box.dim == 1:
        return _diagram(u[:, 0].numpy(), times, box.lengths[0], fields.channels[0])
    if box.dim == 2:
        shown = _shown(times)
        vortices = box.vorticity(u[shown]) if fields.count == 2 else u[shown, :1]
        name = "vorticity" if fields.count == 2 else fields.channels[0]
        return _strip(vortices[:, 0].numpy(), times[shown], box.lengths, name)
    raise ValueError(f"only one and two dimensions are drawn, this domain has {box.dim}")


def _shown(times: Any) -> Any:
    return np.linspace(0, len(times) - 1, PANELS).round().astype(int)


def _globes(dataset: xr.Dataset, u: Tensor, times: Any) -> Any:
    """Maps of vorticity where there is a velocity, else of the first channel; time in days where it is long."""
    from matplotlib.figure import Figure

    sphere, fields = domain_of(dataset), fields_of(dataset)
    assert isinstance(sphere, Sphere)
    flow = "velocity" in fields.names and len(fields["velocity"].components) == 2
    frames = (vorticity(u[:, fields.slice("velocity")], sphere) if flow else u[:, :1])[:, 0].numpy()
    figure = Figure(figsize=(2.6 * len(frames), 1.9), layout="constrained")
    axes, limit = np.atleast_1d(figure.subplots(1, len(frames), sharey=True)), float(np.abs(frames).max())
    days = times[-1] > 2 * DAY
    for axis, frame, time in zip(axes, frames, times, strict=True):
        north_up = frame if sphere.north_first else frame[::-1]
        image = axis.imshow(north_up, extent=(0, 360, -90, 90), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(title=f"t = {time / DAY:.3g} days" if days else f"t = {time:.3g}", xticks=(0, 180, 360), yticks=(-90, 0, 90))
    figure.colorbar(image, ax=list(axes), label="vorticity" if flow else fields.channels[0], shrink=0.8)
    return figure


def vorticity(u: Float[Tensor, "T 2 lat lon"], sphere: Sphere) -> Float[Tensor, "T 1 lat lon"]:
    """k . curl u of velocities to the north and to the east."""
    t = spherical.tables(sphere, spherical.most(sphere), u.dtype, u.device)
    return spherical.synthesise(spherical.divergence_and_curl(u[:, :1], u[:, 1:], t)[1], t) / sphere.radius


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
