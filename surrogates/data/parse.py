"""Frozen dataclasses from a mapping read from YAML, with errors that name the file and the path of the key.

The dataclass is the schema: its annotations say what each key takes (int, float, str, bool, tuples of these, mappings of names to
these, other dataclasses), its defaults which keys may be left out, and its `__post_init__` which values make sense. A class may
take other forms through a classmethod `read(entry)`, which answers NotImplemented for the mapping of its own keys.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from surrogates.errors import nearest

T = TypeVar("T")


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises ValueError, with the place in the file, for anything else."""
    try:
        entry = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: expected a mapping of keys, got {type(entry).__name__}")
    return entry


def check_name(name: str) -> None:
    """Raise ValueError unless a data set of this name is one folder, and one file, wherever it is made."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) is None:
        raise ValueError(f"name: {name!r} becomes a folder and a file: write letters, digits, _ and -, the first no _ or -")


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping; anything but a mapping is replaced."""
    out = dict(base)
    for key, value in changes.items():
        below = out.get(key)
        out[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return out


def parse(cls: type[T], entry: Any, file: str, path: str = "") -> T:
    """An instance of the dataclass `cls`. Raises ValueError "file: path: what is wrong, and what to write"."""
    read = getattr(cls, "read", None)
    short = NotImplemented if read is None else _guarded(lambda: read(entry), file, path)
    if short is not NotImplemented:
        return cast(T, short)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    if not isinstance(entry, Mapping):
        raise _wrong(file, path, f"expected a mapping with the keys {list(fields)}, got {entry!r}")
    for key in entry:
        if key not in fields:
            raise _wrong(file, _join(path, key), f"unknown key; the keys here are {list(fields)}{nearest(str(key), fields)}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name, f in fields.items():
        if name in entry:
            values[name] = _value(hints[name], entry[name], file, _join(path, name))
        elif f.default is MISSING and f.default_factory is MISSING:
            raise _wrong(file, _join(path, name), f"missing; add `{name}: {_example(hints[name])}`")
    return cast(T, _guarded(lambda: cls(**values), file, path))


def _value(hint: Any, value: Any, file: str, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, file, path)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return parse(hint, value, file, path)
    if origin is tuple:
        entries = value if isinstance(value, list | tuple) else [value]
        return tuple(_value(arguments[0], v, file, f"{path}[{i}]") for i, v in enumerate(entries))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(file, path, f"expected a mapping, got {value!r}")
        return {str(k): _value(arguments[1], v, file, _join(path, k)) for k, v in value.items()}
    return _scalar(hint, value, file, path)


def _scalar(hint: Any, value: Any, file: str, path: str) -> Any:
    if hint is float and isinstance(value, str):
        value = _exponent(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is Any or (isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise _wrong(file, path, f"expected {_example(hint)}, got {value!r}")


def _exponent(value: str) -> float | str:
    """YAML 1.1 reads 5e-3 as a string (it wants 5.0e-3); people write it all the same."""
    try:
        return float(value)
    except ValueError:
        return value


def _guarded(build: Any, file: str, path: str) -> Any:
    try:
        return build()
    except (ValueError, TypeError) as error:
        if str(error).startswith(f"{file}:"):
            raise
        raise _wrong(file, path, str(error)) from error


def _wrong(file: str, path: str, message: str) -> ValueError:
    return ValueError(f"{file}: {path or 'top level'}: {message}")


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _example(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a name", bool: "true or false"}
    if typing.get_origin(hint) is tuple:
        return f"[{words.get(typing.get_args(hint)[0], '...')}, ...]"
    return words.get(hint, "{...}")
