"""A part of a model by the name of its class and its hyperparameters, as a configuration file writes it:

    operator: {class: FNO, width: 32, modes: [24, 13]}        FNO(in_channels, out_channels, embedding, width=32, modes=(24, 13))

What the data decide (channels, embedding, fields) is given when the part is called; the file holds the rest. A part may hold parts (a
name alone, `path: Linear`, is one without arguments) or a list of them, and names the folder of a trained surrogate where it needs a
trained refiner (`teacher: runs/flow`). (Annotations for jsonargparse alone cannot say this: it compares the signatures of protocols, and
no two jaxtyping annotations are equal.) Everything is checked before anything is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from surrogates.errors import nearest
from surrogates.record import PACKAGE
from surrogates.refine.flow import Flow
from surrogates.saved import CONFIG, load_surrogate

CLASS = "class"


@dataclass(frozen=True)
class Part:
    """A class with some of its arguments; calling it with the others builds the object."""

    cls: type
    arguments: Mapping[str, Any]

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.cls(*given, **named, **{k: _built(v) for k, v in self.arguments.items()})


@dataclass(frozen=True)
class Trained(Part):
    """The refiner of the surrogate in a folder."""

    folder: str
    key: str

    def __call__(self, *given: Any, **named: Any) -> Any:
        refiner = load_surrogate(self.folder).refiner
        if not isinstance(refiner, self.cls):
            raise ValueError(f"{self.key}: {self.folder} has the refiner {type(refiner).__name__}, but a {self.cls.__name__} is needed")
        return refiner


def part(entry: Any, key: str, room: str, given: int = 0, named: tuple[str, ...] = ()) -> Part:
    """The part that `entry` describes, a class of the module `room`; `given` leading and `named` arguments come with the call.

    `key` is where the entry stands in the file. Raises ValueError, naming the key, for a class, an argument or a value that does not fit.
    """
    if isinstance(entry, str):
        entry = {CLASS: entry}
    if not isinstance(entry, Mapping) or not isinstance(entry.get(CLASS), str):
        raise ValueError(f"{key}: expected a mapping with the key 'class', such as {{class: FNO, width: 32}}, got {entry!r}")
    cls = find(entry[CLASS], key, room)
    hints: dict[str, Any] = get_type_hints(vars(cls).get("__init__", object))
    parameters = list(inspect.signature(cls).parameters.values())
    free = {p.name: p for p in parameters[given:] if p.name not in named}
    values = {k: v for k, v in entry.items() if k != CLASS}
    for name in values:
        if name not in free:
            raise ValueError(f"{key}.{name}: {cls.__name__} has no such hyperparameter; it has {list(free)}{nearest(name, free)}")
    missing = [n for n, p in free.items() if p.default is p.empty and n not in values]
    if missing:
        raise ValueError(f"{key}: {cls.__name__} needs {', '.join(missing)}; add `{missing[0]}: ...`")
    return Part(cls, {k: _value(v, hints.get(k, Any), f"{key}.{k}", room) for k, v in values.items()})


def find(name: str, key: str, room: str) -> type:
    """The class of a name: short for one of its room (FNO), dotted for any other of this package.

    Raises ValueError for an unknown name, and for a class outside the package: a surrogate made of it could not be loaded again.
    """
    home, _, last = name.rpartition(".")
    if home and home.partition(".")[0] != PACKAGE:
        raise ValueError(
            f"{key}.class: {name!r} lies outside the package {PACKAGE!r}, whose own classes alone a saved surrogate is rebuilt from; "
            "in Python, Training(operator=...) takes any factory"
        )
    try:
        members = vars(import_module(home or room))
    except ImportError as error:
        raise ValueError(f"{key}.class: {name!r} cannot be imported: {error}") from error
    known: dict[str, type] = {n: v for n, v in members.items() if inspect.isclass(v) and getattr(v, "is_recorded", False)}
    if last not in known:
        raise ValueError(f"{key}.class: no class {name!r} among {sorted(known)}{nearest(last, known)}")
    return known[last]


def _value(value: Any, hint: Any, key: str, room: str) -> Any:
    """The value as its annotation has it; a mapping with a class is a part, and a name stands for a function of its room."""
    if isinstance(value, Mapping) and CLASS in value:
        return part(value, key, room)
    if isinstance(value, str) and hint is not str and "Callable" in str(hint):
        return _function(value, key, room)
    own = [c for c in (hint, *get_args(hint)) if inspect.isclass(c) and c.__module__.startswith(PACKAGE + ".")]
    if isinstance(value, str) and own:
        return _trained(own[0], value, key) if issubclass(own[0], Flow) else part(value, key, room)
    if isinstance(value, list) and (inner := _parts(value, hint, key, room)) is not None:
        return inner
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_argument("--value", type=hint)
        return parser.parse_object({"value": value}).value
    except (ArgumentError, ValueError, TypeError) as error:
        detail = str(error).split("\n")[-1].strip() or str(error)
        raise ValueError(f"{key}: {value!r} does not fit {getattr(hint, '__name__', hint)}: {detail}") from error


def _parts(values: list[Any], hint: Any, key: str, room: str) -> tuple[Any, ...] | None:
    """A list of parts, where the annotation has a tuple of a class of this package; None elsewhere."""
    of = get_args(hint)[0] if get_args(hint) else None
    if get_origin(hint) is not tuple or not inspect.isclass(of) or not of.__module__.startswith(PACKAGE + "."):
        return None
    return tuple(part(v, f"{key}[{i}]", room) for i, v in enumerate(values))


def _built(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_built(v) for v in value)
    return value() if isinstance(value, Part) else value


def _function(name: str, key: str, room: str) -> Any:
    known = {n: v for n, v in vars(import_module(room)).items() if inspect.isfunction(v)}
    if name not in known:
        raise ValueError(f"{key}: no function {name!r} among {sorted(known)}{nearest(name, known)}")
    return known[name]


def _trained(cls: type, folder: str, key: str) -> Trained:
    if not (Path(folder) / CONFIG).is_file():
        raise ValueError(f"{key}: {folder!r} is not the folder of a trained surrogate; train one and give its folder")
    return Trained(cls, {}, folder, key)
