"""An object made of plain arguments writes itself down as {"class": ..., "arguments": {...}} and is built again from that.

This is what `config.json` holds in place of a pickle. Only classes and functions defined inside this package are ever built, so a
stranger's file cannot name code to run.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from surrogates.domains import KINDS, Box, Masked, Mesh, Patch, Sphere
from surrogates.fields import Fields

T = TypeVar("T", bound=type)
PACKAGE = "surrogates"


def recorded(cls: T) -> T:
    """Class decorator: keep the arguments of `__init__` in `self.arguments`, by name, defaults included.

    A dataclass keeps them already, as its fields; nothing is added to its instances.
    """
    cls.is_recorded = True  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(cls):
        cls.arguments = property(lambda self: {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init})  # type: ignore[attr-defined]
        return cls
    init = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        if type(self) is cls:
            values = dict(list(bound.arguments.items())[1:])
            object.__setattr__(self, "arguments", values)
        init(self, *args, **kwargs)

    cls.__init__ = wrapped  # type: ignore[misc]
    return cls


def describe(value: Any) -> Any:
    """JSON for a recorded object and everything it was made of. Raises TypeError for what cannot be written down."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, Box | Masked | Mesh | Patch | Sphere):
        entry = value.to_json()
        return {entry["type"]: entry}
    if isinstance(value, Fields):
        return {"fields": value.to_json()}
    if inspect.isfunction(value) and value.__module__.startswith(PACKAGE + "."):
        return {"function": f"{value.__module__}.{value.__qualname__}"}
    if hasattr(value, "arguments"):
        cls = type(value)
        return {"class": f"{cls.__module__}.{cls.__qualname__}", "arguments": describe(value.arguments)}
    raise TypeError(f"{type(value).__name__} cannot be written to config.json; decorate its class with @recorded")


def construct(entry: Any) -> Any:
    """The object that `describe` wrote down. Raises ValueError for a class outside this package or unknown arguments."""
    if isinstance(entry, list):
        return tuple(construct(v) for v in entry)
    if not isinstance(entry, Mapping):
        return entry
    if len(entry) == 1 and (kind := next(iter(entry))) in KINDS:
        return KINDS[kind].from_json(entry[kind])
    if set(entry) == {"fields"}:
        return Fields.from_json(entry["fields"])
    if set(entry) == {"function"}:
        return _find(entry["function"])
    if set(entry) == {"class", "arguments"}:
        cls = _find(entry["class"])
        arguments = {k: construct(v) for k, v in entry["arguments"].items()}
        try:
            return cls(**arguments)
        except TypeError as error:
            raise ValueError(f"{entry['class']} does not take what the configuration gives: {error}") from error
    return {k: construct(v) for k, v in entry.items()}


def _find(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    if module != PACKAGE and not module.startswith(PACKAGE + "."):
        raise ValueError(f"{path!r} lies outside the package {PACKAGE!r} and is not built; only its own classes are")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path!r} is unknown to this version of {PACKAGE}: {error}") from error
    if not callable(found) or getattr(found, "__module__", "") != module:
        raise ValueError(f"{path!r} is not a class or function defined in {module}")
    if inspect.isclass(found) and not getattr(found, "is_recorded", False):
        raise ValueError(f"{path!r} is not a class that a configuration may build")
    return found
