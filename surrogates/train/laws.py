"""Laws as a configuration file writes them: hard ones, which act on every forecast, and soft ones, which count in the loss.

    laws:
    - {class: Alternating, laws: [{class: DivergenceFree}, {class: EnergyBudget}], sweeps: 20}
    - {class: StraightThrough, law: {class: Clipped, field: dye}}
    soft:
    - {law: {class: DivergenceFree}, weight: 0.1}

A law is made from the fields of the data, and so are those inside it. The same law may be both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from surrogates.constraints import Soft
from surrogates.contracts import Constraint
from surrogates.errors import nearest
from surrogates.fields import Fields
from surrogates.train.part import CLASS, Part, find, part

ROOM = "surrogates.constraints"
SEVERAL, ONE = "laws", "law"
LawFactory = Callable[[Fields], Constraint]
SoftFactory = Callable[[Fields], Soft]


@dataclass(frozen=True)
class Around:
    """A law made of others: several in a tuple, or one."""

    outer: Part
    inner: tuple[LawFactory, ...]
    several: bool

    def __call__(self, fields: Fields) -> Constraint:
        made = tuple(law(fields) for law in self.inner)
        built: Constraint = self.outer(made if self.several else made[0])
        return built


@dataclass(frozen=True)
class Counted:
    """A law with its weight in the loss."""

    law: LawFactory
    weight: float

    def __call__(self, fields: Fields) -> Soft:
        return Soft(self.law(fields), self.weight)


def law_of(entry: Any, key: str) -> LawFactory:
    """The law that an entry describes, as a factory. Raises ValueError, naming the key, for what does not fit."""
    entry = {CLASS: entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get(CLASS), str):
        return part(entry, key, ROOM, given=1)  # which says what is missing
    cls = find(entry[CLASS], key, ROOM)
    if not is_law(cls):
        raise ValueError(f"{key}.class: {cls.__name__} is no law; {_place(cls)}. Laws are {_laws()}")
    name = next((n for n in (SEVERAL, ONE) if n in inspect.signature(cls).parameters), None)
    for other in (SEVERAL, ONE):
        if other != name and other in entry:
            raise ValueError(f"{key}.{other}: {cls.__name__} takes {_inside(name)}")
    if name is None:
        return part(entry, key, ROOM, given=1)
    if name not in entry:
        raise ValueError(f"{key}: {cls.__name__} needs {name}; it takes {_inside(name)}")
    inside = entry[name]
    if (name == SEVERAL) != isinstance(inside, list) or not inside:
        raise ValueError(f"{key}.{name}: expected {'a list of laws' if name == SEVERAL else 'one law'}, got {inside!r}")
    outer = part({k: v for k, v in entry.items() if k != name}, key, ROOM, given=1)
    if name == ONE:
        return Around(outer, (law_of(inside, f"{key}.{name}"),), several=False)
    return Around(outer, tuple(law_of(e, f"{key}.{name}[{i}]") for i, e in enumerate(inside)), several=True)


def is_law(cls: type) -> bool:
    """Whether its objects have what a law has, and can be called."""
    return hasattr(cls, "reference") and hasattr(cls, "defect") and any("__call__" in vars(base) for base in cls.__mro__)


def _laws() -> list[str]:
    members = vars(import_module(ROOM)).items()
    return sorted(n for n, v in members if inspect.isclass(v) and getattr(v, "is_recorded", False) and is_law(v))


def _place(cls: type) -> str:
    """Where a class that is no law is written."""
    if cls is Soft:
        return "write {law: ..., weight: 0.1} under `soft`"
    if hasattr(cls, "remembered"):
        return f"it is a quantity of one: {{class: GaussNewton, quantities: [{{class: {cls.__name__}}}]}}"
    if hasattr(cls, "weights"):
        return f"it is a functional of one: {{class: LinearFunctionals, functionals: [{{class: {cls.__name__}}}]}}"
    return "it has no reference and defect"


def _inside(name: str | None) -> str:
    """How the laws inside a law are written."""
    if name is None:
        return f"no laws inside it; leave it out, or write the laws under {{class: InOrder, {SEVERAL}: [...]}}"
    return f"`{SEVERAL}: [{{class: ...}}]`, a list of laws" if name == SEVERAL else f"`{ONE}: {{class: ...}}`, one law"


def soft_of(entry: Any, key: str) -> SoftFactory:
    """The soft law that an entry describes, as a factory. Raises ValueError, naming the key, for what does not fit."""
    if not isinstance(entry, Mapping) or ONE not in entry or "weight" not in entry:
        raise ValueError(f"{key}: expected a law and a weight, such as {{law: {{class: DivergenceFree}}, weight: 0.1}}, got {entry!r}")
    for name in entry:
        if name not in (ONE, "weight"):
            raise ValueError(
                f"{key}.{name}: a soft law has a law and a weight; settings of the law go inside it{nearest(name, (ONE, 'weight'))}"
            )
    weight = entry["weight"]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
        raise ValueError(f"{key}.weight: {weight!r} is no positive number")
    return Counted(law_of(entry[ONE], f"{key}.{ONE}"), float(weight))
