"""How a weather forecast is verified: over the starts n of a split, at lead l, with the area weights w of the domain (which sum to 1),

    RMSE(l) = sqrt( mean_n  sum_x w (p - y)^2 )
    ACC(l)  = mean_n  sum_x w p' y' / sqrt( sum_x w p'^2  sum_x w y'^2 )        p' = p - c, y' = y - c

with c the climatology at the time that the forecast is for, from the *training* frames alone (`climate.py` says which mean). The RMSE is
that of WeatherBench 2; so is the ACC but for its climatology, which there is one by day of the year and hour of the day from thirty years
of data. Components of a vector and levels of a field are summed under the sums. The mean is taken before the root. A forecast without an
anomaly (climatology itself) has ACC 0. One that is not finite counts as failed: RMSE infinite, ACC 0. Cells that are dry and windows that
hold a missing frame do not count.

Source: Rasp et al., WeatherBench 2: A benchmark for the next generation of data-driven global weather models, 2024,
https://doi.org/10.1029/2023MS004019, appendix A.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.fields import Fields

NOTHING = 1e-9  # of the truth's anomaly, squared: less is the rounding of float32
Scores = dict[str, dict[str, list[float]]]


def verify(
    forecast: Float[Tensor, "N L C *X"], truth: Float[Tensor, "N L C *X"], climate: Float[Tensor, ...], domain: Domain, fields: Fields
) -> Scores:
    """{"rmse": {field: [a value a lead]}, "acc": ...}, in float64. climate: (C, *X), or of each start and lead (N, L, C, *X)."""
    p, y, c = forecast.double(), truth.double(), climate.double()
    whole = domain.integral(torch.ones_like(y[:1, 0, :1]))
    wet = torch.ones(domain.shape, dtype=torch.bool) if domain.mask is None else domain.mask
    finite = p[..., wet].isfinite().flatten(2).all(2)

    def mean(u: Tensor) -> Float[Tensor, "N L C"]:
        flat = domain.integral(u.flatten(0, 1)) / whole
        return flat.unflatten(0, u.shape[:2])

    error, joint, mine, true = mean((p - y).square()), mean((p - c) * (y - c)), mean((p - c).square()), mean((y - c).square())
    out: Scores = {"rmse": {}, "acc": {}}
    for name in fields.names:
        s = fields.slice(name)
        e, j, a, b = (q[:, :, s].sum(2) for q in (error, joint, mine, true))
        rmse = torch.where(finite, e, torch.inf).mean(0).sqrt()
        told = finite & (a > NOTHING * b)
        acc = torch.where(told, j / torch.where(told, a * b, 1.0).sqrt(), 0.0).mean(0)
        out["rmse"][name], out["acc"][name] = rmse.tolist(), acc.tolist()
    return out


def climatology(frames: Float[Tensor, "B T C *X"], domain: Domain) -> Float[Tensor, "C ..."]:
    """The mean of the frames without a missing value, float64; zero in dry cells."""
    wet = torch.ones(domain.shape, dtype=torch.bool) if domain.mask is None else domain.mask
    rows = frames.double().flatten(0, 1)
    whole = rows[rows[..., wet].isfinite().flatten(1).all(1)]
    if not len(whole):
        raise ValueError("every training frame has a missing value, so that there is no climatology")
    return torch.where(wet, whole.mean(0), 0.0)
