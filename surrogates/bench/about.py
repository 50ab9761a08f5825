"""What a reader of the report must know of the data and the models, taken from what these say of themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from torch import nn

from surrogates.bench.environment import environment
from surrogates.contracts import Step
from surrogates.interchange import TIME, TRAJECTORY, domain_of, parameters_of
from surrogates.saved import CONFIG, read_config

LEFT_OUT = ("recipe", "checksum", "calibration")


def about(
    surrogates: Mapping[str, Step],
    truth: xr.Dataset,
    training: xr.Dataset,
    folders: Mapping[str, Path] | None = None,
    stages: Mapping[str, float] | None = None,
    commands: tuple[str, ...] = (),
) -> dict[str, Any]:
    """JSON for the report. `folders` are those of saved surrogates, whose provenance is read."""
    known = {n: provenance(p) for n, p in (folders or {}).items()}
    return {
        "data": data(truth, training),
        "models": {n: model(s, known.get(n, {})) for n, s in surrogates.items()},
        "calibration": next((tried(s, known.get(n, {})) for n, s in surrogates.items()), {}),
        "environment": environment(),
        "stages": dict(stages or {}),
        "commands": list(commands),
    }


def provenance(folder: Path) -> dict[str, Any]:
    """What a saved surrogate says of where it comes from; nothing for a folder that holds none."""
    return dict(read_config(folder).get("provenance", {})) if (folder / CONFIG).is_file() else {}


def data(truth: xr.Dataset, training: xr.Dataset) -> str:
    """Data set, grid, solver of the truth, splits and certificate in two sentences."""
    attrs, box = truth.attrs, domain_of(truth)
    values = ", ".join(
        f"{k} {v.min():g}" if v.min() == v.max() else f"{k} {v.min():g} to {v.max():g}" for k, v in parameters_of(truth).items()
    )
    size = f" ({attrs['size']})" if attrs.get("size") else ""
    text = (
        f"{attrs.get('dataset', 'in memory')}{size}: {' x '.join(map(str, box.shape))} points, a frame every {attrs['dt']:g} time units; "
        f"{values}. "
    )
    recipe = json.loads(attrs["recipe"]) if attrs.get("recipe") else {}
    if "solver" in recipe:
        s = recipe["solver"]
        text += f"Truth from {' x '.join(map(str, s['resolution']))} points in {s['dtype']}, {s['scheme']}, dt {s['dt']:g}. "
    counts = f"{training.sizes[TRAJECTORY]} training trajectories of {training.sizes[TIME]} frames, {truth.sizes[TRAJECTORY]} held out"
    certified = f"; certified accurate to t* = {attrs['scored_time']:.3g}" if "scored_time" in attrs else ""
    checksum = f"; checksum {str(attrs['checksum'])[:12]}" if "checksum" in attrs else ""
    return f"{text}{counts}{certified}{checksum}."


def model(step: Step, known: Mapping[str, Any]) -> str:
    """Its parts with their weights, and how it was trained."""
    parts = []
    for name in ("operator", "refiner", "constraint"):
        part = getattr(step, name, None)
        if part is not None:
            count = sum(p.numel() for p in part.parameters()) if isinstance(part, nn.Module) else 0
            title = {"operator": "guess"}.get(name, name)
            parts.append(f"{title} {type(part).__name__}" + (f" ({count:,} weights)" if count else ""))
    said = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in known.items() if k not in LEFT_OUT)
    return ", ".join(parts or [type(step).__name__]) + (f". Trained: {said}." if said else ".")


def tried(step: Step, known: Mapping[str, Any]) -> dict[str, Any]:
    """What was done for calibration: the provenance's own record, and the fitted constants that the surrogate carries."""
    record = known.get("calibration", {})
    out: dict[str, Any] = dict(record) if isinstance(record, Mapping) else {"record": record}
    refiner = getattr(step, "refiner", None)
    for label, owner, name in (("inflation in use", refiner, "inflation"), ("coherence in use", step, "coherence")):
        if refiner is not None and getattr(owner, name, None) is not None:
            out[label] = float(getattr(owner, name))
    return out
