"""Which symmetries to train with: those of the equation, or those that somebody claims by name for data whose equation is not known.

A symmetry of the equation is one of the data only where the grid is mapped to itself, and where nothing beside the state breaks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from surrogates.data.symmetries.declared import declared
from surrogates.data.symmetries.groups import Reflect, Symmetry, Translate, Turn
from surrogates.data.symmetries.mirror import Grid
from surrogates.domains import Box, Sphere
from surrogates.errors import nearest
from surrogates.fields import Fields

GENERAL: dict[str, Callable[[Grid, tuple[str, ...]], list[Symmetry]]] = {
    "translate": lambda grid, flips: [Translate()],
    "reflect": lambda grid, flips: [Reflect(a, flips) for a in range(grid.dim if isinstance(grid, Box) else 1)],
    "turn": lambda grid, flips: [Turn()],
}
"""What may be claimed by name for data whose equation is not known here; `flips` are the scalars that change sign in a reflection."""
PSEUDO = re.compile(r"(.*_)?(vorticity|stream_?function|helicity|coriolis|psi|zeta|omega|curl)(_.*)?")
COMPONENT = re.compile(r"[uvw]|[vum]_?[xyz]|.*_[xyz]")


def chosen(
    wanted: bool | Sequence[str],
    equation: str,
    parameters: Mapping[str, Sequence[float]],
    grid: object,
    static: Fields | None,
    forcing: Fields | None,
    *,
    fields: Fields | None = None,
    flips: Sequence[str] | None = None,
) -> tuple[Symmetry, ...]:
    """The symmetries to train with: all of the equation (True), or those named. Raises ValueError where they are not those of the data.

    `flips`, of data whose equation is not known: the scalars of `fields` and `static` that change sign in a reflection.
    """
    if not isinstance(grid, Box | Sphere):
        raise ValueError(f"augment works on a Box or a Sphere, whose symmetries are known, not on a {type(grid).__name__}; leave it out")
    if forcing is not None:
        raise ValueError("the data have forcings, which a symmetry of the equation alone does not leave as they are; leave augment out")
    known: dict[str, list[Symmetry]] = {name: [g] for name, g in declared(equation, parameters).items()}
    if not equation or not known:
        if wanted is True:
            which = f"the symmetries of {equation!r} are not known" if equation else "the data do not say which equation they solve"
            raise ValueError(f"{which}; name those that hold, such as augment: [translate], out of {list(GENERAL)}")
        scalars = [f.name for kind in (fields, static) for f in kind or () if not f.components]
        check_scalars(scalars, () if wanted is False else wanted, grid.dim, flips)
        known = {name: make(grid, tuple(flips or ())) for name, make in GENERAL.items()}
    elif flips is not None:
        raise ValueError(f"flips says which scalars of an unknown equation change sign, and those of {equation} are known; leave it out")
    names = list(known) if wanted is True else list(wanted or ())
    for name in names:
        if name not in known:
            raise ValueError(f"{equation or 'this equation'} has no symmetry {name!r} here; it has {list(known)}{nearest(name, known)}")
    out = tuple(g for name in names for g in known[name])
    if wanted is True:
        return tuple(g for g in out if fits(g, grid))
    for g in out:
        g.check(grid)
    return out


def check_scalars(scalars: Sequence[str], wanted: Sequence[str], dim: int, flips: Sequence[str] | None) -> None:
    """Raise ValueError for scalars whose names say that they may turn or change sign, where nobody says whether they do."""
    for name in flips or ():
        if name not in scalars:
            raise ValueError(
                f"flips names {name!r}, which is no scalar field of the data; they have {list(scalars)}{nearest(name, scalars)}"
            )
    if flips is not None:
        return
    parts = [name for name in scalars if COMPONENT.fullmatch(name.lower())]
    if parts and {"reflect", "turn"} & set(wanted):
        vector = f"declare the vector, such as fields: {{velocity: {parts}}} in source.yaml, or " if dim > 1 else ""
        raise ValueError(
            f"{parts} are scalars in these data, and their names are those of components, which reflections and turns change; {vector}say "
            f"`flips: {parts if dim == 1 else []}`, the scalars that change sign in a reflection"
        )
    pseudo = [name for name in scalars if PSEUDO.fullmatch(name.lower())]
    if pseudo and "reflect" in wanted:
        raise ValueError(f"{pseudo} may change sign in a reflection; say which scalars do: `flips: {pseudo}`, or `flips: []` for none")


def fits(g: Symmetry, grid: Grid) -> bool:
    """Whether a symmetry of the equation is one of the grid too."""
    try:
        g.check(grid)
    except ValueError:
        return False
    return True
