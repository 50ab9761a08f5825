"""What a person wants to know of a data set, in words: fields and units, grid, times with their dates, splits, parameters, gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from surrogates.data.cases.certificate import read_certificate
from surrogates.data.formats.ends import shown
from surrogates.data.sample import Sample
from surrogates.data.sizes import SIZES
from surrogates.data.source import Piece, Source, source_of
from surrogates.data.starts import goes_on
from surrogates.domains import Box, Masked, Mesh, Patch, Sphere
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Fields
from surrogates.interchange import (
    FORCINGS,
    MEMBER,
    SINCE,
    STATIC,
    TIME,
    TRAJECTORY,
    declared,
    domain_of,
    fields_of,
    parameters_of,
    time_attrs_of,
    times_of,
)


def facts(folder: Path) -> dict[str, str]:
    """What `info` prints of a data set, by label; unfinished ones included."""
    return facts_of(source_of(folder, partial=True))


def facts_of(source: Source) -> dict[str, str]:
    """The same of what is open."""
    pieces = [p for ps in source.splits.values() for p in ps]
    parts = [p.dataset for p in pieces]
    first = parts[0]
    attrs = {**first.attrs, **read_certificate(source.path)}
    steps = [f"{p.attrs['dt']:g}" for p in parts if "dt" in p.attrs]
    size = source.path.name if source.path.name in SIZES else attrs.get("size")
    out = {
        "data set": f"{attrs.get('dataset', source.path.stem)}{f' ({size})' if size else ''}",
        "format": source.format,
        "fields": _fields(fields_of(first)),
        **{kind: _fields(held) for kind in (STATIC, FORCINGS) if (held := declared(first, kind)) is not None},
        "grid": _several(_grid(domain_of(p)) for p in parts),
        **({"ends that are no walls": ends} if (ends := ", ".join(dict.fromkeys(filter(None, map(shown, parts))))) else {}),
        "frames": f"{_range([p.sizes[TIME] for p in parts])} of dt {_several(steps)}",
        "time": _span(parts),
        "trajectories": ", ".join(f"{s} {_count(ps)}" for s, ps in source.splits.items()),
    }
    for name in parameters_of(first):
        out[name] = _range([v for p in parts for v in parameters_of(p).get(name, torch.zeros(0)).tolist()])
    jumps = sum(int((~goes_on(times_of(p), float(p.attrs["dt"]))).sum()) for p in parts if "dt" in p.attrs and p.sizes[TIME] > 1)
    out |= {"steps that are missing": str(jumps)} if jumps else {}
    out |= {k.replace("_", " "): _time(attrs, k) for k in ("scored_time", "lyapunov_time", "turnover_time") if k in attrs}
    kept = ("source", "licence", "seed", "version", *(("checksum",) if len(parts) == 1 else ()))
    out |= {k: str(attrs[k]) for k in kept if k in attrs}
    if source.unfinished:
        complete = sum(p.sizes.get(TRAJECTORY, 1) for p in parts)
        out["state"] = f"unfinished: {complete} trajectories are complete; `surrogates data make` resumes it"
    return out


def rows_of(sample: Sample) -> list[tuple[str, ...]]:
    """A line a channel: name, units, least, greatest, mean, standard deviation, missing, slope of the spectrum and its plot."""
    m, out = sample.moments, []
    for c, (name, units) in enumerate(zip(sample.fields.channels, sample.fields.units, strict=True)):
        s = sample.spectrum(c)
        numbers = [f"{v:.4g}" for v in (m.low[c], m.high[c], m.mean[c], m.std[c])]
        missing = f"{100 * m.missing[c] / m.cells:.3g} %" if m.missing[c] else "0"
        out.append((name, units, *numbers, missing, "" if s is None or np.isnan(s.slope) else f"{s.slope:.2f}", s.bars() if s else ""))
    return out


COLUMNS = ("channel", "units", "least", "greatest", "mean", "std", "missing", "slope", "spectrum")


CERTIFIED = {
    "half_dt_time": "half dt",
    "double_n_time": "double N",
    "half_courant_time": "half the Courant number",
    "half_edges_time": "half the edges",
    "checked_time": "checked up to",
    "case": "in case",
}
"""What stands behind t*, of equations and of cases."""


def told(sample: Sample, split: str) -> str:
    """How the numbers of `rows_of` came about."""
    every = "all" if sample.frames == sample.total else f"{sample.frames} of"
    along = next((s.along for c in range(sample.fields.count) if (s := sample.spectrum(c))), "")
    means = f"; spectra over {'wavenumber shells' if along == 'shells' else f'waves along {along}'}" if along else ""
    return f"{every} {sample.total} frames of split {split!r}, sampled evenly; means and deviations weighted by area or volume{means}"


def _fields(fields: Fields) -> str:
    return ", ".join(f"{c} [{u}]" for c, u in zip(fields.channels, fields.units, strict=True))


def _grid(domain: AnyDomain) -> str:
    shape = " x ".join(map(str, domain.shape))
    if isinstance(domain, Masked):
        dry = 1 - float(domain.wet.float().mean())
        return f"{_grid(domain.box)}; {100 * dry:.3g} % of the cells are dry"
    if isinstance(domain, Sphere):
        return f"{shape} ({domain.grid}) on a sphere of radius {domain.radius:.6g}"
    if isinstance(domain, Patch):
        return f"{shape}, latitudes {domain.south:g} to {domain.north:g}, longitudes {domain.west:g} to {domain.east:g}"
    if isinstance(domain, Box):
        stretched = [a for a, e in zip(domain.axes, domain.edges, strict=True) if e is not None]
        note = f", stretched along {', '.join(stretched)}" if stretched else ""
        return f"{shape} on {' x '.join(f'{v:.6g}' for v in domain.lengths)}, {', '.join(domain.kinds)}{note}"
    return _mesh(domain)


def _mesh(m: Mesh) -> str:
    cells = "a cloud" if m.cells is None else f"{len(m.cells)} cells of {m.cells.shape[1]} corners"
    return f"mesh of {m.shape[0]} nodes in {m.dim} dimensions, {m.edges.shape[1]} edges, {cells}; boundaries {', '.join(m.names) or 'none'}"


def _span(parts: Sequence[xr.Dataset]) -> str:
    """First and last time; as dates where the units say what they count from."""
    about = time_attrs_of(parts[0])
    units = about.get("units", "1")
    ends = [(float(t[0]), float(t[-1])) for t in (times_of(p) for p in parts if p.sizes[TIME])]
    first, last = min(a for a, _ in ends), max(b for _, b in ends)
    if SINCE not in units:
        return f"{first:g} to {last:g}{'' if units == '1' else f' {units}'}"
    times = xr.Dataset(coords={TIME: (TIME, [first, last], about)})
    dates = xr.decode_cf(times)[TIME].dt.strftime("%Y-%m-%d %H:%M").values
    return f"{dates[0]} to {dates[1]} ({units}{', ' + about['calendar'] if 'calendar' in about else ''})"


def _count(pieces: Sequence[Piece]) -> str:
    members = {int(p.dataset.sizes.get(MEMBER, 1)) for p in pieces}
    total = sum(int(p.dataset.sizes.get(TRAJECTORY, 1)) for p in pieces)
    return f"{total}{f' x {max(members)}' if max(members) > 1 else ''}"


def _range(values: Sequence[float | int]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _several(texts: Iterable[str]) -> str:
    found = list(dict.fromkeys(texts))
    return "; ".join(found) if len(found) <= 3 else f"{found[0]}; and {len(found) - 1} others"


def _time(attrs: dict[str, Any], key: str) -> str:
    text = f"{attrs[key]:.4g}"
    details = [f"{label} {attrs[k]:.4g}" for k, label in CERTIFIED.items() if k in attrs]
    return f"{text} ({', '.join(details)})" if key == "scored_time" and details else text
