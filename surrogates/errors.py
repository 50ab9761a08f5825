"""What errors have in common: the nearest name to the one that was not found."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or nothing where no known name is near."""
    match = get_close_matches(str(name), [str(k) for k in known], n=1)
    return f"; did you mean {match[0]!r}?" if match else ""
