"""A surrogate as a folder: config.json + weights.safetensors + card.md. Nothing in it can run code.

So is every other trained `Step`: an ensemble of surrogates, one in a latent space, one that rolls a window. `config.json` holds how it is
built (`record.describe`) and where it comes from (training data and checksum, recipe, seed, versions); `card.md` says the same to a person.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import surrogates
from surrogates.contracts import Domain, Step
from surrogates.domains import Box
from surrogates.errors import check_device
from surrogates.fields import Fields
from surrogates.record import construct, describe
from surrogates.surrogate import Surrogate

FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "weights.safetensors", "card.md"


def save(surrogate: nn.Module, folder: str | os.PathLike[str], provenance: Mapping[str, Any] | None = None) -> Path:
    """Write the folder, each file whole or not at all. Raises FileExistsError where the folder holds something else."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file; give a folder for the surrogate")
    path.mkdir(parents=True, exist_ok=True)
    versions = {"surrogates": surrogates.__version__, "torch": torch.__version__, "python": platform.python_version()}
    config = {"format": FORMAT, "versions": versions, "provenance": dict(provenance or {}), "surrogate": describe(surrogate)}
    write_weights(surrogate, path)
    _write(path / CARD, card(surrogate, config))
    _write(path / CONFIG, json.dumps(config, indent=1))
    return path


def load(folder: str | os.PathLike[str], device: str = "cpu") -> Any:
    """The surrogate, or other trained `Step`, in a folder, in evaluation mode.

    Raises FileNotFoundError where a file is missing and ValueError where config and weights do not belong together, or where the device is
    none that is here.
    """
    check_device(device)
    path = Path(folder)
    config = read_config(path)
    surrogate = construct(config["surrogate"])
    if not isinstance(surrogate, nn.Module) or not isinstance(surrogate, Step):
        raise ValueError(f"{path / CONFIG} describes a {type(surrogate).__name__}, not a surrogate or another trained Step")
    read_weights(surrogate, path)
    return surrogate.to(device).eval()


def load_surrogate(folder: str | os.PathLike[str], device: str = "cpu") -> Surrogate:
    """The surrogate in a folder, where nothing but a single one will do. Raises as `load` does, and ValueError for another Step."""
    step = load(folder, device)
    if not isinstance(step, Surrogate):
        raise ValueError(f"{folder} holds a {type(step).__name__} but a single Surrogate is needed here, as `surrogates train` writes it")
    return step


def write_weights(module: nn.Module, path: Path) -> None:
    """A module's tensors into a folder, whole or not at all."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}
    save_file(tensors, path / (WEIGHTS + ".part"))
    os.replace(path / (WEIGHTS + ".part"), path / WEIGHTS)


def read_weights(module: nn.Module, path: Path) -> None:
    """The tensors of a folder into a module. Raises FileNotFoundError and ValueError for a file that is missing, damaged or another's."""
    if not (path / WEIGHTS).is_file():
        raise FileNotFoundError(f"{path / WEIGHTS} is missing; the folder is not whole")
    try:
        weights = load_file(path / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{path / WEIGHTS} is truncated or no safetensors file: {error}") from error
    fit(module, weights, str(path / WEIGHTS))


def fit(module: nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Load weights strictly. Raises ValueError that names the first tensors of another architecture."""
    own = module.state_dict()
    wrong = [f"{k} {tuple(weights[k].shape)} for {tuple(own[k].shape)}" for k in own if k in weights and weights[k].shape != own[k].shape]
    missing, extra = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    if wrong or missing or extra:
        raise ValueError(
            f"{where} holds the weights of another architecture: {len(missing)} missing {missing[:3]}, {len(extra)} unknown {extra[:3]}, "
            f"{len(wrong)} of another shape {wrong[:3]}; use the configuration that it was trained with"
        )
    module.load_state_dict(dict(weights))


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of a saved surrogate. Raises FileNotFoundError or ValueError that say what was expected."""
    file = path / CONFIG
    if not file.is_file():
        near = [p.name for p in path.iterdir()][:5] if path.is_dir() else "nothing there"
        raise FileNotFoundError(f"{path} is not a saved surrogate: no {CONFIG} ({near}); `surrogates train` writes one")
    try:
        config: dict[str, Any] = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if "generator" in config:
        raise ValueError(f"{path} holds a generator of states, not a Step; `surrogates.unconditional.load` opens it")
    if config.get("format") != FORMAT or "surrogate" not in config:
        raise ValueError(f"{file} has format {config.get('format')!r}; this version of surrogates reads format {FORMAT}")
    return config


def card(step: Any, config: Mapping[str, Any]) -> str:
    """What a person wants to know before using it."""
    rows = [f"| {f.name} | {', '.join(f.channels)} | {f.units} |" for f in step.outputs]
    count = sum(p.numel() for p in step.parameters())
    frames = f"from {step.history} frame(s) to {step.bundle}; {count} weights"
    lines = [
        f"# {type(step).__name__}",
        "",
        *(_about(step, frames) if isinstance(step, Surrogate) else [f"Steps {frames}."]),
        "",
        "| field | channels | units |",
        "| --- | --- | --- |",
        *rows,
        "",
        "## Where it comes from",
        "",
        *(f"- {k}: {v}" for k, v in {**config["provenance"], **config["versions"]}.items() if not isinstance(v, Mapping)),
        "",
        *(_statistics(step) if isinstance(step, Surrogate) else []),
        "Use it inside the range it was trained on; outside, nothing is promised.",
        "",
    ]
    return "\n".join(lines)


def _about(surrogate: Surrogate, frames: str) -> list[str]:
    parts = {
        k: type(getattr(surrogate, k)).__name__ for k in ("operator", "head", "refiner", "constraint") if getattr(surrogate, k) is not None
    }
    return [
        f"Steps by dt = {surrogate.dt:g} {frames}; " + ", ".join(f"{k} `{v}`" for k, v in parts.items()) + ".",
        f"Domain: {_where(surrogate.domain)}.",
        f"Conditioned on: {', '.join(surrogate.parameters_used) or 'nothing'}.",
        *(f"Takes {kind}: {', '.join(f.channels)}." for kind, f in _known(surrogate)),
    ]


def _statistics(surrogate: Surrogate) -> list[str]:
    """What it normalises with, in the units of each channel."""
    scaling = surrogate.normaliser.scaling
    regions = f", over all {scaling.count} regions of `{scaling.regions}`" if scaling is not None and scaling.count else ""
    return [
        f"## Statistics of the training split{regions}",
        "",
        "| channel | units | state mean | std | increment mean | std |",
        "| --- | --- | --- | --- | --- | --- |",
        *surrogate.normaliser.table(surrogate.fields),
        "",
    ]


def _known(surrogate: Surrogate) -> list[tuple[str, Fields]]:
    """What its conditions must hold beside the state."""
    return [(k, f) for k, f in (("static fields", surrogate.static), ("forcings", surrogate.forcings)) if f is not None]


def _where(domain: Domain) -> str:
    if isinstance(domain, Box):
        points = " x ".join(map(str, domain.shape))
        return f"{points} points on {domain.lower} to {domain.upper} ({domain.units}), {', '.join(domain.kinds)}"
    return repr(domain)


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)
