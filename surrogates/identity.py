"""What makes a step the same step as another: how it is made, and a hash of its tensors. A stored run knows itself by this.

A part that cannot be written down is told by itself, and the parts beside it as ever: a function by its name and a hash of its bytecode,
constants, names, defaults and closure, a module by its text and tensors, another object by its class, its plain attributes and its tensors.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from surrogates.contracts import Step
from surrogates.domains import Box, Masked, Mesh, Patch, Sphere
from surrogates.fields import Fields
from surrogates.record import PACKAGE, describe

UNKNOWN = "unknown"
GEOMETRY = Box | Masked | Mesh | Patch | Sphere | Fields
PLAIN = bytes | complex | range | slice | set | frozenset | PurePath | torch.dtype | torch.device  # type: ignore[type-arg]


def identity(step: Step) -> dict[str, Any]:
    """{"step", "weights"}, fit for JSON: how it is made, and a hash of the tensors of all that it holds."""
    return {"step": portrait(step), "weights": digest(tensors(step))}


def digest(tensors: dict[str, Tensor]) -> str:
    """Names, types, shapes and bits."""
    out = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        out.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        out.update(bits.numpy().data)
    return out.hexdigest()[:16]


def known(value: Any) -> Any:
    """What a run knows a part by: how it is made, and a hash of its tensors where it has some."""
    made, held = portrait(value), tensors(value)
    return {"made": made, "tensors": digest(held)} if held else made


def unknown(made: Any) -> list[str]:
    """The types of objects in a portrait that nothing tells from others of their type."""
    if isinstance(made, list):
        return [name for v in made for name in unknown(v)]
    if not isinstance(made, Mapping):
        return []
    return [*made.get(UNKNOWN, []), *(name for k, v in made.items() if k != UNKNOWN for name in unknown(v))]


def tensors(value: Any, path: str = "", around: frozenset[int] = frozenset()) -> dict[str, Tensor]:
    """Every tensor that an object holds, by its path: of modules their state, of others those in what they were made of, or hold."""
    if isinstance(value, Tensor):
        return {path: value}
    if value is None or isinstance(value, bool | int | float | str | GEOMETRY) or id(value) in around or inspect.isclass(value):
        return {}
    inside, lead = around | {id(value)}, f"{path}." if path else ""
    if isinstance(value, nn.Module):
        out: dict[str, Tensor] = {f"{lead}{k}": v for k, v in value.state_dict().items()}
        for name, module in value.named_modules():
            for k, v in _held(module).items():
                if not isinstance(v, Tensor | nn.Module):
                    out |= tensors(v, f"{lead}{name}.{k}", inside)
        return out
    parts = dict(enumerate(value)) if isinstance(value, list | tuple) else value if isinstance(value, Mapping) else _held(value)
    return {name: v for k, part in parts.items() for name, v in tensors(part, f"{lead}{k}", inside).items()}


def _held(value: Any) -> Mapping[str, Any]:
    """What an object was made of, where it records that, else what it holds."""
    arguments = getattr(value, "arguments", None)
    if isinstance(arguments, Mapping):
        return arguments
    if isinstance(value, FunctionType | MethodType | functools.partial | ModuleType) or not hasattr(value, "__dict__"):
        return {}
    return {
        k: v for k, v in vars(value).items() if _telling(k, v) and not (isinstance(value, nn.Module) and (k == "training" or k[0] == "_"))
    }


def portrait(value: Any, around: frozenset[int] = frozenset()) -> Any:
    """`describe`, and of what it cannot write down as much as tells it from others; fit for JSON, the same in every process.

    `around` are the objects that hold this one: one that holds itself is told by its class there.
    """
    try:
        return describe(value)
    except (TypeError, RecursionError):
        pass
    if id(value) in around:
        return type(value).__qualname__
    inside = around | {id(value)}
    if isinstance(value, list | tuple):
        return [portrait(v, inside) for v in value]
    if isinstance(value, Mapping):
        return {str(k): portrait(v, inside) for k, v in value.items()}
    if isinstance(value, Tensor):
        return {"tensor": digest({"": value})}
    if isinstance(value, np.ndarray | np.generic):
        return {"array": hashlib.sha256(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()).hexdigest()[:16]}
    if isinstance(value, xr.Dataset | xr.DataArray):
        return {"data": identity_of(value if isinstance(value, xr.Dataset) else value.to_dataset(name="values"))}
    if isinstance(value, PLAIN):
        return {type(value).__name__: sorted(map(repr, value)) if isinstance(value, set | frozenset) else repr(value)}
    if hasattr(value, "arguments"):
        return {"class": _name(type(value)), "arguments": portrait(value.arguments, inside)}
    if isinstance(value, FunctionType):
        return {"function": _name(value), "code": _code(value, inside)}
    if isinstance(value, MethodType):
        return {"method": portrait(value.__func__, inside), "of": portrait(value.__self__, inside)}
    if isinstance(value, functools.partial):
        return {"partial": [portrait(part, inside) for part in (value.func, value.args, value.keywords)]}
    if inspect.isclass(value) or inspect.isroutine(value) or isinstance(value, np.ufunc):
        return _name(value if hasattr(value, "__qualname__") else type(value)) + f".{getattr(value, '__name__', '')}"
    if isinstance(value, ModuleType):
        return value.__name__
    if not hasattr(value, "__dict__"):
        return {UNKNOWN: [_name(type(value))]}
    if isinstance(value, nn.Module):
        parts = {name: portrait(held, inside) for name, m in value.named_modules() if (held := _held(m))}
        return {"module": str(value), "tensors": digest(value.state_dict()), "attributes": parts}
    held = {k: portrait(v, inside) for k, v in sorted(_held(value).items())}
    return {"class": _name(type(value)), "attributes": held} if held else _name(type(value))


def _telling(name: str, value: Any) -> bool:
    """Whether an attribute is one that tells objects apart, rather than what is kept for speed or lives in this process alone."""
    if isinstance(value, list | tuple):
        return all(_telling(name, v) for v in value)
    if isinstance(value, Mapping):
        return not name.startswith("_") and all(_telling(str(k), v) for k, v in value.items())
    return value is None or hasattr(value, "__dict__") or isinstance(value, bool | int | float | str | np.ndarray | np.generic | PLAIN)


def _name(value: Any) -> str:
    """Ours by the full name; one's own by its short one: a script is `__main__` when it runs and a module when it is imported."""
    return f"{value.__module__}.{value.__qualname__}" if value.__module__.startswith(PACKAGE + ".") else value.__qualname__


