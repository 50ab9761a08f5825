"""A small data set on every kind of domain, in memory and as a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from surrogates.data import mesh_file
from surrogates.data.layout import PART, Part, checksum, create_like
from surrogates.data.written import channels
from surrogates.domains import Box, Masked, Mesh, Patch, Sphere
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Field, Fields
from surrogates.interchange import fields_of, to_xarray

FIELDS = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("height", "m"))
ATTRS = {"recipe": "{}", "version": "0", "licence": "CC0"}


def disc(n: int = 60) -> Mesh:
    from scipy.spatial import Delaunay

    points = np.random.default_rng(0).uniform(-1, 1, (n, 2))
    return Mesh.from_cells(torch.from_numpy(points), torch.from_numpy(Delaunay(points).simplices).long())


def land(box: Box | Patch) -> Masked:
    wet = torch.ones(box.shape, dtype=torch.bool)
    wet[:2] = False
    return Masked(box, wet)


DOMAINS: dict[str, Callable[[], AnyDomain]] = {
    "line": lambda: Box.periodic((32,), 1.0),
    "plane": lambda: Box.periodic((16, 12), (2.0, 1.0)),
    "channel": lambda: Box((8, 6), (0.0, 0.0), (4.0, 1.0), ("periodic", "wall"), (None, (0.0, 0.1, 0.3, 0.6, 0.8, 0.95, 1.0))),
    "cube": lambda: Box.periodic((6, 5, 4), 1.0),
    "sphere": lambda: Sphere((8, 16), north_first=False),
    "sea": lambda: land(Patch((8, 10), 30.0, 46.0, -6.0, 36.0, north_first=True)),
    "mesh": disc,
}


def dataset(domain: AnyDomain, rows: int = 2, frames: int = 5, seed: int = 0, about: dict[str, str] | None = None) -> xr.Dataset:
    fields = FIELDS if domain.dim == 2 else Fields.of(Field("height", "m"))
    u = torch.randn(rows, frames, fields.count, *domain.shape, generator=torch.Generator().manual_seed(seed))
    ids = list(range(seed * rows, (seed + 1) * rows))
    return to_xarray(u, fields, domain, time=[6.0 * n for n in range(frames)], trajectories=ids, about_time=about)


def write(d: xr.Dataset, folder: Path, split: str = "train") -> Path:
    path = folder / "data" / split / f"made.hdf5{PART}"
    path.parent.mkdir(parents=True, exist_ok=True)
    part: Part | mesh_file.Part
    if "node" in d.dims:
        mesh_file.create(path, [d], name="made", attrs=ATTRS)
        part = mesh_file.Part(path)
    else:
        create_like(path, d, name="made", attrs=ATTRS)
        part = Part(path)
    for row in range(d.sizes["trajectory"]):
        part.write_frames(row, 0, channels(d.isel(trajectory=row), fields_of(d), ("time",)))
    if isinstance(part, Part):
        part.finish({"checksum": checksum(path), "certificate": {}})
    else:
        part.finish({})
    return folder
