"""What `surrogates data info | check` do: functions that print with rich and return what they found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from surrogates.data.cache import check_frames
from surrogates.data.files import files_of, locate, open_dataset
from surrogates.data.layout import MEMBERS, OURS, PART
from surrogates.data.read import open_hdf5, read_file
from surrogates.domains import Box, Sphere
from surrogates.domains.layout import AnyDomain
from surrogates.interchange import TIME, TRAJECTORY, domain_of, fields_of, from_xarray, parameters_of


def info(name_or_path: str, size: str | None = None) -> None:
    """Describe a data set: fields, domain, splits, parameters, certificate.

    Args:
        name_or_path: the name of a data set that was made, or the path of a file or folder.
        size: which of the sizes that were made (default: the largest).
    """
    folder = locate(name_or_path, size)
    table = Table(show_header=False, title=str(folder))
    for key, value in facts(folder).items():
        table.add_row(key, escape(value))  # units stand in brackets, which rich would read as a style
    Console().print(table)


def check(name_or_path: str, size: str | None = None) -> None:
    """Verify the files of a data set: checksums, values that are not finite, frames that are flat or repeat the one before.

    Raises ValueError for the first file that is not sound.

    Args:
        name_or_path: the name of a data set that was made, or the path of a file or folder.
        size: which of the sizes that were made (default: the largest).
    """
    console = Console()
    for split, paths in files_of(locate(name_or_path, size)).items():
        for path in paths:
            repeated = check_file(path)
            note = f", {repeated} frames equal to the one before" if repeated else ""
            console.print(f"{split}: {path} is sound{note}", highlight=False, soft_wrap=True)


def check_file(path: Path) -> int:
    """Read every value of a file; returns how many frames repeat the one before. Raises ValueError where it is not sound."""
    dataset, repeated = read_file(path, verify=True), 0
    fields, times = fields_of(dataset), dataset[TIME].values
    for n in range(dataset.sizes[TRAJECTORY]):
        one = from_xarray(dataset.isel({TRAJECTORY: slice(n, n + 1)}), fields)
        for u in one.reshape(-1, len(times), *one.shape[-1 - domain_of(dataset).dim :]).numpy():  # each member, where there are several
            check_frames(u, f"{path}: trajectory {int(dataset[TRAJECTORY][n])}", times, fields.channels)
            repeated += int((u[1:] == u[:-1]).reshape(len(u) - 1, -1).all(1).sum())
    return repeated


def _grid(domain: AnyDomain) -> str:
    shape = " x ".join(map(str, domain.shape))
    if isinstance(domain, Box):
        return f"{shape} on {' x '.join(f'{v:.6g}' for v in domain.lengths)}, {', '.join(domain.boundary)}"
    return f"{shape} ({domain.grid}) on a sphere of radius {domain.radius:.6g}" if isinstance(domain, Sphere) else repr(domain)


def facts(folder: Path) -> dict[str, str]:
    """What `info` prints, by label."""
    whole = open_dataset(folder, partial=True)
    attrs = whole.attrs
    counts = {s: [_count(p) for p in paths] for s, paths in files_of(folder).items()}
    sizes = {s: f"{sum(n for n, _ in c)}{f' x {c[0][1]}' if c[0][1] > 1 else ''}" for s, c in counts.items()}
    unfinished = [p for paths in files_of(folder).values() for p in paths if p.suffix == PART]
    out = {
        "data set": f"{attrs['dataset']}{' (' + attrs['size'] + ')' if 'size' in attrs else ''}",
        "fields": ", ".join(f"{c} [{u}]" for c, u in zip(fields_of(whole).channels, fields_of(whole).units, strict=True)),
        "grid": _grid(domain_of(whole)),
        "frames": f"{whole.sizes[TIME]} of dt {attrs['dt']:g}",
        "trajectories": ", ".join(f"{s} {n}" for s, n in sizes.items()),
    }
    for name, values in parameters_of(whole).items():
        low, high = float(values.min()), float(values.max())
        out[name] = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    out.update({k.replace("_", " "): _time(attrs, k) for k in ("scored_time", "lyapunov_time", "turnover_time") if k in attrs})
    out.update({k: str(attrs[k]) for k in ("seed", "version", "checksum") if k in attrs})
    if unfinished:
        out["state"] = f"unfinished: {whole.sizes[TRAJECTORY]} trajectories are complete; `surrogates data make` resumes it"
    return out


def _time(attrs: dict[str, Any], key: str) -> str:
    text, why = f"{attrs[key]:.4g}", {"half_dt_time": "half dt", "double_n_time": "double N", "checked_time": "checked up to"}
    details = [f"{label} {attrs[k]:.4g}" for k, label in why.items() if k in attrs]
    return f"{text} ({', '.join(details)})" if key == "scored_time" and details else text


def _count(path: Path) -> tuple[int, int]:
    """Initial states, and how many members each has."""
    with open_hdf5(path) as f:
        members = int(f[OURS].attrs.get(MEMBERS, 1)) if OURS in f else 1
        return int(np.asarray(f.attrs["n_trajectories"])) // members, members
