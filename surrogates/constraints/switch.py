"""Which laws a step runs under: all of its own, none, or some by name. A rollout that is run each way tells what the laws do.

    surrogates rollout --constraints none              constrained(surrogate, "none")
    surrogates rollout --constraints DivergenceFree    constrained(surrogate, "DivergenceFree")

Weights are shared with the step that was given; what makes a run the same run (its fingerprint) holds the laws.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from surrogates.constraints.compose import Laws, name_of
from surrogates.contracts import Constraint, Step
from surrogates.errors import nearest

S = TypeVar("S", bound=Step)
ALL, NONE = "all", "none"


def constrained(step: S, choice: str) -> S:
    """The step under `choice` of its laws: "all", "none", or names with commas between, of a law or of all laws of a class, in any case.

    Laws inside others are named alike, or with what they are inside of, "Alternating/Clipped-dye"; a law around one stays around it.

    A step without laws, such as a solver, is itself under all and none of them. Raises ValueError for names that its laws do not have, and
    TypeError for a trained step that holds its laws where they cannot be switched.
    """
    held: Any = step
    law: Constraint | None = getattr(held, "constraint", None)
    if choice.strip().lower() == ALL:
        return step
    wanted = None if choice.strip().lower() == NONE else chosen(law, choice.split(","))
    if hasattr(held, "with_constraint"):
        changed: S = held.with_constraint(wanted)
        return changed
    if isinstance(held, nn.Module):
        raise TypeError(f"a {type(held).__name__} has no switch for its laws; make it of a surrogate.with_constraint(None)")
    return step


def chosen(law: Constraint | None, names: list[str]) -> Constraint:
    """The named laws of a composition, composed as they were; or the one law itself."""
    parts: dict[str, Any] = {} if law is None else _parts(law) or {name_of(law): law}
    known = [word for name, part in parts.items() for word in _known(name, part)]
    names = [name.strip() for name in names]
    for name in names:
        if name.lower() not in [k.lower() for k in known]:
            laws = f"its laws are {list(dict.fromkeys(known))}" if parts else "it has no laws"
            raise ValueError(f"no law {name!r}: {laws}{nearest(name, known)}; or write all, or none")
    assert law is not None
    picked = _within(law, {name.lower() for name in names}) if _parts(law) else law
    assert picked is not None
    return picked


def _inner(law: Any) -> Any:
    """The law that one is around, or None."""
    inner = getattr(law, "law", None)
    return inner if hasattr(inner, "defect") else None


def _parts(law: Any) -> dict[str, Any]:
    """The laws of a composition by name, be it inside another law; none of a law that is no composition."""
    if isinstance(law, Laws):
        return dict(zip(law.names, law.laws, strict=True))
    inner = _inner(law)
    return {} if inner is None else _parts(inner)


def _own(name: str, law: Any) -> list[str]:
    """What a law is called, beside what is inside it: its name, its class and the class of the law it is around."""
    inner = _inner(law)
    return list(dict.fromkeys([name, type(law).__name__, *([] if inner is None else _own(name, inner))]))


def _known(name: str, law: Any) -> list[str]:
    """What a law and those inside it are called."""
    inside = [(n, word) for n, part in _parts(law).items() for word in _known(n, part)]
    return [*_own(name, law), *(f"{name}/{word}" for _, word in inside), *(word for _, word in inside)]


def _picked(name: str, law: Any, wanted: set[str]) -> Any:
    """What of a law is wanted: itself, what of it is inside, or None."""
    if any(word.lower() in wanted for word in _own(name, law)):
        return law
    start = f"{name}/".lower()
    return _within(law, wanted | {w.removeprefix(start) for w in wanted if w.startswith(start)}) if _parts(law) else None


def _within(law: Any, wanted: set[str]) -> Any:
    """The wanted laws of a composition, composed as they were; None of none."""
    if not isinstance(law, Laws):
        inner = _within(_inner(law), wanted)
        return None if inner is None else type(law)(**{**law.arguments, "law": inner})
    found = {name: _picked(name, part, wanted) for name, part in zip(law.names, law.laws, strict=True)}
    found = {name: part for name, part in found.items() if part is not None}
    return None if not found else next(iter(found.values())) if len(found) == 1 else law.with_laws(found)
