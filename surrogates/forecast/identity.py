"""What makes a step the same step as another: how it is made, and a hash of its tensors. A stored run knows itself by this.

A part that cannot be written down is told by itself, and the parts beside it as ever: a function by its name and a hash of its bytecode,
constants, names, defaults and closure, a module by its text and tensors, another object by its class, its plain attributes and its tensors.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from surrogates.contracts import Step
from surrogates.record import describe


def identity(step: Step) -> dict[str, Any]:
    """{"step", "weights"}, fit for JSON. Steps that do not record their arguments are known by class and tensors."""
    made: Any = portrait(step) if hasattr(step, "arguments") else type(step).__qualname__
    tensors = step.state_dict() if isinstance(step, nn.Module) else {k: v for k, v in vars(step).items() if isinstance(v, Tensor)}
    return {"step": made, "weights": digest(tensors)}


def digest(tensors: dict[str, Tensor]) -> str:
    """Names, types, shapes and bits."""
    out = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        out.update(f"{key} {value.dtype} {tuple(value.shape)}".encode() + bits.numpy().tobytes())
    return out.hexdigest()[:16]


def known(value: Any) -> Any:
    """What a run knows a part by: how it is made, or, where that is not recorded, its class and its tensors."""
    try:
        return describe(value)
    except TypeError:
        tensors = {k: v for k, v in vars(value).items() if isinstance(v, Tensor)} if hasattr(value, "__dict__") else {}
        return {"class": type(value).__qualname__, "tensors": digest(tensors)}


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
    if hasattr(value, "arguments"):
        return {"class": _name(type(value)), "arguments": portrait(value.arguments, inside)}
    if isinstance(value, FunctionType):
        return {"function": _name(value), "code": _code(value, inside)}
    if isinstance(value, MethodType):
        return {"method": portrait(value.__func__, inside), "of": portrait(value.__self__, inside)}
    if isinstance(value, functools.partial):
        return {"partial": [portrait(part, inside) for part in (value.func, value.args, value.keywords)]}
    if inspect.isclass(value) or inspect.isbuiltin(value) or not hasattr(value, "__dict__"):
        return _name(value if hasattr(value, "__qualname__") else type(value))
    if isinstance(value, nn.Module):
        return {"module": str(value), "tensors": digest(value.state_dict())}
    return {"class": _name(type(value)), "attributes": {k: portrait(v, inside) for k, v in sorted(vars(value).items()) if _telling(v)}}


def _telling(value: Any) -> bool:
    """Whether an attribute is one that tells objects apart, rather than something that is kept for speed."""
    plain = value is None or isinstance(value, bool | int | float | str | Tensor | FunctionType | functools.partial)
    return plain or hasattr(value, "arguments") or (isinstance(value, list | tuple) and all(_telling(v) for v in value))


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _code(function: FunctionType, inside: frozenset[int]) -> str:
    """A hash of all that a function was made of, but for the globals that it names."""
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(portrait(cell.cell_contents, inside))
        except ValueError:  # a name that has no value yet
            cells.append(None)
    made = [_constant(function.__code__), portrait(function.__defaults__, inside), portrait(function.__kwdefaults__, inside), cells]
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]


def _constant(value: Any) -> Any:
    """A constant of bytecode without addresses and in one order; code with all that is inside it."""
    if isinstance(value, CodeType):
        return [value.co_code.hex(), list(value.co_names), [_constant(v) for v in value.co_consts]]
    if isinstance(value, frozenset):
        return sorted(repr(_constant(v)) for v in value)
    return [_constant(v) for v in value] if isinstance(value, tuple) else repr(value)
