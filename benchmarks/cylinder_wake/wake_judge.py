"""What is asked of a forecast of a wake: pointwise error, drag and lift while frames last, and the frequency of the lift.

    nrmse[n]        sqrt(int |u - v|^2 / int |v|^2) at lead n, by the measure of the mesh, over velocity and over pressure
    drag, lift      coefficients of all bodies at every lead: of a surrogate and the truth both from cells (`surrogates.data.cases.Wall`),
                    of a run of OpenFOAM on another mesh and the truth both as OpenFOAM works them out, each on its own mesh
    drag_error      |mean drag - that of the truth| over the latter;   lift_error likewise of the lift's deviation in time
    strouhal_error  likewise, from the rising zeros of the lift; NaN where one of both has fewer than three

A forecast that is not finite at some lead has failed; what is said of it is said up to there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.data.cases import Wall, coefficients, strouhal
from surrogates.fields import Fields
from surrogates.interchange import domain_of, fields_of, parameters_of

HOLDS = 1e3  # m/s, m2/s2: beyond it a forecast counts as blown up


Forces = tuple[Float[Tensor, "T 2"], Float[Tensor, "T 2"]]


def judged(
    part: xr.Dataset, forecast: Float[Tensor, "T C node"], truth: Float[Tensor, "T C node"], forces: Forces | None = None
) -> dict[str, Any]:
    """Everything said of one case, as plain numbers and lists. `forces`: drag and lift of forecast and truth where both are known."""
    fields, mesh = fields_of(part), domain_of(part)
    alive = (forecast.abs().amax((1, 2)) < HOLDS) & forecast.isfinite().all(2).all(1)
    lasted = int(alive.cumprod(0).sum())
    held = forecast[: max(1, lasted)].nan_to_num(0.0)
    out: dict[str, Any] = {"lasted": lasted, "failed": lasted < len(truth)}
    for f in fields:
        some = fields.slice(f.name)
        error, size = (mesh.integral(v[:, some].square()).sum(1) for v in (held - truth[: len(held)], truth[: len(held)]))
        out[f"nrmse_{f.name}"] = (error / size).sqrt().tolist()
    made, true = forces or (drag_and_lift(part, held, fields), drag_and_lift(part, truth, fields))
    made = made[: len(held)]
    out.update({"forecast": made.T.tolist(), "truth": true.T.tolist()})
    return {**out, **_errors(part, made.numpy(), true.numpy())}


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
