"""Words of a section of a text, taken one after the other as numbers, and where numbers stand among others: what `gmsh_text` reads with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Words:
    """The words of a section, taken from its beginning on."""

    def __init__(self, body: bytes, place: str) -> None:
        self.words, self.at, self.place = body.split(), 0, place

    def take(self, count: int, dtype: type = np.int64) -> NDArray[Any]:
        """The next ones as numbers. Raises ValueError where there are fewer, or others."""
        if count < 0 or self.at + count > len(self.words):
            raise ValueError(f"{self.place} ends after {len(self.words)} words, and more are declared; it is truncated or damaged")
        found = self.words[self.at : self.at + count]
        self.at += count
        try:
            return np.array(found, dtype) if dtype is not np.int64 else np.array([int(w) for w in found], np.int64)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{self.place} holds words that are no numbers ({error})") from error

    def one(self) -> int:
        return int(self.take(1)[0])


class Places:
    """Where tags stand among others. Raises ValueError for one that does not, and for tags that stand twice."""

    def __init__(self, tags: Ints, what: str) -> None:
        self.order, self.what = np.argsort(tags, kind="stable"), what
        self.sorted = tags[self.order]

    def __call__(self, wanted: Ints) -> Ints:
        at = np.minimum(np.searchsorted(self.sorted, wanted), max(len(self.sorted) - 1, 0))
        if len(wanted) and (not len(self.sorted) or (self.sorted[at] != wanted).any()):
            wrong = wanted[self.sorted[at] != wanted][0] if len(self.sorted) else wanted[0]
            raise ValueError(f"{self.what} {int(wrong)}, which the file has not")
        return np.asarray(self.order[at], np.int64)
