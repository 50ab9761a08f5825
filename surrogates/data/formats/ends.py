"""Ends of a Box that are no walls: a Box knows walls and periodic ends only, and an inlet would pass for one.

The attribute `boundary_conditions` says what they are, as JSON, in the form that `well_space` reads from files of The Well: a name, the
kind (open, inlet, dirichlet, cauchy, no flux, moving wall), the axes and at which of their ends, with the values where they are known.
It is kept by conversion, and `surrogates data info` shows it. Laws of conservation and heads of fluxes take the ends as the Box has them:
what passes through an open one is, to them, lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

CONDITIONS = "boundary_conditions"
CLOSED = ("wall", "periodic")


def condition(
    name: str, kind: str, axes: Sequence[str], *, low: bool = False, high: bool = False, fields: Sequence[str] = (), **more: Any
) -> dict[str, Any]:
    """One condition of the lower, the higher or, where neither is said, both ends of each of the axes."""
    ends = [low or not high, high or not low]
    return {"name": name, "kind": kind, "axes": list(axes), "fields": list(fields), "ends": ends, **more}


def told(part: xr.Dataset, conditions: Sequence[Mapping[str, Any]]) -> xr.Dataset:
    """The part with its conditions, of which there may be none."""
    return part.assign_attrs({CONDITIONS: json.dumps(list(conditions))}) if conditions else part


def shown(part: xr.Dataset) -> str:
    """The ends that a Box does not know, for people: "inlet (x), open (x)"; empty where there are none."""
    try:
        held = json.loads(str(part.attrs.get(CONDITIONS, "[]")))
        return ", ".join(f"{c['kind']} ({', '.join(c['axes'])})" for c in held if c["kind"] not in CLOSED)
    except (ValueError, LookupError, TypeError):
        return str(part.attrs[CONDITIONS])
