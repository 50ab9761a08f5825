"""Dimensions [kg m s K mol A cd] -> units in UDUNITS' form: [0 1 -1 0 0 0 0] is "m s-1", all zeros "1".

Exponents beyond 20 are nonsense in physics and refused; halves occur (sqrt(k)) and are written "m^0.5".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

BASE = ("kg", "m", "s", "K", "mol", "A", "cd")
LARGEST = 20
DERIVED: dict[str, tuple[int, ...]] = {
    "Hz": (0, 0, -1, 0, 0, 0, 0),
    "N": (1, 1, -2, 0, 0, 0, 0),
    "Pa": (1, -1, -2, 0, 0, 0, 0),
    "J": (1, 2, -2, 0, 0, 0, 0),
    "W": (1, 2, -3, 0, 0, 0, 0),
    "C": (0, 0, 1, 0, 0, 1, 0),
    "V": (1, 2, -3, 0, 0, -1, 0),
    "rad": (0,) * 7,
}
"""Units without a factor that newer versions name; those with one (mm, deg, bar) would change the numbers, and are refused."""
TERM = re.compile(r"(1|[A-Za-z]+)(?:\^([+-]?\d+(?:\.\d+)?))?")


def exponents(symbols: str) -> tuple[int | float, ...]:
    """The seven of "m s^-1", "m/s", "kg*m/s^2", "Pa"; "/" divides by the one unit behind it. Raises ValueError for another form."""
    known = {**{b: tuple(int(b == a) for a in BASE) for b in BASE}, **DERIVED, "Cd": (0, 0, 0, 0, 0, 0, 1), "1": (0,) * 7}
    out: list[int | float] = [0] * len(BASE)
    sign = 1
    for word in re.findall(r"[*/]|[^\s*/]+", symbols):
        found = TERM.fullmatch(word)
        if word in ("*", "/"):
            if sign < 0:
                raise ValueError(f"the units {symbols!r} divide by nothing; write 7 exponents")
            sign = -1 if word == "/" else 1
        elif found is None or found[1] not in known:
            raise ValueError(f"the unit {word!r} is not among {[*BASE, *DERIVED]}; write 7 exponents")
        else:
            power = float(found[2] or 1)
            out = [a + sign * power * b for a, b in zip(out, known[found[1]], strict=True)]
            sign = 1
    return tuple(int(e) if float(e).is_integer() else e for e in out)


def units_of(dimensions: Sequence[int | float], where: str) -> str:
    """Raises ValueError unless there are 5 to 7 finite exponents of at most 20; `where` begins its message."""
    if len(dimensions) not in (5, 7) or not all(math.isfinite(e) and abs(e) <= LARGEST for e in dimensions):
        raise ValueError(
            f"{where}: dimensions {list(dimensions)} are not 7 exponents of {list(BASE)} between -{LARGEST} and {LARGEST}; "
            "a velocity has [0 1 -1 0 0 0 0]"
        )
    return " ".join(_power(base, e) for base, e in zip(BASE, dimensions, strict=False) if e) or "1"


def _power(base: str, exponent: int | float) -> str:
    if exponent == 1:
        return base
    return f"{base}{int(exponent)}" if float(exponent).is_integer() else f"{base}^{exponent:g}"
