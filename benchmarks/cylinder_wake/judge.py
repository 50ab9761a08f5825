"""What is asked of a forecast of a wake: pointwise error, drag and lift while frames last, and the frequency of the lift.

    nrmse[n]        sqrt(int |u - v|^2 / int |v|^2) at lead n, by the measure of the mesh, over velocity and over pressure
    drag, lift      coefficients of all bodies at every lead, from cells of forecast and truth alike (`surrogates.data.cases.Wall`)
    drag_error      |mean drag - that of the truth| over the latter;   lift_error likewise of the lift's deviation in time
    strouhal_error  likewise, from the rising zeros of the lift; NaN where one of both has fewer than three

A forecast that is not finite at some lead has failed; what is said of it is said up to there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.data.cases import Wall, coefficients, strouhal
from surrogates.fields import Fields
from surrogates.interchange import domain_of, fields_of, parameters_of

HOLDS = 1e3  # m/s, m2/s2: beyond it a forecast counts as blown up


def judged(part: xr.Dataset, forecast: Float[Tensor, "T C node"], truth: Float[Tensor, "T C node"]) -> dict[str, Any]:
    """Everything said of one case, as plain numbers and lists."""
    fields, mesh = fields_of(part), domain_of(part)
    alive = (forecast.abs().amax((1, 2)) < HOLDS) & forecast.isfinite().all(2).all(1)
    lasted = int(alive.cumprod(0).sum())
    held = forecast[: max(1, lasted)].nan_to_num(0.0)
    out: dict[str, Any] = {"lasted": lasted, "failed": lasted < len(truth)}
    for f in fields:
        some = fields.slice(f.name)
        error, size = (mesh.integral(v[:, some].square()).sum(1) for v in (held - truth[: len(held)], truth[: len(held)]))
        out[f"nrmse_{f.name}"] = (error / size).sqrt().tolist()
    drags = {name: drag_and_lift(part, u, fields) for name, u in (("forecast", held), ("truth", truth))}
    out.update({name: values.T.tolist() for name, values in drags.items()})
    return {**out, **_errors(part, drags["forecast"].numpy(), drags["truth"].numpy())}


def drag_and_lift(part: xr.Dataset, u: Float[Tensor, "T C node"], fields: Fields) -> Float[Tensor, "T 2"]:
    """Coefficients of every frame."""
    p = {name: float(value[0]) for name, value in parameters_of(part).items()}
    return coefficients(Wall.of(part).force(u, fields, p["viscosity"]), p["speed"], p["size1"])


def _errors(part: xr.Dataset, made: np.ndarray, true: np.ndarray) -> dict[str, float]:  # type: ignore[type-arg]
    p = {name: float(value[0]) for name, value in parameters_of(part).items()}
    dt = float(part.attrs["dt"])
    frequency = [strouhal(dt * np.arange(len(c)), c[:, 1], p["size1"], p["speed"]) for c in (made, true)]
    return {
        "drag_error": abs(made[:, 0].mean() / true[:, 0].mean() - 1),
        "lift_error": abs(made[:, 1].std() / max(true[:, 1].std(), 1e-12) - 1),
        "strouhal": frequency[0],
        "strouhal_truth": frequency[1],
        "strouhal_error": abs(frequency[0] / frequency[1] - 1),
    }


def between(part: xr.Dataset, points: np.ndarray, u: Float[Tensor, "T C other"]) -> Tensor:  # type: ignore[type-arg]
    """Fields at other points as they are at the nodes of a part: linear within the triangles between the points, the nearest outside."""
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

    mesh = domain_of(part)
    wanted, values = mesh.points.numpy(), u.permute(2, 0, 1).reshape(u.shape[2], -1).numpy()
    found = LinearNDInterpolator(points, values)(wanted)
    gone = np.isnan(found).any(1)
    found[gone] = NearestNDInterpolator(points, values)(wanted[gone])
    return torch.from_numpy(found.astype(np.float32)).reshape(-1, *u.shape[:2]).permute(1, 2, 0)
