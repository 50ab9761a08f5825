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
    """The step under `choice` of its laws: "all", "none", or names with commas between, of a law or of all laws of a class.

    A step without laws, such as a solver, is itself under all and none of them. Raises ValueError for names that its laws do not have, and
    TypeError for a trained step that holds its laws where they cannot be switched.
    """
    held: Any = step
    law: Constraint | None = getattr(held, "constraint", None)
    if choice == ALL:
        return step
    wanted = None if choice == NONE else chosen(law, choice.split(","))
    if hasattr(held, "with_constraint"):
        changed: S = held.with_constraint(wanted)
        return changed
    if isinstance(held, nn.Module):
        raise TypeError(f"a {type(held).__name__} has no switch for its laws; make it of a surrogate.with_constraint(None)")
    return step


def chosen(law: Constraint | None, names: list[str]) -> Constraint:
    """The named laws of a composition, composed as they were; or the one law itself."""
    parts = {} if law is None else dict(zip(law.names, law.laws, strict=True)) if isinstance(law, Laws) else {name_of(law): law}
    wanted = [name.strip().lower() for name in names]
    known = [w for full, part in parts.items() for w in (full, type(part).__name__)]
    for name in wanted:
        if name not in [k.lower() for k in known]:
            laws = f"its laws are {list(parts)}" if parts else "it has no laws"
            raise ValueError(f"no law {name!r}: {laws}{nearest(name, known)}; or write all, or none")
    picked = {full: part for full, part in parts.items() if full.lower() in wanted or type(part).__name__.lower() in wanted}
    if len(picked) == 1:
        return next(iter(picked.values()))
    assert isinstance(law, Laws)
    return law.with_laws(picked)
