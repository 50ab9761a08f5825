"""A data set of latents: the trajectories of a data set through an encoder, in the usual layout, so that training reads it as any other.

Time, parameters and splits stay; fields are latent_0, latent_1, ... on the coarser grid. No pointwise score of latents means anything
physically, so the certificate's horizon stays behind; scores are taken of `Latent`, in physical fields.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor

import surrogates
from surrogates.data.layout import PART, Part, checksum, create
from surrogates.interchange import TRAJECTORY, domain_of, from_xarray, parameters_of, time_attrs_of, times_of, to_xarray, trajectories_of
from surrogates.latent.conversion import autoencoder_of, encode, latent_fields
from surrogates.surrogate import Surrogate

FRAMES = 64  # encoded at once
KEPT = ("split", "size", "dt", "lyapunov_time", "turnover_time")


def encode_dataset(dataset: xr.Dataset, autoencoder: Surrogate) -> xr.Dataset:
    """All trajectories of a Dataset as latents, in memory, float32. Raises ValueError where fields, units or grid are not the encoder's."""
    box = autoencoder_of(autoencoder).latent_box(domain_of(dataset))
    z = torch.stack(list(_trajectories(dataset, autoencoder)))
    attrs = {k: dataset.attrs[k] for k in KEPT if k in dataset.attrs}
    if "dataset" in dataset.attrs:
        attrs["dataset"] = f"{dataset.attrs['dataset']}, encoded"
    return to_xarray(
        z,
        latent_fields(autoencoder),
        box,
        time=times_of(dataset).tolist(),
        trajectories=trajectories_of(dataset),
        parameters={k: v.tolist() for k, v in parameters_of(dataset).items()},
        attrs=attrs,
        about_time=time_attrs_of(dataset),
    )


def write_dataset(splits: Mapping[str, xr.Dataset], autoencoder: Surrogate, folder: str | os.PathLike[str], name: str = "latents") -> Path:
    """Encode every split and write `folder/data/<split>/<name>.hdf5` in The Well's layout; returns the folder, for `data: {dataset: ...}`.

    An unfinished file is `*.part`; the same call begins it again. Raises FileExistsError for a split that is there already.
    """
    home = Path(folder)
    for split, dataset in splits.items():
        final = home / "data" / split / f"{name}.hdf5"
        if final.exists():
            raise FileExistsError(f"{final} exists; remove it, or choose another folder")
        draft = final.with_name(final.name + PART)
        draft.unlink(missing_ok=True)
        about = time_attrs_of(dataset)
        create(
            draft,
            name=name,
            fields=latent_fields(autoencoder),
            box=autoencoder_of(autoencoder).latent_box(domain_of(dataset)),
            times=times_of(dataset).tolist(),
            trajectories=trajectories_of(dataset),
            parameters={k: v.tolist() for k, v in parameters_of(dataset).items()},
            attrs=_origin(dataset),
            time_units=about.get("units", "1"),
            calendar=about.get("calendar", ""),
        )
        part = Part(draft)
        for row, z in enumerate(_trajectories(dataset, autoencoder)):
            part.write(row, z.numpy())
        part.finish({"checksum": checksum(draft), "certificate": {}})
    return home


def _origin(dataset: xr.Dataset) -> dict[str, Any]:
    """What the layout keeps of where the data come from."""
    recipe = json.dumps({"encoded": str(dataset.attrs.get("dataset", "in memory")), "checksum": str(dataset.attrs.get("checksum", ""))})
    return {
        "recipe": recipe,
        "seed": int(dataset.attrs.get("seed", 0)),
        "version": surrogates.__version__,
        "dt": float(dataset.attrs["dt"]),
    }


def _trajectories(dataset: xr.Dataset, autoencoder: Surrogate) -> Iterator[Tensor]:
    """Latents (T, L, *Z) of one trajectory after the other, on the CPU."""
    domain, device = domain_of(dataset), autoencoder.normaliser.state_mean.device
    whole = dataset if TRAJECTORY in dataset.dims else dataset.expand_dims(TRAJECTORY)
    for n in range(whole.sizes[TRAJECTORY]):
        u = from_xarray(whole.isel({TRAJECTORY: [n]}), autoencoder.fields)[0]
        with torch.no_grad():
            z = torch.cat([encode(autoencoder, part[None].to(device), domain)[0].float().cpu() for part in torch.split(u, FRAMES)])
        yield z