def _code(function: FunctionType, inside: frozenset[int]) -> Any:
    """A hash of all that a function was made of, but for the globals that it names."""
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(portrait(cell.cell_contents, inside))
        except ValueError:  # a name that has no value yet
            cells.append(None)
    made = [_constant(function.__code__), portrait(function.__defaults__, inside), portrait(function.__kwdefaults__, inside), cells]
    code, lost = hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16], unknown(made)
    return {"hash": code, UNKNOWN: lost} if lost else code


def _constant(value: Any) -> Any:
    """A constant of bytecode without addresses and in one order; code with all that is inside it."""
    if isinstance(value, CodeType):
        return [value.co_code.hex(), list(value.co_names), [_constant(v) for v in value.co_consts]]
    if isinstance(value, frozenset):
        return sorted(repr(_constant(v)) for v in value)
    return [_constant(v) for v in value] if isinstance(value, tuple) else repr(value)


def identity_of(source: str | os.PathLike[str] | xr.Dataset) -> Any:
    """What a run knows a source by: its path with the sizes and times of change of its files, or a hash of a Dataset's values."""
    if not isinstance(source, xr.Dataset):
        path = Path(source)
        files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
        stats = [(str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        return f"{os.fspath(source)}, files {hashlib.sha256(repr(stats).encode()).hexdigest()[:16]}"
    digest = hashlib.sha256(repr(sorted(map(str, source.variables))).encode())
    for name in sorted(map(str, source.variables)):
        digest.update(np.ascontiguousarray(source[name].values).tobytes())
    return f"in memory, sha256 {digest.hexdigest()[:16]}"


def function_identity(function: Any) -> Any:
    """What a run knows a function by: what it records, or its name and all that it was made of."""
    arguments: Mapping[str, Any] | None = getattr(function, "arguments", None)
    return portrait(function) if arguments is None else {type(function).__qualname__: portrait(dict(arguments))}
