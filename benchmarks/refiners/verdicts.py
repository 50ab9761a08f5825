"""Is a forecast with few evaluations equivalent to one with many? Two one-sided tests on the ratio of their fair energy scores.

With paired scores f_t (few) and m_t (many) over trajectories t, each the mean over seeds, and R = mean f / mean m: trajectories are
resampled, the same ones for both, and the central 90 % interval of R, widened by sqrt(n/(n - 1)) about R (a bootstrap of n rows is too
narrow by that), is held against the margin:

    inside [1 - margin, 1 + margin]   equivalent at the 5 % level        wholly above   worse       wholly below   better
    anything else                     undecided: too few trajectories to say

An infinite score (a member failed) is worse than a finite one. Sources: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics
15, 1987 (two one-sided tests: the 90 % interval); Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 25.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MARGIN = 0.02


@dataclass(frozen=True)
class Verdict:
    """R with its interval, over so many trajectories."""

    ratio: float
    lower: float
    upper: float
    trajectories: int
    margin: float = MARGIN

    @property
    def word(self) -> str:
        if not np.isfinite([self.lower, self.upper]).all():
            return "worse" if self.ratio == np.inf else "undecided"
        if 1 - self.margin <= self.lower and self.upper <= 1 + self.margin:
            return "equivalent"
        return "worse" if self.lower > 1 + self.margin else "better" if self.upper < 1 - self.margin else "undecided"


def equivalence(few: Sequence[float], many: Sequence[float], *, resamples: int = 10_000, margin: float = MARGIN) -> Verdict:
    """The verdict on scores per trajectory, in the same order. Raises ValueError unless they are pairs, two or more."""
    f, m = np.asarray(few, dtype=float), np.asarray(many, dtype=float)
    n = len(f)
    if f.shape != m.shape or n < 2:
        raise ValueError(f"equivalence needs pairs of scores of at least two trajectories, got {f.shape} and {m.shape}")
    if not np.isfinite(m).all() or not np.isfinite(f).all():
        ratio = np.inf if np.isfinite(m).all() else np.nan
        return Verdict(ratio, ratio, ratio, n, margin)
    draws = np.random.default_rng(0).integers(n, size=(resamples, n))
    ratio = f.mean() / m.mean()
    spread = (f[draws].mean(1) / m[draws].mean(1) - ratio) * (n / (n - 1)) ** 0.5
    lower, upper = ratio + np.quantile(spread, [0.05, 0.95])
    return Verdict(float(ratio), float(lower), float(upper), n, margin)
