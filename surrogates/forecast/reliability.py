"""Probabilities judged by what happened: Brier's score, its parts, and the reliability diagram.

    BS = mean (p - o)^2 = REL - RES + UNC (up to the spread of p inside a bin),     o = 1 where the event happened, else 0,
    REL = sum_k n_k (p_k - o_k)^2 / n,     RES = sum_k n_k (o_k - o)^2 / n,     UNC = o (1 - o)

over bins k of p with mean probability p_k, observed frequency o_k and n_k cases. Skill is 1 - BS/UNC: 0 for the frequency itself.
Source: Murphy, "A new vector partition of the probability score", J. Appl. Meteorol. 12, 1973.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray


def reliability(probability: NDArray[np.float64], happened: NDArray[np.bool_], bins: int = 10) -> xr.Dataset:
    """A Dataset with `brier`, its skill and parts, and by `bin` the mean `probability`, the observed `frequency` and the `count` of cases.

    Raises ValueError for other shapes, for probabilities outside [0, 1] and for no case at all.
    """
    p, o = probability.astype(np.float64).ravel(), happened.astype(np.float64).ravel()
    if p.shape != o.shape or not p.size:
        raise ValueError(f"{p.size} probabilities but {o.size} events; there must be as many, and at least one")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"probabilities must lie in [0, 1], got {np.nanmin(p):g} to {np.nanmax(p):g}, {int(np.isnan(p).sum())} not a number"
        )
    index = np.minimum((p * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean, frequency = (np.bincount(index, v, minlength=bins) / count for v in (p, o))
    base, used = float(o.mean()), count > 0
    brier = float(((p - o) ** 2).mean())
    share = count[used] / p.size
    parts = {
        "brier": brier,
        "reliability": float((share * (mean[used] - frequency[used]) ** 2).sum()),
        "resolution": float((share * (frequency[used] - base) ** 2).sum()),
        "uncertainty": base * (1 - base),
        "brier_skill": 1 - brier / (base * (1 - base)) if 0 < base < 1 else np.nan,
    }
    edges = np.linspace(0, 1, bins + 1)
    table = {"probability": ("bin", mean), "frequency": ("bin", frequency), "count": ("bin", count)}
    coords = {"bin": ("bin", (edges[1:] + edges[:-1]) / 2, {"long_name": "middle of a bin of probabilities"})}
    return xr.Dataset({**parts, **table}, coords, {"cases": int(p.size)})
