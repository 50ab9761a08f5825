"""Dimensions [kg m s K mol A cd] -> units in UDUNITS' form: [0 1 -1 0 0 0 0] is "m s-1", all zeros "1".

Exponents beyond 20 are nonsense in physics and refused; halves occur (sqrt(k)) and are written "m^0.5".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BASE = ("kg", "m", "s", "K", "mol", "A", "cd")
LARGEST = 20


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
